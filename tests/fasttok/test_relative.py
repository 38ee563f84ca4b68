"""Tokenizers of actions relative to the state, from the command line: fit, eval, inspect, encode, decode."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fasttok import ActionTokenizer
from fasttok.actions.embodiment import Embodiment
from fasttok.cli import main
from fasttok.errors import InputError
from tests.chain import Chain

COLUMNS = [3, 1, 4]  # of the state, which has 5, for the 3 dims of the action


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(done.value.code or 0)


@pytest.fixture(scope="module")
def motion() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Actions (20, 60, 3) near the columns of the states (20, 60, 5), which are far from 0."""
    rng = np.random.default_rng(0)
    states = rng.uniform(-50, 50, (20, 1, 5)) + np.cumsum(rng.normal(0, 0.1, (20, 60, 5)), axis=1)
    return states[..., COLUMNS] + rng.normal(0, 0.05, (20, 60, 3)), states


def lerobot(root: Path, actions: NDArray[np.float64], states: NDArray[np.float64], names: bool = False) -> str:
    (root / "meta").mkdir(parents=True)
    info: dict[str, object] = {
        "codebase_version": "v2.1",
        "robot_type": "so100",
        "total_episodes": len(actions),
        "fps": 10,
    }
    if names:
        info["features"] = {
            "action": {"shape": [3], "names": ["x", "y", "z"]},
            "observation.state": {"shape": [5], "names": ["t", "y", "u", "x", "z"]},
        }
    (root / "meta" / "info.json").write_text(json.dumps(info))
    folder = root / "data" / "chunk-000"
    folder.mkdir(parents=True)
    for i, (action, state) in enumerate(zip(actions, states, strict=True)):
        columns = {
            "action": action.tolist(),
            "observation.state": state.tolist(),
            "episode_index": np.full(len(action), i),
            "frame_index": np.arange(len(action)),
        }
        pq.write_table(pa.table(columns), folder / f"episode_{i:06d}.parquet")
    return str(root)


