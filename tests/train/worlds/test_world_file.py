"""`--env WORLD.yaml`: worlds and their settings as data."""

import sys
from pathlib import Path

import pytest

from fasttok.errors import InputError
from train.rollouts import load_factory
from train.worlds.gymnasium import GymnasiumWorld
from train.worlds.world_file import check_splits


def sized(size: int) -> object:
    return lambda embodiment, split: size


def my_world(**settings: object) -> object:
    return lambda embodiment, split: (embodiment, split, settings)


def test_a_function_of_ones_own_gets_the_other_keys(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text(f"world: {__name__}:my_world\nsize: 3\nnames: [a, b]\n")
    factory = load_factory(str(file))
    assert factory("arm", "seen") == ("arm", "seen", {"size": 3, "names": ["a", "b"]})
    check_splits(factory, ["whatever"], str(file))  # it has no list of splits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected a mapping with `world: NAME`"),
        ("id: a\n", "expected a mapping with `world: NAME`"),
        ("world: [a]\n", "expected a mapping with `world: NAME`"),
        ("world: gymnasium\n1: 2\n", "expected a mapping with `world: NAME`"),
        ("world: gym\n", "unknown world 'gym'.* Known: gymnasium.* Or module"),
        ("world: gymnasium\nid: a\n", "instruction"),
        ("world: gymnasium\nid: a\ninstruction: b\nstate: [x]\nimage: {}\n", "unknown key .*image"),
        ("world: gymnasium\nid: a\ninstruction: b\nstate: x\n", "state"),
        ("world: no_such_module:make\n", "expected module:factory"),
        ("world: math:no_such_name\n", "expected module:factory"),
        ("world: {\n", "is not YAML"),
        ("world: gymnasium\nid: a\nid: b\n", r"world\.yaml: line 3: 'id' is given twice \(first on line 2\); keep one"),
        (f"world: {__name__}:sized\nsizes: 3\n", "sized does not take these settings: .*size"),
        (f"world: {__name__}:sized\n", "sized does not take these settings: missing .*'size'"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        load_factory(str(file))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.yaml: No such file"):
        load_factory(str(tmp_path / "none.yaml"))


def test_a_missing_gymnasium_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    world = GymnasiumWorld(id="Any-v0", images={"primary": "pixels"}, instruction="go")
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(
        InputError, match=r"Any-v0 needs the package 'gymnasium'.*pip install 'fasttok-vla\[gymnasium\]'"
    ):
        world("arm", "seen")


def test_worlds_of_the_examples_are_in_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise ModuleNotFoundError("No module named 'examples'", name="examples")

    monkeypatch.setattr("train.rollouts.load_attribute", absent)
    with pytest.raises(InputError, match="is in a checkout of this project, so run the command there"):
        load_factory("examples.tabletop.env:make_vector")
