"""The demo, small: every step runs as the command it prints, and the page shows all of it without a network."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo import DemoConfig, prepare, steps
from fasttok.errors import InputError
from pipelines.shards import ShardReader


@pytest.mark.slow
def test_a_small_demo_writes_a_whole_page(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    small = ["--episodes=10", "--samples=400", "--vlm-steps=2", "--steps=3", "--eval-episodes=2"]
    command = [sys.executable, "-m", "examples.demo", "--out", str(out), *small]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=280, check=False)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    page = (out / "report.html").read_text(encoding="utf-8")
    for title in (
        "Rollouts",
        "Evaluation",
        "Training",
        "The mixture",
        "Samples from the shards",
        "How this page was made",
    ):
        assert f"<h2>{title}</h2>" in page
    for loss in ("L_VLM", "L_FAST", "L_FLOW"):
        assert f"<h3>{loss}</h3>" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)  # opens offline
    assert "<script" not in page
    assert page.count("data:image/jpeg") >= 8
    manifest = ShardReader(str(out / "shards")).manifest
    for name, source in manifest.sources.items():
        assert name in page
        assert f">{source['planned']:,}<" in page
    results = json.loads((out / "eval.json").read_text())
    assert {(w["embodiment"], w["split"]) for w in results["world"]} == {
        (e, s) for e in ("planar", "arm") for s in ("seen", "held_out")
    }
    recorded = json.loads((out / "steps.json").read_text())
    assert len(recorded) == len(steps(DemoConfig()))
    again = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60, check=False)
    assert again.returncode == 1
    assert "--overwrite" in again.stderr


def test_only_a_demo_is_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(InputError, match="left alone"):
        prepare(tmp_path / "photos", overwrite=True)
    with pytest.raises(InputError, match="--overwrite"):
        prepare(tmp_path / "photos", overwrite=False)
    assert (tmp_path / "photos" / "cat.jpg").exists()
