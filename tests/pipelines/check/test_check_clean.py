"""The doctor says nothing worse than a note about sound data."""

from pathlib import Path

import pytest

from tests.fasttok.hdf5_files import maniskill, robomimic
from tests.pipelines.check.planted import entry, films, findings, hdf5, lerobot, made, serious

REAL = (
    pytest.param("lerobot/g1_bottle", marks=pytest.mark.slow),
    "rlds/bridge_dataset/1.0.0",
    "rlds/metaworld_mt50/1.0.0",
)


@pytest.mark.parametrize("folder", REAL)
def test_real_robots(shared_data: Path, folder: str) -> None:
    assert serious(findings(shared_data / folder)) == {}


@pytest.mark.parametrize("name", ["planar", "arm"])
@pytest.mark.parametrize("entries", [True, False])
def test_the_tabletop_robots(tabletop: Path, tmp_path: Path, name: str, entries: bool) -> None:
    folder = tabletop / f"tabletop_{name}" / "1.0.0"
    if not entries:
        bare = tmp_path / "bare"
        bare.mkdir()
        for file in folder.iterdir():
            if file.name != "dataset.yaml":
                (bare / file.name).symlink_to(file)
        folder = bare
    assert serious(findings(folder)) == {}


@pytest.mark.parametrize("meaning", ["absolute", "delta"])
def test_made_ones(tmp_path: Path, meaning: str) -> None:
    what = made(meaning)
    assert serious(findings(lerobot(tmp_path / "bare", what))) == {}
    assert serious(findings(entry(lerobot(tmp_path / "told", what), meaning))) == {}
    cameras = {"front_image": films(what), "side_image": films(what, 1)}
    assert serious(findings(hdf5(tmp_path / "set.hdf5", what, cameras))) == {}


def test_what_lies_beside_cameras_is_no_camera(tmp_path: Path) -> None:
    for name, make in (("robomimic", robomimic), ("maniskill", maniskill)):
        found = findings(make(tmp_path / f"{name}.hdf5"))
        assert not [finding.what for finding in found if finding.check.startswith("camera")]
