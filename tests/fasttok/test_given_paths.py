"""A path that is not there gets a suggestion from what is beside it, and nothing else."""

from pathlib import Path

import pytest

from fasttok.common.given_paths import check_data, check_tokenizer, did_you_mean
from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError, require_installed


def test_the_first_missing_part_is_compared(tmp_path: Path) -> None:
    (tmp_path / "tabletop_planar" / "1.0.0").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    assert did_you_mean(tmp_path / "tabletop_planr") == f" (did you mean {tmp_path / 'tabletop_planar'}?)"
    whole = tmp_path / "tabletop_planar" / "1.0.0"
    assert did_you_mean(tmp_path / "tabletop_plnar" / "1.0.0") == f" (did you mean {whole}?)"
    assert did_you_mean(whole / "features.json") == ""
    assert did_you_mean(tmp_path / "tabletop_plnar" / "2") == f" (did you mean {tmp_path / 'tabletop_planar'}?)"
    assert did_you_mean(tmp_path / "zzz") == ""


def test_a_relative_path_is_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "INDEX").mkdir()
    assert did_you_mean("INDXE") == " (did you mean INDEX?)"
    with pytest.raises(InputError, match=r"INDXE does not exist \(did you mean INDEX\?\); expected an INDEX"):
        check_data(["INDEX", "s3://bucket/never/asked", "INDXE"])
    with pytest.raises(InputError, match="INDXE is not a tokenizer folder: no such folder"):
        check_tokenizer(Path("INDXE"))


def test_suggested_commands_quote_paths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fasttok fit 'my data' --out 'my tok'$"):
        check_tokenizer(Path("my tok"), ["my data"])
    missing = tmp_path / "my index"
    with pytest.raises(InputError, match=f"index DATASET_DIR... --out '{missing}'$"):
        open_index(str(missing))


def test_what_is_not_installed_is_said_without_importing() -> None:
    import sys

    sys.modules.pop("this", None)
    require_installed(["this"], "all", "reading")
    assert "this" not in sys.modules
    with pytest.raises(
        InputError, match=r"reading needs the package 'nowhere_at_all'.*pip install 'fasttok-vla\[all\]'"
    ):
        require_installed(["json", "nowhere_at_all.inner"], "all", "reading")
