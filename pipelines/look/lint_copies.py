"""Finds duplicate rows in the shards, and rows of a held-out split that training would also see.

It keeps 18 bytes per row: two 64-bit digests (of the row's id; of dataset, file, episode and step) and the number of its
source. If the shards have both held-out sources and others, it keeps three more digests (of the episode; of pictures, texts
and numbers; of the first picture), which take 24 bytes. The probability that any two different rows of 10 million share a
digest is 3e-6. Digests are valid only within one process.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.common.percent import percent
from pipelines.common.findings import Findings, Level
from pipelines.shards.manifest import Manifest
from pipelines.shards.records import IMAGE_COLUMNS

HELD_OUT = re.compile(r"(val|valid|validation|test|testing|eval|evaluation|dev|held[_-]?out)([\W_].*)?", re.IGNORECASE)
MIX = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's odd constants (Steele et al. 2014)
SHIFTS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def is_held_out(split: str) -> bool:
    """Whether a split's name says that it is not for training.

    >>> is_held_out("val"), is_held_out("test[:10%]"), is_held_out("valid_unseen"), is_held_out("train"), is_held_out("validated")
    (True, True, True, False, False)
    """
    return HELD_OUT.fullmatch(split) is not None


NO_PICTURE = np.uint64(0)


class CopyChecks:
    """Finds duplicate rows: `add` takes record batches, `finish` reports."""

    def __init__(self, manifest: Manifest, findings: Findings) -> None:
        n = manifest.num_rows
        self._findings, self._names = findings, list(manifest.sources)
        self._shards = [shard.name for shard in manifest.shards]
        self._kinds = np.array([source.kind for source in manifest.sources.values()], object)
        self._datasets = [str(source.dataset) for source in manifest.sources.values()]
        self._held_out = np.array([is_held_out(str(source.split)) for source in manifest.sources.values()])
        self._leaks = bool(self._held_out.any() and not self._held_out.all())
        self._codes = np.full(n, -1, np.int16)
        self._ids, self._places = np.zeros(n, np.int64), np.zeros(n, np.uint64)
        size = n if self._leaks else 0
        self._episodes, self._rows, self._pictures = (np.zeros(size, np.uint64) for _ in range(3))

    def add(self, first: int, batch: pa.RecordBatch, codes: NDArray[np.int64]) -> None:
        """Adds the rows of a record batch.

        Args:
            first: number of the first row, in storage order.
            batch: the rows.
            codes: (rows,) int64, number of each row's source.
        """
        here = slice(first, first + batch.num_rows)
        self._codes[here] = codes
        self._ids[here] = np.fromiter(map(hash, batch.column("sample_id").to_pylist()), np.int64, batch.num_rows)
        files = batch.column("file").dictionary_encode()
        names, which = files.dictionary.to_pylist(), files.indices.to_numpy().astype(np.int64)
        pairs, back = np.unique(np.stack([codes, which]), axis=1, return_inverse=True)
        keys = [hash((self._datasets[code], names[file])) for code, file in pairs.T.tolist()]
        files_of = np.array(keys, np.int64).view(np.uint64)[back.reshape(-1)]
        episodes = _mixed(files_of ^ _mixed(batch.column("episode").to_numpy().view(np.uint64)))
        self._places[here] = _mixed(episodes ^ batch.column("step").to_numpy().astype(np.int64).view(np.uint64))
        if self._leaks:
            self._episodes[here] = episodes
            self._contents(here, batch)

    def _contents(self, here: slice, batch: pa.RecordBatch) -> None:
        images = [batch.column(name).to_pylist() for name in IMAGE_COLUMNS]
        texts = [batch.column(name).to_pylist() for name in ("prompt", "target")]
        numbers = []
        for name in ("action", "state"):
            column = batch.column(name)
            data, ends = column.flatten().to_numpy(), np.cumsum(np.asarray(column.value_lengths()))
            numbers.append([row.tobytes() for row in np.split(data, ends[:-1])])
        pictures = [tuple(map(hash, row)) for row in zip(*images, strict=True)]
        rows = [hash(row) for row in zip(pictures, *texts, *numbers, strict=True)]
        self._rows[here] = np.array(rows, np.int64).view(np.uint64)
        firsts = [hash(next((image for image in row if image), b"")) for row in zip(*images, strict=True)]
        self._pictures[here] = np.array(firsts, np.int64).view(np.uint64)

    def finish(self, starts: Sequence[int]) -> None:
        """Reports what was found. `starts` has the number of each shard's first row."""
        read = np.flatnonzero(self._codes >= 0)

        def place(row: int) -> str:
            shard = int(np.searchsorted(starts, row, side="right")) - 1
            return f"{self._shards[shard]} row {row - starts[shard]}"

        self._twice(read, place)
        self._shared(read, place)
        if self._leaks:
            self._leaked(read, place)

    def _twice(self, read: NDArray[np.int64], place: Callable[[int], str]) -> None:
        ids = self._ids[read]
        ordered = np.sort(ids)
        if not (ordered[1:] == ordered[:-1]).any():
            return
        order = np.argsort(ids, kind="stable")
        again = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
        rows = read[order[again + 1]]
        at = int(np.argmin(rows))
        first = place(int(read[order[again[at]]]))
        whose = self._names[int(self._codes[rows[at]])]
        todo = "shards of two builds were mixed, or one was copied: build again"
        where, what = place(int(rows[at])), f"the sample_id of {first} again"
        self._findings.add(
            "error", "duplicate", where, what, "each sample_id once", todo, source=whose, count=len(again)
        )

    def _shared(self, read: NDArray[np.int64], place: Callable[[int], str]) -> None:
        """Reports steps that two sources of one kind both took. Questions about steps of a robot source are fine."""
        if max(Counter(zip(self._datasets, self._kinds, strict=True)).values(), default=0) < 2:
            return
        places, codes = self._places[read], self._codes[read]
        kinds = np.unique(self._kinds, return_inverse=True)[1][codes]
        order = np.lexsort((codes, kinds, places))
        places, codes, kinds = places[order], codes[order], kinds[order]
        meets = np.flatnonzero((places[1:] == places[:-1]) & (codes[1:] != codes[:-1]) & (kinds[1:] == kinds[:-1]))
        for a, b in np.unique(np.stack([codes[meets], codes[meets + 1]]), axis=1).T.tolist():
            of = meets[(codes[meets] == a) & (codes[meets + 1] == b)]
            row, other = int(read[order[of[0] + 1]]), int(read[order[of[0]]])
            what = f"the same file, episode and step as {place(other)} of source {self._names[a]}"
            todo = "if both are meant, weigh them as one; else give one of the sources another split or filter"
            self._findings.add("warning", "shared", place(row), what, "steps of one source only", todo, source=self._names[b],
                            count=len(of))  # fmt: skip

    def _leaked(self, read: NDArray[np.int64], place: Callable[[int], str]) -> None:
        """Reports rows of held-out sources that training sources also contain."""
        out = self._held_out[self._codes[read]]
        ours, theirs = read[out], read[~out]
        todo = "take the held-out split out of the mixture, or find out why the data repeats itself"
        done = np.zeros(len(ours), bool)
        checks: tuple[tuple[str, NDArray[np.uint64], str, Level], ...] = (
            ("leak", self._rows, "the same pictures, texts and numbers as", "error"),
            ("leak-episode", self._episodes, "a step of the same episode as", "error"),
            ("leak-picture", self._pictures, "the same first picture as", "warning"),
        )
        for check, digests, what, level in checks:
            leaked = np.isin(digests[ours], digests[theirs]) & (digests[ours] != NO_PICTURE) & ~done
            done |= leaked
            for code in np.unique(self._codes[ours[leaked]]).tolist():
                rows = ours[leaked & (self._codes[ours] == code)]
                total = int((self._codes[ours] == code).sum())
                other = int(theirs[np.argmax(digests[theirs] == digests[rows[0]])])
                whose = self._names[int(self._codes[other])]
                where, share = place(int(rows[0])), f"{percent(len(rows) / total)} of the held-out source's rows"
                said = f"{what} {place(other)} of the training source {whose} ({share})"
                expected = "held-out rows that training does not see"
                self._findings.add(level, check, where, said, expected, todo, source=self._names[code], count=len(rows))


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mixes x by splitmix64: every bit of the result depends on every bit of x."""
    x = x + MIX
    for shift, factor in SHIFTS:
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))
