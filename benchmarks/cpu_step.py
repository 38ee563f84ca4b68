"""`python -m benchmarks.cpu_step --against REVISION`: rows a second of `fasttok-train` in two revisions, in turns.

Each revision is a process of its own that trains the same run, with the demo's settings by default. One of them trains for a few
steps while the other waits, then they change. Rates compare two turns that follow each other; clock and CPU time both count,
since other work on the machine lengthens the clock's. The losses of both stand beside each other.

    python -m examples.demo --out demo
    python -m benchmarks.cpu_step --against HEAD~20 --shards demo/shards --init-from demo/vlm
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tyro

from benchmarks import about
from fasttok.common.console import progress, run, table

# The process of a revision: the trainer itself, which logs every few steps. What it logs goes to its parent, who says "go".
WORKER = """
import json, sys, time
import train.loop
from train.command import main

class Turns:
    def __init__(self):
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def log(self, row):
        clock, cpu = time.perf_counter(), time.process_time()
        words = {"clock": clock - self.clock, "cpu": cpu - self.cpu, **row}
        print("TURN " + json.dumps(words), file=sys.stderr, flush=True)
        sys.stdin.readline()
        self.clock, self.cpu = time.perf_counter(), time.process_time()

    def close(self):
        pass

train.loop.open_trackers = lambda *_, **__: Turns()
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class BenchConfig:
    """Trains in two revisions in turns; writes benchmarks/results/cpu_step.json and .md.

    Example: python -m benchmarks.cpu_step --against v0.1.0 --shards demo/shards --init-from demo/vlm
    """

    against: str
    """Revision of this repository to compare with."""
    shards: Path = Path("demo/shards")
    """Shards of `make demo`."""
    init_from: Path | None = Path("demo/vlm")
    """Run that the demo's starts from."""
    preset: str = "ki"
    """What is trained."""
    steps: int = 200
    """Steps of each revision."""
    turn: int = 10
    """Steps of a turn."""
    cores: int = 0
    """Cores that both may use; 0: all."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


class Trainer:
    """A revision's training, which stands still until it is told to go on."""

    def __init__(self, root: Path, bench: BenchConfig, out: Path) -> None:
        words = ["--preset", bench.preset, "--shards", str(bench.shards.resolve()), "--out", str(out)]
        words += ["--steps", str(bench.steps), "--log-every", str(bench.turn)]
        words += ["--init-from", str(bench.init_from.resolve())] if bench.init_from else []
        environment = os.environ | {"PYTHONPATH": str(root)}
        cores = sorted(os.sched_getaffinity(0))[-bench.cores or None :]
        self.log = out.with_suffix(".log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *words],
            cwd=root,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=subprocess.PIPE,
            text=True,
        )

    def turn(self) -> dict[str, Any] | None:
        """Waits for the end of a turn; None at the end of the run."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            at = line.find("TURN ")
            if at >= 0:
                return dict(json.loads(line[at + 5 :]))
            self.log.write(line)
        return None

    def go(self) -> None:
        """Lets it train until its next turn ends."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


def main(bench: BenchConfig) -> None:
    """Measures, prints and writes."""
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(other), bench.against], check=True)
        try:
            turns = measure(bench, {bench.against: other, "this checkout": here}, Path(folder))
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
    rows = compare(turns)
    curve = [
        {"step": pair[0]["step"]}
        | {
            f"{key}, {name}": row[key]
            for key in LOSSES
            if key in pair[0]
            for name, row in zip(turns, pair, strict=True)
        }
        for pair in zip(*turns.values(), strict=True)
    ]
    tables = {"Rows a second, in turns": rows, "Losses": curve[:: max(1, len(curve) // 20)]}
    for heading, lines in tables.items():
        table(f"\n{heading}", list(lines[0]), [list(line.values()) for line in lines])
    command = f"python -m benchmarks.cpu_step --against {bench.against} --steps {bench.steps} --turn {bench.turn}"
    about.write(bench.out, "cpu_step", f"A step of {bench.preset} on a CPU against {bench.against}", command, tables)


LOSSES = ("loss", "loss_fast", "loss_flow", "loss_vlm")


def measure(bench: BenchConfig, roots: dict[str, Path], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Turns of each revision, without those in which it compiles."""
    trainers = {
        name: Trainer(root, bench, folder / f"run{number}") for number, (name, root) in enumerate(roots.items())
    }
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in roots}
    for trainer in trainers.values():  # the first row is of step 1, with the compiler's time
        trainer.turn()
    with progress("measuring", len(roots) * (bench.steps // bench.turn), "turns") as advance:
        while True:
            for name, trainer in trainers.items():
                trainer.go()
                found = trainer.turn()
                if found is not None:
                    turns[name].append(found)
                    advance()
            if any(not found or found[-1]["step"] >= bench.steps for found in turns.values()):
                break
    for trainer in trainers.values():
        trainer.process.communicate("go\n" * 4)
        trainer.log.close()
    return turns


def compare(turns: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Medians over turns but the first, in which threads fill the queue; a ratio compares two that follow each other."""
    first = next(iter(turns.values()))
    out = []
    for name, found in turns.items():
        last, row = 1, cast(dict[str, Any], {"revision": name})
        rates: dict[str, list[float]] = {"clock": [], "cpu": []}
        ratios: dict[str, list[float]] = {"clock": [], "cpu": []}
        for own, base in zip(found, first, strict=True):
            for kind in rates:
                rates[kind].append(own[kind] / (own["step"] - last))
                ratios[kind].append(base[kind] / own[kind])
            last = own["step"]
        for kind, word in (("clock", "ms a step by the clock"), ("cpu", "ms a step of CPU time")):
            row[word] = 1e3 * statistics.median(rates[kind][1:])
            row[f"rows a second to the first, {kind}"] = statistics.median(ratios[kind][1:])
        out.append(row)
    return out


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.cpu_step"))))
