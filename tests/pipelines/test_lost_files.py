"""A source file that is lost is a dead letter of all the records that it should hold, not the end of the job."""

from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.check.open_dataset import open_dataset
from pipelines.index.config import IndexConfig
from pipelines.index.job import DatasetSource, IndexJob
from pipelines.index.job_list import plan_jobs
from pipelines.index.run import run_index
from tests.pipelines.indexing import PLANAR, balanced, first_file, rejected


def test_index_goes_on_without_it(own_data: Path, tmp_path: Path, capsys: Any) -> None:
    file, out = first_file(own_data), tmp_path / "index"
    file.unlink()
    result = run_index(IndexConfig((str(own_data / PLANAR),), str(out)), [])
    said = capsys.readouterr().err.splitlines()
    assert "records of tabletop_planar rejected (18.8 %), mostly: missing; next:" in said[-1]
    balanced(result)
    train = result.datasets["tabletop_planar"].splits["train"]
    assert train.read == 12
    (row,) = rejected(out)
    assert (row["reason"], row["records"], row["file"]) == ("missing", 12 - train.indexed, str(file))
    run_build(BuildConfig("all", str(tmp_path / "shards"), 40, str(out), "fit"), [])
    with pytest.raises(InputError, match=r"more than --max-bad 1%.*is not there"):
        run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "strict"), max_bad="1%"), [])


def test_lost_between_planning_and_work_is_the_same(own_data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    file = first_file(own_data)

    def then_lost(*args: Any) -> tuple[DatasetSource, list[IndexJob]]:
        found = plan_jobs(*args)
        file.unlink()
        return found

    monkeypatch.setattr("pipelines.index.job_list.plan_jobs", then_lost)
    out = tmp_path / "late"
    late = run_index(IndexConfig((str(own_data / PLANAR),), str(out)), [])
    monkeypatch.undo()
    early = run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "early")), [])
    assert late.digest == early.digest
    assert (out / "sources.arrow").read_bytes() == (tmp_path / "early/sources.arrow").read_bytes()


def test_a_file_that_came_back_is_read(own_data: Path, tmp_path: Path) -> None:
    file, config = first_file(own_data), IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index"))
    aside = file.rename(tmp_path / "aside")
    run_index(config, [])
    aside.rename(file)
    with pytest.raises(InputError, match="changed since it was indexed"):
        run_build(BuildConfig("all", str(tmp_path / "shards"), 40, config.out, "fit"), [])
    again = IndexConfig(config.datasets, config.out, overwrite=True)
    assert not run_index(again, []).datasets["tabletop_planar"].splits["train"].rejected


@pytest.mark.parametrize("limit", [None, 1, 100])
def test_check_counts_it_too(own_data: Path, limit: int | None) -> None:
    for file in sorted((own_data / PLANAR).glob("*train*tfrecord*"))[:1]:
        dataset = open_dataset(str(own_data / PLANAR))
        whole = dataset.directory.declared[str(file)] if dataset.directory else 0
        file.unlink()
        bad = [one for one in dataset.read("train", limit) if getattr(one, "reason", "") == "missing"]
        assert sum(getattr(one, "records", 0) for one in bad) == whole > 0
