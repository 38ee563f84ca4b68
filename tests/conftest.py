"""Fixtures that every package's tests share: a small tabletop dataset, taken once through every stage."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.chain import MIXTURE, Chain
from tests.shared_folders import once

# Time is for benchmarks, not for tests.
settings.register_profile("fasttok", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fasttok")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Compiling is most of what the training tests do; what is compiled in half the time runs slower, which small models bear.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# Most of the training tests compile the same few functions: in this process, in its workers and in those that tests start.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="fasttok-jax-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = pytest.StashKey[int]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the workers of `pytest -n` start: kernels are compiled once, not by each of them."""
    if session.config.getoption("numprocesses", None):
        subprocess.run([sys.executable, "-m", "tests.kernels"], cwd=ROOT, check=True)


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Counts the slow tests that `-m "not slow"` leaves out."""
    if items:
        stash = items[0].config.stash
        stash[LEFT_OUT] = stash.get(LEFT_OUT, 0) + sum(item.get_closest_marker("slow") is not None for item in items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of `pytest -n` tells its count; each of them collects all tests, so the counts are the same."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes a worker's count."""
    if hasattr(node, "workeroutput"):  # a worker that died has none
        node.config.stash[LEFT_OUT] = node.workeroutput.get("left_out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says how much was not tested."""
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{count} slow tests were left out; `make test-all` runs them too")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real episodes and golden numbers beside the checkout; tests that need it skip without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the reference data at {folder}, which is not here")
    return folder


@pytest.fixture(scope="module", autouse=True)
def forget_compiled() -> Iterator[None]:
    """Lets go of a module's compiled functions: each holds a few memory maps, of which Linux gives a process 65,530; without
    this the whole suite in one process needs more, and dies of a segmentation fault."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def tabletop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the four generated datasets: 12 + 2 episodes per robot, 60 questions, 30 captions."""
    from examples.tabletop.generate import GenerateConfig, main

    return once(tmp_path_factory, "tabletop", lambda out: main(GenerateConfig(out, episodes=12, vqa=60, captions=30)))


@pytest.fixture(scope="session")
def chain(tabletop: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The generated data, indexed, with a tokenizer fitted and 700 samples built into three shards."""
    from fasttok.cli import Fit
    from pipelines.builder.config import BuildConfig
    from pipelines.builder.run import run_build
    from pipelines.index.config import IndexConfig
    from pipelines.index.run import run_index

    def stages(out: Path) -> Chain:
        return Chain(tabletop, out / "index", out / "tokenizer", out / "shards")

    def make(out: Path) -> None:
        made = stages(out)
        run_index(IndexConfig(made.datasets, str(made.index)), [])
        Fit((str(made.index),), made.tokenizer, vocab_size=300).run()
        run_build(BuildConfig(MIXTURE, str(made.shards), 700, str(made.index), str(made.tokenizer), shards=3), [])

    return stages(once(tmp_path_factory, "chain", make))


@pytest.fixture
def own_data(tabletop: Path, tmp_path: Path) -> Path:
    """A copy of the generated datasets that a test may damage."""
    out = tmp_path / "data"
    shutil.copytree(tabletop, out)
    return out
