"""Writes a small LeRobot set with lerobot itself: FOLDER EPISODES.NPZ; each frame shows its episode and step in cells."""

import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

FPS, SIDE, CELLS = 10, 64, 4
CAMERAS = ("observation.images.top", "observation.images.wrist")


def picture(episode: int, step: int) -> np.ndarray:
    """(SIDE, SIDE, 3) pixels that hold both numbers."""
    bits = [(episode << 10 | step) >> i & 1 for i in range(CELLS * CELLS)]
    cells = np.array(bits, np.uint8).reshape(CELLS, CELLS) * 255
    return np.repeat(np.kron(cells, np.ones((SIDE // CELLS,) * 2, np.uint8))[..., None], 3, axis=2)


def main(folder: str, episodes: str) -> None:
    """Writes the episodes, a table and a video of two at most."""
    names = ["x", "y", "z"]
    video = {"dtype": "video", "shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]}
    features = {
        "action": {"dtype": "float32", "shape": (3,), "names": names},
        "observation.state": {"dtype": "float32", "shape": (3,), "names": names},
        **dict.fromkeys(CAMERAS, video),
    }
    data = LeRobotDataset.create("lab/robot", FPS, features, root=folder, robot_type="so101", use_videos=True)
    with np.load(episodes) as archive:
        for number in range(int(archive["count"])):
            actions = archive[f"action{number}"]
            for step, action in enumerate(actions):
                data.add_frame(
                    {
                        "action": action,
                        "observation.state": actions[max(0, step - 1)],
                        **dict.fromkeys(CAMERAS, picture(number, step)),
                        "task": ("lift the cup", "put it down")[number % 2],
                    }
                )
            data.save_episode()
    data.finalize()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
