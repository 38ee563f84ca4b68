"""`python -m benchmarks.build`: how fast mixtures become shards, how that grows, and what a plan of 100 million samples takes.

Every part runs in a process of its own, so that peak memory is that part's.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import tyro

from benchmarks import about
from benchmarks.episodes import camera_images, multiply, write_questions, write_rlds
from benchmarks.rlds import peak
from fasttok.common.console import log, run, table

STEPS = 50
PIXELS = 180
KILOBYTES = 11.0
MIXTURE = """name: bench
tokenizer: fit
chunk: {seconds: 1.0}
sources:
  - {dataset: left, weight: 4}
  - {dataset: right, weight: 4}
  - {dataset: ask, weight: 2}
"""
LONG = """name: long
tokenizer: fit
chunk: {seconds: 1.0}
sources:
  - {dataset: long, weight: 3}
  - {dataset: long, name: about, weight: 1, questions: [task, motion, gripper]}
"""


@dataclass(frozen=True)
class BenchConfig:
    """Measures builds and plans; writes benchmarks/results/build.json and .md.

    Example: python -m benchmarks.build --frames 100000 --repeats 3
    """

    frames: int = 100_000
    """Robot frames with an 11 KB JPEG each, in two datasets; as many samples are built, a fifth of them questions."""
    repeats: int = 3
    """Times that the build is run; the median counts."""
    growth: tuple[int, ...] = (1, 4, 16)
    """Factors on a quarter of the frames, for memory."""
    plan: int = 100_000_000
    """Samples of the plan."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def build(mixture: str, index: str, tokenizer: str, out: str, samples: str, processes: str) -> dict[str, float]:
    """Seconds of a whole build after imports and of its shards alone; peak memory of driver and workers."""
    import apache_beam  # noqa: F401  # seconds that every Beam job pays, whatever it does

    from pipelines.builder.config import BuildConfig
    from pipelines.builder.run import run_build
    from pipelines.common import beam

    flags = [] if processes == "1" else ["--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    stage = 0.0

    def timed(*arguments: Any) -> None:
        nonlocal stage
        began = time.perf_counter()
        beam.run_stage(*arguments)
        stage = time.perf_counter() - began

    began = time.perf_counter()
    config = BuildConfig(mixture, out, int(samples), index, tokenizer, overwrite=True, json=True)
    with patch("pipelines.builder.run.run_stage", timed):
        result = run_build(config, flags)
    seconds = time.perf_counter() - began
    return {
        "rows": result.manifest.counts.written,
        "mb": sum(shard.bytes for shard in result.manifest.shards) / 1e6,
        "shards": len(result.manifest.shards),
        "seconds": seconds,
        "stage": stage,
        "rss": peak(),
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "resized": sum(source.images_resized for source in result.manifest.sources.values()),
        "read": result.bytes_read,
    }


def distinct_bytes(out: str, index: str) -> int:
    """Bytes of the source records from which a build's rows came, each record once."""
    from fasttok.episodes.index import read_parquet
    from fasttok.episodes.index_file import open_index
    from pipelines.shards import ShardReader

    reader = ShardReader(out)
    taken: set[tuple[str, str, int]] = set()
    for number in range(len(reader.manifest.shards)):
        for batch in reader.record_batches(number):
            columns = [batch.column(name).to_pylist() for name in ("source", "file", "episode")]
            taken |= {(reader.manifest.sources[s].dataset, f, e) for s, f, e in zip(*columns, strict=True)}
    total = 0
    for name, dataset in open_index(index).datasets.items():
        for split, counts in dataset.splits.items():
            for stem in counts.files:
                rows = read_parquet(
                    f"{index}/{name}/{split}/{stem}.episodes.parquet", ["file", "episode", "length"]
                ).to_pylist()
                total += sum(r["length"] for r in rows if (name, Path(r["file"]).name, r["episode"]) in taken)
    return total


def plan(samples: str, folder: str) -> dict[str, float]:
    """Seconds, memory and sizes of a plan: half from long episodes, a quarter from short ones, a quarter questions."""
    import apache_beam as beam

    from mixtures.index_sizes import Holding, group
    from mixtures.spec import Group, Mixture, Source
    from pipelines.builder.plan import make_plan, save_plan
    from pipelines.builder.shard_job import list_shards
    from pipelines.builder.worker import materialize_shard
    from pipelines.common.beam import Stage, build_graph

    n, rng, per_file = int(samples), np.random.default_rng(0), 1 << 14

    def held(frames: float, length: int) -> Holding:
        parts, total = [], 0
        while total < frames:
            steps = (
                rng.integers(length // 2, length * 3 // 2 + 1, per_file) if length > 1 else np.ones(per_file, np.int64)
            )
            parts.append(group(np.arange(per_file), steps))
            total += int(steps.sum())
        file = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part[0]) for part in parts])
        first, records, sizes = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return Holding(file, first, records.astype(np.int32), sizes, total * 11_000, 0, {})

    sources = {"long": (2.0, held(n * 0.5, 120)), "short": (1.0, held(n * 0.25, 40)), "ask": (1.0, held(n * 0.35, 1))}
    mixture = Mixture("plan", Group("plan", tuple(Source(name, name, weight=w) for name, (w, _) in sources.items())))
    before, began = peak(), time.perf_counter()
    made, placed = make_plan(mixture, {name: part for name, (_, part) in sources.items()}, "index", n, 0)
    planned = time.perf_counter() - began
    save_plan(folder, made, placed)
    pipeline = beam.Pipeline()
    build_graph(pipeline, Stage("writing shards", folder, list_shards, materialize_shard, "shards", "rows"))
    return {
        "shards": made.shards,
        "seconds": planned,
        "saving": time.perf_counter() - began - planned,
        "before": before,
        "rss": peak(),
        "mb": sum(file.stat().st_size for file in Path(folder).glob("*")) / 1e6,
        "graph": len(pipeline.to_runner_api().SerializeToString()),
    }


