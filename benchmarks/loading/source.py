"""The episodes that every format is written from: two robots of the tabletop world, and g1_bottle's episodes that have video.

    SOURCE/NAME/frames.bin   JPEGs of 224 px at quality 90, one after another
    SOURCE/NAME/arrays.npz   what `readers.stage.Source` reads
    SOURCE/NAME/lerobot21/   bottle alone: its LeRobot v2.1 folder, of the episodes that have video

Arrays of a set are as wide as the robot's; those of the two tabletop robots, which are mixed, as wide as the wider one's.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loading.readers.stage import NUMBERS, SIDE
from benchmarks.recorded_copies import write_copies
from fasttok.common.console import progress
from fasttok.errors import InputError

QUALITY = 90
*TABLETOP, BOTTLE = NUMBERS
TABLETOP_HORIZON, TABLETOP_DIMS = 10, (7, 7)  # and the widths of state and action
BOTTLE_HORIZON = 30
Step = tuple[Any, Any, Any]  # image, state, action


def write_sources(folder: Path, steps: int, bottle: Path | None) -> dict[str, Path]:
    """Writes what is not there yet; {name: its folder}."""
    found = {}
    for name in TABLETOP:
        found[name] = folder / name
        if not (found[name] / "arrays.npz").exists():
            with progress(f"tabletop episodes of {name}", steps, "steps") as advance:
                _write(found[name], name, tabletop(name, steps, advance), TABLETOP_HORIZON, 10.0)
    if bottle is not None:
        found[BOTTLE] = folder / BOTTLE
        if not (found[BOTTLE] / "arrays.npz").exists():
            found[BOTTLE].mkdir(parents=True)
            total = write_copies(bottle, found[BOTTLE] / "lerobot21", 1)
            with progress("frames of g1_bottle", total, "frames") as advance:
                _write(found[BOTTLE], BOTTLE, recorded(found[BOTTLE] / "lerobot21", advance), BOTTLE_HORIZON, 30.0)
    return found


def tabletop(name: str, steps: int, advance: Any) -> Iterator[list[Step]]:
    """Episodes of the scripted expert, until there are enough steps; pictures drawn at 64 px are enlarged once, here."""
    from examples.tabletop.rlds import demonstrate

    count, seed = 0, 0
    while count < steps:
        [made] = demonstrate(name, [seed])
        seed += 1
        if made is None:
            continue
        taken = list(made["steps"])[: steps - count]
        count += len(taken)
        advance(len(taken))
        yield [
            (_enlarged(step["observation"]["image"]), step["observation"]["state"], step["action"]) for step in taken
        ]


def recorded(folder: Path, advance: Any) -> Iterator[list[Step]]:
    """Episodes of a LeRobot v2.1 folder with one camera."""
    import av
    import pyarrow.parquet as pq
    from PIL import Image

    from fasttok.episodes.lerobot_folder import open_folder

    for episode in open_folder(str(folder)).episodes.values():
        table = pq.read_table(folder / episode.table)
        columns = (table[name].to_pylist() for name in ("observation.state", "action"))
        state, action = (np.array(column, np.float32) for column in columns)
        (video,) = episode.videos.values()
        with av.open(str(folder / video.file)) as container:
            frames = [
                np.asarray(frame.to_image().resize((SIDE, SIDE), Image.Resampling.BILINEAR))
                for frame in container.decode(video=0)
            ]
        if len(frames) != len(table):
            raise InputError(f"{video.file} has {len(frames)} frames, expected {len(table)}, a frame a step")
        advance(len(frames))
        yield list(zip(frames, state, action, strict=True))


def _enlarged(image: Any) -> Any:
    from PIL import Image

    return np.asarray(Image.fromarray(np.asarray(image)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _write(folder: Path, name: str, episodes: Iterator[list[Step]], horizon: int, fps: float) -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    ends: list[int] = []
    states, actions, chunks, numbers, at = [], [], [], [], 0
    with (folder / "frames.bin").open("wb") as frames:
        for number, steps in enumerate(episodes):
            for image, _, _ in steps:
                stream = io.BytesIO()
                Image.fromarray(image).save(stream, "JPEG", quality=QUALITY)
                at += frames.write(stream.getvalue())
                ends.append(at)
            state, action = (np.stack([step[i] for step in steps]).astype(np.float32) for i in (1, 2))
            if name in TABLETOP:
                state, action = (
                    np.pad(array, ((0, 0), (0, width - array.shape[1])))
                    for array, width in zip((state, action), TABLETOP_DIMS, strict=True)
                )
            ahead = np.minimum(np.arange(len(steps))[:, None] + np.arange(horizon), len(steps) - 1)
            states.append(state)
            actions.append(action)
            chunks.append(action[ahead])
            numbers.append(np.full(len(steps), number))
    np.savez(
        folder / "arrays.npz",
        state=np.concatenate(states), action=np.concatenate(actions), chunk=np.concatenate(chunks),
        episode=np.concatenate(numbers), ends=np.array(ends), fps=fps,
    )  # fmt: skip
