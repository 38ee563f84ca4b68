"""`python -m mixtures`: what the verbs print."""

import json
from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from mixtures.__main__ import main
from mixtures.registry import load_mixture
from mixtures.summary import read_index, summarise


def entry(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "control_hz": None, "action_dim": None, **more}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """An index.json with the demo's datasets: what `explain` reads, and nothing else of an INDEX."""
    folder = tmp_path / "index"
    folder.mkdir()
    datasets = {
        "tabletop_planar": {"entry": entry("robot", control_hz=10, action_dim=3), "splits": {"train": {"steps": 5000}}},
        "tabletop_arm": {"entry": entry("robot", control_hz=20, action_dim=7), "splits": {"train": {"steps": 10000}}},
        "tabletop_vqa": {"entry": entry("vqa"), "splits": {"train": {"steps": 1000}}},
        "tabletop_captions": {"entry": entry("caption"), "splits": {"train": {"steps": 500}}},
    }
    (folder / "index.json").write_text(json.dumps({"format_version": 1, "digest": "d", "datasets": datasets}))
    return folder


def test_explain_without_an_index_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    main(["explain", "demo", "--samples", "1000"])
    out, err = capsys.readouterr()
    assert "40.00%" in out
    assert "web/tabletop_vqa" in out
    assert "epochs" not in out
    assert "no index: shares only" in err


def test_explain_with_an_index(capsys: pytest.CaptureFixture[str], index: Path) -> None:
    main(["explain", "demo", "--samples", "10000", "--index", str(index), "--json"])
    lines = {line["source"]: line for line in json.loads(capsys.readouterr().out)["sources"]}
    arm, vqa = lines["tabletop_arm"], lines["web/tabletop_vqa"]
    assert (arm["samples"], arm["epochs"], arm["horizon"], arm["naive_tokens"]) == (3000, 0.3, 20, 140)
    assert (vqa["samples"], vqa["epochs"], vqa["naive_tokens"]) == (2000, 2.0, None)
    assert sum(line["samples"] for line in lines.values()) == 10000
    main(["explain", "demo", "--samples", "10000", "--index", str(index)])
    out, err = capsys.readouterr()
    assert "20 x 7" in out
    assert "no index" not in err


def test_explain_marks_caps_and_counts_exactly(index: Path, tmp_path: Path) -> None:
    path = tmp_path / "capped.yaml"
    path.write_text(
        "sources:\n"
        "  - {dataset: tabletop_planar, weight: 1}\n"
        "  - {dataset: tabletop_captions, weight: 1, max_epochs: 2}\n"
    )
    lines = summarise(load_mixture(path), 10_000, read_index(str(index)))
    assert [(line.samples, line.capped) for line in lines] == [(9000, False), (1000, True)]
    assert lines[1].row[-1] == "capped by max_epochs"


def test_explain_names_what_the_index_lacks(index: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("sources:\n  - {dataset: tabletop_arms}\n")
    with pytest.raises(InputError, match="did you mean 'tabletop_arm'"):
        main(["explain", str(path), "--index", str(index)])
    path.write_text("sources:\n  - {dataset: tabletop_arm, split: vla}\n")
    with pytest.raises(InputError, match="split of tabletop_arm"):
        main(["explain", str(path), "--index", str(index)])
    with pytest.raises(InputError, match="not a finished INDEX"):
        main(["explain", "demo", "--index", str(tmp_path / "nothing")])


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    assert "demo" in capsys.readouterr().out
    main(["list", "--json"])
    assert any(mixture["name"] == "demo" for mixture in json.loads(capsys.readouterr().out))
    main(["show", "demo"])
    assert "group: web" in capsys.readouterr().out
    main(["show", "demo", "--json"])
    assert len(json.loads(capsys.readouterr().out)["sources"]) == 4


def test_unknown_verb() -> None:
    with pytest.raises(InputError, match="did you mean 'explain'"):
        main(["explian", "demo"])
