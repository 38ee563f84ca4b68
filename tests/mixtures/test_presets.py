"""Presets are the published soups, weight for weight; the catalogue says what the entries say."""

import json
from pathlib import Path

import pytest

from mixtures.catalogue import catalogue
from mixtures.registry import load_mixture, preset_names
from mixtures.spec import walk
from pipelines import entries


def test_soups_are_as_published(shared_data: Path) -> None:
    groups = json.loads((shared_data / "oxe" / "mixtures.json").read_text())["groups"]
    seen = 0
    for project, group in groups.items():
        for name, soup in group["mixtures"].items():
            mixture = load_mixture(f"{project}/{name}")
            published = [(row["dataset"], row["weight"]) for row in soup["datasets"]]
            assert [(source.dataset, source.weight) for source in mixture.sources] == published
            assert mixture.root.policy == "weight_times_frames"
            seen += 1
    assert seen == 41 == sum(name.split("/")[0] in groups for name in preset_names())


def test_the_recipe_holds_all_kinds_of_data() -> None:
    ki = load_mixture("ki")
    groups = {path[0] for path, _ in walk(ki.root)}
    assert groups == {"robots", "web"}
    kinds = {catalogue()[source.dataset]["kind"] for source in ki.sources}
    assert kinds == {"robot", "vqa", "caption"}


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_catalogue_lines(name: str) -> None:
    facts = catalogue()[name]
    assert set(facts) <= {"kind", "episodes", "frames", "frames_from", "hz", "action_dim", "gib"}
    assert facts["kind"] in ("robot", "vqa", "caption")
    assert ("frames" in facts) == ("frames_from" in facts)
    assert facts.get("frames_from", "card") in ("card", "openvla", "octo")
    for key in ("episodes", "frames", "action_dim"):
        assert isinstance(facts.get(key, 1), int)
        assert facts.get(key, 1) > 0
    packaged = entries.packaged()
    if name in packaged:
        entry = entries.parse_entry(packaged[name], name)
        assert facts.get("hz") == entry.control_hz
        if "action_dim" in facts:
            assert facts["action_dim"] == sum((part.stop or 0) - part.start for part in entry.action)


def test_every_dataset_of_a_preset_is_catalogued() -> None:
    named = {source.dataset for name in preset_names() for source in load_mixture(name).sources}
    assert {name for name in named if not name.startswith("tabletop_")} <= set(catalogue())
