"""ShardReader and ImageDecoder of this project: `global` or `block` order, two decoding threads."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from stage import BATCH, WORKERS, Samples, Source, run

from benchmarks.samples import absent, manifest
from mixtures.quota import interleave
from pipelines.shards import ImageDecoder, ReadState, ShardReader, shard_name
from pipelines.shards.manifest import Shard
from pipelines.shards.records import ROWS_PER_BATCH, SCHEMA

COLUMNS = ("image/primary", "state", "action", "offset")
SHARDS = 8
CAMERA = "image/primary"


class Opened:
    """One order of SHARDS."""

    def __init__(self, folder: Path, variant: str, weights: dict[str, float] | None) -> None:
        self._reader = ShardReader(str(folder))
        self._mode: Any = variant
        self._weights = weights
        self._from: ReadState | None = None
        self._last: ReadState | None = None

    def __iter__(self) -> Iterator[Samples]:
        epochs = None if self._weights else 1
        batches = self._reader.batches(
            BATCH, self._mode, state=self._from, weights=self._weights, epochs=epochs, columns=COLUMNS
        )
        for batch, images in ImageDecoder(workers=WORKERS).batches(batches, [CAMERA]):
            self._last = batch.state
            state = batch.array("state")
            chunk = batch.array("action").reshape(len(batch), -1, state.shape[1])
            yield Samples(batch["offset"], images[CAMERA].pixels, state, chunk)

    def state(self) -> Any:
        """Kept by the batch."""
        return self._last.to_json() if self._last else None

    def restore(self, state: Any) -> None:
        """Goes on after it."""
        self._from = ReadState.from_json(state)


class Ours:
    """Shards, rows in a shuffled order as a build writes them."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """One source; the tabletop robots also as the sources of one folder of shards, for a mixture."""
        write_shards([source], folder)
        if folder.name == "arm":
            first = Source(source.folder.with_name("planar"))
            write_shards([first, source], folder.with_name("planar+arm"))

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """The order of the variant; a mixture is of the sources of one folder of shards, which both are written to."""
        if order != "mixture":
            return Opened(folders[0], self.variant, None)
        both = folders[0].with_name("+".join(folder.name for folder in folders))
        names = [folder.name for folder in folders]
        return Opened(both, self.variant, dict(zip(names, weights, strict=True)))


def write_shards(given: Sequence[Source], folder: Path) -> None:
    """Shards of one source or more, each row once."""
    folder.mkdir(parents=True)
    names = [source.folder.name for source in given]
    orders = [iter(np.random.default_rng(0).permutation(len(source)).tolist()) for source in given]
    found = []
    totals = [len(source) for source in given]
    bounds = [[total * i // SHARDS for i in range(SHARDS + 1)] for total in totals]
    for number in range(SHARDS):
        counts = np.array([bound[number + 1] - bound[number] for bound in bounds])
        which = interleave(counts)
        path = folder / shard_name(number, SHARDS)
        with pa.ipc.new_file(str(path), SCHEMA) as writer:
            for at in range(0, len(which), ROWS_PER_BATCH):
                part = which[at : at + ROWS_PER_BATCH].tolist()
                rows = [(given[i], next(orders[i])) for i in part]
                values = {
                    "kind": ["robot"] * len(rows),
                    "source": [names[i] for i in part],
                    "sample_id": [f"{source.folder.name}/{step}" for source, step in rows],
                    CAMERA: [source.jpeg(step) for source, step in rows],
                    "action": [source.chunk[step].ravel() for source, step in rows],
                    "state": [source.state[step] for source, step in rows],
                    "prompt": ["move the block"] * len(rows),
                    "target": [""] * len(rows),
                    "file": [""] * len(rows),
                    "offset": [source.id(step) for source, step in rows],
                }
                arrays = [pa.array(values.get(f.name, absent(f, len(rows))), f.type) for f in SCHEMA]
                writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        found.append(Shard(path.name, len(which), tuple(counts.tolist()), len(data), digest))
    manifest(dict(zip(names, totals, strict=True)), tuple(found)).save(str(folder))


if __name__ == "__main__":
    run(Ours)
