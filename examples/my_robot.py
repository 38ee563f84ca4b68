"""A small made-up robot, recorded the way LeRobot v2.1 writes it. The numbered examples learn from it instead of your own data.

A table has a red and a blue disc. A hand moves to the disc that the task names, and then closes. A camera looks down.
"""

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
FPS = 10
SIDE = 48  # pixels
TASKS = ("reach the red disc", "reach the blue disc")
COLOURS = ((220, 60, 50), (50, 90, 220))
NAMES = ["x", "y", "gripper"]


def record(folder: str, episodes: int = 24) -> None:
    """Writes a LeRobot v2.1 folder: tables in data/, and their description in meta/. The pictures are PNGs inside the tables."""
    data, meta = Path(folder, "data", "chunk-000"), Path(folder, "meta")
    data.mkdir(parents=True, exist_ok=True)
    meta.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lengths = []
    for number in range(episodes):
        task = number % len(TASKS)
        discs, states, actions = episode(task, rng)
        lengths.append(len(actions))
        table = {
            "observation.images.top": [{"bytes": png(pixels(discs, state)), "path": None} for state in states],
            "observation.state": pa.array(states.tolist(), pa.list_(pa.float32())),
            "action": pa.array(actions.tolist(), pa.list_(pa.float32())),
            "timestamp": (np.arange(len(actions)) / FPS).astype(np.float32),
            "frame_index": np.arange(len(actions)),
            "episode_index": np.full(len(actions), number),
            "index": sum(lengths[:-1]) + np.arange(len(actions)),
            "task_index": np.full(len(actions), task),
        }
        pq.write_table(pa.table(table), data / f"episode_{number:06d}.parquet")
    describe(meta, lengths)


def episode(
    task: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Makes one demonstration: the positions of the discs (2, 2), the states (T, 3) and the actions (T, 3), all in [0, 1].

    An action says where the hand should be at the next step, so it is absolute. The last three actions close the gripper.
    """
    discs = rng.uniform([[0.1, 0.1], [0.6, 0.1]], [[0.4, 0.9], [0.9, 0.9]])
    begin = rng.uniform(0.3, 0.7, 2)
    steps = int(rng.integers(18, 26))
    along = np.linspace(0, 1, steps)[:, None]
    smooth = along**3 * (10 - 15 * along + 6 * along**2)  # starts and stops gently, as an arm does
    path = begin + smooth * (discs[task] - begin)
    grip = (np.arange(steps) < steps - 3).astype(float)[:, None]  # 1 is open
    hand = np.concatenate([path, grip], axis=1)
    return discs, hand[:-1], hand[1:]


def pixels(discs: NDArray[np.float64], state: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draws the camera's picture (SIDE, SIDE, 3): two discs, and the hand as a dark ring (open) or spot (closed)."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    seen = np.full((SIDE, SIDE, 3), 235, np.uint8)
    for (at_x, at_y), colour in zip(discs, COLOURS, strict=True):
        seen[np.hypot(x - at_x, y - at_y) < 0.1] = colour
    away = np.hypot(x - state[0], y - state[1])
    seen[(away < 0.06) & (away >= 0.03 * state[2])] = 30
    return seen


def png(seen: NDArray[np.uint8]) -> bytes:
    """Encodes a picture as the bytes of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(seen).save(file, "PNG")
    return file.getvalue()


def describe(meta: Path, lengths: list[int]) -> None:
    """Writes the files of meta/, which describe the tables."""
    number = {"dtype": "int64", "shape": [1], "names": None}
    features = {
        "observation.images.top": {"dtype": "image", "shape": [SIDE, SIDE, 3], "names": ["height", "width", "channel"]},
        "observation.state": {"dtype": "float32", "shape": [3], "names": NAMES},
        "action": {"dtype": "float32", "shape": [3], "names": NAMES},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), number),
    }
    info = {
        "codebase_version": "v2.1",
        "robot_type": "my_robot",
        "fps": FPS,
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": len(TASKS),
        "total_videos": 0,
        "total_chunks": 1,
        "chunks_size": 1000,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
        "features": features,
    }
    (meta / "info.json").write_text(json.dumps(info, indent=2))
    tasks = [{"task_index": number, "task": task} for number, task in enumerate(TASKS)]
    episodes = [
        {"episode_index": number, "tasks": [TASKS[number % len(TASKS)]], "length": length}
        for number, length in enumerate(lengths)
    ]
    for name, rows in (("tasks", tasks), ("episodes", episodes)):
        (meta / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(command: str) -> None:
    """Prints a command and runs it, as you would in a shell. The example ends if the command fails."""
    print(f"\n$ {command}", flush=True)
    if code := subprocess.run(shlex.split(command), check=False).returncode:
        raise SystemExit(code)


def need(path: str, example: str) -> None:
    """Runs an earlier example if the file that it makes does not exist yet."""
    if not Path(path).exists():
        print(f"{path} is not there yet; running {example} first", flush=True)
        subprocess.run([sys.executable, HERE / example], check=True)
