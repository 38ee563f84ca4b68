"""Presets are the published soups, weight for weight; the catalogue says what the entries and the fact tables say."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixtures.catalogue import FILE, catalogue
from mixtures.registry import PRESETS, load_mixture, preset_names
from mixtures.spec import walk
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.packaged_entries import packaged

GENERATED = ("tabletop_", "metaworld")  # datasets that examples/ make
KEYS = {"kind", "episodes", "frames", "frames_from", "hz", "action_dim", "gib"}
SOURCES = {"openvla", "multinet", "lerobot", "hub", "coco", "vqav2"}


def as_published(soup: dict[str, Any]) -> list[dict[str, Any]]:
    """The `sources:` of a soup: its rows, the second of a dataset under another name."""
    seen: Counter[str] = Counter()
    rows = []
    for row in soup["datasets"]:
        seen[row["dataset"]] += 1
        again = {"name": f"{row['dataset']}_{seen[row['dataset']]}"} if seen[row["dataset"]] > 1 else {}
        rows.append({"dataset": row["dataset"], "weight": row["weight"], **again})
    return rows


def test_soups_are_as_published(shared_data: Path) -> None:
    """The files themselves, whatever the parser makes of them, so that neither can hide a mistake of the other."""
    groups = json.loads((shared_data / "oxe" / "mixtures.json").read_text())["groups"]
    soups = {f"{project}/{name}": soup for project, group in groups.items() for name, soup in group["mixtures"].items()}
    assert set(soups) == {name for name in preset_names() if "/" in name}
    assert len(soups) == 41
    for name, soup in soups.items():
        mixture = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
        assert mixture.pop("description")
        assert mixture == {"name": name, "policy": "weight_times_frames", "sources": as_published(soup)}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_its_datasets_are_catalogued(name: str) -> None:
    sources = load_mixture(name).sources
    assert {source.dataset for source in sources if not source.dataset.startswith(GENERATED)} <= set(catalogue())


def test_the_recipe_holds_all_kinds_of_data() -> None:
    ki = load_mixture("ki")
    groups = {path[0] for path, _ in walk(ki.root)}
    assert groups == {"robots", "web"}
    kinds = {catalogue()[source.dataset].kind for source in ki.sources}
    assert kinds == {"robot", "vqa", "caption"}


def test_no_dataset_is_catalogued_twice() -> None:
    """YAML keeps the last of two lines of one name, unseen."""
    names = [line.split(":")[0] for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names)) == len(catalogue())


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_catalogue_lines(name: str) -> None:
    facts = {key: value for key, value in vars(catalogue()[name]).items() if value is not None}
    assert set(facts) <= KEYS
    assert facts["kind"] in ("robot", "vqa", "caption")
    assert ("frames" in facts) == ("frames_from" in facts)
    assert facts.get("frames_from", "openvla").split(",")[0] in SOURCES
    for key in ("episodes", "frames", "action_dim"):
        assert type(facts.get(key, 1)) is int
        assert facts.get(key, 1) > 0
    for key in ("hz", "gib"):
        assert type(facts.get(key, 1)) in (int, float)
        assert 0 < facts.get(key, 1) < math.inf


@pytest.mark.parametrize("name", sorted(set(catalogue()) & set(packaged())))
def test_catalogue_agrees_with_the_entries(name: str) -> None:
    facts, entry = catalogue()[name], parse_entry(packaged()[name], name)
    assert facts.kind == entry.kind
    assert facts.hz == entry.control_hz
    widths = [None if part.stop is None else part.stop - part.start for part in entry.action]
    assert facts.action_dim == (None if not widths or None in widths else sum(w or 0 for w in widths))


def test_catalogue_agrees_with_the_fact_tables(shared_data: Path) -> None:
    facts = json.loads((shared_data / "oxe" / "datasets.json").read_text())["datasets"]
    assert set(facts) <= set(catalogue())
    for name, table in facts.items():
        ours = catalogue()[name]
        assert (ours.episodes, ours.gib) == ((table["splits"] or {}).get("train"), table["size_gib"]), name
        if ours.frames_from is not None and ours.frames_from.endswith("all splits"):
            assert len(table["splits"]) > 1, name
