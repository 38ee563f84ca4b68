"""Small sound datasets, into which a test plants one fault."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.check.dataset_findings import DatasetFinding
from pipelines.check.diagnose import diagnose
from tests.pipelines.check.motions import absolute, delta

HZ = 20
NAMES = ["x", "y", "z", "gripper"]


@dataclass
class Made:
    """Episodes that are written once the fault is planted."""

    actions: list[NDArray]
    states: list[NDArray]
    times: list[NDArray]

    @property
    def steps(self) -> int:
        return sum(map(len, self.actions))


def made(meaning: str = "absolute", episodes: int = 12, seed: int = 0) -> Made:
    """Three dims that move, and a gripper that opens and closes; the state follows."""
    actions, states = (absolute if meaning == "absolute" else delta)(seed=seed, episodes=episodes)
    for action, state in zip(actions, states, strict=True):
        half = len(action) // 2
        action[:, 3] = np.arange(len(action)) < half
        state[:, 3] = 0.08 * np.concatenate([action[:1, 3], action[:-1, 3]])
    return Made(actions, states, [np.arange(len(a)) / HZ for a in actions])


def lerobot(
    folder: Path,
    what: Made,
    fps: float | None = HZ,
    tasks: list[str] | None = None,
    splits: dict[str, str] | None = None,
) -> Path:
    """A LeRobot v2.1 folder without videos."""
    (folder / "meta").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    said = tasks or [f"do number {i}" for i in range(len(what.actions))]
    lines = []
    for i, (action, state, times) in enumerate(zip(what.actions, what.states, what.times, strict=True)):
        table = pa.table({
            "action": list(action.astype(np.float32)), "observation.state": list(state.astype(np.float32)),
            "timestamp": pa.array(times.astype(np.float64)), "frame_index": np.arange(len(action)),
            "episode_index": np.full(len(action), i), "task": [said[i]] * len(action),
        })  # fmt: skip
        pq.write_table(table, folder / "data" / "chunk-000" / f"episode_{i:06d}.parquet")
        lines.append(json.dumps({"episode_index": i, "tasks": [said[i]], "length": len(action)}))
    info = {
        "codebase_version": "v2.1", "robot_type": "toy", "fps": fps, "total_episodes": len(lines), "total_frames": what.steps,
        "splits": splits or {"train": f"0:{len(lines)}"}, "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "features": {
            "action": {"dtype": "float32", "shape": [4], "names": NAMES},
            "observation.state": {"dtype": "float32", "shape": [4], "names": NAMES},
        },
    }  # fmt: skip
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (folder / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "meta" / "tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": said[0]}) + "\n")
    return folder


def hdf5(
    file: Path,
    what: Made,
    cameras: dict[str, list[NDArray]] | None = None,
    masks: dict[str, list[str]] | None = None,
) -> Path:
    """A file as robomimic writes it, with cameras as arrays of pixels."""
    import h5py

    file.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(file, "w") as h5:
        for i, (action, state) in enumerate(zip(what.actions, what.states, strict=True)):
            demo = h5.create_group(f"data/demo_{i}")
            demo.attrs["num_samples"] = len(action)
            demo["actions"] = action
            demo["obs/state"] = state
            for name, films in (cameras or {}).items():
                demo[f"obs/{name}"] = films[i]
        for name, demos in (masks or {}).items():
            h5[f"mask/{name}"] = np.array(demos, "S")
    return file


def films(what: Made, seed: int = 0, size: int = 32) -> list[NDArray]:
    """A red block that moves over a brown table, for each episode."""
    rng = np.random.default_rng(seed)
    table = np.array([170, 120, 70]) + rng.integers(-20, 20, (size, size, 1))
    made = []
    for state in what.states:
        film = np.repeat(table[None], len(state), axis=0)
        at = np.clip(((state[:, :2] + 1) / 2 * (size - 8)).astype(int), 0, size - 8)
        for frame, (x, y) in zip(film, at, strict=True):
            frame[y : y + 8, x : x + 8] = (220, 40, 30)
        made.append(np.clip(film + rng.integers(-4, 4, film.shape), 0, 255).astype(np.uint8))
    return made


def entry(folder: Path, encoding: str = "absolute", gripper: str = "closed: 0, open: 1", cameras: str = "{}") -> Path:
    """A dataset.yaml beside a LeRobot folder's meta/."""
    (folder / "dataset.yaml").write_text(
        f"name: {folder.name}\nkind: robot\ncontrol_hz: {HZ}\nlanguage: task\ncameras: {cameras}\n"
        f"action:\n  - {{from: action, slice: [0, 3], encoding: {encoding}, names: [x, y, z]}}\n"
        f"  - {{from: action, slice: [3, 4], encoding: gripper, {gripper}, names: [gripper]}}\n"
        "proprio:\n  - {from: observation.state, slice: [0, 3], names: [x, y, z]}\n"
        "  - {from: observation.state, slice: [3, 4], encoding: gripper, closed: 0, open: 0.08, names: [gripper]}\n"
    )
    return folder


def findings(path: Path, **options: object) -> list[DatasetFinding]:
    """What the doctor says."""
    return diagnose(str(path), **options).findings  # type: ignore[arg-type]


def serious(found: list[DatasetFinding]) -> dict[str, str]:
    """Check -> severity of all that is more than a note."""
    return {finding.check: finding.severity for finding in found if finding.severity != "note"}


def the(check: str, found: list[DatasetFinding]) -> DatasetFinding:
    """The first finding of a check, which must be there."""
    mine = [finding for finding in found if finding.check == check]
    assert mine, [str(finding) for finding in found]
    return mine[0]
