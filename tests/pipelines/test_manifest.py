"""manifest.json and the shards' sidecars: typed, the same bytes as ever, and damage is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from pipelines.builder.sidecar import read_sidecar
from pipelines.shards.manifest import Manifest
from tests.pipelines.made_shards import make_shards

GONE = object()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    make_shards(tmp_path / "shards", [[3, 2], [1, 4]])
    return tmp_path / "shards"


def changed(shards: Path, **keys: Any) -> None:
    """Replaces keys of the manifest; GONE takes one out."""
    file = shards / "manifest.json"
    value = {**json.loads(file.read_text()), **keys}
    file.write_text(json.dumps({key: item for key, item in value.items() if item is not GONE}))


def test_a_manifest_is_written_with_the_bytes_that_were_read(shards: Path) -> None:
    before = (shards / "manifest.json").read_bytes()
    manifest = Manifest.load(str(shards))
    assert list(manifest.sources) == ["red", "green"]  # in their order, which is not that of the alphabet
    manifest.save(str(shards))
    assert (shards / "manifest.json").read_bytes() == before
    assert '"control_hz": 10,' in before.decode()  # a whole number stays one
    assert "longest" not in before.decode()  # a file of an older version


def test_the_first_files_of_this_format_have_no_subtask(shards: Path) -> None:
    sources = json.loads((shards / "manifest.json").read_text())["sources"]
    for source in sources.values():
        del source["subtask"]
    changed(shards, sources=sources)
    assert not any(source.subtask for source in Manifest.load(str(shards)).sources.values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"format_version": 1}, "format_version is 1, this code reads 2"),
        ({"format_version": GONE}, "format_version is None"),
        ({"format_version": 3}, "written by a newer fasttok"),
        ({"colour": "red"}, r"manifest.json: unknown key \$.colour"),
        ({"seed": GONE}, "manifest.json: Object missing required field `seed`"),
        ({"seed": "0"}, r"manifest.json: Expected `int`, got `str` - at `\$.seed`"),
        ({"source_order": GONE}, "manifest.json: source_order does not list the sources"),
        ({"source_order": ["red"]}, "manifest.json: source_order does not list the sources"),
        ({"counts": {"planned": 1, "written": 1}}, "missing required field `rejected`"),
    ],
)
def test_keys_that_are_not_as_they_should_be_are_named(shards: Path, keys: dict[str, Any], message: str) -> None:
    changed(shards, **keys)
    with pytest.raises(InputError, match=message):
        Manifest.load(str(shards))


def test_a_kind_that_nobody_knows_is_named(shards: Path) -> None:
    sources = json.loads((shards / "manifest.json").read_text())["sources"]
    sources["green"]["kind"] = "film"
    changed(shards, sources=sources)
    with pytest.raises(InputError, match="Invalid enum value 'film'"):
        Manifest.load(str(shards))


def test_a_sidecar_of_other_keys_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "shard-00000-of-00001.json").write_text('{"rows": 1, "colour": 2}')
    with pytest.raises(InputError, match=r"shard-00000-of-00001.json: unknown key \$.colour"):
        read_sidecar(str(tmp_path), 0, 1)
