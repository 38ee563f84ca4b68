"""npz and npy files whose arrays are episodes, and pickles, which are refused with the line that saves them properly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.episodes import Episode, open_episodes
from fasttok.episodes.numpy_file import load_arrays
from fasttok.errors import InputError

RNG = np.random.default_rng(5)
EPISODES = [RNG.normal(size=(n, 3)) for n in (4, 9, 2)]


def read(path: Path) -> list[Episode]:
    source = open_episodes(str(path))
    found = list(source)
    assert not source.bad, source.first_bad
    return found


@pytest.mark.parametrize("stem", ["episode_{}", "demo{}", "traj_{}", "{}", "arr_{}", "action_{}"])
def test_an_array_per_episode(tmp_path: Path, stem: str) -> None:
    arrays: dict[str, Any] = {stem.format(2 * n): episode for n, episode in enumerate(EPISODES * 3)}
    np.savez(tmp_path / "x.npz", **arrays)
    found = read(tmp_path / "x.npz")
    assert [e.where.number for e in found] == [2 * n for n in range(9)]
    assert all(np.array_equal(e.steps["action"], a) for e, a in zip(found, EPISODES * 3, strict=True))


def test_columns_per_episode(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"episode_{n}/actions": a for n, a in enumerate(EPISODES)}
    arrays |= {f"episode_{n}/state": a * 2 for n, a in enumerate(EPISODES)}
    np.savez(tmp_path / "x.npz", **arrays)
    found = read(tmp_path / "x.npz")
    assert [sorted(e.steps) for e in found] == [["action", "state"]] * 3


@pytest.mark.parametrize(
    "arrays", [{"joint_1": EPISODES[0], "joint_2": EPISODES[0]}, {"action_0": EPISODES[0], "action_1": EPISODES[0]}]
)
def test_columns_with_numbers_are_no_episodes(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    assert len(read(tmp_path / "x.npz")) == 1


@pytest.mark.parametrize(
    "names", [("action", "state", "episode_ends"), ("data/action", "data/state", "meta/episode_ends")]
)
def test_rows_are_cut_at_the_ends_that_diffusion_policy_stores(tmp_path: Path, names: tuple[str, str, str]) -> None:
    actions = np.concatenate(EPISODES)
    arrays = dict(zip(names, (actions, actions * 2, np.cumsum([len(e) for e in EPISODES])), strict=True))
    np.savez(tmp_path / "x.npz", **arrays, control_hz=np.array(10.0))  # type: ignore[arg-type]
    found = read(tmp_path / "x.npz")
    assert [e.where.number for e in found] == [0, 1, 2]
    assert all(np.array_equal(e.steps["action"], a) for e, a in zip(found, EPISODES, strict=True))
    assert all(np.array_equal(e.steps["state"], a * 2) for e, a in zip(found, EPISODES, strict=True))
    assert {e.metadata["control_hz"] for e in found} == {10.0}
    for wrong in ([4, 13], [4, 13, 16], [4, 4, 15], [0, 15], [15, 4], []):
        np.savez(tmp_path / "x.npz", **{**arrays, names[2]: np.array(wrong, np.uint32)})  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"episode_ends must rise to the number of rows of the actions, 15"):
            read(tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", **{**arrays, names[2]: np.array([4.0, 15.0])})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="episode_ends is no list of row numbers"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("ends", [{}, {"episode_ends": np.array([4, 9])}])
def test_arrays_of_another_length_are_named(tmp_path: Path, ends: dict[str, Any]) -> None:
    np.savez(tmp_path / "x.npz", goal=np.zeros(3), action=EPISODES[1], state=EPISODES[1], **ends)
    source = open_episodes(str(tmp_path / "x.npz"))
    assert list(source) == []
    assert "goal has 3, the others have 9 rows" in str(source.first_bad)


def test_arrays_that_are_left_out_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        np.savez(
            tmp_path / f"{name}.npz", action=np.zeros((3, 5, 2)), state=np.zeros((3, 6, 2)), first=np.zeros((3, 2))
        )
    assert [sorted(e.steps) for e in read(tmp_path)] == [["action"]] * 6
    assert [str(record.msg % record.args) for record in caplog.records] == [
        f"{tmp_path}/a.npz: state (3, 6, 2) left out; beside action (3, 5, 2), an array is read if it has a row per step, "
        "(3, 5, ...), or the state at each first step, (3, S)"
    ]


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", EPISODES[1])
    assert [e.length for e in read(tmp_path / "one.npy")] == [9]
    np.save(tmp_path / "many.npy", RNG.normal(size=(5, 7, 3)))
    assert [e.steps["action"].shape for e in read(tmp_path / "many.npy")] == [(7, 3)] * 5  # type: ignore[union-attr]
    assert [e.length for e in read(tmp_path)] == [7] * 5 + [9]
    np.save(tmp_path / "many.npy", RNG.normal(size=(5, 7, 3, 2)))
    with pytest.raises(InputError, match=r"\(5, 7, 3, 2\), expected"):
        read(tmp_path / "many.npy")


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_pickles_are_refused_with_the_line_that_saves_them(tmp_path: Path, name: str) -> None:
    ragged = np.empty(3, object)
    ragged[:] = EPISODES
    (np.savez(tmp_path / name, actions=ragged) if name.endswith("z") else np.save(tmp_path / name, ragged))
    with pytest.raises(InputError) as caught:
        read(tmp_path / name)
    line = str(caught.value).split("episode: ")[1]
    assert line == "np.savez('x.npz', **{f'episode_{i}': actions for i, actions in enumerate(episodes)})"
    exec(line.replace("'x.npz'", repr(str(tmp_path / "y.npz"))), {"np": np, "episodes": EPISODES})
    assert [e.length for e in read(tmp_path / "y.npz")] == [4, 9, 2]


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_damage_is_counted(tmp_path: Path, name: str) -> None:
    (np.savez(tmp_path / name, action=EPISODES[0]) if name.endswith("z") else np.save(tmp_path / name, EPISODES[0]))
    data = (tmp_path / name).read_bytes()
    huge = data.replace(b"(4, 3), ", b"(4000000000000, 3), ").ljust(len(data))
    for damaged in (data[:-40], data[:20], b"", huge if name.endswith("y") else b"PK"):
        (tmp_path / name).write_bytes(damaged)
        source = open_episodes(str(tmp_path / name))
        assert list(source) == []
        assert sum(source.bad.values()) == 1


def test_a_damaged_archive_is_no_traceback(tmp_path: Path) -> None:
    """With one flipped bit, a file is read, or the reader says why not: zlib and the parser of headers have their own errors."""
    path, rng = tmp_path / "a.npz", np.random.default_rng(1)
    np.savez_compressed(path, actions=rng.normal(size=(20, 10, 3)).round(1))
    sound = path.read_bytes()
    said = 0
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        said += isinstance(load_arrays(str(path)), str)
    assert said > 250
