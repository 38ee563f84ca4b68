"""What is held out, and that labels claim no more than what was done."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.cli.evaluate import Eval
from fasttok.cli.fit import Fit
from fasttok.episodes import Episode, open_episodes
from fasttok.episodes.episode import Where
from fasttok.errors import InputError


def episode(dataset: str, number: int) -> Episode:
    metadata: Any = {"embodiment": "arm", "dataset": dataset, "control_hz": 10.0}
    rows = np.full((number % 3 + 1, 2), number, np.float32) + np.arange(2, dtype=np.float32)
    return Episode({"action": rows, "proprio": rows}, metadata, Where(f"{dataset}.parquet", number=number))


def values(data: Dataset, subset: Any) -> list[float]:
    return sorted(float(rows[0, 0]) for rows in data.groups["arm"].actions[subset])


@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=4).filter(sum),
    relative=st.booleans(),
    seed=st.integers(0, 99),
)
def test_of_two_episodes_one_is_held_out(counts: list[int], relative: bool, seed: int) -> None:
    every = [episode(str(d), 100 * d + i) for d, count in enumerate(counts) for i in range(count)]
    config = ChunkConfig(horizon=2, relative=relative, embodiments="together")
    order = [every[i] for i in np.random.default_rng(seed).permutation(len(every))]
    with Dataset(every, config) as data, Dataset(order, config) as shuffled:
        train, held = values(data, "train"), values(data, "held_out")
        assert sorted(train + held) == [float(e.where.number) for e in every]
        assert (train, held) == (values(shuffled, "train"), values(shuffled, "held_out"))
        assert bool(train)
        assert bool(held) == (len(every) > 1)
        for d, count in enumerate(counts):
            if count > 1:
                assert {float(v // 100) for v in train} >= {d}
                assert {float(v // 100) for v in held} >= {d}
        group = data.groups["arm"]
        for subset in ("train", "held_out"):
            for a, b in zip(group.actions[subset], group.references[subset] if relative else [], strict=relative):
                assert np.array_equal(a, b)
    with Dataset(every, ChunkConfig(horizon=2, embodiments="together"), every=True) as data:
        assert len(values(data, "held_out")) == len(every)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_labels_say_what_was_measured(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.sin(np.arange(count * 60 * 3).reshape(count, 60, 3) / 7)
    data = str(tmp_path / "x.npz")
    np.savez(data, actions=x)
    tok = tmp_path / "tok"
    Fit((data,), tok, horizon=5, vocab_size=256).run()
    says = "measured on " + ("held-out episodes" if count > 1 else "the only episode, which the fit saw")
    assert says in capsys.readouterr().out
    assert says in (tok / "README.md").read_text().replace("Measured", "measured")
    Eval(tok, (data,), json=True).run()
    found = json.loads(capsys.readouterr().out)
    Eval(tok, (data,), all=True, json=True).run()
    every = json.loads(capsys.readouterr().out)
    chunks = [next(iter(report["embodiments"].values()))["chunks"] for report in (found, every)]
    assert chunks[1] == count * 60
    assert (chunks[0] < chunks[1]) == (count > 1)
    some = f"{chunks[0] // 60} of {count} episodes: those that a fit of this data would hold out (--all: every one)"
    assert found["measured_on"] == ("the only episode" if count == 1 else some)
    assert every["measured_on"] == ("the only episode" if count == 1 else "all episodes")
    with pytest.raises(InputError, match="--all"):
        Eval(tok, (data,), all=True, sweep=True).run()


@pytest.mark.parametrize("kind", ["absolute", "relative", "file URL"])
def test_files_of_one_name_are_told_apart_by_their_folders(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DROID's own files: droid/N/trajectory.h5, each with one episode. Which are held out does not depend on where droid/ is."""
    h5py = pytest.importorskip("h5py")
    folder = tmp_path / "test" / "droid"  # `test` is above the dataset, so it is no split of it
    for number in range(40):
        (folder / str(number)).mkdir(parents=True)
        with h5py.File(folder / str(number) / "trajectory.h5", "w") as file:
            file["action/joint_velocity"] = np.full((2, 7), number, np.float32)
    monkeypatch.chdir(tmp_path / "test")
    path = {"absolute": str(folder), "relative": "droid", "file URL": folder.as_uri()}[kind]
    with Dataset(open_episodes(path), ChunkConfig(horizon=2, action_key="action/joint_velocity")) as data:
        (group,) = data.groups.values()
        assert sorted(float(rows[0, 0]) for rows in group.actions["held_out"]) == [2, 9]
        assert len(group.actions["train"].lengths) == 38


def test_files_of_a_flat_folder_are_held_out_as_ever(tmp_path: Path) -> None:
    """The lots of version 0.1.0."""
    np.savez(tmp_path / "a.npz", actions=np.zeros((4, 2, 1)))
    for path in (tmp_path, tmp_path / "a.npz"):
        with Dataset(open_episodes(str(path)), ChunkConfig(horizon=2), every=True) as data:
            (group,) = data.groups.values()
            assert group.places["held_out"][3].lot == 0.20269237337860702


def test_names_that_are_not_utf_8_have_a_lot(tmp_path: Path) -> None:
    """Linux allows any bytes in names; Python reads them as lone surrogates."""
    name = os.fsdecode(b"caf\xe9.npz")
    try:
        np.savez(tmp_path / name, actions=np.zeros((1, 30, 2)))
    except (OSError, UnicodeError):
        pytest.skip("this disk allows no such names")
    np.savez(tmp_path / "b.npz", actions=np.ones((1, 30, 2)))
    with Dataset(open_episodes(str(tmp_path)), ChunkConfig(horizon=2), every=True) as data:
        (group,) = data.groups.values()
        assert sum(len(list(group.actions[part])) for part in ("train", "held_out")) == 2
