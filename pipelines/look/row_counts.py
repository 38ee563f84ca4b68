"""Running numbers of one source's rows: counts, lengths, texts, histograms, pictures. Memory does not grow with the rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fasttok.common.html import image_kind
from pipelines.common.images import jpeg_size, png_size
from pipelines.look.ranges import Range, outside
from pipelines.look.scan import lists
from pipelines.shards.manifest import ManifestSource
from pipelines.shards.records import IMAGE_COLUMNS

BINS = 36  # with this margin, both ends of the normaliser's range are edges of bins
MARGIN = 0.25  # of that range, which a histogram shows on either side of it
EDGE = 1e-4  # of a bin
HEADER = 4096  # bytes of a picture that nearly always hold its size
MOST_TEXTS = 20_000  # different prompts or targets of a source that are counted apart
TEXTS = ("prompt", "target")


@dataclass
class Histogram:
    """Values of D dimensions, counted in `BINS` bins each, with one more on either side for what lies beyond.

    Attributes:
        low, width: (D,) where the bins begin, and how wide one is. counts: (D, BINS + 2).
        least, most: (D,) of all values. beyond: (D,) outside the normaliser's range. values: counted, per dim.
        not_finite: values that are none.
    """

    limits: list[Range | None]
    low: NDArray[np.float64]
    width: NDArray[np.float64]
    counts: NDArray[np.int64]
    least: NDArray[np.float64]
    most: NDArray[np.float64]
    beyond: NDArray[np.int64]
    values: int = 0
    not_finite: int = 0

    @classmethod
    def of(cls, limits: Sequence[Range | None], first: NDArray) -> "Histogram":
        """Bins over the normaliser's ranges; where there is none, over the first values (n, D)."""
        dim = first.shape[1]
        limits = list(limits) if len(limits) == dim else [None] * dim
        seen = np.where(np.isfinite(first), first, 0).astype(np.float64)
        low = np.array([limit[0] if limit else seen[:, d].min() for d, limit in enumerate(limits)])
        high = np.array([limit[1] if limit else seen[:, d].max() for d, limit in enumerate(limits)])
        span = np.where(high > low, high - low, np.maximum(1e-3, 0.2 * np.abs(low)))
        width = span * (1 + 2 * MARGIN) / BINS
        counts = np.zeros((dim, BINS + 2), np.int64)
        none = np.full(dim, np.inf)
        return cls(
            limits,
            low - np.where(high > low, MARGIN * span, 0.75 * span),
            width,
            counts,
            none,
            -none,
            counts[:, 0].copy(),
        )

    def add(self, values: NDArray) -> None:
        """Counts values (n, D)."""
        finite = np.isfinite(values)
        if not finite.all():
            self.not_finite += int((~finite).sum())
            values = values[finite.all(1)]
        if not len(values):
            return
        self.values += len(values)
        self.least, self.most = np.minimum(self.least, values.min(0)), np.maximum(self.most, values.max(0))
        self.beyond += outside(values, self.limits)
        x = (values - self.low) / self.width
        x += np.where(x < BINS / 2, EDGE, -EDGE)  # a value at an end of the range, as of a gripper, belongs inside
        place = np.clip(np.floor(x), -1, BINS).astype(np.int64) + 1
        place += np.arange(values.shape[1]) * (BINS + 2)
        self.counts += np.bincount(place.reshape(-1), minlength=self.counts.size).reshape(self.counts.shape)

    def edges(self, d: int) -> NDArray[np.float64]:
        """(BINS + 3,) of dim `d`; the outermost bins also hold everything beyond them."""
        return self.low[d] + self.width[d] * np.arange(-1, BINS + 2)


@dataclass
class Tally:
    """One source's running numbers.

    Attributes:
        lengths: FAST ids of a row -> rows. padded: rows that run past their episode's end.
        words: per text column, words of a row -> rows. bytes: of both. texts: per column, how often each text stands there;
            after `MOST_TEXTS` others are no longer told apart, and `more` counts their rows.
        pictures: (slot, format, width, height) -> pictures. picture_bytes: per slot.
        histograms: of `action` (real steps only) and `state`.
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
    histograms: dict[str, Histogram] = field(default_factory=dict)

    def numbers(self, batch: pa.RecordBatch, mine: NDArray[np.bool_]) -> None:
        """Adds the actions, states and FAST ids of the rows `mine` (rows,) bool of a robot source."""
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

    def _count(self, what: str, values: NDArray) -> None:
        if not len(values):
            return
        if what not in self.histograms:
            self.histograms[what] = Histogram.of(self.limits.get(what, []), values)
        self.histograms[what].add(values)

    def text(self, column: str, text: str, rows: int) -> None:
        """Adds `rows` rows with this text."""
        held = self.texts[column]
        if text in held or len(held) < MOST_TEXTS:
            held[text] += rows
        else:
            self.more[column] += rows


def add_texts(batch: pa.RecordBatch, codes: NDArray[np.int64], tallies: Sequence[Tally]) -> None:
    """Adds prompts and targets; `codes`: (rows,) which tally each row belongs to."""
    for column in TEXTS:
        texts = batch.column(column)
        words = pc.count_substring_regex(texts, pattern=r"\S+").to_numpy().astype(np.int64)
        sizes = np.bincount(codes, pc.binary_length(texts).to_numpy(), len(tallies))
        encoded = texts.dictionary_encode()
        names, which = encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
        for code, length, rows in _counted(codes, words):
            tallies[code].words[column][length] += rows
        for code, name, rows in _counted(codes, which):
            tallies[code].text(column, names[name], rows)
        for tally, size in zip(tallies, sizes.tolist(), strict=True):
            tally.bytes[column] += int(size)


def _counted(codes: NDArray[np.int64], values: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(code, value, how often) of each pair."""
    base = int(values.max(initial=0)) + 1
    pairs, counts = np.unique(codes * base + values, return_counts=True)
    return [(p // base, p % base, n) for p, n in zip(pairs.tolist(), counts.tolist(), strict=True)]


def add_pictures(batch: pa.RecordBatch, codes: NDArray[np.int64], tallies: Sequence[Tally]) -> None:
    """Adds formats and sizes; reads the pictures' first bytes only."""
    for column in IMAGE_COLUMNS:
        images = batch.column(column)
        if images.null_count == batch.num_rows:
            continue
        slot = column.removeprefix("image/")
        _, offsets, data = images.buffers()
        ends = np.frombuffer(offsets, np.int32, batch.num_rows + 1, 4 * images.offset).tolist()
        held = images.is_valid().to_numpy(zero_copy_only=False)
        view = memoryview(data)
        for row in np.flatnonzero(held).tolist():
            start, stop = ends[row], ends[row + 1]
            head = bytes(view[start : min(stop, start + HEADER)])
            kind = image_kind(head)
            width, height = png_size(head) if kind == "png" else jpeg_size(head)
            if not width and stop - start > HEADER:  # a large thumbnail or profile stands before the size
                width, height = jpeg_size(bytes(view[start:stop]))
            tally = tallies[codes[row]]
            tally.pictures[slot, kind, width, height] += 1
            tally.picture_bytes[slot] += stop - start
