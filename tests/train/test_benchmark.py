"""The benchmark of training steps runs with little installed, measures what it says, and keeps to its time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import about
from benchmarks.train_step import Bench, Compiled, Session, Variant, arguments, main
from train.costs import memory

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "size": "debug",
    "batch": 2 * jax.device_count(),
    "cameras": 1,
    "text": 24,
    "suffix": 8,
    "horizon": 6,
    "rounds": 2,
}
NAMES = [
    "ki", "joint", "ki, attention cudnn", "ki, remat dots, largest batch", "ki, remat layer, largest batch",
    "ki, remat none, largest batch", "lora", "frozen", "pi0",
]  # fmt: skip
BARE = """
import sys
names = ("tyro", "tensorflow", "tensorflow_datasets", "apache_beam", "rlds", "tokenizers", "pyarrow", "orbax", "PIL", "msgspec",
         "fsspec", "numba", "safetensors", "yaml", "google_crc32c", "av", "transformers", "grain", "flax", "h5py", "requests")
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
"""


def bare(code: str) -> str:
    """What code prints in an interpreter that has JAX, optax, numpy, scipy and rich, and nothing else that we ever use."""
    done = subprocess.run([sys.executable, "-c", BARE + code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_benchmark_and_what_it_measures_need_nothing_beside_jax() -> None:
    code = (
        "import benchmarks.train_step, train.step, train.losses, train.model, train.presets, "
        "train.costs.memory, train.learning.lora"
    )
    assert bare(f"{code}\nprint('imported')") == "imported\n"
    with pytest.raises(AssertionError, match="No module named 'tyro'"):
        bare("import train.command")


@pytest.mark.slow
def test_one_command_in_a_bare_environment_writes_every_row(tmp_path: Path) -> None:
    words = [f"--{name}={value}" for name, value in TINY.items()]
    words += ["--rounds=1", "--memory=0.2", "--only", "ki", "lora", "pi0", "--out", str(tmp_path)]
    bare(f"import sys\nfrom benchmarks.train_step import arguments, main\nmain(arguments({words!r}))")
    told = json.loads((tmp_path / "train_step.json").read_text())
    assert told["command"].startswith("python -m benchmarks.train_step --size debug")
    rows = told["tables"]["Training steps"]
    assert [row["variant"] for row in rows] == ["ki", "lora", "pi0"]
    assert all(row["samples/s"] > 0 and row["peak GiB"] > 0 for row in rows)
    assert [row["tokens/sample"] for row in rows] == ["40 + 6", "40 + 6", "32 + 6"]


class Timed:
    """Stands for the session's slow parts: a clock that compiling and turns move on, and memory that is half as much again as
    the estimate says, or what `more` says of variants with the largest batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, compiling: float, turn: float, more: float = 1.5) -> None:
        self.now = 0.0
        self.compiled: list[tuple[str, int]] = []
        self.turns: list[str] = []
        self.compiling, self.turn, self.more = compiling, turn, more
        self.full = 0  # turns that run out of memory
        monkeypatch.setattr("benchmarks.train_step.time.monotonic", lambda: self.now)
        monkeypatch.setattr(Session, "prepare", lambda session, variant: self.prepare(session, variant))
        monkeypatch.setattr(Session, "compile", lambda session, variant: self.compile(session, variant))
        monkeypatch.setattr(Session, "turn", lambda session, ready, steps: self.run(ready, steps))

    def prepare(self, session: Session, variant: Variant) -> None:
        session.kind = variant.kind

    def compile(self, session: Session, variant: Variant) -> Compiled:
        self.now += self.compiling
        session.compiling = max(session.compiling, self.compiling)
        self.compiled.append((variant.name, variant.config.batch_size))
        found = memory.estimate(variant.config, variant.config.model, 24 if variant.targets else 16)
        size = (self.more if variant.largest else 1.5) * (found.total(variant.config.batch_size) - found.held)
        return Compiled(variant, {}, None, int(found.held), int(size), self.compiling)

    def run(self, ready: Compiled, steps: int) -> float:
        if self.full and ready.variant.largest:
            self.full -= 1
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")
        seconds = (
            self.turn * ready.variant.config.batch_size / TINY["batch"] * (1.02 if ready.variant.name == "ki" else 1.0)
        )
        self.now += seconds * steps
        self.turns.append(ready.variant.name)
        return seconds


