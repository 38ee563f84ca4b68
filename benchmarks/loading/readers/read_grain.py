"""Grain over ArrayRecord files: a global shuffle of records, two threads that read and decode, Pillow decodes."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from stage import BATCH, WORKERS, Samples, Source, pixels, run, stacked

FILES = 8
HEADER = struct.Struct("<qii")  # id, floats of the state, floats of the chunk


def encoded(source: Source, step: int) -> bytes:
    """A record."""
    state, chunk = source.state[step].tobytes(), source.chunk[step].tobytes()
    return HEADER.pack(source.id(step), len(state), len(chunk)) + state + chunk + source.jpeg(step)


def decoded(record: bytes) -> tuple[int, Any, Any, Any]:
    """A record's arrays; the chunk is as wide as the state."""
    number, first, second = HEADER.unpack_from(record)
    at = HEADER.size
    state = np.frombuffer(record, np.float32, first // 4, at)
    chunk = np.frombuffer(record, np.float32, second // 4, at + first).reshape(-1, len(state))
    return number, pixels(record[at + first + second :]), state, chunk


class Opened:
    """Grain's iterator, which keeps its state."""

    def __init__(self, data: Any) -> None:
        options = grain.ReadOptions(num_threads=WORKERS, prefetch_buffer_size=4 * BATCH)
        self._batches = iter(data.to_iter_dataset(options).batch(BATCH, batch_fn=stacked))

    def __iter__(self) -> Iterator[Samples]:
        return iter(self._batches)

    def state(self) -> Any:
        """Of the iterator."""
        return self._batches.get_state()

    def restore(self, state: Any) -> None:
        """Sets it."""
        self._batches.set_state(state)


class Grain:
    """ArrayRecord files with a record a group, for random access."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """Eight files."""
        folder.mkdir(parents=True)
        for number in range(FILES):
            writer = ArrayRecordWriter(str(folder / f"{number:03d}.array_record"), "group_size:1")
            for step in range(len(source) * number // FILES, len(source) * (number + 1) // FILES):
                writer.write(encoded(source, step))
            writer.close()

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """A MapDataset; `MapDataset.mix` keeps weights."""
        found = []
        for folder in folders:
            paths = sorted(map(str, folder.glob("*.array_record")))
            data = grain.MapDataset.source(grain.sources.ArrayRecordDataSource(paths)).seed(0)
            if order != "sequential":
                data = data.shuffle()
            found.append(data.repeat() if order == "mixture" else data)
        data = grain.MapDataset.mix(found, weights) if order == "mixture" else found[0]
        return Opened(data.map(decoded))


if __name__ == "__main__":
    run(Grain)