def apart(part: str, *arguments: str) -> dict[str, Any]:
    """Runs one of the functions above in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.build", "--part", part, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return json.loads(result.stdout.strip().splitlines()[-1])


def indexed(folder: Path, name: str, directories: list[Path]) -> tuple[str, str]:
    """(INDEX, tokenizer) of some datasets."""
    out, tokenizer = str(folder / f"{name}-index"), str(folder / f"{name}-tokenizer")
    for command in (
        ["-m", "pipelines", "index", *map(str, directories), "--out", out, "--json"],
        ["-m", "fasttok.cli", "fit", out, "--out", tokenizer],
    ):
        result = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(result.stderr[-2000:])
    return out, tokenizer


def main(config: BenchConfig) -> None:
    """Measures, prints and writes."""
    images = camera_images(PIXELS, KILOBYTES, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "m.yaml").write_text(MIXTURE)
        (folder / "long.yaml").write_text(LONG)
        quarter = config.frames // 4 // STEPS // 2
        base = [write_rlds(folder / "one", n, quarter, STEPS, ("image",), images, PIXELS, 4) for n in ("left", "right")]
        whole = [multiply(path, folder, 4) for path in base]
        ask = write_questions(folder, "ask", config.frames // 5, images)
        index, tokenizer = indexed(folder, "speed", [*whole, ask])
        speed = []
        for processes in ("1", "2"):
            arguments = (str(folder / "m.yaml"), index, tokenizer, str(folder / "out"), str(config.frames), processes)
            speed.append(speed_row(processes, [apart("build", *arguments) for _ in range(config.repeats)]))
            log(f"build: {processes} process(es)")
        growth = []
        for factor in config.growth:
            directories = [multiply(path, folder / "growth", factor) for path in base]
            index, tokenizer = indexed(folder, f"x{factor}", [*directories, ask])
            samples = str(config.frames // 4 * factor)
            row = apart("build", str(folder / "m.yaml"), index, tokenizer, str(folder / "out"), samples, "2")
            growth.append(
                {"data": f"x{factor}", "rows": row["rows"], "MB": round(row["mb"]), "shards": row["shards"],
                 "driver peak MB": round(row["rss"]), "worker peak MB": round(row["worker"])}
            )  # fmt: skip
            log(f"growth: x{factor}")
        long = write_rlds(folder, "long", 40, 300, ("image", "wrist_image", "side_image"), images, PIXELS, 4)
        index, tokenizer = indexed(folder, "long", [long])
        row = apart("build", str(folder / "long.yaml"), index, tokenizer, str(folder / "out"), "8000", "1")
        distinct = distinct_bytes(str(folder / "out"), index)
        reading = [{"records": "40 episodes of 300 steps, 3 cameras; actions and questions", "rows": row["rows"],
                    "MB read": round(row["read"] / 1e6, 1), "MB of distinct records": round(distinct / 1e6, 1),
                    "ratio": round(row["read"] / distinct, 4), "goal": "<= 1.2"}]  # fmt: skip
        found = apart("plan", str(config.plan), str(folder / "plan"))
        planning = [{"samples": config.plan, "shards": found["shards"], "seconds": round(found["seconds"], 2),
                     "saving it, seconds": round(found["saving"], 2), "peak MB before": round(found["before"]),
                     "peak MB": round(found["rss"]), "plan MB": round(found["mb"], 1),
                     "graph bytes": found["graph"]}]  # fmt: skip
    kilobytes = np.mean([len(image) for image in images]) / 1e3
    sections = {
        f"Building {config.frames:,} samples of two robots and questions, JPEGs of {kilobytes:.1f} KB": speed,
        "Memory as data and build grow": growth,
        "Source bytes read": reading,
        "A plan alone": planning,
    }  # fmt: skip
    for title, rows in sections.items():
        table(f"\n{title}", list(rows[0]), [list(row.values()) for row in rows])
    command = f"python -m benchmarks.build --frames {config.frames} --repeats {config.repeats}"
    about.write(config.out, "build", "Building shards", command, sections)


def speed_row(processes: str, found: list[dict[str, float]]) -> dict[str, Any]:
    """A line of the speed table: medians."""

    def median(key: str) -> float:
        return statistics.median(row[key] for row in found)

    rows = found[0]["rows"]
    rates = [rows / row["stage"] for row in found]
    return {
        "processes": int(processes),
        "rows": int(rows),
        "MB": round(median("mb")),
        "seconds of shards": round(median("stage"), 2),
        "rows/s": round(statistics.median(rates)),
        "lowest..highest": f"{min(rates):,.0f}..{max(rates):,.0f}",
        "seconds in all": round(median("seconds"), 2),
        "rows/s in all": round(rows / median("seconds")),
        "driver peak MB": round(max(row["rss"] for row in found)),
        "worker peak MB": round(max(row["worker"] for row in found)) if processes != "1" else None,
        "JPEGs encoded": int(max(row["resized"] for row in found)),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        parts: dict[str, Any] = {"build": build, "plan": plan}
        print(json.dumps(parts[sys.argv[2]](*sys.argv[3:])))
    else:
        sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.build"))))
