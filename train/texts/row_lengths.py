"""Finds the exact length of the shards' longest row in tokens before the first step, so that no longer row ends training later.

Every row counts, but few are encoded. What the manifest says about a source (`LongestRow`), or the number of bytes of a row's
texts, often shows that a row cannot be the longest. Rows of a robot that differ only in state and chunk are encoded once.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fasttok.common.console import progress
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource
from pipelines.shards.prefetch import in_order
from pipelines.shards.records import IMAGE_COLUMNS, ROWS_PER_BATCH
from train.acting.robots import Robot
from train.examples import Encoder
from train.texts.token_bounds import TokenBound, costs_of_bins, token_bound
from train.tokens import bins, robot_prompt

COLUMNS = ("kind", "source", "sample_id", "prompt", "target", "action", "action_steps", "action_tokens", "state")
BLIND = dict.fromkeys(IMAGE_COLUMNS)
STATE_BYTES = 4  # the most bytes of a bin and the space after it
ENDS = 3  # <bos>, <eos>, and the end of line after a question
# The most bytes that a robot's row has besides its texts; its control mode is among them.
FRAME = len(robot_prompt("", "", "-", ask="Subtask")) + 256
ENCODED = 4  # the most texts of a row: the one before a state, the one after it, the target, the end of an action
KNOWN = 1 << 20  # texts whose token counts are remembered
REMOTE_READS = 16  # parallel reads of remote shards
Counts = NDArray[np.int64]
RowKey = tuple[str, str, str, bool, int]


@dataclass(frozen=True)
class MeasuredRow:
    """A row and its length.

    Attributes:
        tokens: number of tokens of prefix and suffix together.
        source: name of the row's source.
        sample_id: sample id of the row.
    """

    tokens: int
    source: str
    sample_id: str


@dataclass
class RowLengths:
    """Counts the tokens of rows as `Encoder.row` makes them.

    Attributes:
        encoder: makes the rows.
        bound: result of `token_bound`; None if a text's bytes do not bound its tokens, or every row is encoded on request.
        costs: result of `costs_of_bins`; None if the state is not text, or every row must be encoded.
        every: encode every row, whatever is known about the tokenizer.
        known: (source, prompt, target, whether the row asks for the subtask, dims of the state) -> number of tokens, without
            those that depend on the values of the state and on the chunk.
    """

    encoder: Encoder
    bound: TokenBound | None
    costs: Counts | None
    every: bool
    known: dict[RowKey, int] = field(default_factory=dict)

    @classmethod
    def of(cls, encoder: Encoder, every: bool) -> "RowLengths":
        """Makes the counter; reads from the tokenizer what is known without encoding."""
        text = encoder.form == "text"
        costs = costs_of_bins(encoder.text) if text and not every else None
        return cls(encoder, None if every else token_bound(encoder.text), costs, every or (text and costs is None))

    def most(self, source: ManifestSource) -> float:
        """Returns a number of tokens that no row of a source exceeds, from the manifest alone; infinity if it does not say."""
        longest = source.longest
        if longest is None or self.bound is None:
            return np.inf
        ids = source.horizon * source.action_dim  # a token stands for at least one number
        if self.encoder.cached and self.encoder.data.discrete == "fast":
            ids = min(ids, longest.action_tokens)
        size = longest.prompt_bytes + longest.target_bytes + ENDS
        size += STATE_BYTES * source.state_dim + FRAME if source.robot else 0
        return float(self.bound.of(np.array(size, np.float64), ENCODED)) + (ids if source.robot else 0)

    def texts(self, batch: pa.RecordBatch, rows: Counts, above: int) -> Counts:
        """Returns the tokens of questions or captions; 0 for those whose bytes show that they have no more than `above`."""
        most = np.full(len(rows), np.inf)
        if self.bound is not None:
            size = sum(pc.binary_length(batch.column(name)).to_numpy()[rows] for name in ("prompt", "target"))
            most = self.bound.of(np.asarray(size, np.float64) + ENDS, ENCODED)
        out = np.zeros(len(rows), np.int64)
        for i in np.argsort(-most, kind="stable").tolist():
            if most[i] <= above:
                break
            at = int(rows[i])
            key = ("", batch.column("prompt")[at].as_py(), batch.column("target")[at].as_py(), False, 0)
            out[i] = self._kept(key, batch, at, 0)
            above = max(above, int(out[i]))
        return out

    def robots(self, batch: pa.RecordBatch, rows: Counts, name: str) -> Counts:
        """Counts the tokens of rows of one robot source.

        Args:
            batch: record batch with `COLUMNS`.
            rows: (m,) indices of the rows in the batch.
            name: name of the source.

        Returns:
            (m,) tokens of each row.
        """
        if self.every:
            return np.array([self.count(batch, i) for i in rows.tolist()], np.int64)
        robot = self.encoder.robots.robots[name]
        dims = pc.list_value_length(batch.column("state")).to_numpy()
        ids, out = self._ids(batch, rows, robot), self._states(batch, rows, dims, robot)
        taken = pa.array(rows)
        texts = zip(*(batch.column(c).take(taken).to_pylist() for c in ("prompt", "target", "sample_id")), strict=True)
        for i, (prompt, target, sample) in enumerate(texts):
            asks = self.encoder.asks(target, sample)
            varying, at = int(out[i] + (0 if asks else ids[i])), int(rows[i])
            key = (name, prompt, target, asks, int(dims[at]))
            out[i] = varying + self._kept(key, batch, at, varying)
        return out

    def count(self, batch: pa.RecordBatch, i: int) -> int:
        """Encodes one row and returns the number of its tokens."""
        example = self.encoder.row(batch.slice(i, 1).to_pylist()[0] | BLIND)
        return len(example.prefix) + len(example.suffix)

    def _kept(self, key: RowKey, batch: pa.RecordBatch, i: int, varying: int) -> int:
        """Returns a row's tokens without the `varying` ones: as counted for an earlier row with this key, or counted now."""
        found = self.known.get(key)
        if found is None:
            if len(self.known) >= KNOWN:
                self.known.clear()
            found = self.known[key] = self.count(batch, i) - varying
        return found

    def _ids(self, batch: pa.RecordBatch, rows: Counts, robot: Robot) -> Counts:
        """Returns the number of FAST ids of each chunk, (m,); 0 without FAST ids, as then all rows have equally many tokens."""
        if self.encoder.data.discrete != "fast":
            return np.zeros(len(rows), np.int64)
        if self.encoder.cached:
            return np.asarray(pc.list_value_length(batch.column("action_tokens")).to_numpy()[rows], np.int64)
        actions = batch.column("action").take(pa.array(rows)).flatten().to_numpy()
        chunks = actions.reshape(len(rows), robot.horizon, robot.action_dim)
        return np.array(
            [len(ids) for ids in self.encoder.tok.encode_report(chunks, embodiment=robot.embodiment).ids], np.int64
        )

    def _states(self, batch: pa.RecordBatch, rows: Counts, dims: Counts, robot: Robot) -> Counts:
        """Returns how many tokens the text of each state has more than one of bins 0, (m,)."""
        out = np.zeros(len(rows), np.int64)
        stats = self.encoder.tok.state_stats.get(robot.embodiment)
        if stats is None or self.costs is None or not self.costs.any():
            return out
        values, ends = batch.column("state").flatten().to_numpy(), np.cumsum(dims)
        for dim in np.unique(dims[rows]).tolist():
            of = dims[rows] == dim
            if dim:
                states = values[(ends[rows[of]] - dim)[:, None] + np.arange(dim)]
                out[of] = self.costs[bins(stats.normalize(states)) + 1].sum(axis=1)
        return out


