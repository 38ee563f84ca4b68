"""`fasttok` on every kind of data, and what its user reads when something is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fasttok import ActionTokenizer, NormStats
from fasttok.cli import main
from tests.chain import Chain


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(done.value.code or 0)


@pytest.mark.parametrize(
    ("entry_points", "says"),
    [
        ("", "another project with the same import name"),
        ("[console_scripts]\nfasttok = fasttok.cli:main\n", "an old install of this project"),
    ],
)
def test_info_warns_of_a_package_that_owns_the_import_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], entry_points: str, says: str
) -> None:
    other = tmp_path / "fasttok-9.8.7.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: fasttok\nVersion: 9.8.7\n")
    (other / "entry_points.txt").write_text(entry_points)
    monkeypatch.syspath_prepend(tmp_path)
    assert call("info") == 0
    printed = capsys.readouterr()
    assert says in printed.err
    assert "fasttok 9.8.7" in printed.err
    assert "pip uninstall fasttok" in printed.err
    assert "fasttok-vla" in printed.out


@pytest.mark.parametrize("what", ["index", "rlds", "npz"])
def test_fit_and_eval(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str) -> None:
    data = str(chain.index)
    more: list[str] = []
    if what == "rlds":
        data, more = str(chain.data / "tabletop_arm" / "1.0.0"), ["--control-hz", "20"]
    elif what == "npz":
        data, more = str(tmp_path / "chunks.npz"), ["--horizon", "10"]
        np.savez(data, actions=np.cumsum(np.random.default_rng(0).normal(size=(80, 10, 4)), axis=1))
    out = str(tmp_path / "tok")
    assert call("fit", data, "--out", out, "--vocab-size", "400", "--json", *more) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["vocab_size"] <= 400
    for numbers in report["embodiments"].values():
        assert numbers["fit_chunks"] > 0
    assert call("eval", out, data, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["fingerprint"] == report["fingerprint"]
    assert all(np.isfinite(e["rms"]).all() for e in result["embodiments"].values())
    assert call("info", out, "--json") == 0
    assert call("inspect", out, data, "--chunks", "1") == 0
    assert "tokens for" in capsys.readouterr().out
    assert (tmp_path / "tok" / "README.md").is_file()


def test_encode_then_decode(chain: Chain, tmp_path: Path) -> None:
    from fasttok.actions.chunks import episode_chunks
    from fasttok.episodes import open_episodes

    episode = next(iter(open_episodes(str(chain.data / "tabletop_planar" / "1.0.0"))))
    chunks = episode_chunks(np.asarray(episode.steps["action"]), 10, ["delta", "delta", "gripper"])
    np.savez(tmp_path / "chunks.npz", actions=chunks)
    files = {name: str(tmp_path / f"{name}.npz") for name in ("chunks", "ids", "back")}
    assert call("encode", str(chain.tokenizer), files["chunks"], "--out", files["ids"], "--embodiment", "planar") == 0
    assert call("decode", str(chain.tokenizer), files["ids"], "--out", files["back"], "--embodiment", "planar") == 0
    with np.load(files["back"]) as back:
        assert back["ok"].all()
        assert np.abs(back["actions"] - chunks)[:, :, :2].max() < 0.01


def test_dry_run_writes_nothing(chain: Chain, tmp_path: Path) -> None:
    assert call("fit", str(chain.index), "--out", str(tmp_path / "tok"), "--vocab-size", "300", "--dry-run") == 0
    assert not (tmp_path / "tok").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fit", "{index}", "--out", "{tokenizer}"], "--overwrite"),
        (["fit", "/nowhere", "--out", "{tmp}/a"], "/nowhere does not exist"),
        (["fit", "nosuch://bucket/x", "--out", "{tmp}/a"], "nosuch"),
        (["encode", "{tokenizer}", "{tmp}/a.npz", "--out", "{tmp}/x.npz"], "a.npz"),
        (["fit", "{index}", "--out", "{tmp}/a", "--split", "test"], "test"),
        (["fit", "{data}/tabletop_arm/1.0.0", "--out", "{tmp}/a"], "--control-hz"),
        (
            ["fit", "{data}/tabletop_arm/1.0.0", "--out", "{tmp}/a", "--horizon", "5", "--action-key", "actoin"],
            "actoin",
        ),
        (["fit", "{index}", "--out", "{tmp}/a", "--vocab-size", "20"], "--vocab-size"),
        (["eval", "{tmp}", "{index}"], "processor_config.json"),
        (["decode", "{tokenizer}", "{tmp}/none.npz", "--out", "{tmp}/x.npz", "--embodiment", "arm"], "none.npz"),
        (["encode", "{tokenizer}", "{tmp}/a.txt", "--out", "{tmp}/x.npz"], ".parquet"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(chain: Chain, tmp_path: Path, words: list[str], says: str) -> None:
    places = {"index": chain.index, "tokenizer": chain.tokenizer, "tmp": tmp_path, "data": chain.data}
    command = [sys.executable, "-m", "fasttok.cli", *[w.format(**places) for w in words]]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "planar"])
def test_statistics_without_embodiments_serve_any_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A tokenizer of the Python API: it has statistics, and no embodiments that say a horizon."""
    chunks = np.cumsum(np.random.default_rng(0).normal(size=(60, 10, 2)), 1)
    stats = NormStats.of(lambda: [chunks.reshape(-1, 2)])
    tok = ActionTokenizer.fit(chunks, 512, stats={name: stats} if name else stats)
    tok.save(tmp_path / "tok")
    np.savez(tmp_path / "mine.npz", action=chunks[:4].reshape(-1, 2))
    given = [str(tmp_path / "tok"), str(tmp_path / "mine.npz"), "--horizon", "10"]
    assert call("eval", *given, "--sweep", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fingerprint"] == tok.fingerprint
    assert [*found["embodiments"]] == [name or "mine"]
    assert found["sweep"]
    (own,) = found["this_tokenizer"]
    assert own["rms"] < 0.1  # of actions normalised by the statistics; raw ones would be far out of range
    assert call("inspect", *given) == 0


def test_files_of_one_folder_are_datasets_and_fit_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who types *.npz for the recordings of one robot gets statistics for each file, and should know it."""
    actions = np.cumsum(np.random.default_rng(0).normal(size=(3, 60, 2)), 1)
    (tmp_path / "day").mkdir()
    files = [tmp_path / "day" / f"{i}.npz" for i in range(3)]
    for file, action in zip(files, actions, strict=True):
        np.savez(file, action=action)
    given = ["--horizon", "10", "--dry-run"]
    assert call("fit", *map(str, files), "--out", str(tmp_path / "tok"), *given) == 0
    note = f"each of the 3 files of {tmp_path / 'day'} is a dataset, so 0, 1 ... are embodiments with"
    assert note in capsys.readouterr().err
    for alone in (files[0], tmp_path / "day"):
        assert call("fit", str(alone), "--out", str(tmp_path / "tok"), *given) == 0
        assert "is a dataset" not in capsys.readouterr().err
