"""Reads the files of a finished demo, for its summary and its page."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fasttok.errors import InputError


def read_json(path: Path) -> Any:
    """Reads a JSON file of the demo.

    Raises:
        InputError: the file is missing, so the demo did not get that far.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: the demo did not finish; run: make demo")
    return json.loads(path.read_text(encoding="utf-8"))


def read_log(path: Path) -> dict[str, np.ndarray]:
    """Reads a metrics.jsonl into columns, with NaN for values that a line does not have."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    names = sorted({name for row in rows for name, value in row.items() if isinstance(value, int | float)})
    return {name: np.array([row.get(name, np.nan) for row in rows], float) for name in names}