def longest(
    reader: ShardReader, encoder: Encoder, kinds: Collection[str], above: int = 0, every: bool = False
) -> MeasuredRow | None:
    """Finds the row with the most tokens; the first one if several have as many.

    Args:
        reader: reads the shards.
        encoder: makes examples of their rows.
        kinds: rows of other kinds do not count.
        above: rows of this many tokens or fewer do not count.
        every: encode every row, whatever is known about the tokenizer.

    Returns:
        The row; None if no row has more than `above` tokens.
    """
    lengths, sources = RowLengths.of(encoder, every), list(reader.manifest.sources.items())
    chosen = np.array([source.kind in kinds for _, source in sources])
    most = np.array([lengths.most(source) for _, source in sources])
    best, found = above, None

    def batches() -> Iterator[tuple[int, int, NDArray[np.int16]]]:
        for number, shard in enumerate(reader.manifest.shards):
            codes = reader.layout.sources(number)
            for first in range(0, shard.rows, ROWS_PER_BATCH):
                yield number, first // ROWS_PER_BATCH, codes[first : first + ROWS_PER_BATCH]

    def read(job: tuple[int, int, NDArray[np.int16]]) -> tuple[pa.RecordBatch | None, NDArray[np.int16]]:
        number, batch, codes = job
        needed = (chosen[codes] & (most[codes] > best)).any()
        return reader.files.record_batch(number, batch, COLUMNS) if needed else None, codes

    workers = REMOTE_READS if reader.files.remote else 0
    with progress("measuring the rows' texts", reader.num_rows, "rows") as advance:
        for batch, codes in in_order(read, batches(), workers, None):
            advance(len(codes))
            if batch is None:
                continue
            for code in np.unique(codes[chosen[codes]]).tolist():
                rows, (name, source) = np.flatnonzero(codes == code), sources[code]
                robot = source.robot
                counts = lengths.robots(batch, rows, name) if robot else lengths.texts(batch, rows, best)
                if counts.max() > best:
                    best, found = int(counts.max()), (name, batch.slice(int(rows[counts.argmax()]), 1))
    if found is None:
        return None
    name, row = found
    if lengths.count(row, 0) != best:  # what we know about the tokenizer is wrong
        assert not every, "a row is not encoded the same way twice"
        return longest(reader, encoder, kinds, above, every=True)
    return MeasuredRow(best, name, row.column("sample_id")[0].as_py())
