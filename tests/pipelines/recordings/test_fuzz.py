"""Damaged LeRobot folders and tables: a clear error or counted rejects, never another exception, and counts that add up."""

import random
import shutil
from pathlib import Path

import pytest

from fasttok.errors import InputError
from pipelines.index.config import IndexConfig
from pipelines.index.job import save_source
from pipelines.index.job_list import plan_jobs
from pipelines.index.job_part import read_part
from pipelines.index.worker import index_file
from tests.pipelines.recordings.every_format import write_tables
from tests.pipelines.recordings.lerobot_data import write_v2, write_v3

MUTANTS = 60
LENGTHS = (22, 19, 25, 21)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The file cut short, with bytes changed, a piece doubled, emptied, or as text of another kind."""
    how = rng.randrange(6)
    if how == 0:
        return data[: rng.randrange(len(data) + 1)]
    if how == 1:
        at = rng.randrange(max(1, len(data)))
        return data[:at] + data[at // 2 :]
    if how == 2:
        return rng.choice(
            [b"", b"{}", b"[]", b"null", b"version https://git-lfs.github.com/spec/v1\n", b"\xff\xfe\x00"]
        )
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 30])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["v2", "v3", "tables"])
def test_damaged_files_cost_their_episodes(kind: str, tmp_path: Path) -> None:
    write = {"v2": lambda p: write_v2(p, LENGTHS), "v3": lambda p: write_v3(p, LENGTHS), "tables": write_tables}[kind]
    whole = write(tmp_path / "whole")
    files = sorted(f.relative_to(whole) for f in whole.rglob("*") if f.is_file())
    rng = random.Random(kind)
    outcomes = set()
    for number in range(MUTANTS):
        folder = tmp_path / "damaged" / "robot"
        shutil.copytree(whole, folder)
        for file in rng.sample(files, rng.choice([1, 1, 2])):
            (folder / file).write_bytes(mutated((folder / file).read_bytes(), rng))
        out = str(tmp_path / f"index{number}")
        try:
            source, jobs = plan_jobs(str(folder), IndexConfig((str(folder),), out, control_hz=("robot=10",)), out)
            save_source(out, source)
            for job in jobs:
                index_file(job)
                assert read_part(job).summary.counts.balanced
            outcomes.add("indexed")
        except InputError:
            outcomes.add("refused")
        shutil.rmtree(folder)
    assert outcomes == {"indexed", "refused"}
