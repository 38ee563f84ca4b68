"""The last lines of `index` and `build` say why records are missing, with an example, and where all of them are told."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from tests.chain import MIXTURE, Chain
from tests.pipelines.indexing import PLANAR, first_file, rewrite


def bad_image(feature: Any) -> None:
    feature["steps/observation/image"].bytes_list.value[2] = b"this is no JPEG"


def test_index_names_reason_detail_and_table(own_data: Path, tmp_path: Path, capsys: Any) -> None:
    rewrite(first_file(own_data), bad_image)
    out = tmp_path / "index"
    run_index(IndexConfig((str(own_data / PLANAR),), str(out)), [])
    *_, head, reason, last = capsys.readouterr().err.splitlines()
    assert f"{out}/tabletop_planar/*/*.rejected.parquet" in head
    assert reason.startswith("  1 image: camera primary")
    assert first_file(own_data).name in reason
    assert "; 1 of 16 records of tabletop_planar rejected (6.25 %), mostly: image; next: fasttok fit" in last
    run_index(IndexConfig((str(own_data / PLANAR),), str(out), resume=True), [])
    assert "1 of 16 records of tabletop_planar rejected" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(InputError, match=r"1 image: camera primary.*step 2.*tabletop_planar/\*/\*\.rejected\.parquet"):
        run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "strict"), max_bad="0"), [])


def test_a_feature_that_records_lack_is_named(own_data: Path, tmp_path: Path) -> None:
    entry = own_data / PLANAR / "dataset.yaml"
    entry.write_text(entry.read_text().replace("observation/state", "observation/stat"))
    with pytest.raises(InputError, match=r"no step feature observation/stat; there are .*observation/state"):
        run_index(IndexConfig((str(own_data / PLANAR),), str(tmp_path / "index")), [])


def test_build_names_reason_and_detail(own_data: Path, chain: Chain, tmp_path: Path, capsys: Any) -> None:
    index = tmp_path / "index"
    datasets = tuple(
        str(own_data / name) for name in ("tabletop_vqa", "tabletop_captions", PLANAR, "tabletop_arm/1.0.0")
    )
    run_index(IndexConfig(datasets, str(index)), [])
    for image in list((own_data / "tabletop_vqa/images").rglob("*.jpg"))[::2]:
        image.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    run_build(BuildConfig(MIXTURE, str(tmp_path / "s"), 300, str(index), str(chain.tokenizer)), [])
    *_, head, reason, last = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/s/rejected/" in head
    assert "image: " in reason
    assert re.search(
        r"; \d+ of \d+ rows of \w+ rejected \([\d.]+ %\), mostly: image; next: fasttok-pipelines insp", last
    )
    assert last.count("rejected (") == 1  # the other sources lost nothing


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_a_missing_file_of_tfds_is_named(own_data: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "torn/1.0.0"
    shutil.copytree(own_data / PLANAR, folder)
    (folder / name).unlink()
    for own_entry in (True, False):
        if not own_entry:
            (folder / "dataset.yaml").unlink()
        with pytest.raises(InputError, match=f"{folder}/{name} is missing"):
            run_index(IndexConfig((str(folder),), str(tmp_path / "index")), [])
