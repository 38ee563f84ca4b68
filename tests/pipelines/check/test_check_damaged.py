"""Whatever is wrong with the files, the doctor says it: a finding or an error, never a crash."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fasttok.errors import InputError
from pipelines.check.check_page import check_page_of
from pipelines.check.diagnose import diagnose
from tests.html_checks import assert_whole
from tests.pipelines.check.planted import films, hdf5, lerobot, made

ODD: dict[str, dict[str, NDArray]] = {
    "one step": {"action": np.zeros((1, 3)), "state": np.zeros((1, 3))},
    "two steps": {"action": np.ones((2, 3)), "state": np.zeros((2, 3))},
    "nan": {"action": np.full((50, 3), np.nan), "state": np.zeros((50, 3))},
    "inf": {"action": np.full((50, 3), np.inf), "state": np.full((50, 3), -np.inf)},
    "no action": {"something": np.zeros((50, 3))},
    "whole numbers": {"action": np.arange(150).reshape(50, 3) % 7, "state": np.arange(100).reshape(50, 2)},
    "scalars": {"action": np.arange(50.0)},
    "huge": {"action": np.random.default_rng(0).normal(size=(50, 2)) * 1e300, "state": np.ones((50, 2)) * 1e308},
    "tiny": {"action": np.random.default_rng(0).normal(size=(50, 2)) * 1e-30, "state": np.zeros((50, 2))},
    "flags": {"action": np.arange(100).reshape(50, 2) % 3 == 0},
}


def damaged(data: bytes, dice: random.Random) -> bytes:
    raw = bytearray(data)
    kind = dice.choice(["flip", "cut", "many", "empty"])
    if kind == "cut":
        raw = raw[: dice.randrange(len(raw))]
    elif kind == "empty":
        raw.clear()
    else:
        for _ in range(1 if kind == "flip" else 30):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
    return bytes(raw)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", ["lerobot", "hdf5"])
def test_damaged_files(tmp_path: Path, form: str, seed: int) -> None:
    dice, what = random.Random(seed), made(episodes=3)
    sound = tmp_path / "sound"
    if form == "lerobot":
        lerobot(sound, what)
    else:
        pytest.importorskip("h5py")
        hdf5(sound / "set.hdf5", what, {"front_image": films(what)})
    for _ in range(8):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(sound, copy)
        file = dice.choice(sorted(path for path in copy.rglob("*") if path.is_file()))
        file.write_bytes(damaged(file.read_bytes(), dice))
        try:
            check_page_of(diagnose(str(copy)))
        except InputError:
            continue


@pytest.mark.parametrize("name", ODD)
def test_odd_numbers(tmp_path: Path, name: str) -> None:
    for i in range(3):
        np.savez(str(tmp_path / f"{i}.npz"), allow_pickle=False, **ODD[name])
    page = check_page_of(diagnose(str(tmp_path)))
    assert "</html>" in page
    assert_whole(page)
