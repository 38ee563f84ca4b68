"""Names that files of other people hold and that become paths: none leads out of the folder that it is meant for."""

import json
from pathlib import Path

import pytest

from fasttok.common.names import plain_name, relative_path
from fasttok.episodes import rlds
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from pipelines.index.config import IndexConfig
from pipelines.index.job import DatasetSource, load_source, save_jobs, save_source
from pipelines.index.job_list import plan_jobs
from pipelines.index.run import run_index
from pipelines.shards.cache import ShardCache
from pipelines.shards.manifest import Manifest
from tests.chain import Chain
from tests.pipelines.one_question import questions

OUTSIDE = (
    "../../evil",
    "/tmp/evil",
    "..",
    ".",
    "a/b",
    "a\\b",
    "",
    ".unfinished",
    "s3://bucket/x",
    "a::b",
    "x\x00y",
    "a" * 300,
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_dataset_whose_name_leads_out_of_the_index_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    out = tmp_path / "a" / "b" / "index"
    with pytest.raises(InputError, match="name"):
        run_index(IndexConfig((str(questions(tmp_path / "data", name)),), str(out)), [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize("name", ["bridge_dataset", "my data", "données", "fmb.v2+1", "a-b", "jobs", "live"])
def test_plain_names_stay(tmp_path: Path, name: str) -> None:
    assert plain_name(name, "dataset name", "x") == name
    source, jobs = plan_jobs(str(questions(tmp_path / "data", name)), IndexConfig((), ""), str(tmp_path / "index"))
    assert jobs[0].base == f"{tmp_path}/index/{name}/train/00000-t"
    save_source(str(tmp_path), source)
    save_jobs(str(tmp_path), jobs)  # a dataset called `jobs` lost its description to the list of jobs
    assert isinstance(load_source(str(tmp_path), name, source.digest), DatasetSource)


@pytest.mark.parametrize("split", ["../train", "a/b", "..", ".hidden"])
def test_a_split_that_leads_out_of_the_index_is_refused(tmp_path: Path, split: str) -> None:
    with pytest.raises(InputError, match="split"):
        plan_jobs(str(questions(tmp_path / "data", split=split)), IndexConfig((), ""), str(tmp_path / "index"))


@pytest.mark.parametrize("template", ["../{DATASET}-{SHARD_INDEX}", "/etc/{DATASET}", "a/../../{DATASET}"])
def test_a_template_that_leads_out_of_a_tfds_folder_is_refused_not_handed_to_tfds(template: str) -> None:
    with pytest.raises(InputError, match="leads out") as caught:
        rlds.file_name(template, "toy", "train", 0, 1)
    assert type(caught.value) is InputError


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "s3://b/x", "a\\..\\x", "", "file::x", 3, None])
def test_relative_paths_stay_below(path: object) -> None:
    with pytest.raises(InputError, match="leaves its folder"):
        relative_path(path, "manifest.json")


def test_an_index_names_only_files_of_its_own(chain: Chain, tmp_path: Path) -> None:
    text = (chain.index / "index.json").read_text()
    raw = json.loads(text)
    stem = raw["datasets"]["tabletop_vqa"]["splits"]["train"]["files"][0]
    for there, evil in (
        (json.dumps(stem), '"../../../x"'),
        ('"tabletop_vqa": {', '"../x": {'),
        ('"val": {', '"../val": {'),
    ):
        assert there in text
        (tmp_path / "index.json").write_text(text.replace(there, evil))
        with pytest.raises(InputError, match="leaves its folder"):
            open_index(str(tmp_path))


def test_a_manifest_names_only_files_of_its_own(chain: Chain, tmp_path: Path) -> None:
    raw = json.loads((chain.shards / "manifest.json").read_text())
    sha = raw["shards"][0]["sha256"]
    text = json.dumps(raw)
    for there, evil in ((f'"{sha}"', '"../../x"'), ('"folder": "tokenizer"', '"folder": "../tokenizer"')):
        assert there in text
        (tmp_path / "manifest.json").write_text(text.replace(there, evil))
        with pytest.raises(InputError, match=r"sha256|leaves its folder"):
            Manifest.load(str(tmp_path))


def test_a_cache_deletes_only_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.arrow").write_bytes(b"x" * 100)
    (tmp_path / f"{64 * 'a'}.arrow").write_bytes(b"x" * 100)
    ShardCache(str(tmp_path), 10)._evict(0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.arrow"]
