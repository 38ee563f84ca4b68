"""Glitches, NaN and damaged files: an error that names file, episode, step and dim, or counts of what was left out."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.dataset import ChunkConfig, Dataset
from fasttok.actions.embodiment_actions import Subset
from fasttok.cli import main
from fasttok.episodes import Episode, Where, open_episodes
from fasttok.episodes.index import NUMBERED
from fasttok.errors import InputError
from fasttok.fitting.far_values import far_actions


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(done.value.code or 0)


def motion(episodes: int = 30, steps: int = 60, dims: int = 3) -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    t = np.arange(steps)[None, :, None] / 10
    waves = np.sin(t * rng.uniform(1, 5, (episodes, 1, dims)) + rng.uniform(0, 6, (episodes, 1, dims)))
    return 0.5 * waves + rng.normal(0, 0.02, (episodes, steps, dims))


def lerobot(root: Path, actions: NDArray[np.float64], states: NDArray[np.float64] | None = None) -> list[Path]:
    (root / "meta").mkdir(parents=True)
    info = {"codebase_version": "v2.1", "robot_type": "so100", "total_episodes": len(actions), "fps": 10}
    (root / "meta" / "info.json").write_text(json.dumps(info))
    files = []
    for i, action in enumerate(actions):
        columns = {
            "action": pa.array(action.tolist()),
            "observation.state": pa.array((np.zeros_like(action) if states is None else states[i]).tolist()),
            "episode_index": np.full(len(action), i),
            "frame_index": np.arange(len(action)),
        }
        files.append(root / "data" / "chunk-000" / f"episode_{i:06d}.parquet")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), files[-1])
    return files


@pytest.mark.parametrize("value", [100.0, -1e6, 1e30])
@pytest.mark.parametrize("step", [10, 59])  # padding repeats the last one
def test_a_glitch_is_named_and_clipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float, step: int
) -> None:
    data, out = str(tmp_path / "g.npz"), str(tmp_path / "T")
    actions = motion()
    actions[3, step, 2] = value
    np.savez(data, actions=actions)
    assert call("fit", data, "--horizon", "10", "--out", out) == 1
    said = capsys.readouterr().err
    assert (
        f"{data}: episode 3, step {step}, dim 2: action is {value:g}, but 98 % of the values of this dim are in -0.5"
        in said
    )
    assert "--clip" in said
    assert "--normalize" not in said
    assert call("fit", data, "--horizon", "10", "--out", out, "--clip", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    (cut,) = report["clipped"].values()
    low, high = np.quantile(np.delete(actions[..., 2].ravel(), 3 * 60 + step), [0.005, 0.995])
    assert cut["of"] == actions[..., 0].size
    assert all(0.01 * cut["of"] < n < 0.03 * cut["of"] for n in cut["values"])
    assert f"episode 3, step {step}, dim 2" in report["far_off"][0]
    card = (tmp_path / "T" / "README.md").read_text()
    assert "clipped" in card
    assert f"episode 3, step {step}, dim 2" in card
    tok = ActionTokenizer.load(out)
    ids = tok.encode(actions[3:4, step - 9 : step + 1], on_range="raise")
    back = tok.decode(ids, horizon=10, action_dim=3).actions
    assert low - 0.2 < back.min()
    assert back.max() < high + 0.2


def test_a_glitch_that_is_held_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actions = motion()
    for i in range(30):
        wrong = actions.copy()
        wrong[i, 5, 1] = 50
        np.savez(tmp_path / "g.npz", actions=wrong)
        code = call("fit", str(tmp_path / "g.npz"), "--horizon", "10", "--dry-run", "--out", str(tmp_path / "T"))
        assert f"episode {i}, step 5, dim 1: action is 50" in capsys.readouterr().err
        if code == 0:
            return
    pytest.fail("no episode was held out")


def test_glitches_do_not_erase_a_clipped_dim(tmp_path: Path) -> None:
    actions = motion()
    actions[[4, 5, 6], [7, 8, 9], 1] = [1e4, -1e4, 1e4]
    np.savez(tmp_path / "g.npz", actions=actions)
    assert call("fit", str(tmp_path / "g.npz"), "--horizon", "10", "--clip", "--out", str(tmp_path / "T")) == 0
    tok = ActionTokenizer.load(tmp_path / "T")
    chunks = motion()[:, :10]
    back = tok.decode(tok.encode_report(chunks).ids, horizon=10, action_dim=3).actions
    assert np.abs(back - chunks)[..., 1].mean() < 0.05


@pytest.mark.parametrize("mode", ["mean_std", "none"])
def test_clip_needs_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    np.savez(tmp_path / "g.npz", actions=motion())
    words = ["fit", str(tmp_path / "g.npz"), "--horizon", "10", "--out", str(tmp_path / "T"), "--clip"]
    assert call(*words, "--normalize", mode) == 1
    assert "--normalize quantile" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["action", "observation.state"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, value: float) -> None:
    data, out = str(tmp_path / "lr"), str(tmp_path / "T")
    actions, states = motion(12), motion(12)
    (actions if column == "action" else states)[5, 7, 2] = value
    lerobot(tmp_path / "lr", actions, states)
    assert call("fit", data, "--out", out) == 1
    said = capsys.readouterr().err
    assert "episode_000005.parquet: episode 5, step 7, dim 2" in said
    assert f"is {value:g}" in said
    assert "--skip-bad" in said
    assert call("fit", data, "--out", out, "--skip-bad", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["left_out"]["records"] == 1
    assert "episode 5, step 7, dim 2" in report["left_out"]["named"][0]
    assert sum(e["episodes"] for e in report["embodiments"].values()) == 11
    assert "episode 5, step 7, dim 2" in (tmp_path / "T" / "README.md").read_text()
    if column == "action":
        assert call("eval", out, data) == 1
        assert "--skip-bad" in capsys.readouterr().err
    for command in (["eval", out, data, "--skip-bad"], ["inspect", out, data, "--skip-bad", "--chunks", "1"]):
        assert call(*command) == 0
        if column == "action":
            assert "episode 5, step 7, dim 2" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["half", "empty", "text", "page", "no action", "no episodes"])
def test_a_damaged_file_among_many(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    files = lerobot(tmp_path / "lr", motion(12))
    files[7].with_name("._episode_000007.parquet").write_bytes(b"not ours")
    raw = files[7].read_bytes()
    if damage == "no action":
        pq.write_table(pq.read_table(files[7]).drop_columns(["action"]), files[7])
    elif damage == "no episodes":
        pq.write_table(pq.read_table(files[7]).drop_columns(["episode_index"]), files[7])
    else:
        page = raw[:4] + b"\xff" * 400 + raw[404:]
        files[7].write_bytes({"half": raw[: len(raw) // 2], "empty": b"", "text": b"x" * 99, "page": page}[damage])
    out = str(tmp_path / "T")
    assert call("fit", str(tmp_path / "lr"), "--out", out) == 1
    said = capsys.readouterr().err
    assert "episode_000007.parquet" in said
    assert "action-key" in said if damage == "no action" else "--skip-bad" in said
    assert call("fit", str(tmp_path / "lr"), "--out", out, "--skip-bad", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["left_out"]["records"] == 1
    assert "episode_000007.parquet" in report["left_out"]["named"][0]
    assert sum(e["episodes"] for e in report["embodiments"].values()) == 11


def test_episodes_before_the_damage_are_read(tmp_path: Path) -> None:
    """Nothing of an episode that is cut off is taken, everything else is."""
    whole = motion(6, 3000, 2)
    table = pa.table(
        {"episode": np.repeat(np.arange(6), 3000), "action": pa.array(whole.reshape(-1, 2).tolist())},
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, row_group_size=4000, compression="none", use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(2)
    start = group.column(1).data_page_offset
    raw = bytearray(path.read_bytes())
    raw[start : start + 2000] = b"\xff" * 2000
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"x\.parquet is not a readable Parquet file"):
        list(open_episodes(str(tmp_path)))
    episodes = open_episodes(str(tmp_path), skip_bad=True)
    for i, episode in enumerate(episodes):
        np.testing.assert_array_equal(np.asarray(episode.steps["action"]), whole[i])
    assert episodes.bad == {"unreadable": 1}


def test_all_bad_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "n.npz", actions=np.full((4, 20, 2), np.nan))
    assert call("fit", str(tmp_path / "n.npz"), "--horizon", "5", "--skip-bad", "--out", str(tmp_path / "T")) == 1
    said = capsys.readouterr().err
    assert "4 records left out (4 not finite)" in said
    assert "episode 0, step 0, dim 0" in said
    assert not (tmp_path / "T").exists()


@pytest.mark.parametrize("kind", ["npz", "parquet", "jsonl"])
def test_encode_names_the_chunk(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    ActionTokenizer.fit(motion()[:, :10], 256).save(tmp_path / "T")
    chunks = np.zeros((5000, 10, 3))
    chunks[4500, 7, 1] = np.nan
    path = tmp_path / f"c.{kind}"
    if kind == "npz":
        np.savez(path, actions=chunks)
    elif kind == "parquet":
        pq.write_table(pa.table({"actions": chunks.tolist()}), path)
    else:
        path.write_text("".join(json.dumps({"actions": c}) + "\n" for c in chunks.tolist()))
    assert call("encode", str(tmp_path / "T"), str(path), "--out", str(tmp_path / "i.npz")) == 1
    assert f"{path}: chunk 4500, step 7, dim 1: actions is nan" in capsys.readouterr().err
    assert not (tmp_path / "i.npz").exists()


def test_quantiles_by_name() -> None:
    x = np.random.default_rng(0).normal(size=(1000, 2))
    plain = NormStats.fit(x)
    assert plain.by_quantiles([0]).by is None
    x[:3, 1] = 1e5
    wide = NormStats.fit(x)
    assert wide.normalized_by == ("quantile", "min_max")
    assert wide.by_quantiles([1]).normalized_by == ("quantile", "quantile")


def test_a_number_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actions = motion(12).tolist()
    actions[4][9][1] = None
    lerobot(tmp_path / "lr", np.asarray(actions, object))
    assert call("fit", str(tmp_path / "lr"), "--out", str(tmp_path / "T")) == 1
    assert "episode 4, step 9, dim 1: action is missing" in capsys.readouterr().err
    assert call("fit", str(tmp_path / "lr"), "--out", str(tmp_path / "T"), "--skip-bad") == 0


def test_a_sentinel_among_whole_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actions = np.round(motion() * 200).astype(np.int64)
    actions[6, 3, 0] = -(2**31)
    np.savez(tmp_path / "g.npz", actions=actions)
    assert call("fit", str(tmp_path / "g.npz"), "--horizon", "10", "--out", str(tmp_path / "T")) == 1
    assert "episode 6, step 3, dim 0: action is -2.14748e+09" in capsys.readouterr().err


def test_what_encode_clips_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "g.npz", actions=motion())
    assert call("fit", str(tmp_path / "g.npz"), "--horizon", "10", "--clip", "--out", str(tmp_path / "T")) == 0
    chunks = 0.1 * motion()[:, :10]
    chunks[[2, 5], [3, 4], [1, 0]] = 1e7
    np.savez(tmp_path / "c.npz", actions=chunks)
    assert call("encode", str(tmp_path / "T"), str(tmp_path / "c.npz"), "--out", str(tmp_path / "i.npz")) == 0
    assert "2 values clipped" in capsys.readouterr().err


def test_eval_says_what_it_clamps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "g.npz", actions=motion())
    assert call("fit", str(tmp_path / "g.npz"), "--horizon", "10", "--out", str(tmp_path / "T")) == 0
    wrong = motion()
    for value, code, says in ((1e6, 0, "% of the coefficients are outside"), (1e12, 1, "dim 1 is 1e+12")):
        wrong[7, 20, 1] = value
        np.savez(tmp_path / "w.npz", actions=wrong)
        assert call("eval", str(tmp_path / "T"), str(tmp_path / "w.npz"), "--all") == code
        said = capsys.readouterr().err
        assert f"episode 7, step 20, dim 1: action is {value:g}" in said
        assert says in said


def test_a_glitch_in_the_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actions = motion(12)
    states = actions + 0.01 * motion(12)[::-1]
    states[3, 8, 2] = 1e5
    lerobot(tmp_path / "lr", actions, states)
    assert call("fit", str(tmp_path / "lr"), "--out", str(tmp_path / "A")) == 0
    assert "episode 3, step 8, dim 2: state is 100000" in capsys.readouterr().err
    assert call("fit", str(tmp_path / "lr"), "--relative", "--out", str(tmp_path / "B")) == 1
    said = capsys.readouterr().err
    assert "episode 3" in said
    assert "dim 2: action minus state is -1" in said
    assert "(1 such step)" in said


def test_an_error_closes_the_reader() -> None:
    """Else its files stay open with the error's frames, and threads that read them outlive the interpreter."""
    closed = []

    def read() -> Iterator[Episode]:
        try:
            yield Episode({"action": np.full((9, 2), np.nan)}, {"control_hz": 10})
        finally:
            closed.append(True)

    with pytest.raises(InputError) as error:
        Dataset(read(), ChunkConfig())
    assert error.tb is not None
    assert closed
    with pytest.raises(InputError):
        Dataset((episode for episode in read()), ChunkConfig())
    assert len(closed) == 2


