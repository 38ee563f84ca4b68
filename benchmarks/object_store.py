"""`python -m benchmarks.object_store`: what the driver of `index` asks of an object store, and what a source file costs in all.

The store is in memory, and 50 ms away for the driver (`counting_store.py`); for the workers it is at hand, as their time is not
measured here. All source files are the same few kilobytes, so 20,000 of them are made in seconds.
"""

import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import tyro

from benchmarks import about
from benchmarks.counting_store import CountingStore
from fasttok.common.console import log, run, table

STEPS = 20
ENTRY = (
    "name: many\nkind: robot\nembodiment: many\ncontrol_hz: 10\nlanguage: language_instruction\n"
    "cameras: {primary: observation/image}\n"
    "action:\n  - {from: action, slice: [0, 7], encoding: delta}\nproprio:\n  - {from: observation/state}\n"
)
DATA, INDEX = "slow://bucket/many/1.0.0", "slow://bucket/index"


@dataclass(frozen=True)
class StoreConfig:
    """Measures requests and seconds of `index` on an object store; writes benchmarks/results/object_store.json and .md.

    Example: python -m benchmarks.object_store --files 20000
    """

    files: int = 20_000
    """Source files that an interrupted run had finished."""
    whole: int = 256
    """Source files of a whole job, of which every request is counted."""
    latency: float = 0.05
    """Seconds that a request of the driver takes."""
    before: Path | None = None
    """Results of another version, whose lines come first."""
    label: str = "now"
    """What to call this version."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def fill(files: int) -> None:
    """Puts a dataset of so many equal files into the store."""
    from fasttok.episodes.tfds import tfds

    module, rng = tfds(), np.random.default_rng(0)
    from tensorflow_datasets.core import dataset_info

    f = module.features
    step = {
        "observation": {
            "state": f.Tensor(shape=(8,), dtype=np.float32),
            "image": f.Image(shape=(8, 8, 3), encoding_format="jpeg"),
        },
        "action": f.Tensor(shape=(7,), dtype=np.float32),
        "language_instruction": f.Text(),
        **{name: f.Scalar(np.bool_) for name in ("is_first", "is_last", "is_terminal")},
    }
    features = f.FeaturesDict({"steps": f.Dataset(step)})
    steps = [
        {
            "observation": {
                "state": rng.normal(size=8).astype(np.float32),
                "image": np.full((8, 8, 3), 12 * i, np.uint8),
            },
            "action": rng.normal(size=7).astype(np.float32),
            "language_instruction": "push",
            **dict.fromkeys(("is_first", "is_last", "is_terminal"), i == 0),
        }
        for i in range(STEPS)
    ]
    folder = Path(tempfile.mkdtemp())
    path = folder / "many" / "1.0.0"
    path.mkdir(parents=True)
    identity = dataset_info.DatasetIdentity("many", module.core.Version("1.0.0"), str(path), "many")
    writer = module.core.SequentialWriter(module.core.DatasetInfo(builder=identity, features=features), 10)
    writer.initialize_splits(["train"])
    writer.add_examples({"train": [{"steps": steps}]})
    writer.close_all()
    info = json.loads((path / "dataset_info.json").read_text())
    info["splits"][0] |= {"shardLengths": ["1"] * files, "filepathTemplate": ""}
    (data,) = path.glob("*.tfrecord*")
    root = DATA.removeprefix("slow://")
    one = data.read_bytes()
    for number in range(files):
        CountingStore.objects[f"{root}/many-train.tfrecord-{number:05d}-of-{files:05d}"] = one
    CountingStore.objects[f"{root}/dataset_info.json"] = json.dumps(info).encode()
    CountingStore.objects[f"{root}/features.json"] = (path / "features.json").read_bytes()
    CountingStore.objects[f"{root}/dataset.yaml"] = ENTRY.encode()
    shutil.rmtree(folder)


class Watch:
    """Seconds and requests of the driver before and after the workers, and requests of the workers."""

    def __init__(self, latency: float, workers: bool = True, keep: Path | None = None) -> None:
        self.latency, self.workers, self.keep = latency, workers, keep
        self.seconds: dict[str, float] = {}
        self.requests: dict[str, Counter[str]] = {}

    def index(self) -> None:
        """Runs `index`."""
        from pipelines.common.beam import run_stage
        from pipelines.index.config import IndexConfig
        from pipelines.index.run import run_index

        def workers(*arguments: Any, **more: Any) -> None:
            self._lap("before")
            CountingStore.latency = 0.0
            if self.workers:
                run_stage(*arguments, **more)
            if self.keep:
                self.keep.write_bytes(pickle.dumps(CountingStore.objects))
            self._lap("workers")
            CountingStore.latency = self.latency

        with patch("pipelines.index.run.run_stage", workers):
            self._began = time.perf_counter()
            CountingStore.requests.clear()
            CountingStore.latency = self.latency
            run_index(IndexConfig((DATA,), INDEX, json=True), [])
            self._lap("after")
        CountingStore.latency = 0.0

    def _lap(self, phase: str) -> None:
        self.seconds[phase] = time.perf_counter() - self._began
        self.requests[phase] = Counter(CountingStore.requests)
        CountingStore.requests.clear()
        self._began = time.perf_counter()


def prepare(files: int, path: str) -> dict[str, Any]:
    """Leaves the store as it is when the workers of a run are done."""
    fill(files)
    Watch(0.0, keep=Path(path)).index()
    return {}


def resumed(files: int, latency: float, path: str) -> dict[str, Any]:
    """The driver, and nothing else, of a run that finds all source files finished."""
    CountingStore.objects.update(pickle.loads(Path(path).read_bytes()))
    held = sum(map(len, {id(value): value for value in CountingStore.objects.values()}.values())) / 1e6
    watch = Watch(latency, workers=False)
    watch.index()
    seconds, requests = watch.seconds, watch.requests
    return {
        "files": files,
        "before the workers, s": round(seconds["before"], 1),
        "after, s": round(seconds["after"], 1),
        "both, s": round(seconds["before"] + seconds["after"], 1),
        "requests before": said(requests["before"]),
        "requests after": said(requests["after"]),
        "peak MB": round(peak()),
        "of it the store": round(held),
    }


def whole(files: int) -> dict[str, Any]:
    """Requests of a whole job for each source file."""
    fill(files)
    watch = Watch(0.0)
    watch.index()
    driver = watch.requests["before"] + watch.requests["after"]
    total = driver + watch.requests["workers"]
    left = sum(name.startswith(INDEX.removeprefix("slow://")) for name in CountingStore.objects)
    row: dict[str, Any] = {"files": files}
    for kind in ("HEAD", "GET", "LIST", "PUT", "DELETE"):
        row[f"{kind} a file"] = round(total[kind] / files, 2)
    return {**row, "all a file": round(total.total() / files, 2), "of the driver": round(driver.total() / files, 2),
            "objects left": left}  # fmt: skip


def said(requests: Counter[str]) -> str:
    """Counts in words."""
    return ", ".join(f"{count:,} {kind}" for kind, count in requests.most_common()) or "none"


def peak() -> float:
    """Peak memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def apart(part: str, *arguments: str) -> dict[str, Any]:
    """Runs one of the functions above in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.object_store", "--part", part, *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return json.loads(result.stdout.strip().splitlines()[-1])


def main(config: StoreConfig) -> None:
    """Measures, prints and writes."""
    driver, job = (
        f"The driver of a run that finds every file finished, {1000 * config.latency:.0f} ms a request",
        "Requests of a whole job",
    )
    rows: dict[str, list[dict[str, Any]]] = {driver: [], job: []}
    if config.before:
        rows = {title: list(found) for title, found in json.loads(config.before.read_text())["tables"].items()}
    with tempfile.TemporaryDirectory() as folder:
        apart("prepare", str(config.files), f"{folder}/store")
        found = apart("resumed", str(config.files), str(config.latency), f"{folder}/store")
    rows[driver].append({"version": config.label, **found})
    log(f"driver: {rows[driver][-1]}")
    rows[job].append({"version": config.label, **apart("whole", str(config.whole))})
    for title, lines in rows.items():
        table(f"\n{title}", list(lines[0]), [list(row.values()) for row in lines])
    command = (
        f"python -m benchmarks.object_store --files {config.files} --whole {config.whole} --latency {config.latency}"
    )
    about.write(config.out, "object_store", "Indexing from and to an object store", command, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        part, files, *more = sys.argv[2:]
        if part == "whole":
            print(json.dumps(whole(int(files))))
        elif part == "prepare":
            print(json.dumps(prepare(int(files), more[0])))
        else:
            print(json.dumps(resumed(int(files), float(more[0]), more[1])))
    else:
        sys.exit(run(lambda: main(tyro.cli(StoreConfig))))
