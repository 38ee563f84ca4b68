"""`python -m benchmarks.video VIDEO ...`: frames a second from video to JPEG, beside what PyAV alone decodes and Pillow encodes.

    python -m benchmarks.video videos/chunk-000/observation.images.top/*.mp4 --repeats 9

Every file is one episode. Both ways decode the same frames one after the other and encode each at quality 95; they take turns,
so the machine's mood divides out. A build runs one such process per core. The rival takes every frame as it comes: it looks
neither at timestamps nor at damage.
"""

import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import tyro

from benchmarks import about
from fasttok.common.console import run, table
from fasttok.episodes.frames import BadFrame
from fasttok.errors import InputError
from pipelines.common.encode_image import QUALITY, encode
from pipelines.recordings.video import VideoFrames
from pipelines.recordings.video_header import read_header

RIVAL = "PyAV and Pillow alone, default threads"


@dataclass(frozen=True)
class VideoConfig:
    """Times decoding and encoding of videos, and checks of their headers; writes benchmarks/results/video.json and .md.

    Example: python -m benchmarks.video dataset/videos/*/*/*.mp4
    """

    videos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """MP4 files, one episode each."""
    repeats: int = 9
    """Repeats; the median counts."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def episodes(videos: tuple[Path, ...]) -> list[VideoFrames]:
    """Each file as the camera of one episode, all of whose frames are wanted.

    Raises:
        InputError: a file is no video, or its header does not list its frames.
    """
    found = []
    for path in videos:
        header = read_header(str(path), "")
        if header.problem or header.times is None:
            raise InputError(f"{path} {header.problem or 'does not list its frames; expected MP4'}")
        found.append(VideoFrames(str(path), header.times, float(np.diff(header.times).min()) / 2, path.parent.name))
    return found


def ours(frames: VideoFrames) -> int:
    """Bytes of an episode's JPEGs, as a build makes them."""
    size = 0
    for frame in frames.read():
        if isinstance(frame, BadFrame | bytes):
            raise InputError(f"{frames.url}: {frame!r}")
        size += len(encode(frame))
    return size


def alone(frames: VideoFrames, threads: int) -> int:
    """The same by PyAV and Pillow alone; 0 threads: as many as PyAV takes by default."""
    size = 0
    with av.open(frames.url) as container:
        stream = container.streams.video[0]
        if threads:
            stream.codec_context.thread_count = threads
        for frame in container.decode(stream):
            out = io.BytesIO()
            frame.to_image().save(out, "JPEG", quality=QUALITY)
            size += out.tell()
    return size


def checked(frames: VideoFrames) -> int:
    """Looks at the header, as `index` does."""
    read_header.cache_clear()
    if problem := frames.check():
        raise InputError(problem)
    return 0


def line(way: str, measured: list[tuple[float, float]], rival: list[tuple[float, float]]) -> dict[str, Any]:
    """A row of the table: medians by the clock and by processor time, which other programs disturb less, and their ratios."""
    clock, spent = (statistics.median(column) for column in zip(*measured, strict=True))
    row: dict[str, Any] = {"way": way, "frames/s": clock, "ratio": "", "frames per CPU second": spent, "CPU ratio": ""}
    if rival:
        by_clock, by_cpu = (statistics.median(column) for column in zip(*rival, strict=True))
        row |= {"ratio": f"{clock / by_clock:.2f}", "CPU ratio": f"{spent / by_cpu:.2f}"}
    return row


def main(config: VideoConfig) -> None:
    """Measures, prints and writes.

    Raises:
        InputError: no videos, or one of them is not sound.
    """
    found = episodes(config.videos)
    if not found:
        raise InputError("no videos given; expected the MP4 files of some episodes")
    ways: dict[str, Callable[[VideoFrames], int]] = {
        "fasttok: by timestamps, damage refused": ours,
        RIVAL: lambda frames: alone(frames, 0),
        "PyAV and Pillow alone, one thread": lambda frames: alone(frames, 1),
        "check of the header alone, as `index` does": checked,
    }
    load = os.getloadavg()[0]
    rates: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    sizes: dict[str, int] = {}
    frames = sum(map(len, found))
    for _ in range(config.repeats):
        for way, work in ways.items():
            began, spent = time.perf_counter(), time.process_time()
            sizes[way] = sum(work(episode) for episode in found)
            rates[way].append((frames / (time.perf_counter() - began), frames / (time.process_time() - spent)))
    if len({size for size in sizes.values() if size}) > 1:
        raise InputError(f"the JPEGs differ: {sizes}")
    rows = [line(way, rates[way], rates[RIVAL] if sizes[way] else []) for way in ways]
    first = read_header(found[0].url, "")
    heading = (
        f"{len(found)} episodes, {frames:,} frames of {first.width} x {first.height}, medians of {config.repeats}; "
        f"{load:.0f} other programs wanted the {os.cpu_count()} cores when it began"
    )
    table("video to JPEG", list(rows[0]), [list(row.values()) for row in rows])
    command = f"python -m benchmarks.video VIDEOS --repeats {config.repeats}"
    about.write(config.out, "video", "Frames of videos", command, {heading: rows})


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(VideoConfig))))
