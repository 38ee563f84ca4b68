"""Counts the rows of each source: lengths, texts, pictures, values. Memory does not grow with the number of rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fasttok.common.console import log
from fasttok.common.html import image_kind
from pipelines.common.image_headers import image_size, jpeg_size
from pipelines.look.ranges import Range, ranges
from pipelines.look.scan import lists, scan, shards_tokenizer, source_codes
from pipelines.look.value_histogram import ValueHistogram
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource
from pipelines.shards.records import IMAGE_COLUMNS

HEADER = 4096  # first bytes of a picture, which nearly always contain its size
MOST_TEXTS = 20_000  # different prompts or targets of a source that are counted separately
TEXTS = ("prompt", "target")


@dataclass
class SourceCounts:
    """Running counts of one source.

    Attributes:
        source: what the manifest says about it.
        limits: the normaliser's ranges, for `action` and `state`.
        rows: rows counted.
        padded: rows whose chunk goes past the end of their episode.
        lengths: FAST ids per row -> number of rows.
        words: for each text column: words in the text -> number of rows.
        bytes: for each text column: UTF-8 bytes.
        texts: for each text column: text -> number of rows. After `MOST_TEXTS` different texts, new ones only count in `more`.
        more: for each text column: number of rows with other texts.
        pictures: (slot, format, width, height) -> number of pictures.
        picture_bytes: slot -> bytes.
        histograms: histograms of `action` (real steps only) and `state`.
    """

    source: ManifestSource
    limits: dict[str, list[Range | None]]
    rows: int = 0
    padded: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    words: dict[str, Counter[int]] = field(default_factory=lambda: {name: Counter() for name in TEXTS})
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TEXTS, 0))
    texts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in TEXTS})
    more: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TEXTS, 0))
    pictures: Counter[tuple[str, str, int, int]] = field(default_factory=Counter)
    picture_bytes: Counter[str] = field(default_factory=Counter)
    histograms: dict[str, ValueHistogram] = field(default_factory=dict)

    def numbers(self, batch: pa.RecordBatch, mine: NDArray[np.bool_]) -> None:
        """Adds actions, states and FAST ids of a robot source; `mine` (rows,) bool selects its rows."""
        horizon, dim = self.source.horizon, self.source.action_dim
        steps = batch.column("action_steps").to_numpy()[mine]
        self.padded += int((steps < horizon).sum())
        id_lengths, _ = lists(batch.column("action_tokens"), mine)
        self.lengths.update(dict(zip(*(a.tolist() for a in np.unique(id_lengths, return_counts=True)), strict=True)))
        lengths, values = lists(batch.column("action"), mine)
        if (lengths == horizon * dim).all() and dim:
            real = np.arange(horizon) < steps[:, None]
            self._count("action", values.reshape(-1, horizon, dim)[real])
        lengths, values = lists(batch.column("state"), mine)
        width = self.source.state_dim
        if width and (lengths == width).all():
            self._count("state", values.reshape(-1, width))

    def _count(self, what: str, values: NDArray[np.float32]) -> None:
        if not len(values):
            return
        if what not in self.histograms:
            self.histograms[what] = ValueHistogram.of(self.limits.get(what, []), values)
        self.histograms[what].add(values)

    def text(self, column: str, text: str, rows: int) -> None:
        """Adds `rows` rows with this text."""
        known = self.texts[column]
        if text in known or len(known) < MOST_TEXTS:
            known[text] += rows
        else:
            self.more[column] += rows


def count_rows(reader: ShardReader) -> dict[str, SourceCounts]:
    """Counts every row; reads them once, column by column."""
    tok, problem = shards_tokenizer(reader)
    if problem:
        log(f"warning: no shares outside the normaliser's range: {problem}")
    counts = {name: SourceCounts(s, ranges(tok, s.embodiment)) for name, s in reader.manifest.sources.items()}
    names, values = list(counts), list(counts.values())
    for _, _, batch in scan(reader, "reading rows"):
        codes = source_codes(batch, names)
        if (codes < 0).any():  # rows of unknown sources are skipped; lint reports them
            batch = batch.filter(codes >= 0)
            codes = codes[codes >= 0]
        for code, rows in enumerate(np.bincount(codes, minlength=len(names)).tolist()):
            values[code].rows += rows
            if rows and values[code].source.kind == "robot":
                values[code].numbers(batch, codes == code)
        add_texts(batch, codes, values)
        add_pictures(batch, codes, values)
    return counts


def add_texts(batch: pa.RecordBatch, codes: NDArray[np.int64], counts: Sequence[SourceCounts]) -> None:
    """Adds the prompts and targets of a record batch.

    Args:
        batch: the rows.
        codes: (rows,) int64, which of `counts` each row belongs to.
        counts: running counts of all sources.
    """
    for column in TEXTS:
        texts = batch.column(column)
        words = pc.count_substring_regex(texts, pattern=r"\S+").to_numpy().astype(np.int64)
        sizes = np.bincount(codes, pc.binary_length(texts).to_numpy(), len(counts))
        encoded = texts.dictionary_encode()
        names, which = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
        for code, length, rows in _counted(codes, words):
            counts[code].words[column][length] += rows
        for code, name, rows in _counted(codes, which):
            counts[code].text(column, names[name], rows)
        for one, size in zip(counts, sizes.tolist(), strict=True):
            one.bytes[column] += int(size)


def _counted(codes: NDArray[np.int64], values: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Returns (code, value, how often it occurs) for each pair that occurs."""
    base = int(values.max(initial=0)) + 1
    pairs, times = np.unique(codes * base + values, return_counts=True)
    return [(p // base, p % base, n) for p, n in zip(pairs.tolist(), times.tolist(), strict=True)]


def add_pictures(batch: pa.RecordBatch, codes: NDArray[np.int64], counts: Sequence[SourceCounts]) -> None:
    """Adds the formats and sizes of pictures. It usually reads only their first bytes.

    Args:
        batch: the rows.
        codes: (rows,) int64, which of `counts` each row belongs to.
        counts: running counts of all sources.
    """
    for column in IMAGE_COLUMNS:
        images = batch.column(column)
        if images.null_count == batch.num_rows:
            continue
        slot = column.removeprefix("image/")
        _, offsets, data = images.buffers()
        ends = np.frombuffer(offsets, np.int32, batch.num_rows + 1, 4 * images.offset).tolist()
        present = images.is_valid().to_numpy(zero_copy_only=False)
        view = memoryview(data)
        for row in np.flatnonzero(present).tolist():
            start, stop = ends[row], ends[row + 1]
            head = bytes(view[start : min(stop, start + HEADER)])
            kind = image_kind(head)
            width, height = image_size(head)
            if (
                not width and kind == "jpeg" and stop - start > HEADER
            ):  # a large thumbnail or profile comes before the size
                width, height = jpeg_size(bytes(view[start:stop]))
            one = counts[codes[row]]
            one.pictures[slot, kind, width, height] += 1
            one.picture_bytes[slot] += stop - start
