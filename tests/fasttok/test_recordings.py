"""Recordings that name the same robot are one embodiment only if their frequency, dims and units are the same."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.cli import main
from fasttok.episodes import Episode, open_episodes
from fasttok.episodes.episode import OF_READERS
from fasttok.errors import InputError
from fasttok.tokenizer import ActionTokenizer


def recording(scale: Any = 1.0, dim: int = 6, state: int | None = None, **metadata: Any) -> list[Episode]:
    rng = np.random.default_rng(len(metadata.get("dataset", "")))
    episodes = []
    for _ in range(6):
        steps: dict[str, Any] = {"action": (rng.uniform(-1, 1, (30, dim)) * scale).astype(np.float32)}
        if state is not None:
            steps["proprio"] = np.zeros((30, state), np.float32)
        episodes.append(Episode(steps, {"dataset": "a", "embodiment": "arm", "control_hz": 10} | metadata))
    return episodes


def groups(*recordings: list[Episode], **config: Any) -> dict[str, int]:
    with Dataset([e for episodes in recordings for e in episodes], ChunkConfig(**config)) as data:
        return {name: group.embodiment.horizon for name, group in data.groups.items()}


OTHERS = {
    "frequency": (recording(dataset="b", control_hz=50), "10 and 50 Hz|50 and 10 Hz"),
    "degrees": (recording(180 / np.pi, dataset="b"), "6 of 6 dims differ in size"),
    "millimetres": (recording(np.array([1000, 1000, 1000, 1, 1, 1]), dataset="b"), "3 of 6 dims"),
    "percent": (recording(np.array([1, 1, 1, 1, 1, 100]), dataset="b"), "1 of 6 dims"),
    "names": (recording(dataset="b", action_names=list("abcdfe")), "the name of dim 4"),
    "encoding": (recording(dataset="b", action_encoding=["delta"] * 6), "the encoding of dim 0"),
    "state": (recording(dataset="b", state=8), "the state has"),
}
FIRST = recording(state=6, action_names=list("abcdef"), action_encoding=["absolute"] * 6)


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("swapped", [False, True])
def test_what_differs_is_refused_or_kept_apart(what: str, swapped: bool) -> None:
    other, says = OTHERS[what]
    both = (other, FIRST) if swapped else (FIRST, other)
    with pytest.raises(InputError, match=says):
        groups(*both)
    horizons = groups(*both, embodiments="apart")
    assert horizons == {"a": 10, "b": 50 if what == "frequency" else 10}


def test_what_tasks_change_is_one_embodiment() -> None:
    less = recording(np.array([1, 0.2, 0.1, 0.5, 0, 1]), dataset="b", control_hz=10.05, action_names=list("abcdef"))
    assert groups(FIRST, less) == {"arm": 10}
    assert groups(FIRST, recording(dataset="b")) == {"arm": 10}  # names that are not recorded contradict nothing


def test_together_says_that_units_differ(caplog: pytest.LogCaptureFixture) -> None:
    assert groups(FIRST, OTHERS["degrees"][0], embodiments="together")
    assert "their units seem to differ" in caplog.text


def test_together_trusts_the_name_but_not_two_frequencies() -> None:
    assert groups(FIRST, recording(30, dataset="b"), embodiments="together") == {"arm": 10}
    with pytest.raises(InputError, match="Hz"):
        groups(FIRST, OTHERS["frequency"][0], embodiments="together")
    assert groups(FIRST, OTHERS["frequency"][0], embodiments="together", horizon=7) == {"arm": 7}


def test_one_source_that_changes_is_refused() -> None:
    with pytest.raises(InputError, match="Hz"):
        groups(FIRST, recording(control_hz=50))


def fasttok(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    return int(caught.value.code or 0)


def write_lerobot(root: Path, fps: int, robot: str) -> str:
    (root / "meta").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "meta" / "info.json").write_text(
        json.dumps({"codebase_version": "v2.1", "robot_type": robot, "total_episodes": 8, "fps": fps})
    )
    rng = np.random.default_rng(0)
    for number in range(8):
        action = np.cumsum(rng.normal(0, 0.1, (60, 2)), axis=0)
        table = {"episode_index": [number] * 60, "frame_index": range(60), "action": action.tolist()}
        pq.write_table(pa.table({k: list(v) for k, v in table.items()}), root / "data" / f"{number}.parquet")
    return str(root)


def test_folders_of_one_robot_type_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = write_lerobot(tmp_path / "slow", 10, "so100"), write_lerobot(tmp_path / "fast", 50, "so100")
    out = tmp_path / "T"
    for order in ((slow, fast), (fast, slow)):
        assert fasttok("fit", *order, "--out", str(out)) == 1
        assert "--embodiments apart" in capsys.readouterr().err.replace("\n", " ")
        assert not out.exists()
    assert fasttok("fit", slow, fast, "--out", str(out), "--embodiments", "apart") == 0
    tok = ActionTokenizer.load(out)
    assert {name: e.horizon for name, e in tok.embodiments.items()} == {"slow": 10, "fast": 50}
    capsys.readouterr()
    assert fasttok("eval", str(out), fast, "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["embodiments"]) == ["fast"]


def test_datasets_of_one_name_are_not_kept_apart_but_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """robomimic calls the file of every task low_dim.hdf5."""
    monkeypatch.chdir(tmp_path)
    for task, unit in (("lift", 1.0), ("can", 500.0)):
        Path(task).mkdir()
        np.savez(Path(task, "low_dim.npz"), actions=unit * np.sin(np.arange(6 * 30 * 2).reshape(6, 30, 2) / 7))
    both = ["lift/low_dim.npz", "can/low_dim.npz", "--horizon", "5"]
    for flags in ([], ["--embodiments", "apart"]):
        assert fasttok("fit", *both, *flags, "--out", "T") == 1
        said = capsys.readouterr().err
        assert "are both called 'low_dim'" in said
        assert "give it by a link with another name" in said
    Path("can.npz").symlink_to(Path("can", "low_dim.npz"))
    assert fasttok("fit", "lift/low_dim.npz", "can.npz", "--horizon", "5", "--embodiments", "apart", "--out", "T") == 0
    assert {*ActionTokenizer.load(Path("T")).embodiments} == {"low_dim", "can"}


def test_each_of_two_datasets_of_one_name_has_held_out_episodes(tmp_path: Path) -> None:
    every = []
    for folder in ("lift", "can"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "low_dim.npz", actions=np.random.default_rng(0).normal(size=(3, 9, 2)))
        every.append(list(open_episodes(str(tmp_path / folder / "low_dim.npz"))))
    held_out = []
    for episodes in (*every, [*every[0], *every[1]]):
        with Dataset(episodes, ChunkConfig(horizon=2)) as data:
            held_out.append([place.dataset for place in data.groups["low_dim"].places["held_out"]])
    assert [*held_out[0], *held_out[1]] == held_out[2]


@pytest.mark.parametrize("hz", ["fast", -5.0, np.nan, np.inf, 2 + 1j])
def test_a_frequency_that_is_none_is_refused_with_its_file(tmp_path: Path, hz: Any) -> None:
    np.savez(tmp_path / "x.npz", actions=np.zeros((3, 9, 2)), control_hz=hz)
    for config in (ChunkConfig(), ChunkConfig(horizon=4)):
        with pytest.raises(InputError, match=r"x.npz: control_hz is .*, expected the steps per second"):
            Dataset(open_episodes(str(tmp_path / "x.npz")), config)


def test_single_values_of_a_file_are_not_what_readers_say(tmp_path: Path) -> None:
    said: dict[str, Any] = dict.fromkeys(OF_READERS, 3)
    np.savez(tmp_path / "x.npz", actions=np.zeros((3, 9, 2)), control_hz="10", embodiment=b"arm", **said)
    with Dataset(open_episodes(str(tmp_path / "x.npz")), ChunkConfig()) as data:
        assert {name: group.embodiment.control_hz for name, group in data.groups.items()} == {"arm": 10.0}


def test_an_unknown_robot_type_merges_nothing(tmp_path: Path) -> None:
    slow, fast = write_lerobot(tmp_path / "slow", 10, "unknown"), write_lerobot(tmp_path / "fast", 50, "Unknown")
    assert fasttok("fit", slow, fast, "--out", str(tmp_path / "T")) == 0
    assert set(ActionTokenizer.load(tmp_path / "T").embodiments) == {"slow", "fast"}