@pytest.fixture(scope="module")
def fitted(motion: tuple[NDArray[np.float64], NDArray[np.float64]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relative")
    data = lerobot(folder / "lr", *motion)
    assert call("fit", data, "--relative-to", "0=3", "1=1", "2=4", "--out", str(folder / "T")) == 0
    return folder


def chunks_of(
    motion: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    actions, states = motion
    chunks = np.concatenate([actions[:, start : start + 10] for start in (0, 7, 31)])
    return chunks, np.concatenate([states[:, start] for start in (0, 7, 31)])


def write(path: Path, **columns: NDArray[np.float64]) -> str:
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **columns)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({name: column.tolist() for name, column in columns.items()}), path)
    else:
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    return str(path)


def read(path: Path, name: str) -> NDArray[np.float64]:
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return np.asarray(archive[name])
    if path.suffix == ".parquet":
        return np.array(pq.read_table(path)[name].to_pylist())
    return np.array([json.loads(line)[name] for line in path.read_text().splitlines()])


@pytest.mark.parametrize("kind", ["npz", "parquet", "jsonl"])
@pytest.mark.parametrize("column", ["state", "reference", "observation.state", "qpos"])
def test_encode_then_decode(
    fitted: Path, motion: tuple[NDArray[np.float64], NDArray[np.float64]], tmp_path: Path, kind: str, column: str
) -> None:
    chunks, states = chunks_of(motion)
    beside = states[:, COLUMNS] if column == "reference" else states
    data = write(tmp_path / f"c.{kind}", actions=chunks, **{column: beside})
    more = ["--state-key", "qpos"] if column == "qpos" else []
    ids, back = tmp_path / f"i.{kind}", tmp_path / f"b.{kind}"
    assert call("encode", str(fitted / "T"), data, "--out", str(ids), *more) == 0
    assert call("decode", str(fitted / "T"), str(ids), "--out", str(back)) == 0
    np.testing.assert_allclose(read(ids, "reference"), states[:, COLUMNS])
    error = np.abs(read(back, "actions") - chunks)
    assert error.max() < 0.2
    assert error.mean() < 0.03
    tok = ActionTokenizer.load(fitted / "T")
    (what,) = tok.embodiments.values()
    report = tok.encode_report(chunks, reference=what.reference(states))
    exact = tok.decode(report.ids, horizon=10, action_dim=3, reference=what.reference(states)).actions
    np.testing.assert_allclose(read(back, "actions"), exact)


def test_a_pipe(
    fitted: Path,
    motion: tuple[NDArray[np.float64], NDArray[np.float64]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chunks, states = chunks_of(motion)
    write(tmp_path / "c.jsonl", actions=chunks, state=states)
    monkeypatch.setattr(sys, "stdin", io.StringIO((tmp_path / "c.jsonl").read_text()))
    assert call("encode", str(fitted / "T"), "-", "--out", "-") == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(capsys.readouterr().out))
    assert call("decode", str(fitted / "T"), "-", "--out", "-") == 0
    back = np.array([json.loads(line)["actions"] for line in capsys.readouterr().out.splitlines()])
    assert np.abs(back - chunks).max() < 0.2


def test_eval_and_inspect(
    fitted: Path,
    motion: tuple[NDArray[np.float64], NDArray[np.float64]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chunks, states = chunks_of(motion)
    episodes = write(tmp_path / "e.npz", actions=motion[0], qpos=motion[1])
    for data, more in (
        (str(fitted / "lr"), []),
        (episodes, ["--state-key", "qpos"]),
        (write(tmp_path / "c.npz", actions=chunks, state=states), []),
        (write(tmp_path / "r.npz", actions=chunks, reference=states[:, COLUMNS]), []),
        (write(tmp_path / "q.npz", actions=chunks, qpos=states), ["--state-key", "qpos"]),
    ):
        assert call("eval", str(fitted / "T"), data, "--json", "--all", *more) == 0
        (numbers,) = json.loads(capsys.readouterr().out)["embodiments"].values()
        assert max(numbers["max_error"]) < 0.2
        assert numbers["chunks"] == (60 if Path(data).name in ("c.npz", "r.npz", "q.npz") else 1200)
        page = tmp_path / "page.html"
        assert call("inspect", str(fitted / "T"), data, "--html", str(page), "--overwrite", *more) == 0
        assert page.read_text().count("relative to") >= 3
        assert call("inspect", str(fitted / "T"), data, "--chunks", "1", *more) == 0
        assert "relative to the state: dim 0 to" in capsys.readouterr().err
    assert call("eval", str(fitted / "T"), str(fitted / "lr"), "--sweep", "--json") == 0
    assert json.loads(capsys.readouterr().out)["sweep"]


def test_names_pair_dims(
    fitted: Path,
    motion: tuple[NDArray[np.float64], NDArray[np.float64]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = lerobot(tmp_path / "named", *motion, names=True)
    found = []
    for out, words in (("A", ["--relative"]), ("B", ["--relative-to", "x=x", "y=1", "2=z"])):
        assert call("fit", data, *words, "--out", str(tmp_path / out), "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert report["relative"] == {"so100": {"0": 3, "1": 1, "2": 4}}
        found.append(report["fingerprint"])
    assert found[0] == found[1] == ActionTokenizer.load(fitted / "T").fingerprint
    assert "relative to columns 3, 1, 4 of the state" in (tmp_path / "A" / "README.md").read_text()


def test_some_dims(
    motion: tuple[NDArray[np.float64], NDArray[np.float64]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actions, states = motion
    data = write(tmp_path / "e.npz", actions=actions, qpos=states)
    words = ["--relative-to", "1-2=0-1", "--state-key", "qpos", "--horizon", "10"]
    assert call("fit", data, *words, "--out", str(tmp_path / "T"), "--json") == 0
    (what,) = ActionTokenizer.load(tmp_path / "T").embodiments.values()
    assert (what.relative, what.state_columns, what.state_key) == ((1, 2), (0, 1), "qpos")
    assert call("eval", str(tmp_path / "T"), data) == 0  # it knows its state
    assert call("info", str(tmp_path / "T")) == 0
    assert "relative to qpos, action=state: 1=0 2=1" in capsys.readouterr().out


def test_an_index(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", str(chain.index), "--vocab-size", "2048", "--json", "--out"]
    for out, more in (("A", ["--relative"]), ("B", ["--relative-to", "arm:0-5=0-5"])):
        assert call(*words, str(tmp_path / out), *more) == 0
        assert json.loads(capsys.readouterr().out)["relative"] == {"arm": {str(d): d for d in range(6)}}
        assert call("eval", str(tmp_path / out), str(chain.index), "--json") == 0
        metrics = json.loads(capsys.readouterr().out)["embodiments"]["arm"]
        assert max(metrics["rms"][:6]) < 0.05
        assert call("inspect", str(tmp_path / out), str(chain.index), "--html", str(tmp_path / f"{out}.html")) == 0
        assert "yaw (rad), tokens relative to" in (tmp_path / f"{out}.html").read_text()
    for pair, says in (("0=0", "is delta"), ("amr:0=0", "did you mean 'arm'"), ("arm:6=6", "is gripper")):
        assert call(*words, str(tmp_path / "C"), "--relative-to", pair) == 1
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fit", "{lr}", "--relative"], "the action has 3 dims, the state has 5 columns"),
        (["fit", "{lr}", "--relative-to", "0=5"], "5 is not in the state, which has 5 columns"),
        (["fit", "{lr}", "--relative-to", "3=0"], "3 is not in the action, which has 3 columns"),
        (["fit", "{lr}", "--relative-to", "0=0", "0=1"], "given twice"),
        (["fit", "{lr}", "--relative-to", "0:0"], "expected ACTION=STATE"),
        (["fit", "{lr}", "--relative-to", "0-2=0-1"], "pairs 3 action dims with 2"),
        (["fit", "{lr}", "--relative-to", "x=0"], "does not record the names"),
        (["fit", "{lr}", "--relative-to", "0=0", "--state-key", "stat"], "no step feature 'stat'"),
        (["fit", "{e}", "--relative", "--horizon", "5"], "--state-key"),
        (["encode", "{T}", "{bare}"], "add a column 'state'"),
        (["encode", "{T}", "{narrow}"], "state has 4 columns, expected 5"),
        (["encode", "{T}", "{short}"], "state"),
        (["encode", "{T}", "{long}"], "more rows than there are chunks"),
        (["encode", "{T}", "{nan}"], "chunk 7: state is nan in column 2"),
        (["encode", "{T}", "{steps}"], "the state at the first step of each chunk"),
        (["encode", "{T}", "{ok}", "--state-key", "qpos"], "no column 'qpos'"),
        (["encode", "{plain}", "{ok}", "--state-key", "state"], "no dims are relative"),
        (["decode", "{T}", "{ids}"], "add a column 'state'"),
        (["eval", "{T}", "{e}"], "--state-key"),
        (["eval", "{plain}", "{e}", "--state-key", "qpos"], "no dims are relative"),
        (["eval", "{T}", "{other}", "--state-key", "qpos"], "the tokenizer was fitted on 5"),
    ],
)
def test_wrong_use_is_explained(
    fitted: Path,
    motion: tuple[NDArray[np.float64], NDArray[np.float64]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    chunks, states = chunks_of(motion)
    wrong = states.copy()
    wrong[7, 2] = np.nan
    ActionTokenizer.fit(np.random.default_rng(0).normal(size=(50, 10, 3)), 512).save(tmp_path / "plain")
    places = {
        "T": str(fitted / "T"),
        "lr": str(fitted / "lr"),
        "plain": str(tmp_path / "plain"),
        "ok": write(tmp_path / "ok.npz", actions=chunks, state=states),
        "bare": write(tmp_path / "bare.npz", actions=chunks),
        "narrow": write(tmp_path / "narrow.npz", actions=chunks, state=states[:, :4]),
        "short": write(tmp_path / "short.npz", actions=chunks, state=states[:-1]),
        "long": write(tmp_path / "long.npz", actions=chunks[:-1], state=states),
        "nan": write(tmp_path / "nan.npz", actions=chunks, state=wrong),
        "steps": write(tmp_path / "steps.npz", actions=chunks, state=np.repeat(states[:, None], 10, axis=1)),
        "ids": write(tmp_path / "ids.npz", ids=np.zeros(10), lengths=np.array([10])),
        "e": write(tmp_path / "e.npz", actions=motion[0], qpos=motion[1]),
        "other": write(tmp_path / "other.npz", actions=motion[0], qpos=np.pad(motion[1], ((0, 0), (0, 0), (0, 2)))),
    }
    out = [] if words[0] == "eval" else ["--out", str(tmp_path / ("out" if words[0] == "fit" else "out.npz"))]
    assert call(*[word.format(**places) for word in words], *out) == 1
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out*"))


@given(st.data(), st.integers(1, 6), st.integers(1, 8))
def test_reference_takes_the_columns_that_the_map_says(data: st.DataObject, dim: int, width: int) -> None:
    relative = data.draw(st.lists(st.integers(0, dim - 1), unique=True).map(sorted))
    columns = data.draw(st.lists(st.integers(0, width - 1), min_size=len(relative), max_size=len(relative)))
    what = Embodiment(5, dim, relative=tuple(relative), relative_to=tuple(columns))
    states = np.random.default_rng(0).normal(size=(3, width))
    found = what.reference(states)
    for d in range(dim):
        expected = states[:, columns[relative.index(d)]] if d in relative else np.zeros(3)
        np.testing.assert_array_equal(found[:, d], expected)


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="relative_to"):
        Embodiment(5, 3, relative=(0, 1), relative_to=(0,))
    with pytest.raises(InputError, match="states have shape"):
        Embodiment(5, 3, relative=(0,), relative_to=(4,)).reference(np.zeros((2, 4)))


def test_states_in_another_order_are_refused(
    motion: tuple[NDArray[np.float64], NDArray[np.float64]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actions, states = motion
    one, other = (
        lerobot(tmp_path / "a", actions, states, names=True),
        lerobot(tmp_path / "b", actions, states, names=True),
    )
    info = tmp_path / "b" / "meta" / "info.json"
    info.write_text(info.read_text().replace('["t", "y", "u", "x", "z"]', '["t", "y", "u", "z", "x"]'))
    words = ["fit", one, other, "--relative", "--dry-run", "--out", str(tmp_path / "T")]
    assert call(*words) == 1
    assert "column 3 of the state is ('x',) and ('z',)" in capsys.readouterr().err
    assert call(*words, "--embodiments", "apart") == 0


def test_embodiments_that_need_no_state(
    motion: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> None:
    from fasttok.actions.dataset import ChunkConfig, Dataset
    from fasttok.episodes import Episode

    arm = {"dataset": "arm", "control_hz": 10, "action_encoding": ["absolute"] * 3}
    base = {"dataset": "base", "control_hz": 10, "action_encoding": ["delta"] * 3}
    episodes = [Episode({"action": a, "proprio": a + 1}, dict(arm)) for a in motion[0]]
    episodes += [Episode({"action": a}, dict(base)) for a in motion[0]]
    for config in (ChunkConfig(relative=True), ChunkConfig(relative_to=("arm:0-1=0-1",))):
        with Dataset(episodes, config) as data:
            relative = {name: group.embodiment.relative for name, group in data.groups.items()}
        assert relative == {"arm": (0, 1) if config.relative_to else (0, 1, 2), "base": ()}


def test_a_file_of_chunks_counts_chunks_as_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of its chunks is an episode, of which only the first step has a state."""
    chunks = np.cumsum(np.random.default_rng(0).normal(size=(60, 10, 2)), axis=1)
    data = write(tmp_path / "c.npz", actions=chunks, state=chunks[:, 0])
    assert call("fit", data, "--relative", "--state-key", "state", "--horizon", "10", "--out", str(tmp_path / "T")) == 0
    card = (tmp_path / "T" / "README.md").read_text()
    columns, _, row = ([cell.strip() for cell in line.split("|")] for line in card.splitlines() if line.startswith("|"))
    found = dict(zip(columns, row, strict=True))
    assert int(found["chunks"]) + int(found["held out"]) == int(found["episodes"]) == 60
