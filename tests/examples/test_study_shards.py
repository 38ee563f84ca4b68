"""Data of the studies: what the names of shards ask for, as the commands that make them."""

from pathlib import Path

import pytest

from examples import study_data
from examples.metaworld import study as metaworld_study
from examples.tabletop import study
from examples.tabletop.generate import GenerateConfig
from examples.tabletop.manner import HUMAN, PREDICTABLE
from fasttok.errors import InputError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands that were asked for; they make what they would make, empty."""
    commands: list[str] = []

    def call(command: str, folder: Path) -> None:
        commands.append(command)
        words = command.split()
        out = folder / words[words.index("--out") + 1]
        (out / "tabletop_vqa").mkdir(parents=True)
        for name in ("manifest.json", "index.json"):
            (out / name).write_text("{}")

    monkeypatch.setattr(study_data, "call", call)
    return commands


def one(commands: list[str], *words: str) -> str:
    """The command that has these words."""
    (found,) = [command for command in commands if all(word in command.split() for word in words)]
    return found


def test_shards_of_before_are_made_as_before(tmp_path: Path, asked: list[str]) -> None:
    study.prepare(tmp_path, ["web", "shards", "vlm_10", "demos_1000", "demos_100_vlm_0"], task="reach", correlation=0.8)
    assert "--episodes 8000 --vqa 60000 --captions 4000 --correlation 0.8 --task reach" in asked[0]
    assert asked[1].endswith("index world/tabletop_planar/1.0.0 world/tabletop_vqa world/tabletop_captions --out index")
    assert asked[2] == "fasttok fit index --out tokenizer --seconds 1.0 --vocab-size 512"
    assert sum(command.startswith("fasttok fit") for command in asked) == 1
    assert "--index index_1000 --tokenizer tokenizer" in one(asked, "build", "demos_1000.yaml")
    assert "tabletop_planar, weight: 100" in (tmp_path / "demos_100_vlm_0.yaml").read_text()
    assert "split: val" in (tmp_path / "held_out.yaml").read_text()
    assert "--samples 4000" in one(asked, "build", "held_out.yaml")
    made = list(asked)
    study.prepare(tmp_path, ["web", "shards"], task="reach", correlation=0.8)
    assert asked == made


def test_demonstrations_in_another_manner_have_a_tokenizer_and_held_out_shards_of_their_own(
    tmp_path: Path, asked: list[str]
) -> None:
    study.prepare(tmp_path, ["predictable_scale_3", "scale_3", "held_out_predictable", "steady_demos_100"])
    generated = [command for command in asked if "generate" in command]
    assert study.MANNERS["predictable"] in generated[1]
    steady = one(generated, "--episodes", "100").split()
    assert "--no-tremor" in steady
    assert "--no-pauses" not in steady
    assert one(asked, "fit", "index_predictable", "tokenizer_predictable_scale_3").endswith("--scale 3")
    assert one(asked, "fit", "index", "tokenizer_scale_3").endswith("--scale 3")
    assert "--index index_predictable --tokenizer tokenizer_predictable " in one(asked, "held_out_predictable.yaml")
    assert "--index index --tokenizer tokenizer_scale_3" in one(asked, "build", "scale_3.yaml")
    assert "split: val" in (tmp_path / "held_out_predictable.yaml").read_text()
    assert "split: train" in (tmp_path / "predictable_scale_3.yaml").read_text()


@pytest.mark.parametrize("name", ["", "vlm", "demos_0", "predictible", "vlm_10_demos_5", "held_out_vlm_10", "../x"])
def test_other_names_are_refused_before_anything_is_made(tmp_path: Path, asked: list[str], name: str) -> None:
    with pytest.raises(InputError, match="no shards"):
        study.prepare(tmp_path / "data", ["shards", name])
    assert not asked
    assert not (tmp_path / "data").exists()


def test_manners_are_flags_of_generate() -> None:
    import tyro

    manners = {
        name: tyro.cli(GenerateConfig, args=["--out", "x", *flags.split()]).manner
        for name, flags in study.MANNERS.items()
    }
    assert manners["predictable"] == PREDICTABLE
    assert HUMAN not in manners.values()


def test_metaworld_s_study_demonstrates_mt10_and_asks_about_it(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metaworld_study, "check_package", lambda: None)
    metaworld_study.prepare(tmp_path, ["web", "shards"])
    assert "--tasks mt10 --episodes 50" in asked[0]
    assert asked[1].endswith("index world/metaworld/1.0.0 world/metaworld_vqa world/metaworld_captions --out index")
    assert asked[2] == "fasttok fit index --out tokenizer --seconds 0.25 --vocab-size 256"
    assert (tmp_path / "vqa").readlink() == Path("world/metaworld_vqa")
    assert "metaworld, weight: 70" in (tmp_path / "shards.yaml").read_text()
    assert "split: val" in (tmp_path / "held_out.yaml").read_text()
    made = list(asked)
    metaworld_study.prepare(tmp_path, ["web", "shards"])
    assert asked == made
    with pytest.raises(InputError, match="'demos_100'"):
        metaworld_study.prepare(tmp_path / "other", ["demos_100"])
    assert not (tmp_path / "other").exists()
