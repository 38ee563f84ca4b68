"""lerobot-lancedb's dataset: the same videos and columns in Lance tables, by its converter; workers by its `lance_mp_context`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lerobot_lancedb import LanceDBDataset, lance_mp_context
from read_lerobot import HORIZONS
from stage import Source, first_id, run
from torch_maps import Columns, Opened, ahead, resize


class Lance:
    """Lance tables of videos; torchcodec decodes."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """From the LeRobot folder that `read_lerobot` wrote."""
        from lerobot_lancedb.convert import convert

        convert(folder, root=folder.parent.parent / "lerobot" / source.folder.name)

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """A DataLoader over one set or several."""
        found = []
        for folder in folders:
            meta = LanceDBDataset(root=folder).meta
            (camera,) = meta.video_keys
            data = LanceDBDataset(
                root=folder, return_uint8=True, delta_timestamps=ahead(meta.fps, HORIZONS[folder.name]),
                image_transforms=resize(int(np.min(meta.shapes[camera][:2]))),
            )  # fmt: skip
            found.append(Columns(data, camera, first_id(folder)))
        return Opened(found, order, weights, lance_mp_context())


if __name__ == "__main__":
    run(Lance)
