"""Small inputs on which an earlier fasttok failed, as people run them: each with its right answer, on the command line.

The causes have tests of their own; these hold what is printed. (A twelfth needs an environment with another transformers.)
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fasttok import ActionTokenizer
from fasttok.cli import main


def episode(steps: int, dims: int, seed: int) -> np.ndarray:
    rng, t = np.random.default_rng(seed), np.arange(steps)[:, None] / 10
    waves = np.sin(2 * np.pi * rng.uniform(0.1, 1, (1, dims)) * t + rng.uniform(0, 6, (1, dims)))
    return (waves * 0.5 + rng.normal(0, 0.02, (steps, dims))).astype(np.float32)


def lerobot(root: Path, episodes: list[np.ndarray], fps: int = 30, state: int = 8) -> None:
    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    count = len(episodes)
    info = {"codebase_version": "v2.1", "robot_type": "so100", "total_episodes": count, "fps": fps}
    (root / "meta/info.json").write_text(json.dumps(info | {"splits": {"train": f"0:{count}"}}))
    for i, action in enumerate(episodes):
        n = len(action)
        columns = {
            "action": pa.array(action.tolist(), pa.list_(pa.float32())),
            "observation.state": pa.array(np.zeros((n, state)).tolist()),
            "episode_index": np.full(n, i),
            "frame_index": np.arange(n),
        }
        pq.write_table(pa.table(columns), root / f"data/chunk-000/episode_{i:06d}.parquet")


class Said:
    """What a command printed, and how it ended."""

    def __init__(self, capsys: Any) -> None:
        self.capsys = capsys

    def __call__(self, *words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        self.code = ended.value.code
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err
        return captured.out + captured.err


@pytest.fixture
def run(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "180")
    return Said(capsys)


def row_of(said: str, name: str) -> list[str]:
    return next(line.split() for line in said.splitlines() if line.startswith(f"{name} "))


def test_1_a_dim_that_moves_in_few_steps_is_kept(run: Said) -> None:
    episodes = [episode(100, 7, i) for i in range(40)]
    for i, action in enumerate(episodes):
        action[:, 6] = 0
        if i % 4 == 3:
            action[50:54, 6] = 1
    np.savez("rare.npz", actions=np.stack(episodes))
    assert "action dim 6 by min..max" in run("fit", "rare.npz", "--out", "T", "--horizon", 10)
    tok, chunk = ActionTokenizer.load("T"), np.stack(episodes)[3:4, 48:58]
    decoded = tok.decode(tok.encode(chunk), horizon=10, action_dim=7)
    assert decoded.ok.all()
    assert np.abs(decoded.actions[0, :, 6] - [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]).max() < 0.1


def test_2_other_frequencies_are_no_one_embodiment(run: Said) -> None:
    lerobot(Path("a10"), [episode(90, 6, i) * 90 for i in range(4)], 10)
    lerobot(Path("a50"), [episode(90, 6, i) for i in range(4)], 50)
    for order, hz in ((("a10", "a50"), "10 and 50 Hz"), (("a50", "a10"), "50 and 10 Hz")):
        said = run("fit", *order, "--out", "T")
        assert run.code == 1
        assert f"the control frequency is {hz}" in said
        assert "--embodiments apart" in said


def test_4_7_episodes_in_one_array_and_in_any_order(run: Said) -> None:
    every = np.stack([episode(90, 7, i) for i in range(30)])
    np.savez("x.npz", action=every)
    order = np.random.default_rng(0).permutation(2700)
    columns = {"episode_index": np.repeat(np.arange(30), 90)[order], "frame_index": np.tile(np.arange(90), 30)[order]}
    pq.write_table(pa.table(columns | {"action": pa.array(every.reshape(-1, 7)[order].tolist())}), "s.parquet")
    for name in ("x.npz", "s.parquet"):
        cells = row_of(run("fit", name, "--horizon", 10, "--out", "T", "--overwrite", "--vocab-size", 512), name[0])
        assert cells[1:5] == ["7", "-", "10", "30"]  # dims, Hz, horizon, episodes


def test_5_6_held_out_and_missing_episodes_are_told_as_they_are(run: Said) -> None:
    lerobot(Path("two"), [episode(90, 7, i) for i in (0, 1)])
    cells = row_of(run("fit", "two", "--out", "T"), "so100")
    assert cells[4:7] == ["2", "90", "90"]  # episodes, chunks, of which held out are one episode's
    lerobot(Path("m"), [episode(90, 7, i) for i in range(30)])
    for number in (4, *range(10, 20)):
        Path(f"m/data/chunk-000/episode_{number:06d}.parquet").unlink()
    said = run("fit", "m", "--out", "T", "--overwrite", "--vocab-size", 512)
    assert "30 episodes are declared, 11 of them are not in data/: 4, 10, 11" in said


def test_8_11_what_may_not_be_written_is_refused_first(run: Said) -> None:
    np.savez("x.npz", actions=np.stack([episode(10, 7, i) for i in range(60)]))
    before = Path("x.npz").read_bytes()
    Path("notes").mkdir()
    Path("notes/a").touch()
    assert "exists and is not a tokenizer folder" in run(
        "fit", "x.npz", "--horizon", 10, "--out", "notes", "--overwrite"
    )
    assert "x.npz exists and is not a folder" in run("fit", "x.npz", "--horizon", 10, "--out", "x.npz")
    assert "x.npz is not a folder" in run("fit", "x.npz", "--horizon", 10, "--out", "x.npz/sub")
    run("fit", "x.npz", "--horizon", 10, "--out", "T", "--vocab-size", 512)
    assert "also what the command reads" in run("encode", "T", "x.npz", "--out", "x.npz")
    assert Path("x.npz").read_bytes() == before


@pytest.mark.parametrize("glitch", [100, 1_000_000])
def test_9_a_glitch_is_named_with_its_place(run: Said, glitch: float) -> None:
    episodes = [episode(100, 7, i) for i in range(40)]
    episodes[3][10, 2] = glitch
    np.savez("g.npz", actions=np.stack(episodes))
    said = run("fit", "g.npz", "--horizon", 10, "--out", "T")
    assert run.code == 1
    assert f"g.npz: episode 3, step 10, dim 2: action is {glitch:g}" in said


def test_10_no_tracebacks(run: Said) -> None:
    pairs = pa.array([{"x": float(a), "y": float(b)} for a, b in episode(90, 2, 0)])
    pq.write_table(pa.table({"episode": np.zeros(90, int), "action": pairs}), "st.parquet")
    assert "action contains dict values" in run("fit", "st.parquet", "--horizon", 10, "--out", "T")
    np.savez("y.npz", actions=np.stack([episode(60, 7, i) for i in range(20)]))
    run("fit", "y.npz", "--horizon", 10, "--out", "T", "--vocab-size", 512)
    assert "--chunks is 0, expected at least 1" in run("inspect", "T", "y.npz", "--chunks", 0)
    run("encode", "T", "y.npz", "--out", "no/dir/i.npz")
    assert (run.code, Path("no/dir/i.npz").is_file()) == (0, True)
    run("inspect", "T", "y.npz", "--html", "other/dir/p.html")
    assert (run.code, Path("other/dir/p.html").is_file()) == (0, True)


def test_12_relative_works_on_the_command_line(run: Said) -> None:
    lerobot(Path("r"), [episode(90, 7, i) for i in range(12)])
    assert "the action has 7 dims, the state has 8 columns; say which" in run("fit", "r", "--relative", "--out", "T")
    shutil.rmtree("r")
    lerobot(Path("r"), [episode(90, 7, i) for i in range(12)], state=7)
    run("fit", "r", "--relative", "--out", "T", "--vocab-size", 512)
    assert run.code == 0
    np.savez("c.npz", actions=np.zeros((2, 30, 7)))
    assert "add a column 'state'" in run("encode", "T", "c.npz", "--out", "i.npz")
    np.savez("d.npz", actions=np.zeros((2, 30, 7)), state=np.zeros((2, 7)))
    run("encode", "T", "d.npz", "--out", "i.npz")
    assert run.code == 0
    run("inspect", "T", "r")
    assert run.code == 0
