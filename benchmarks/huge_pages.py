"""`python -m benchmarks.huge_pages`: what training on a CPU gains from how glibc is asked for memory.

The same run of `fasttok-train`, as a process of its own, under each setting in turn: CPU seconds of its steps.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks import about
from examples.commands import call, words
from fasttok.common.console import log, run
from train.devices.huge_pages import TUNABLES, VARIABLE

SETTINGS = {"as glibc is": "", "huge pages": "glibc.malloc.hugetlb=1", "huge pages that stay (ours)": TUNABLES}


@dataclass(frozen=True)
class BenchConfig:
    """Times training steps of the tabletop world on a CPU; writes benchmarks/results/huge_pages.md.

    Example: python -m benchmarks.huge_pages --steps 100
    """

    steps: int = 100
    """Steps that count; a run of 2 steps is taken off, for the start."""
    repeats: int = 5
    """Runs of each setting; the median counts."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def seconds(shards: Path, out: Path, steps: int, tunables: str) -> float:
    """CPU seconds of a run."""
    shutil.rmtree(out, ignore_errors=True)
    command = f"fasttok-train --preset ki --shards {shards} --out {out} --steps {steps} --checkpoint-every 100000"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words(command), env={**os.environ, VARIABLE: tunables}, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(config: BenchConfig) -> None:
    """Measures and writes."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        call("python -m examples.tabletop.generate --out data --episodes 40 --vqa 400 --captions 200", data)
        call("fasttok-pipelines index data/tabletop_planar/1.0.0 data/tabletop_arm/1.0.0 data/tabletop_vqa "
             "data/tabletop_captions --out index", data)  # fmt: skip
        call("fasttok fit index --out tokenizer --seconds 1.0 --vocab-size 512", data)
        call("fasttok-pipelines build demo --index index --tokenizer tokenizer --out shards --samples 4000", data)
        shards, out = data / "shards", data / "run"
        seconds(shards, out, 2, TUNABLES)  # compiles, once for all
        found: dict[str, list[float]] = {name: [] for name in SETTINGS}
        for _ in range(config.repeats):
            for name, tunables in SETTINGS.items():
                start = seconds(shards, out, 2, tunables)
                found[name].append((seconds(shards, out, config.steps + 2, tunables) - start) / config.steps)
                log(f"{name}: {1000 * found[name][-1]:.0f} CPU ms a step")
    rows = []
    for name, each in found.items():
        ratios = [before / now for before, now in zip(found["as glibc is"], each, strict=True)]
        rows.append({
            "memory": name, "CPU ms a step": 1000 * statistics.median(each), "speed": statistics.median(ratios),
            "speed, range": f"{min(ratios):.2f} to {max(ratios):.2f}",
        })  # fmt: skip
    title = "Training on a CPU, by how glibc is asked for memory"
    command = f"python -m benchmarks.huge_pages --steps {config.steps} --repeats {config.repeats}"
    about.write(config.out, "huge_pages", title, command, {"Steps of the demo's model": rows})


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.huge_pages"))))
