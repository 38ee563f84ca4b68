"""Fixtures that every package's tests share: a small tabletop dataset, taken once through every stage."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.chain import Chain

settings.register_profile("fasttok", deadline=None)  # time is for benchmarks, not for tests
settings.load_profile("fasttok")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Most of the training tests compile the same few functions: in this process and in those that tests start.
_cache = tempfile.TemporaryDirectory(prefix="fasttok-jax-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _cache.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

ROOT = Path(__file__).resolve().parents[1]


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

    out = tmp_path_factory.mktemp("tabletop")
    main(GenerateConfig(out, episodes=12, vqa=60, captions=30))
    return out


@pytest.fixture(scope="session")
def chain(tabletop: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The generated data, indexed, with a tokenizer fitted and 700 samples built into three shards."""
    from fasttok.cli import Fit
    from pipelines.builder.run import BuildConfig, run_build
    from pipelines.index.config import IndexConfig
    from pipelines.index.run import run_index

    out = tmp_path_factory.mktemp("chain")
    made = Chain(tabletop, out / "index", out / "tokenizer", out / "shards")
    run_index(IndexConfig(made.datasets, made.index), [])
    Fit((str(made.index),), made.tokenizer, vocab_size=300).run()
    run_build(BuildConfig("demo", str(made.shards), 700, str(made.index), str(made.tokenizer), shards=3), [])
    return made


@pytest.fixture
def own_data(tabletop: Path, tmp_path: Path) -> Path:
    """A copy of the generated datasets that a test may damage."""
    out = tmp_path / "data"
    shutil.copytree(tabletop, out)
    return out
