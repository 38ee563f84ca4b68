"""`python -m benchmarks.rlds`: reading RLDS against tf.data, the statistics of a million frames, and how indexing grows.

Every rate is taken in a process of its own, so that peak memory is that part's; rivals take turns on the same files.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import about
from benchmarks.episodes import multiply
from fasttok.common.console import log, run, table

STEPS = 50
READERS = ("fasttok", "fasttok, no verify", "tf.data", "tf.data, image SkipDecoding", "tf.data, steps SkipDecoding")
GOALS = {"tf.data": 25, "tf.data, image SkipDecoding": 25, "tf.data, steps SkipDecoding": 2}


@dataclass(frozen=True)
class BenchConfig:
    """Measures the RLDS reader, the statistics and the index; writes benchmarks/results/rlds.json and .md.

    Example: python -m benchmarks.rlds --episodes 120 --repeats 5
    """

    episodes: int = 120
    """Of 50 steps, with two cameras of 128 x 128 pixels."""
    repeats: int = 5
    """Times each reader is run; the median counts."""
    frames: int = 1_000_000
    """Frames of the statistics."""
    growth: tuple[int, ...] = (1, 4, 16)
    """Factors on the episodes that are indexed."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def generate(folder: Path, episodes: int) -> Path:
    """RLDS episodes as TFDS writes them, with camera-like JPEGs of about 5 KB."""
    from PIL import Image

    from fasttok.episodes.tfds import tfds

    module, rng = tfds(), np.random.default_rng(0)
    from tensorflow_datasets.core import dataset_info

    f = module.features
    image = f.Image(shape=(128, 128, 3), encoding_format="jpeg")
    observation = {"image": image, "wrist_image": image, "state": f.Tensor(shape=(8,), dtype=np.float32)}
    step = {
        "observation": observation,
        "action": f.Tensor(shape=(7,), dtype=np.float32),
        "language_instruction": f.Text(),
        **{name: f.Scalar(np.bool_) for name in ("is_first", "is_last", "is_terminal")},
        **{name: f.Scalar(np.float32) for name in ("reward", "discount")},
    }
    features = f.FeaturesDict({"steps": f.Dataset(step), "episode_metadata": {"file_path": f.Text()}})
    pool = []
    for _ in range(64):  # smooth shapes and some grain, as a camera gives
        low = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
            (128, 128), Image.Resampling.BICUBIC
        )
        pixels = np.clip(np.asarray(low, np.float32) + rng.normal(0, 6, (128, 128, 3)), 0, 255).astype(np.uint8)
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "jpeg", quality=90)
        pool.append(stream.getvalue())
    path = folder / "bench" / "1.0.0"
    path.mkdir(parents=True)
    identity = dataset_info.DatasetIdentity("bench", module.core.Version("1.0.0"), str(path), "bench")
    writer = module.core.SequentialWriter(
        module.core.DatasetInfo(builder=identity, features=features), max(1, episodes // 2)
    )
    writer.initialize_splits(["train"])
    for number in range(episodes):
        action = rng.normal(size=(STEPS, 7)).cumsum(0).astype(np.float32)
        steps = [
            {
                "observation": {
                    "image": BytesIO(pool[rng.integers(64)]),
                    "wrist_image": BytesIO(pool[rng.integers(64)]),
                    "state": rng.normal(size=8).astype(np.float32),
                },
                "action": action[i],
                "language_instruction": "put the red block into the left bowl",
                "is_first": i == 0,
                "is_last": i == STEPS - 1,
                "is_terminal": i == STEPS - 1,
                "reward": float(i == STEPS - 1),
                "discount": 1.0,
            }
            for i in range(STEPS)
        ]
        writer.add_examples({"train": [{"steps": steps, "episode_metadata": {"file_path": f"episode_{number}"}}]})
    writer.close_all()
    (path / "dataset.yaml").write_text(
        "name: bench\nkind: robot\nembodiment: bench\ncontrol_hz: 10\nlanguage: language_instruction\n"
        "cameras: {primary: observation/image, wrist: observation/wrist_image}\n"
        "action:\n  - {from: action, slice: [0, 6], encoding: delta}\n  - {from: action, slice: [6, 7], encoding: gripper}\n"
        "proprio:\n  - {from: observation/state}\n"
    )
    return path


def read(kind: str, path: str, episodes: str, seconds: float = 2.0) -> dict[str, float]:
    """Episodes a second of one reader: of whole passes, opening included, and of a reader that goes round and round; peak memory.

    A first pass, which imports and compiles, does not count.
    """
    count = int(episodes)
    open_reader = opener(kind, path)
    passes = []
    for _ in range(4):
        began = time.perf_counter()
        for _ in zip(range(count), open_reader(), strict=False):
            pass
        passes.append(count / (time.perf_counter() - began))
    found, count = open_reader(), 0
    for _ in range(int(episodes)):
        next(found)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(found)
        count += 1
    return {"pass": statistics.median(passes[1:]), "rate": count / (time.perf_counter() - began), "rss": peak()}


def opener(kind: str, path: str) -> Callable[[], Iterator[Any]]:
    """A function that opens a directory and yields every episode as numpy, again and again."""
    if kind.startswith("fasttok"):
        from fasttok.episodes.rlds import open_raw

        def ours() -> Iterator[Any]:
            directory = open_raw(path)
            while True:
                for file in directory.splits["train"]:
                    yield from directory.read_file(file, verify="no verify" not in kind)

        return ours
    from fasttok.episodes.tfds import keep_images, tfds

    module = tfds()
    builder = module.builder_from_directory(path)
    skip = {"steps": module.decode.SkipDecoding()}
    decoders = {
        "tf.data": None,
        "tf.data, image SkipDecoding": keep_images(module, builder.info.features),
        "tf.data, steps SkipDecoding": skip,
    }[kind]

    def theirs() -> Iterator[Any]:
        data = builder.as_dataset(split="train", decoders=decoders, shuffle_files=False).repeat()
        if decoders is skip:
            yield from module.as_numpy(data)  # the steps of an episode as they lie in its record, stacked
        for episode in data:
            yield list(module.as_numpy(episode["steps"]))

    return theirs


def statistics_of(folder: str) -> dict[str, float]:
    """Seconds and memory of an INDEX's statistics."""
    from fasttok.episodes.index_file import open_index
    from pipelines.index.statistics import of_index

    index = open_index(folder)
    began = time.perf_counter()
    found = of_index(folder, index)
    return {"seconds": time.perf_counter() - began, "rss": peak(), "count": found.embodiments["bench"].count}


def make_index(folder: Path, frames: int, files: int = 50) -> None:
    """An INDEX with columns of so many frames, 7 + 8 dims, and nothing else."""
    import pyarrow.parquet as pq

    from fasttok.common import json_files
    from fasttok.episodes.index_file import FORMAT_VERSION, IndexedDataset, IndexedEntry, IndexFile, SplitCounts
    from pipelines.datasets.standardize import StandardEpisode
    from pipelines.index.index_writer import step_table

    rng, stems = np.random.default_rng(0), []
    (folder / "bench" / "train").mkdir(parents=True)
    for number in range(files):
        length = frames // files
        columns = [rng.normal(size=(length, dims)).cumsum(0).astype(np.float32) for dims in (7, 8)]
        standard = StandardEpisode(columns[0], columns[1], "", {}, np.arange(length))
        stems.append(f"{number:05d}-bench")
        pq.write_table(
            step_table([(0, standard)]), folder / "bench" / "train" / f"{stems[-1]}.steps.parquet", compression="zstd"
        )
    entry = IndexedEntry("bench", "robot", embodiment="bench", action_dim=7, proprio_dim=8, action_names=tuple("abcdefg"),
                         proprio_names=tuple("abcdefgh"))  # fmt: skip
    counts = SplitCounts(tuple(stems), files, files, frames, 0, {}, {}, {})
    index = IndexFile(FORMAT_VERSION, "", {"bench": IndexedDataset("", entry, "", {"train": counts})})
    (folder / "index.json").write_text(json_files.write(index))


def index(path: str, out: str, processes: str) -> dict[str, float]:
    """Seconds and memory of an index job, of the driver and of its workers, and the size of its graph."""
    import apache_beam as beam

    from pipelines.common.beam import build_graph
    from pipelines.index.config import IndexConfig
    from pipelines.index.run import run_index, stage

    flags = [] if processes == "1" else ["--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    began = time.perf_counter()
    split = run_index(IndexConfig((path,), out, json=True), flags).datasets["bench"].splits["train"]
    seconds = time.perf_counter() - began
    pipeline = beam.Pipeline()
    build_graph(pipeline, stage(out))
    return {
        "episodes": split.indexed,
        "frames": split.steps,
        "mb": split.bytes / 1e6,
        "seconds": seconds,
        "rss": peak(),
        "worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "graph": len(pipeline.to_runner_api().SerializeToString()),
    }


def peak() -> float:
    """Peak memory of this process in MB; not `ru_maxrss`, which begins at the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(part: str, *arguments: str) -> dict[str, Any]:
    """Runs one of the functions above in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.rlds", "--part", part, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return json.loads(result.stdout.strip().splitlines()[-1])


def main(config: BenchConfig) -> None:
    """Measures, prints and writes."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = generate(folder, config.episodes)
        size = sum(file.stat().st_size for file in path.glob("*tfrecord*")) / 1e6
        rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in READERS}
        for number in range(config.repeats):
            for kind in READERS:
                rounds[kind].append(apart("read", kind, str(path), str(config.episodes)))
            log(f"readers: round {number + 1} of {config.repeats}")
        readers = reader_rows(rounds, size / config.episodes)
        make_index(folder / "million", config.frames)
        found = [apart("statistics", str(folder / "million")) for _ in range(3)]
        seconds = statistics.median(row["seconds"] for row in found)
        sums = [
            {"frames": found[0]["count"], "dims": 15, "seconds": round(seconds, 2), "peak MB": round(found[0]["rss"])}
        ]
        growth: list[dict[str, Any]] = []
        for factor in config.growth:
            copy = multiply(path, folder, factor)
            for processes in ("1", "2"):
                row = apart("index", str(copy), str(folder / f"index-{factor}-{processes}"), processes)
                growth.append(growth_row(factor, processes, row))
                log(f"index: x{factor}, {processes} process(es)")
    sections = {
        f"Reading {config.episodes} episodes of {STEPS} steps with two 128-pixel cameras, {size:.0f} MB": readers,
        "Exact statistics of an INDEX's columns": sums,
        "Indexing the same episodes once, four and sixteen times": growth,
    }
    for title, rows in sections.items():
        table(f"\n{title}", list(rows[0]), [list(row.values()) for row in rows])
    command = f"python -m benchmarks.rlds --episodes {config.episodes} --repeats {config.repeats}"
    about.write(config.out, "rlds", "Reading and indexing RLDS", command, sections)


def reader_rows(rounds: dict[str, list[dict[str, float]]], megabytes: float) -> list[dict[str, Any]]:
    """A line a reader; a ratio is the median over rounds of ours by theirs in the same round."""
    rows = []
    for kind, found in rounds.items():
        row: dict[str, Any] = {"reader": kind}
        for key, name in (("pass", "a pass"), ("rate", "on and on")):
            rates = [one[key] for one in found]
            ratios = [ours[key] / one[key] for ours, one in zip(rounds["fasttok"], found, strict=True)]
            row[f"{name}: episodes/s"] = round(statistics.median(rates))
            row[f"{name}: lowest..highest"] = f"{min(rates):.0f}..{max(rates):.0f}"
            row[f"{name}: fasttok is"] = f"{statistics.median(ratios):.1f}x"
        rows.append(
            {
                **row,
                "MB/s": round(statistics.median(one["rate"] for one in found) * megabytes),
                "goal": f">= {GOALS[kind]}x" if kind in GOALS else "",
                "peak MB": round(max(one["rss"] for one in found)),
            }
        )
    return rows


def growth_row(factor: int, processes: str, row: dict[str, float]) -> dict[str, Any]:
    """A line of the growth table."""
    return {
        "data": f"x{factor}",
        "processes": int(processes),
        "episodes": row["episodes"],
        "MB": round(row["mb"]),
        "seconds": round(row["seconds"], 2),
        "frames/s": round(row["frames"] / row["seconds"]),
        "MB/s": round(row["mb"] / row["seconds"]),
        "driver peak MB": round(row["rss"]),
        "worker peak MB": round(row["worker"]) if processes != "1" else None,
        "graph bytes": row["graph"],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        parts: dict[str, Callable[..., dict[str, float]]] = {"read": read, "statistics": statistics_of, "index": index}
        print(json.dumps(parts[sys.argv[2]](*sys.argv[3:])))
    else:
        sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.rlds"))))
