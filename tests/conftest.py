"""Fixtures that every package's tests share."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fasttok", deadline=None)  # time is for benchmarks, not for tests
settings.load_profile("fasttok")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real episodes and golden numbers beside the checkout; tests that need it skip without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the reference data at {folder}, which is not here")
    return folder
