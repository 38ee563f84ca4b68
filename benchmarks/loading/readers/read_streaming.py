"""mosaicml-streaming: MDS shards on this disk, its py1e shuffle (all of a set this small), two workers, Pillow decodes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stage import BATCH, WORKERS, Samples, Source, pixels, run, stacked
from streaming import MDSWriter, Stream, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

SHARD_BYTES = 1 << 23


def collated(rows: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    """Arrays; the JPEGs were stored as they are."""
    return tuple(stacked([(row["id"], pixels(row["image"]), row["state"], row["chunk"]) for row in rows]))


class Opened:
    """Its loader, which counts samples."""

    def __init__(self, data: StreamingDataset) -> None:
        self._loader = StreamingDataLoader(
            data, batch_size=BATCH, num_workers=WORKERS, prefetch_factor=4, collate_fn=collated
        )

    def __iter__(self) -> Iterator[Samples]:
        yield from (Samples(*batch) for batch in self._loader)

    def state(self) -> Any:
        """Its dict."""
        return self._loader.state_dict()

    def restore(self, state: Any) -> None:
        """Sets it."""
        self._loader.load_state_dict(state)


class Streaming:
    """MDS folders."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """Columns of bytes and arrays."""
        columns = {
            "id": "int",
            "image": "bytes",
            "state": f"ndarray:float32:{source.state.shape[1]}",
            "chunk": "ndarray:float32:" + ",".join(map(str, source.chunk.shape[1:])),
        }
        with MDSWriter(out=str(folder), columns=columns, size_limit=SHARD_BYTES) as writer:
            for step, number in enumerate(source.ids().tolist()):
                row = {"id": number, "image": source.jpeg(step), "state": source.state[step]}
                writer.write({**row, "chunk": np.ascontiguousarray(source.chunk[step])})

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """One stream, or several by proportion."""
        clean_stale_shared_memory()
        options = {"batch_size": BATCH, "num_canonical_nodes": 1}
        if order != "mixture":
            return Opened(StreamingDataset(local=str(folders[0]), shuffle=order != "sequential", **options))
        streams = [
            Stream(local=str(folder), proportion=weight / sum(weights))
            for folder, weight in zip(folders, weights, strict=True)
        ]
        return Opened(StreamingDataset(streams=streams, shuffle=True, epoch_size=16384, **options))


if __name__ == "__main__":
    run(Streaming)
