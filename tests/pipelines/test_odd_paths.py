"""The whole chain in folders whose names hold signs that fsspec, glob or URLs give a meaning."""

import os
import shutil
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest

from fasttok.cli import Fit
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.look.lint import LintConfig, run_lint
from pipelines.shards import ShardReader
from tests.chain import Chain

PLANAR = "tabletop_planar/1.0.0"
MIXTURE = "name: mine\nsources:\n  - {dataset: tabletop_planar, weight: 1}\n"
ODD = "a::b#c?d*e[f]{g} %20~://h"


def chain_in(data: str, work: str, local: Path) -> list[object]:
    """Index, fit, build, read and lint below `work`; what of it does not depend on the place."""
    mixture = local / "mine.yaml"
    mixture.write_text(MIXTURE)
    index = run_index(IndexConfig((data,), f"{work}/index"), [])
    Fit((f"{work}/index",), local / "T", vocab_size=300).run()
    config = BuildConfig(str(mixture), f"{work}/shards", 60, f"{work}/index", tokenizer=str(local / "T"), shards=2)
    run_build(config, [])
    reader = ShardReader(f"{work}/shards", verify=True)
    run_lint(LintConfig(f"{work}/shards"))
    ids = [i for batch in reader.batches(20, mode="block", epochs=1) for i in batch["sample_id"]]
    return [index.digest, [shard.sha256 for shard in reader.manifest.shards], ids]


@pytest.fixture(scope="module")
def plain(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("plain")
    return chain_in(str(chain.data / PLANAR), str(folder), folder)


def test_odd_local_names_give_the_same(chain: Chain, plain: list[object], tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir(parents=True)
    shutil.copytree(chain.data / PLANAR, folder / PLANAR)
    assert chain_in(str(folder / PLANAR), f"{tmp_path}/{ODD}", folder) == plain
    assert not (folder / "index" / ".unfinished").exists()


def test_odd_names_in_a_store_give_the_same(chain: Chain, plain: list[object], tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    url = f"memory://{uuid.uuid4().hex}/a#c?d*e[f]g"
    other = url.replace("d*e[f]", "dxef")  # what the name fits as a pattern
    fs.pipe_file(f"{other}/index/.unfinished/mine", b"x")
    for file in (chain.data / PLANAR).iterdir():
        fs.pipe_file(f"{url}/{PLANAR}/{file.name}", file.read_bytes())
    assert chain_in(f"{url}/{PLANAR}", url, tmp_path) == plain
    assert fs.cat_file(f"{other}/index/.unfinished/mine") == b"x"
    assert not fs.find(f"{url}/index/.unfinished")


def test_a_file_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset.yaml").write_text(
        "{name: data, kind: robot, control_hz: 10, cameras: {}, language: null, action: [{from: action}]}"
    )
    np.savez(data / "x.npz", action=np.zeros((20, 2)))
    try:
        (data / "x.npz").rename(data / os.fsdecode(b"d\xe9mo.npz"))
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(InputError, match=r"d\\udce9mo\.npz': this path is not UTF-8.*; rename"):
        run_index(IndexConfig((str(data),), str(tmp_path / "index")), [])


def test_files_with_the_longest_names_are_indexed(tmp_path: Path) -> None:
    """Names of 250 bytes, which begin alike, also in the middle of a letter; what `index` writes has longer suffixes."""
    folder = tmp_path / "d"
    folder.mkdir()
    for number in range(3):
        steps = np.full((4, 2), number, np.float32)
        np.savez(folder / f"{'x' * (number > 0)}{'抓' * 80}{'x' * (number == 0)}{number}-xxx.npz", action=steps)
    (folder / "dataset.yaml").write_text(
        "name: d\nkind: robot\nformat: tables\ncontrol_hz: 5\ncameras: {}\nfilters: {language: false}\naction: [{from: action}]\n"
    )
    index = run_index(IndexConfig((str(folder),), str(tmp_path / "index")), [])
    assert index.datasets["d"].splits["train"].indexed == 3
    assert index.datasets["d"].splits["train"].steps == 12


def test_shards_and_an_index_whose_path_is_no_utf8_are_refused(tmp_path: Path) -> None:
    """Arrow maps no such file, and JSON cannot name it."""
    folder = f"{tmp_path}/d\udce9mo"
    with pytest.raises(InputError, match=r"d\\udce9mo': this path is not UTF-8.*; rename"):
        ShardReader(folder)
    (tmp_path / "m.yaml").write_text(MIXTURE)
    with pytest.raises(InputError, match=r"d\\udce9mo': this path is not UTF-8.*; rename"):
        run_build(BuildConfig(str(tmp_path / "m.yaml"), str(tmp_path / "shards"), 60, folder), [])
