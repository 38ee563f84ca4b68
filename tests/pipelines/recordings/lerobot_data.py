"""LeRobot folders of v2.1 and v3.0 as their authors write them, with videos in which each frame shows its step."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

FPS = 10
SIDE = 64
CELLS = 4  # a picture is 4 x 4 cells, black or white: 16 bits
CAMERA = "observation.images.top"
TASKS = ("lift the cup", "put it down")


def picture(episode: int, step: int) -> NDArray[np.uint8]:
    """(SIDE, SIDE, 3) pixels that hold both numbers and survive any codec."""
    bits = [(episode << 10 | step) >> i & 1 for i in range(CELLS * CELLS)]
    cells = np.array(bits, np.uint8).reshape(CELLS, CELLS) * 255
    return np.repeat(np.kron(cells, np.ones((SIDE // CELLS,) * 2, np.uint8))[..., None], 3, axis=2)


def shown(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """(episode, step) of such a picture, whatever its size."""
    height, width = pixels.shape[:2]
    at = (2 * np.arange(CELLS) + 1) / (2 * CELLS)
    bits = pixels[(at * height).astype(int)][:, (at * width).astype(int), 0].ravel() > 127
    number = sum(1 << i for i, bit in enumerate(bits.tolist()) if bit)
    return number >> 10, number & 1023


def write_video(path: Path, frames: Sequence[tuple[int, int]], fps: int = FPS) -> None:
    """An mp4 of the pictures of these (episode, step)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for i, (episode, step) in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture(episode, step), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def table(episode: int, length: int, first: int) -> pa.Table:
    """The rows of an episode: actions that the state follows, one task or the other."""
    rng = np.random.default_rng(episode)
    action = np.cumsum(rng.normal(size=(length, 3)), axis=0).astype(np.float32)
    state = np.concatenate([action[:1], action[:-1]])
    return pa.table(
        {
            "action": pa.array(action.tolist(), pa.list_(pa.float32())),
            "observation.state": pa.array(state.tolist(), pa.list_(pa.float32())),
            "timestamp": (np.arange(length) / FPS).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, episode),
            "index": first + np.arange(length),
            "task_index": np.full(length, episode % len(TASKS)),
        }
    )


def info(version: str, lengths: Sequence[int], **more: Any) -> dict[str, Any]:
    names = ["x", "y", "z"]
    number = {"dtype": "int64", "shape": [1], "names": None}
    video = {
        "dtype": "video",
        "shape": [SIDE, SIDE, 3],
        "names": ["height", "width", "channels"],
        "info": {"video.fps": FPS},
    }
    features = {
        "action": {"dtype": "float32", "shape": [3], "names": names},
        "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": names}},
        CAMERA: video,
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), number),
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }
    return {
        "codebase_version": version,
        "robot_type": "so100",
        "fps": FPS,
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "splits": {"train": f"0:{len(lengths)}"},
        "features": features,
    } | more


def write_v2(root: Path, lengths: Sequence[int], **more: Any) -> Path:
    """A v2.1 folder: a table and a video an episode."""
    (root / "meta").mkdir(parents=True)
    places = {
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "chunks_size": 1000,
    }
    (root / "meta" / "info.json").write_text(json.dumps(info("v2.1", lengths, **{**places, **more})))
    lines(root / "meta" / "tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(TASKS)])
    rows = [{"episode_index": i, "tasks": [TASKS[i % 2]], "length": n} for i, n in enumerate(lengths)]
    lines(root / "meta" / "episodes.jsonl", rows)
    (root / "data" / "chunk-000").mkdir(parents=True)
    for i, n in enumerate(lengths):
        pq.write_table(table(i, n, sum(lengths[:i])), root / "data" / "chunk-000" / f"episode_{i:06d}.parquet")
        write_video(root / "videos" / "chunk-000" / CAMERA / f"episode_{i:06d}.mp4", [(i, step) for step in range(n)])
    return root


def write_v3(root: Path, lengths: Sequence[int], per_table: int = 3, per_video: int = 2, **more: Any) -> Path:
    """A v3.0 folder: so many episodes a table, and so many a video."""
    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    places = {
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    (root / "meta" / "info.json").write_text(json.dumps(info("v3.0", lengths, **{**places, **more})))
    named = {"task_index": np.arange(len(TASKS)), "__index_level_0__": list(TASKS)}
    pq.write_table(pa.table(named), root / "meta" / "tasks.parquet")
    rows = []
    for i, n in enumerate(lengths):
        first = i // per_video * per_video
        start = sum(lengths[first:i]) / FPS
        rows.append(
            {
                "episode_index": i,
                "tasks": [TASKS[i % 2]],
                "length": n,
                "data/chunk_index": 0,
                "data/file_index": i // per_table,
                "dataset_from_index": sum(lengths[:i]),
                "dataset_to_index": sum(lengths[: i + 1]),
                f"videos/{CAMERA}/chunk_index": 0,
                f"videos/{CAMERA}/file_index": i // per_video,
                f"videos/{CAMERA}/from_timestamp": start,
                f"videos/{CAMERA}/to_timestamp": start + n / FPS,
                "stats/action/min": [0.0],
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    for number in range(-(-len(lengths) // per_table)):
        some = range(number * per_table, min(len(lengths), (number + 1) * per_table))
        parts = [table(i, lengths[i], sum(lengths[:i])) for i in some]
        pq.write_table(
            pa.concat_tables(parts), root / "data" / "chunk-000" / f"file-{number:03d}.parquet", row_group_size=17
        )
    for number in range(-(-len(lengths) // per_video)):
        some = range(number * per_video, min(len(lengths), (number + 1) * per_video))
        frames = [(i, step) for i in some for step in range(lengths[i])]
        write_video(root / "videos" / CAMERA / "chunk-000" / f"file-{number:03d}.mp4", frames)
    return root


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
