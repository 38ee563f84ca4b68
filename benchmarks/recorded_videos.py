"""`python -m benchmarks.recorded_videos FOLDER`: LeRobot with videos to an INDEX and shards, and memory at 16 times the data.

    python -m benchmarks.recorded_videos ../shared/data/lerobot/g1_bottle

Each command runs in a process of its own, as users run it. Copies of the folder's whole episodes stand for larger data. Beside
the build: the same frames by PyAV and Pillow alone, in sequence; and lerobot's dataset at random places, if `make interop` has
built its environment, on the folder that lerobot's own converter made of the copy.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks import about
from benchmarks.recorded_copies import write_copies
from fasttok.common.console import log, run, table
from fasttok.errors import InputError

INDEX_ONLY = 4  # so many times the larger data are indexed, and not built
MIXTURE = "name: m\nchunk: {seconds: 1.0}\nsources: [{dataset: robot, weight: 1}]\n"
ALONE = """
import io, sys, av
from PIL import Image
for path in sys.argv[1:]:
    with av.open(path) as container:
        for frame in container.decode(video=0):
            frame.to_image().save(io.BytesIO(), "JPEG", quality=95)
"""


@dataclass(frozen=True)
class LerobotBenchmark:
    """Times index and build of a LeRobot folder with videos; writes benchmarks/results/recorded_videos.json and .md.

    Example: python -m benchmarks.recorded_videos ../shared/data/lerobot/g1_bottle
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """A LeRobot v2.1 folder; episodes without all their videos are left out."""
    times: int = 16
    """The larger data are so many times the folder."""
    repeats: int = 3
    """Repeats; the median counts."""
    lerobot: Path | None = None
    """Python of an environment with lerobot, such as that of `make interop`."""
    samples: int = 300
    """Frames that lerobot reads at random places."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


@dataclass(frozen=True)
class Spent:
    """What a process took.

    Attributes:
        clock: seconds.
        cpu: seconds of processor time, with its children.
        memory: most bytes of one process.
    """

    clock: float
    cpu: float
    memory: float


def timed(words: Sequence[str | Path]) -> Spent:
    """Runs a command.

    Raises:
        InputError: it fails.
    """
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        errors.seek(0)
        if status:
            raise InputError(f"{' '.join(map(str, words))} failed: {errors.read()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.perf_counter() - clock, cpu, usage.ru_maxrss * 1024.0)


def median(spent: Sequence[Spent]) -> Spent:
    """Of each figure."""
    return Spent(*(statistics.median(getattr(s, name) for s in spent) for name in ("clock", "cpu", "memory")))


def commands(folder: Path, data: Path, steps: int) -> tuple[list[str | Path], list[str | Path]]:
    """The index and the build of a copy: every step once."""
    python: list[str | Path] = [sys.executable, "-P", "-m", "pipelines"]
    index = [*python, "index", data, "--out", folder / "index", "--overwrite"]
    out: list[str | Path] = ["--index", folder / "index", "--out", folder / "shards", "--overwrite"]
    build = [*python, "build", folder / "m.yaml", "--samples", str(steps), *out]
    (folder / "m.yaml").write_text(MIXTURE)
    return index, build


def measure(config: LerobotBenchmark) -> dict[str, list[dict[str, Any]]]:
    """The tables."""
    indexed: list[dict[str, Any]] = []
    built: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for times in (1, config.times, INDEX_ONLY * config.times):
            folder = Path(place) / f"x{times}"
            folder.mkdir()
            steps = write_copies(config.folder, folder / "robot", times)
            index, build = commands(folder, folder / "robot", steps)
            log(f"x{times}: {steps:,} steps")
            spent = median([timed(index) for _ in range(config.repeats)])
            indexed.append(row(f"index, x{times}", steps, spent))
            if times > config.times:
                continue
            spent = timed(build) if times > 1 else median([timed(build) for _ in range(config.repeats)])
            built.append(row(f"build, x{times}", steps, spent))
            if times == 1:
                videos = sorted((folder / "robot" / "videos").rglob("*.mp4"))
                alone = median([timed([sys.executable, "-c", ALONE, *videos]) for _ in range(config.repeats)])
                built.append(row("PyAV and Pillow alone, in sequence", steps, alone))
                if config.lerobot is not None:
                    built.append(by_lerobot(config, folder))
            shutil.rmtree(folder)
    return {"index": indexed, "build": built}


def row(way: str, steps: int, spent: Spent) -> dict[str, Any]:
    """A line of a table."""
    return {
        "way": way,
        "steps": steps,
        "steps/s": round(steps / spent.clock),
        "steps/CPU s": round(steps / spent.cpu),
        "MB": round(spent.memory / 1e6),
    }


def by_lerobot(config: LerobotBenchmark, folder: Path) -> dict[str, Any]:
    """Lerobot's dataset at random places, on what its own converter makes of the copy."""
    home = folder / "hub"
    shutil.copytree(folder / "robot", home / "robot")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_LEROBOT_HOME": str(home)}
    convert = [str(config.lerobot), "-m", "lerobot.scripts.convert_dataset_v21_to_v30", "--repo-id=lab/robot",
               f"--root={home / 'robot'}", "--push-to-hub=false"]  # fmt: skip
    subprocess.run(convert, env=environment, check=True, capture_output=True)
    script = [
        str(config.lerobot),
        str(Path(__file__).with_name("lerobot_reads.py")),
        str(home / "robot"),
        str(config.samples),
        "0",
    ]
    done = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return row("lerobot's dataset, at random places", found["frames"], Spent(found["clock"], found["cpu"], 0.0))


def main() -> None:
    """Runs the benchmark."""
    config = tyro.cli(LerobotBenchmark)
    tables = measure(config)
    for title, rows in tables.items():
        table(title, list(rows[0]), [list(line.values()) for line in rows])
    flags = f"--times {config.times} --repeats {config.repeats} --samples {config.samples}"
    command = f"python -m benchmarks.recorded_videos {config.folder} {flags}" + " --lerobot PYTHON" * bool(
        config.lerobot
    )
    about.write(config.out, "recorded_videos", "LeRobot with videos to an INDEX and shards", command, tables)


if __name__ == "__main__":
    run(main)
