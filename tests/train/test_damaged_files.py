"""Files of runs and studies in which bytes are not what they were: a line that names the file, never a traceback."""

from pathlib import Path

import pytest

from fasttok.errors import InputError
from train.runs.run_folder import load_config
from train.study.study_data import prepare_data
from train.study.study_file import load_study

STUDY = Path(__file__).parents[2] / "train" / "configs" / "presets.yaml"


@pytest.mark.parametrize("data", [b'{"steps": "\xff"}', b'{"steps": 1', b""])
def test_a_configuration(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(InputError, match=r"config\.json: not JSON .*; it is damaged"):
        load_config(tmp_path)


def test_the_world_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "makes_nothing.py").write_text("def make(*_, **__): pass\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "world.json").write_text('{"task": "re')
    with pytest.raises(InputError, match=r"world\.json is damaged .*; give the study another --out"):
        prepare_data(load_study(STUDY), "makes_nothing:make", tmp_path / "data", smoke=True)


def test_a_run_whose_path_is_not_utf8(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"r\\udce9n': this path is not UTF-8, so its checkpoints .*; rename"):
        load_config(tmp_path / "r\udce9n")