def test_a_damaged_page_of_chunks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ActionTokenizer.fit(motion()[:, :10], 256).save(tmp_path / "T")
    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"actions": motion()[:, :10].tolist()}), path, compression="none", use_dictionary=False)
    raw = path.read_bytes()
    path.write_bytes(raw[:4] + b"\xff" * 500 + raw[504:])
    assert call("encode", str(tmp_path / "T"), str(path), "--out", str(tmp_path / "i.npz")) == 1
    said = capsys.readouterr().err
    assert f"{path} is damaged" in said
    assert "Traceback" not in said


def test_padding_inside_an_episode_is_not_another_glitch() -> None:
    """Steps that keep_ranges leaves out end chunks, whose padding repeats the step before."""
    episodes = []
    for i, action in enumerate(motion()):
        wrong = action.copy()
        if i == 3:
            wrong[19, 1] = 1e4
        numbers = np.concatenate([np.arange(20), np.arange(40, 80)])
        episodes.append(Episode({"action": wrong}, {"control_hz": 10, NUMBERED: numbers}, Where("a", number=i)))
    with Dataset(episodes, ChunkConfig(horizon=10)) as data:
        (group,) = data.groups.values()
        subset: Subset = "train" if any("episode 3" in place.name for place in group.places["train"]) else "held_out"
        stats = NormStats.fit(np.concatenate([*group.actions["train"]]))
        (far,) = far_actions(group, stats, subset, 10_000)
    assert far.steps == 1
    assert far.place.endswith("episode 3, step 19")
