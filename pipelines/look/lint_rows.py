"""Checks single rows, one record batch at a time: shapes, kinds, numbers, FAST ids, cameras and images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.codec import bpe
from fasttok.common.percent import percent
from fasttok.errors import InputError
from pipelines.common.findings import Findings, Level
from pipelines.common.image_headers import check_header
from pipelines.look.ranges import Range, outside, ranges
from pipelines.look.scan import lists
from pipelines.shards.manifest import Manifest, ManifestSource
from pipelines.shards.records import IMAGE_COLUMNS

BUILD = "the shards were changed after the build, or another version wrote them: build again with --overwrite"
DATA = "look at the record of its file and offset, and filter it out in the dataset's entry"


@dataclass
class SeenRows:
    """Running counts of one source.

    Attributes:
        rows: rows checked.
        cameras: slot -> rows that have its picture.
        outside: for `action` and `state`: (D,) int64, number of values outside the normaliser's range.
        values: for `action` and `state`: number of values in each dimension.
        first: for `action` and `state`: place of the first row that has values.
    """

    rows: int = 0
    cameras: dict[str, int] = field(default_factory=dict)
    outside: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)


class RowChecks:
    """Checks record batches with `add`; `finish` reports what only all rows together show."""

    def __init__(self, manifest: Manifest, tok: ActionTokenizer | None, findings: Findings, outside: float) -> None:
        self._findings, self._share = findings, outside
        self._sources = list(manifest.sources.items())
        self._tok = tok
        self._kinds = np.array([source.kind for _, source in self._sources], object)
        self._seen = [SeenRows() for _ in self._sources]
        self._ranges = [self._limits(name, source) for name, source in self._sources]

    def _limits(self, name: str, source: ManifestSource) -> dict[str, list[Range | None]]:
        """Returns the range that the normaliser maps to [-1, 1], per dim of `action` and `state`."""
        who = source.embodiment or ""
        if self._tok is None or source.kind != "robot" or not self._tok.stats:
            return {}
        if who not in self._tok.stats:
            known = ", ".join(self._tok.stats)
            what = f"no statistics of embodiment {who!r}"
            self._findings.add("error", "tokenizer", "tokenizer/", what, f"it among {known}", BUILD, source=name)
            return {}
        return ranges(self._tok, who)

    def add(self, shard: str, at: int, batch: pa.RecordBatch, codes: NDArray[np.int64]) -> None:
        """Checks the rows of a record batch.

        Args:
            shard: name of the file.
            at: row of the shard at which the batch begins.
            batch: the rows.
            codes: (rows,) int64, number of each row's source.
        """
        kinds = np.array(batch.column("kind").to_pylist(), object)
        wrong = kinds != self._kinds[codes]
        for code in np.unique(codes[wrong]).tolist():
            of = np.flatnonzero(wrong & (codes == code))
            what, expected = f"kind {kinds[of[0]]!r}", f"{self._kinds[code]!r}, as the manifest says"
            where, name = f"{shard} row {at + of[0]}", self._sources[code][0]
            self._findings.add("error", "kind", where, what, expected, BUILD, source=name, count=len(of))
        for code in np.unique(codes).tolist():
            mine = codes == code
            self._seen[code].rows += int(mine.sum())
            self._numbers(shard, at, batch, code, mine)
        self._images(shard, at, batch, codes)

    def _numbers(self, shard: str, at: int, batch: pa.RecordBatch, code: int, mine: NDArray[np.bool_]) -> None:
        """Checks actions, states and FAST ids of one source's rows."""
        name, source = self._sources[code]
        rows = np.flatnonzero(mine)
        horizon, dim = source.horizon, source.action_dim
        lengths, values = lists(batch.column("action"), mine)
        state_lengths, states = lists(batch.column("state"), mine)
        id_lengths, ids = lists(batch.column("action_tokens"), mine)
        steps = batch.column("action_steps").to_numpy()[mine]

        def report(
            bad: NDArray[np.bool_], check: str, what: str, expected: str, todo: str, level: Level = "error"
        ) -> None:
            if bad.any():
                where = f"{shard} row {at + rows[np.argmax(bad)]}"
                self._findings.add(level, check, where, what, expected, todo, source=name, count=int(bad.sum()))

        report(
            lengths != horizon * dim,
            "shape",
            "a chunk of another size",
            f"{horizon} x {dim} = {horizon * dim} values",
            BUILD,
        )
        report(
            state_lengths != source.state_dim,
            "shape",
            "a state of another size",
            f"{source.state_dim} values",
            BUILD,
        )
        if source.kind != "robot":
            report((steps != 0) | (id_lengths != 0), "shape", "action_steps or FAST ids without actions", "none", BUILD)
            return
        report((steps < 1) | (steps > horizon), "shape", "action_steps out of range", f"1..{horizon}", BUILD)
        finite = _rows_where(~np.isfinite(values), lengths)
        report(finite, "finite", "NaN or inf in an action", "numbers", DATA)
        report(_rows_where(~np.isfinite(states), state_lengths), "finite", "NaN or inf in a state", "numbers", DATA)
        sound = (lengths == horizon * dim) & ~finite & (steps >= 1) & (steps <= horizon)
        if sound.any():
            chunks = values[np.repeat(sound, lengths)].reshape(-1, horizon, dim)
            real = np.arange(horizon) < steps[sound][:, None]
            self._outside(code, "action", chunks[real], f"{shard} row {at + rows[np.argmax(sound)]}")
            if source.representation is None:
                bad = np.zeros(len(rows), bool)
                bad[sound] = _badly_padded(chunks, steps[sound], real, source.action_encoding)
                report(bad, "padding", "steps past the episode's end that are not padding",
                       "absolute dims and grippers held, deltas 0", BUILD)  # fmt: skip
            own = bpe.split(ids[np.repeat(sound, id_lengths)].astype(np.int32), id_lengths[sound])
            for check, what, expected, bad_of in self._tokens(chunks, own, source):
                bad = np.zeros(len(rows), bool)
                bad[sound] = bad_of
                report(
                    bad,
                    check,
                    what,
                    expected,
                    "re-encode them with the shards' tokenizer, or build again with --overwrite",
                )
        whole = (state_lengths == source.state_dim) & ~_rows_where(~np.isfinite(states), state_lengths)
        if whole.any() and source.state_dim:
            kept = states[np.repeat(whole, state_lengths)].reshape(-1, source.state_dim)
            self._outside(code, "state", kept, f"{shard} row {at + rows[np.argmax(whole)]}")

    def _outside(self, code: int, what: str, values: NDArray[np.float32], where: str) -> None:
        """Adds up how many values (n, D) are outside the normaliser's range."""
        limits = self._ranges[code].get(what)
        if not limits or len(limits) != values.shape[1]:
            return
        counts = outside(values, limits)
        seen = self._seen[code]
        seen.outside[what] = seen.outside.get(what, np.zeros(len(limits), np.int64)) + counts
        seen.values[what] = seen.values.get(what, 0) + len(values)
        seen.first.setdefault(what, where)

    def _tokens(
        self, chunks: NDArray[np.float32], ids: list[NDArray[np.int32]], source: ManifestSource
    ) -> list[tuple[str, str, str, NDArray[np.bool_]]]:
        """Returns what is wrong with FAST ids: (check, what, expected, which rows (rows,) bool) for each kind of fault."""
        tok = self._tok
        if tok is None:
            return []
        n, horizon, dim = chunks.shape
        name = tok.embodiment_argument(source.embodiment or "")
        bad, far = np.zeros(n, bool), np.zeros(n, bool)
        try:
            fresh = tok.encode_report(chunks, embodiment=name).ids
            other = np.array([len(a) != len(b) or bool((a != b).any()) for a, b in zip(ids, fresh, strict=True)])
            if not other.any():
                return []
            # The last bit of a DCT may differ between machines, and so a coefficient by one. More means another chunk.
            chosen = np.flatnonzero(other)
            decode = partial(tok.decode, horizon=horizon, action_dim=dim, embodiment=name, on_error="mask")
            stored, again = decode([ids[i] for i in chosen]), decode([fresh[i] for i in chosen])
        except InputError as error:
            return [("tokens", f"a chunk that the tokenizer refuses: {error}", "one it can encode", np.ones(n, bool))]
        a, b = stored.actions, again.actions
        stats = tok.channels(name).stats
        if stats is not None:
            a, b = stats.normalize(a), stats.normalize(b)
        bad[chosen] = ~stored.ok
        with np.errstate(invalid="ignore"):
            far[chosen] = stored.ok & (np.abs(a - b) > 2 / tok.scale).any((1, 2))
        message = next((error for error in stored.errors if error), "")
        return [
            ("tokens", f"FAST ids that do not decode: {message}", f"ids of a chunk of {horizon} x {dim}", bad),
            ("tokens", "FAST ids of other actions than the row's", "what its chunk encodes to", far),
        ]

    def _images(self, shard: str, at: int, batch: pa.RecordBatch, codes: NDArray[np.int64]) -> None:
        for column in IMAGE_COLUMNS:
            images = batch.column(column)
            if images.null_count == batch.num_rows:
                continue
            slot = column.removeprefix("image/")
            present = images.is_valid().to_numpy(zero_copy_only=False)
            for code, count in enumerate(np.bincount(codes[present], minlength=len(self._sources)).tolist()):
                if count:
                    self._seen[code].cameras[slot] = self._seen[code].cameras.get(slot, 0) + count
            for row, data in enumerate(images.to_pylist()):
                wrong = check_header(data, webp=True) if data is not None else ""
                if wrong:
                    name = self._sources[codes[row]][0]
                    where, expected = f"{shard} row {at + row}", f"a picture in {column}"
                    self._findings.add("error", "image", where, f"{column}: {wrong}", expected, DATA, source=name)

    def finish(self) -> None:
        """Reports what only all rows together show: cameras that rows lack, and values outside the normaliser's range."""
        for (name, source), seen in zip(self._sources, self._seen, strict=True):
            if not seen.rows:
                continue
            for slot in sorted({*source.cameras, *seen.cameras}):
                have, listed = seen.cameras.get(slot, 0), slot in source.cameras
                if listed and have < seen.rows:
                    what = f"{seen.rows - have:,} of {seen.rows:,} rows ({percent(1 - have / seen.rows)}) lack the camera {slot}"
                    todo = "the episodes may lack it: mask it in training, or take it out of the entry's `cameras`"
                    self._findings.add(
                        "warning", "camera", "all shards", what, f"camera {slot} in every row", todo, source=name
                    )
                elif not listed:
                    what, todo = (
                        f"{have:,} rows have a camera {slot}",
                        "add it to the entry's `cameras`, and index again",
                    )
                    self._findings.add(
                        "warning", "camera", "all shards", what, f"only {list(source.cameras)}", todo, source=name
                    )
            for column, counts in seen.outside.items():
                for d in np.flatnonzero(counts > self._share * seen.values[column]).tolist():
                    low, high, which = self._ranges[self._sources.index((name, source))][column][d] or (0.0, 0.0, "")
                    names = source.column_names(column)
                    label = names[d] if d < len(names) else f"{column}[{d}]"
                    share = counts[d] / seen.values[column]
                    what = f"{column} {label}: {percent(share)} of the values are outside the normaliser's range"
                    expected = f"at most {percent(self._share, 0)} outside {which} = {low:.4g}..{high:.4g}"
                    todo = "fit the tokenizer on this data (tokenizer: fit), or look for a wrong unit or dimension"
                    self._findings.add("warning", "range", seen.first[column], what, expected, todo, source=name)


def _rows_where(bad: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns (rows,) bool: whether any value of a row is bad. `bad` has the values of all rows, joined."""
    out = np.zeros(len(lengths), bool)
    if bad.any():
        out[np.repeat(np.arange(len(lengths)), lengths)[bad]] = True
    return out


def _badly_padded(
    chunks: NDArray[np.float32], steps: NDArray[np.int32], real: NDArray[np.bool_], encoding: Sequence[str]
) -> NDArray[np.bool_]:
    """Returns (n,) bool: whether chunks (n, T, D) have a padded step that `fasttok.actions.chunks` would pad differently."""
    last = chunks[np.arange(len(chunks)), steps - 1]
    moves = np.array([e == "delta" for e in encoding])
    expected = np.where(moves, np.float32(0), last)[:, None]
    bad: NDArray[np.bool_] = ((chunks != expected) & ~real[:, :, None]).any((1, 2))
    return bad
