"""lerobot's own dataset, with videos by `pyav` or `torchcodec`; two spawned workers, as its trainer starts them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from stage import SIDE, Source, first_id, pixels, run
from torch_maps import Columns, Opened, ahead, resize

CAMERA = "observation.images.top"
HORIZONS = {"planar": 10, "arm": 10, "bottle": 30}


def write_tabletop(source: Source, folder: Path) -> None:
    """By lerobot's own writer, with its default encoder: AV1, a key frame every second frame."""
    names = [f"motor_{i}" for i in range(source.action.shape[1])]
    vector = {"dtype": "float32", "shape": (len(names),), "names": names}
    video = {"dtype": "video", "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]}
    features = {"action": vector, "observation.state": vector, CAMERA: video}
    data = LeRobotDataset.create(f"lab/{folder.name}", int(source.fps), features, root=folder, use_videos=True)
    for steps in source.episodes():
        for step in steps:
            arrays = {"action": source.action[step], "observation.state": source.state[step]}
            data.add_frame({**arrays, CAMERA: pixels(source.jpeg(step)), "task": "move the block"})
        data.save_episode()
    data.finalize()


def convert_recorded(source: Source, folder: Path) -> None:
    """By lerobot's own converter, which keeps the videos as they were recorded: AV1 of 640 x 480."""
    import shutil

    shutil.copytree(source.folder / "lerobot21", folder)
    words = ["-m", "lerobot.scripts.convert_dataset_v21_to_v30", f"--repo-id=lab/{folder.name}", f"--root={folder}"]
    subprocess.run([sys.executable, *words, "--push-to-hub=false"], check=True, capture_output=True)


class Lerobot:
    """LeRobot v3.0 folders."""

    def __init__(self, variant: str) -> None:
        self.variant = variant

    def write(self, source: Source, folder: Path) -> None:
        """A folder."""
        if (source.folder / "lerobot21").exists():
            convert_recorded(source, folder)
        else:
            write_tabletop(source, folder)

    def open(self, folders: Sequence[Path], order: str, weights: Sequence[float]) -> Opened:
        """A DataLoader over one set or several."""
        found = []
        for folder in folders:
            data = LeRobotDataset(f"lab/{folder.name}", root=folder)
            (camera,) = data.meta.video_keys
            found.append(
                LeRobotDataset(
                    f"lab/{folder.name}", root=folder, video_backend=self.variant, return_uint8=True,
                    delta_timestamps=ahead(data.fps, HORIZONS[folder.name]),
                    image_transforms=resize(int(np.min(data.meta.shapes[camera][:2]))),
                )
            )  # fmt: skip
        columns = [
            Columns(data, data.meta.video_keys[0], first_id(folder))
            for data, folder in zip(found, folders, strict=True)
        ]
        return Opened(columns, order, weights, "spawn")


if __name__ == "__main__":
    run(Lerobot)