def test_rows_come_in_order_are_written_at_once_and_pairs_give_the_cost_of_insulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed(monkeypatch, compiling=30, turn=1)
    written: list[int] = []
    write = about.write

    def counted(*args: Any, **more: Any) -> None:
        written.append(len(args[4]["Training steps"]))
        write(*args, **more)

    monkeypatch.setattr(about, "write", counted)
    tables = main(Bench(**TINY, seconds=0, memory=0.5, out=tmp_path))
    rows = tables["Training steps"]
    assert [row["variant"] for row in rows] == NAMES
    assert written == list(range(1, 10))
    assert [name for name, _ in timed.compiled] == [n for n in NAMES if "cudnn" not in n]  # each once
    assert rows[2]["samples/s"] == "needs an NVIDIA GPU"
    assert rows[1]["time, ki = 1"] == pytest.approx(1 / 1.02)
    assert tables["What insulation costs over joint, in pairs"][0]["time of ki over joint"] == "+2.0 %"
    assert timed.turns[:7] == ["ki", "ki", "ki", "joint", "ki", "joint", "ki"]
    assert "no GPU was available" in (tmp_path / "train_step.md").read_text()


def test_what_would_not_be_done_in_time_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest batches, which would take long, are left out; what is short comes after them all the same."""
    timed = Timed(monkeypatch, compiling=10, turn=1)
    rows = main(Bench(**TINY, seconds=90, memory=0.5, out=None))["Training steps"]
    assert timed.now <= 90
    done = [row["variant"] for row in rows if isinstance(row["samples/s"], float)]
    assert done == ["ki", "joint", "lora", "frozen", "pi0"]
    assert all("not begun: about" in row["samples/s"] for row in rows if row["variant"] not in (*done, NAMES[2]))


@pytest.mark.parametrize(("full", "wanted"), [(1, True), (2, False)])
def test_running_out_of_memory_is_a_result_after_one_smaller_batch(
    full: int, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = Timed(monkeypatch, compiling=30, turn=1)
    timed.full = full
    rows = main(Bench(**TINY, seconds=0, memory=0.5, only=("ki", NAMES[3], "lora"), out=None))["Training steps"]
    (_, first), (_, second) = [found for found in timed.compiled if found[0] == NAMES[3]]
    assert second < first
    assert isinstance(rows[1]["samples/s"], float) == wanted
    assert wanted or rows[1]["samples/s"] == "out of memory"
    assert isinstance(rows[2]["samples/s"], float)


@pytest.mark.parametrize("more", [1.5, 2.5])
def test_the_largest_batch_follows_from_one_compilation(more: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate is scaled by what ki needed; if that was too little for a variant, its own numbers count for a second try."""
    timed = Timed(monkeypatch, compiling=30, turn=1, more=more)
    rows = main(Bench(**TINY, seconds=0, memory=0.6, only=("ki", *NAMES[3:6]), out=None))["Training steps"]
    assert len(timed.compiled) == (4 if more == 1.5 else 7)
    for row in rows[1:]:
        assert 0.5 < row["peak GiB"] <= 0.6, row
    assert rows[3]["batch"] < rows[1]["batch"]


def test_flags_fill_every_field() -> None:
    assert arguments([]) == Bench()
    assert arguments(["--seconds", "0", "--only", "ki", "joint", "--two-calls"]) == Bench(
        seconds=0, only=("ki", "joint"), two_calls=True
    )


@pytest.mark.slow
def test_two_attention_calls_are_one(tmp_path: Path) -> None:
    tables: Any = main(Bench(**TINY | {"rounds": 1}, only=("none of them",), two_calls=True, out=tmp_path))
    for row in tables["Two attention calls against one, as openpi shapes it"]:
        assert np.isfinite(row["seconds"])
        assert float(row["loss differs by"]) < 1e-5
        assert float(row["gradients differ by"]) < 1e-4
