"""What the two readers of LeRobot sets share: lerobot's sampler, torch's DataLoader with the settings of lerobot's trainer."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lerobot.datasets import EpisodeAwareSampler, compute_sampler_state
from stage import BATCH, SIDE, WORKERS, Samples, Source, first_id
from torch.utils.data import ConcatDataset, DataLoader, Dataset, WeightedRandomSampler
from torchvision.transforms import v2

PREFETCH = 4  # batches of each worker
ENDLESS = 1 << 20  # draws of a mixture


class Columns(Dataset[Any]):
    """A LeRobot set's items, but for what no training step asks for."""

    def __init__(self, data: Any, camera: str, first: int) -> None:
        self.data, self.camera, self.first = data, camera, first

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Any:
        return self._chosen(self.data[i])

    def __getitems__(self, which: list[int]) -> list[Any]:
        """Many at once, where the set can do so faster."""
        many = getattr(self.data, "__getitems__", None)
        return [self._chosen(item) for item in (many(which) if many else map(self.data.__getitem__, which))]

    def _chosen(self, item: Any) -> Any:
        return self.first + int(item["index"]), item[self.camera], item["observation.state"], item["action"]


class Opened:
    """A DataLoader, and how many batches of it were taken."""

    def __init__(self, data: Sequence[Columns], order: str, weights: Sequence[float], context: str) -> None:
        self._sampler: Any
        both: Dataset[Any]
        if order == "mixture":  # lerobot has none: torch's sampler of draws with replacement
            each = [torch.full((len(one),), weight / len(one)) for one, weight in zip(data, weights, strict=True)]
            draws = torch.cat(each).double()
            self._sampler = WeightedRandomSampler(draws, ENDLESS, generator=torch.Generator().manual_seed(0))
            both = ConcatDataset(data)
        else:
            (both,) = data
            self._sampler = EpisodeAwareSampler([0], [len(data[0])], shuffle=order != "sequential", seed=0)
        self._rows = len(data[0])
        self._taken = 0
        self._loader = DataLoader(
            both, BATCH, sampler=self._sampler, num_workers=WORKERS, prefetch_factor=PREFETCH, persistent_workers=True,
            multiprocessing_context=context,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Samples]:
        for ids, images, state, chunk in self._loader:
            self._taken += 1
            yield Samples(ids, images.numpy(), state.numpy(), chunk.numpy())

    def state(self) -> Any:
        """As lerobot's trainer makes it, from the count of steps."""
        return compute_sampler_state(self._taken, self._rows, BATCH, 1)

    def restore(self, state: Any) -> None:
        """Sets the sampler to it."""
        self._sampler.load_state_dict(state)


def ahead(source_fps: float, horizon: int) -> dict[str, list[float]]:
    """The `delta_timestamps` of an action chunk."""
    return {"action": [step / source_fps for step in range(horizon)]}


def resize(camera_side: int) -> Callable[[Any], Any] | None:
    """To 224 px, for frames of another size."""
    return None if camera_side == SIDE else v2.Resize((SIDE, SIDE), antialias=True)


__all__ = ["Columns", "Opened", "Path", "Source", "ahead", "first_id", "resize"]
