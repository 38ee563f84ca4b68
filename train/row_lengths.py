"""Tokens of the longest row of the shards, exactly, before the first step: so training cannot die of a longer one later.

All rows are looked at, but few are encoded: what the manifest says of a source (`LongestRow`), or the bytes of a row's texts,
often tell that it cannot be the longest; rows of a robot that differ only in their state and their chunk are encoded once.
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
from pipelines.shards.records import IMAGE_COLUMNS, ROWS_PER_BATCH, SCHEMA
from train.examples import Encoder
from train.robots import Robot
from train.token_bounds import costs_of_bins, most_added
from train.tokens import bins, robot_prompt

COLUMNS = tuple(name for name in SCHEMA.names if name not in IMAGE_COLUMNS)
BLIND = dict.fromkeys(IMAGE_COLUMNS)
STATE_BYTES = 4  # at most of a bin and the space after it
TEXTS_PER_ROW = 4  # encoded at most: what stands before and after a state, the target, the end of an action
FRAME = (
    len(robot_prompt("", "", "-", ask="Subtask")) + 64
)  # bytes of a row at most besides its texts, with <bos> and <eos>
KNOWN = 1 << 20  # texts whose tokens are remembered
REMOTE_READS = 16  # at once
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class MeasuredRow:
    """A row and how long it is.

    Attributes:
        tokens: of prefix and suffix together.
        source: of the row.
        sample_id: of the row.
    """

    tokens: int
    source: str
    sample_id: str


@dataclass
class RowLengths:
    """Counts tokens of rows as `Encoder.row` makes them.

    Attributes:
        encoder: makes the rows.
        added: of `most_added`; None if a text's bytes say nothing.
        costs: of `costs_of_bins`; None if the state is not text, or every row is to be encoded.
        every: encode every row, whatever is known of the tokenizer.
        known: (source, prompt, target, whether it asks for the subtask, numbers of the state) -> tokens but for those that
            depend on the numbers of the state and on the chunk.
    """

    encoder: Encoder
    added: int | None
    costs: Counts | None
    every: bool
    known: dict[tuple[str, str, str, bool, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, encoder: Encoder, every: bool) -> "RowLengths":
        """Looks at the tokenizer."""
        text = encoder.form == "text"
        costs = costs_of_bins(encoder.text) if text and not every else None
        return cls(encoder, None if every else most_added(encoder.text), costs, every or (text and costs is None))

    def most(self, source: ManifestSource) -> float:
        """What no row of a source exceeds, from the manifest alone; infinity if that does not tell."""
        longest = source.longest
        if longest is None or self.added is None:
            return np.inf
        ids = source.horizon * source.action_dim  # a token stands for one number at least
        if self.encoder.cached and self.encoder.data.discrete == "fast":
            ids = min(ids, longest.action_tokens)
        texts = longest.prompt_bytes + longest.target_bytes + STATE_BYTES * source.state_dim
        return texts + ids + FRAME + TEXTS_PER_ROW * self.added

    def texts(self, batch: pa.RecordBatch, above: int) -> Counts:
        """Tokens of questions or captions; 0 of those that have no more than `above`, as far as their bytes tell."""
        most = np.full(batch.num_rows, np.inf)
        if self.added is not None:
            size = sum(pc.binary_length(batch.column(name)).to_numpy() for name in ("prompt", "target"))
            most = np.asarray(size, np.float64) + FRAME + TEXTS_PER_ROW * self.added
        out = np.zeros(batch.num_rows, np.int64)
        for i in np.argsort(-most, kind="stable").tolist():
            if most[i] <= above:
                break
            out[i] = self.count(batch, i)
            above = max(above, int(out[i]))
        return out

    def robots(self, batch: pa.RecordBatch, name: str) -> Counts:
        """Tokens of the rows of one robot source, by name."""
        if self.every:
            return np.array([self.count(batch, i) for i in range(batch.num_rows)], np.int64)
        robot = self.encoder.robots.robots[name]
        ids, dims = self._ids(batch, robot), pc.list_value_length(batch.column("state")).to_numpy()
        out = self._states(batch, dims, robot)
        rows = zip(*(batch.column(column).to_pylist() for column in ("prompt", "target", "sample_id")), strict=True)
        for i, (prompt, target, sample) in enumerate(rows):
            asks = self.encoder.asks(target, sample)
            out[i] += 0 if asks else ids[i]
            key = (name, prompt, target, asks, int(dims[i]))
            if (fixed := self.known.get(key)) is None:
                if len(self.known) >= KNOWN:
                    self.known.clear()
                fixed = self.known[key] = self.count(batch, i) - int(out[i])
            out[i] += fixed
        return out

    def count(self, batch: pa.RecordBatch, i: int) -> int:
        """Tokens of one row, encoded."""
        example = self.encoder.row(batch.slice(i, 1).to_pylist()[0] | BLIND)
        return len(example.prefix) + len(example.suffix)

    def _ids(self, batch: pa.RecordBatch, robot: Robot) -> Counts:
        """FAST ids of the chunks; 0 where all have as many tokens."""
        if self.encoder.data.discrete != "fast":
            return np.zeros(batch.num_rows, np.int64)
        if self.encoder.cached:
            return np.asarray(pc.list_value_length(batch.column("action_tokens")).to_numpy(), np.int64)
        chunks = batch.column("action").flatten().to_numpy().reshape(-1, robot.horizon, robot.action_dim)
        made = self.encoder.tok.encode_report(chunks, embodiment=robot.embodiment)
        return np.array([len(ids) for ids in made.ids], np.int64)

    def _states(self, batch: pa.RecordBatch, dims: Counts, robot: Robot) -> Counts:
        """What the numbers of the states cost as text, (rows,)."""
        out = np.zeros(batch.num_rows, np.int64)
        stats = self.encoder.tok.state_stats.get(robot.embodiment)
        if stats is None or self.costs is None or not self.costs.any():
            return out
        values, ends = batch.column("state").flatten().to_numpy(), np.cumsum(dims)
        for dim in np.unique(dims[dims > 0]).tolist():
            of = np.flatnonzero(dims == dim)
            states = values[(ends[of] - dim)[:, None] + np.arange(dim)]
            out[of] = self.costs[bins(stats.normalize(states)) + 1].sum(axis=1)
        return out


def longest(
    reader: ShardReader, encoder: Encoder, kinds: Collection[str], above: int = 0, every: bool = False
) -> MeasuredRow | None:
    """The row with the most tokens, the first of several.

    Args:
        reader: of the shards.
        encoder: makes examples of their rows.
        kinds: rows of other kinds do not count.
        above: rows of so many tokens or fewer do not count.
        every: encode every row, whatever is known of the tokenizer.

    Returns:
        None if no row has more than `above`.
    """
    lengths, sources = RowLengths.of(encoder, every), list(reader.manifest.sources.items())
    most = np.array([lengths.most(source) if source.kind in kinds else -1.0 for _, source in sources])
    best, found = above, None

    def batches() -> Iterator[tuple[int, int, NDArray[np.int16]]]:
        for number, shard in enumerate(reader.manifest.shards):
            codes = reader.layout.sources(number)
            for first in range(0, shard.rows, ROWS_PER_BATCH):
                yield number, first // ROWS_PER_BATCH, codes[first : first + ROWS_PER_BATCH]

    def read(job: tuple[int, int, NDArray[np.int16]]) -> tuple[pa.RecordBatch | None, NDArray[np.int16]]:
        number, batch, codes = job
        needed = (most[codes] > best).any()
        return reader.files.record_batch(number, batch, COLUMNS) if needed else None, codes

    workers = REMOTE_READS if reader.files.remote else 0
    with progress("measuring the rows' texts", reader.num_rows, "rows") as advance:
        for batch, codes in in_order(read, batches(), workers, None):
            advance(len(codes))
            if batch is None:
                continue
            for code in np.unique(codes[most[codes] > best]).tolist():
                part, (name, source) = batch.take(pa.array(np.flatnonzero(codes == code))), sources[code]
                counts = lengths.robots(part, name) if source.robot else lengths.texts(part, best)
                if counts.max() > best:
                    best, found = int(counts.max()), (name, part.slice(int(counts.argmax()), 1))
    if found is None:
        return None
    name, row = found
    if lengths.count(row, 0) != best:  # what was said of the tokenizer is not so
        assert not every, "a row is not encoded the same way twice"
        return longest(reader, encoder, kinds, above, every=True)
    return MeasuredRow(best, name, row.column("sample_id")[0].as_py())
