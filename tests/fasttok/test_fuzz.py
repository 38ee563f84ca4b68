"""Damaged RLDS directories: only clear errors and counted rejects, no hang, no memory blow-up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fasttok.random_features import write

MUTANTS = 2000


@pytest.mark.slow
def test_mutants(tabletop: Path, tmp_path: Path) -> None:
    directories = [tabletop / "tabletop_planar" / "1.0.0"]
    directories += [write(seed, tmp_path / str(seed), episodes=True) for seed in (1, 2, 9, 12, 31, 40, 55)]
    fuzz = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, str(fuzz), str(tmp_path), str(MUTANTS), *map(str, directories)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    outcomes: dict[str, int] = json.loads(result.stdout)
    assert sum(outcomes.values()) == MUTANTS
    assert not [name for name in outcomes if "does not say where" in name]
    ends = {end: sum(n for name, n in outcomes.items() if name.endswith(f": {end}")) for end in ("rejects", "an error")}
    assert min(ends.values()) > MUTANTS / 10, outcomes  # the damage does reach the reader
    print(json.dumps(outcomes, indent=1, sort_keys=True))
