"""Hugging Face datasets: an Arrow folder of `save_to_disk`; "indices" shuffles row numbers, "streaming" a buffer of 1,000 rows.

Its documentation gives torchdata's StatefulDataLoader for going on with a stream. Of shuffled rows, those that were read are
skipped by their numbers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from stage import BATCH, BUFFER, WORKERS, Samples, Source, run, stacked
from torchdata.stateful_dataloader import StatefulDataLoader

FILES = 8
datasets.disable_progress_bars()


def collated(rows: Sequence[dict[str, Any]]) -> Samples:
    """Pillow images and lists as arrays."""
    return stacked(
        [(row["id"], np.asarray(row["image"]), np.asarray(row["state"]), np.asarray(row["chunk"])) for row in rows]
    )


class Opened:
    """A loader with two workers; the caller counts batches of rows, a stream keeps its state."""

    def __init__(self, data: Any, stream: bool) -> None:
        self._data, self._stream = data, stream
        self._taken = self._skip = 0
        self._kept: Any = None
        self._loader: Any = None

    def __iter__(self) -> Iterator[Samples]:
        data = self._data.skip(self._skip * BATCH) if self._skip else self._data
        self._taken = self._skip
        self._loader = StatefulDataLoader(data, BATCH, num_workers=WORKERS, prefetch_factor=4, collate_fn=collated)
        if self._kept is not None:
            self._loader.load_state_dict(self._kept)
        for batch in self._loader:
            self._taken += 1
            yield batch

    def state(self) -> Any:
        """The count of batches, or the loader's state."""
        return self._loader.state_dict() if self._stream else self._taken

    def restore(self, state: Any) -> None:
        """Skips so many, or sets the state."""
        if self._stream:
            self._kept = state
        else:
            self._skip = state


class HuggingFace:
    """Arrow files."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """Images stay the JPEGs that they are."""
        features = datasets.Features(
            {
                "id": datasets.Value("int64"),
                "image": datasets.Image(),
                "state": datasets.List(datasets.Value("float32"), source.state.shape[1]),
                "chunk": datasets.Array2D(source.chunk.shape[1:], "float32"),
            }
        )
        columns = {
            "id": source.ids(),
            "image": [{"bytes": source.jpeg(step), "path": None} for step in range(len(source))],
            "state": list(source.state),
            "chunk": list(source.chunk),
        }
        datasets.Dataset.from_dict(columns, features).save_to_disk(folder, num_shards=FILES)

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """As its documentation shows for PyTorch."""
        stream = self.variant == "streaming"
        found = []
        for folder in folders:
            data = datasets.load_from_disk(folder).with_format("numpy")
            if stream:
                data = data.to_iterable_dataset(num_shards=FILES)
            if order != "sequential":
                data = data.shuffle(seed=0, **({"buffer_size": BUFFER} if stream else {}))
            found.append(data)
        if order != "mixture":
            return Opened(found[0], stream)
        shares = [weight / sum(weights) for weight in weights]
        mixed = datasets.interleave_datasets(found, shares, seed=0, stopping_strategy="all_exhausted")
        return Opened(mixed, stream)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(HuggingFace)
