"""The demo, small: every step runs as the command it prints, and the page shows all of it without a network."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from examples import demo_summary
from examples.commands import MODULES
from examples.demo import DEMO, DemoConfig, steps
from examples.demo_page.headings import TITLES
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from tests.html_checks import assert_whole


@pytest.mark.slow
def test_a_small_demo_writes_a_whole_page(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    small = ["--episodes=10", "--vqa=200", "--samples=400", "--vlm-steps=2", "--steps=3", "--eval-episodes=2"]
    command = [sys.executable, "-m", "examples.demo", "--out", str(out), *small]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    page = (out / "report.html").read_text(encoding="utf-8")
    assert dict(re.findall('<h2 id="([^"]*)">([^<]*)</h2>', page)) == TITLES
    assert re.findall('href="#([^"]*)"', page) == list(TITLES)
    for loss in ("L_VLM", "L_FAST", "L_FLOW"):
        assert f"<h3>{loss}</h3>" in page
    assert_whole(page)  # opens offline
    filmed = re.findall(r'aria-label="(policy|expert|acts blindly): [^"]*, seed (\d+),', page)
    assert Counter(who for who, _ in filmed) == {
        "policy": 5,
        "expert": 5,
        "acts blindly": 5,
    }  # 2 of 2 splits, and one on top
    assert len(set(re.findall(r"@keyframes ([\w-]+)", page))) >= 1
    assert page.count("data:image/jpeg") >= 8
    manifest = ShardReader(str(out / "shards")).manifest
    for name, source in manifest.sources.items():
        assert name in page
        assert f">{source.planned:,}<" in page
    results = json.loads((out / "eval.json").read_text())
    assert {(w["embodiment"], w["split"]) for w in results["world"]} == {("planar", "seen"), ("planar", "uncorrelated")}
    summary = json.loads((out / "summary.json").read_text())
    assert {key: list(value) for key, value in summary.items() if key != "seconds"} == {
        "policy": ["successes", "episodes"],
        "blind": ["successes", "episodes"],
        "expert": ["successes", "episodes"],
        "vqa": ["correct", "questions", "commonest"],
    }
    ours, blind = summary["policy"], summary["blind"]
    told = f"succeeded in {ours['successes']} of {ours['episodes']} new episodes and one that acts blindly in"
    assert f"{told} {blind['successes']} of {blind['episodes']}" in page
    seen = [w for w in results["world"] if w["split"] == "seen"]
    assert summary["policy"] == {"successes": sum(sum(w["each"]["success"]) for w in seen), "episodes": 2}
    assert summary["expert"] == {"successes": 2, "episodes": 2}
    assert summary["blind"]["episodes"] == 2
    assert summary["vqa"]["correct"] == sum(results["vqa"]["each"])
    assert 0 < summary["vqa"]["commonest"] < 1
    assert isinstance(summary["seconds"], int)
    recorded = json.loads((out / "steps.json").read_text())
    assert sum(step["seconds"] for step in recorded) <= summary["seconds"] + 2
    assert len(recorded) == len(steps(DemoConfig()))
    for step in recorded:
        assert f"$ {step['command']}" in result.stderr.replace("\n", " ")
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]]
    )  # what `source .venv/bin/activate` does
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(root)}
    for name in ("fasttok-mixtures", "fasttok-pipelines inspect", "python -m examples.report"):
        (typed,) = [step["command"] for step in recorded if step["command"].startswith(name)]
        again = f"{typed} --overwrite" if name == "python -m examples.report" else typed  # its page is there already
        done = subprocess.run(again, shell=True, cwd=root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    second = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert second.returncode == 1
    assert "--overwrite" in second.stderr


def world(split: str, success: float, **more: object) -> dict[str, object]:
    """A row of results."""
    return {"embodiment": "planar", "split": split, "episodes": 24, "success": success} | more


def test_the_summary_is_whole_or_not_there(tmp_path: Path) -> None:
    vqa = {"questions": 400, "accuracy": 0.2925, "baseline": 0.2425}
    results = {"world": [world("seen", 1 / 24), world("seen", 3 / 24), world("held_out", 1.0)], "vqa": vqa}
    played = [world("seen", 1.0, policy="expert"), world("seen", 2 / 24, policy="blind")]
    (tmp_path / "eval.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=r"baselines.json is missing"):
        demo_summary.write(tmp_path, 298.4)
    (tmp_path / "baselines.json").write_text(json.dumps(played[:1]))
    with pytest.raises(InputError, match="no episode of blind"):
        demo_summary.write(tmp_path, 298.4)
    assert not (tmp_path / "summary.json").exists()
    (tmp_path / "baselines.json").write_text(json.dumps(played))
    demo_summary.write(tmp_path, 298.4)
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "policy": {"successes": 4, "episodes": 48},
        "blind": {"successes": 2, "episodes": 24},
        "expert": {"successes": 24, "episodes": 24},
        "vqa": {"correct": 117, "questions": 400, "commonest": 0.2425},
        "seconds": 298,
    }


def test_a_new_demo_takes_away_the_summary_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text(json.dumps([{"title": "t", "command": "c", "seconds": 1.0}]))
    (tmp_path / "summary.json").write_text("{}")
    check_output(tmp_path, DEMO, overwrite=True).begin()
    assert not (tmp_path / "summary.json").exists()


def test_the_demo_prints_commands_that_run_from_where_it_was_started() -> None:
    for step in steps(DemoConfig(out=Path("my demo"))):
        first, *rest = shlex.split(step.command)
        assert first in MODULES or [first, *rest][:2] == ["python", "-m"]
        assert any(word.startswith("my demo") for word in rest)
        flags = ("--out", "--index", "--shards", "--tokenizer", "--run", "--init-from", "--vqa", "--rollouts", "--demo")
        # --vqa of `generate` is a number of questions.
        given = [value for flag, value in pairwise(rest) if flag in flags and not value.isdigit()]
        assert all(value.split("/")[0] == "my demo" for value in given)


def test_commands_are_our_console_scripts() -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    scripts = re.findall(r'^(fasttok[\w-]*) = "([\w.]+):\w+"', text, re.MULTILINE)
    found = {name: module.removesuffix(".__main__") for name, module in scripts}
    started = re.findall(
        r'start\("(fasttok[\w-]*)", "([\w.]+)"', (root / "train/scripts.py").read_text(encoding="utf-8")
    )
    assert {name for name, module in found.items() if module == "train.scripts"} == set(dict(started))
    assert found | dict(started) == MODULES


def test_make_demo_ends_by_telling_how_to_enter_the_environment() -> None:
    text = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert recipe is not None
    assert "source $(VENV)/bin/activate" in recipe[1].splitlines()[-1]


def test_only_a_demo_is_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(InputError, match="will not be overwritten"):
        check_output(tmp_path / "photos", DEMO, overwrite=True)
    with pytest.raises(InputError, match="--overwrite"):
        check_output(tmp_path / "photos", DEMO, overwrite=False)
    assert (tmp_path / "photos" / "cat.jpg").exists()
