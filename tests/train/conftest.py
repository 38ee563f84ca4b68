"""A run that the tests of the trainer share."""

from pathlib import Path

import pytest

from tests.chain import Chain
from tests.shared_folders import once


@pytest.fixture(scope="session")
def trained(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, made once: what it compiles is then found in JAX's cache. Do not write into it."""
    from tests.train.tiny_runs import config
    from train.loop import run

    return once(tmp_path_factory, "trained", lambda out: run(config(chain, out / "ki"))) / "ki"
