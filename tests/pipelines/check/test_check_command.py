"""The command: what it prints, how it ends, its page."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fasttok.errors import InputError
from pipelines.check.command import CheckConfig, run_check
from tests.pipelines.check.planted import entry, films, hdf5, lerobot, made


def ended(config: CheckConfig) -> str:
    """How it ends: "" for success."""
    try:
        run_check(config)
    except InputError as error:
        return str(error)
    return ""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return entry(lerobot(tmp_path / "sound", made()))


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    return entry(lerobot(tmp_path / "wrong", made("delta")), "absolute")


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    what = made()
    what.actions[2][30, 0] = 30.0
    return entry(lerobot(tmp_path / "doubtful", what))


def test_how_it_ends(sound: Path, doubtful: Path, wrong: Path) -> None:
    assert ended(CheckConfig(str(sound))) == ""
    assert ended(CheckConfig(str(sound), strict=True)) == ""
    assert ended(CheckConfig(str(doubtful))) == ""
    assert "1 warning(s)" in ended(CheckConfig(str(doubtful), strict=True))
    assert "1 error(s)" in ended(CheckConfig(str(wrong)))


def test_what_it_prints(wrong: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended(CheckConfig(str(wrong)))
    out = capsys.readouterr().out
    assert out.startswith("error: ")
    assert "[action-meaning]" in out
    assert "write: {from: action, slice: [0, 3], encoding: delta}" in out
    assert "12 episodes read, 12 of them checked" in out.splitlines()[-1]


def test_json(doubtful: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended(CheckConfig(str(doubtful), json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == {"error": 0, "warning": 1, "note": found["counts"]["note"]}
    assert found["findings"][0]["check"] == "outlier"
    assert found["findings"][0]["place"]["episode"] == 2
    assert found["findings"][0]["place"]["step"] == 30
    assert [dim["meaning"] for dim in found["action"][:3]] == ["absolute"] * 3


class Counted(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        assert not any(name in ("src", "href") and str(value).startswith("http") for name, value in attrs)


def test_the_page_draws_places_and_pictures(tmp_path: Path) -> None:
    what = made()
    what.actions[2][30, 0] = 30.0
    dark = films(what)
    dark[3][:] = 1
    file = hdf5(tmp_path / "set.hdf5", what, {"front_image": dark})
    page = tmp_path / "page.html"
    assert ended(CheckConfig(str(file), html=(str(page),))) == ""
    text = page.read_text()
    counted = Counted()
    counted.feed(text)
    assert counted.tags["svg"] >= 2
    assert counted.tags["img"] >= 2
    assert 'class="shade"' in text
    assert "camera-black" in text
    page.write_text("mine")
    assert "page.html" in ended(CheckConfig(str(file), html=(str(page),)))
    assert page.read_text() == "mine"


def test_a_sample_is_spread_over_the_episodes(tmp_path: Path) -> None:
    from pipelines.check.diagnose import diagnose

    folder = lerobot(tmp_path / "a", made(episodes=40))
    found = diagnose(str(folder), most=8)
    numbers = [episode.where.number for episode in found.sample.episodes]
    assert len(numbers) == 8
    assert numbers[0] == 0
    assert numbers[-1] >= 30
    assert max(np.diff(numbers)) <= 2 * min(np.diff(numbers))


def test_what_is_no_dataset(tmp_path: Path, sound: Path) -> None:
    assert "does not exist" in ended(CheckConfig(str(tmp_path / "nothing")))
    (tmp_path / "empty").mkdir()
    assert "cannot tell" in ended(CheckConfig(str(tmp_path / "empty")))
    assert "no split 'eval'" in ended(CheckConfig(str(sound), splits=("eval",)))
    assert "--episodes is 0" in ended(CheckConfig(str(sound), episodes=0))


def test_npz_and_parquet(tmp_path: Path) -> None:
    what = made()
    for i, (action, state) in enumerate(zip(what.actions, what.states, strict=True)):
        np.savez(tmp_path / f"{i}.npz", action=action, state=state)
    assert ended(CheckConfig(str(tmp_path))) == ""
    np.savez(tmp_path / "3.npz", action=what.actions[2], state=what.states[2])
    assert "1 warning(s)" in ended(CheckConfig(str(tmp_path), strict=True))


def test_files_that_are_damaged(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", action=np.zeros((5, 2)))
    (tmp_path / "1.npz").write_bytes(b"PK\x03\x04 and nothing else")
    assert "error(s)" in ended(CheckConfig(str(tmp_path)))


def test_from_a_shell(wrong: Path) -> None:
    command = [sys.executable, "-m", "pipelines", "check", str(wrong)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "action-meaning" in result.stdout
    assert "Traceback" not in result.stderr
    assert subprocess.run([*command[:4], "--help"], capture_output=True).returncode == 0
