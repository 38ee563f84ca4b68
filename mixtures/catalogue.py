"""What is published about the size of datasets, for `explain` when there is no INDEX. Estimates, and said to be."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parent / "catalogue.yaml"


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """Dataset -> kind, episodes, frames, frames_from, hz, action_dim, gib; what is not published is left out."""
    value: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return value
