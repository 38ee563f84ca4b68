"""WebDataset: shards shuffled, a buffer of 1,000 samples, two workers of its WebLoader, Pillow decodes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds
from stage import BATCH, BUFFER, WORKERS, Samples, Source, pixels, run, stacked
from tar_files import FILES, write_tars


def decoded(sample: dict[str, Any]) -> tuple[int, Any, Any, Any]:
    """One sample's arrays; both robots of a mixture are equally wide, so the chunk's width is the state's."""
    state = np.frombuffer(sample["state"], np.float32)
    chunk = np.frombuffer(sample["chunk"], np.float32).reshape(-1, len(state))
    return int(sample["id"]), pixels(sample["jpg"]), state, chunk


class Opened:
    """Has no state: what was read is read again."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Samples]:
        yield from (Samples(*batch) for batch in self._loader)

    def state(self) -> Any:
        """None."""
        return None

    def restore(self, state: Any) -> None:
        """Never asked."""


class WebDatasets:
    """Tar files."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """Eight tar files."""
        write_tars(source, folder)

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """A WebLoader of batches that the workers make."""
        found = []
        for folder in folders:
            urls = [str(path) for path in sorted(folder.glob("*.tar"))]
            if order == "sequential":
                found.append(wds.WebDataset(urls, shardshuffle=False))
            else:
                data = wds.WebDataset(urls, shardshuffle=FILES, detshuffle=True, seed=0)
                if order == "mixture":
                    data = data.repeat()
                found.append(data.shuffle(BUFFER, seed=0))
        if order == "mixture":
            total = sum(weights)
            data = wds.DataPipeline(wds.RandomMix(found, [weight / total for weight in weights]))
        else:
            (data,) = found
        batches = data.compose(wds.map(decoded), wds.batched(BATCH, collation_fn=stacked, partial=True))
        return Opened(wds.WebLoader(batches, batch_size=None, num_workers=WORKERS, prefetch_factor=4))


if __name__ == "__main__":
    run(WebDatasets)
