"""Units, filters by text and guesses of entries: a velocity leads as far as its robot goes, and failures can be left out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.episodes import Episode
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.catalogue.commands import DatasetListConfig, DatasetShowConfig, entry_of, markdown, run_list, run_show
from pipelines.datasets.actions import representation
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.filters import RejectedError
from pipelines.datasets.packaged_entries import packaged
from pipelines.datasets.standardize import standardize
from tests.pipelines.made_entries import indexed

ROBOT = "name: x\nkind: robot\ncontrol_hz: 5\ncameras: {primary: image}\naction: [{from: a}]\n"


def full_stick(steps: int = 15, **metadata: Any) -> Episode:
    """DROID's arm with every command at its largest."""
    ones = {f"action_dict/{name}": np.ones((steps, n), np.float64) for name, n in WIDTHS.items()}
    states = {f"observation/{name}": np.zeros((steps, n)) for name, n in WIDTHS.items() if "position" in name}
    return Episode(ones | states | {"language_instruction": [b"wipe"] * steps}, metadata)


WIDTHS = {
    "cartesian_velocity": 6,
    "cartesian_position": 6,
    "joint_velocity": 7,
    "joint_position": 7,
    "gripper_position": 1,
}


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("droid", [1.125] * 3 + [2.25] * 3),
        ("droid_wipe", [1.125] * 3 + [2.25] * 3),
        ("droid_joint_velocity", [3.0] * 7),
    ],
)
def test_a_second_of_full_stick_leads_as_far_as_droid_goes(name: str, after: list[float]) -> None:
    entry = replace(entry_of(name), cameras={})
    found = standardize(entry, full_stick())
    represent = representation(indexed(entry), name, "relative", "stored")
    assert represent is not None
    chunk = represent(found.action[None], represent.reference(found.action, found.proprio)[:1])[0]
    assert np.allclose(chunk[-1, :-1], after, rtol=1e-6)
    assert np.allclose(found.action[0, :-1], after, rtol=1e-6)  # per second, as the unit says


def test_every_velocity_has_a_source_or_is_called_a_guess() -> None:
    for name in packaged():
        entry = entry_of(name)
        if any(part.unit.endswith("/s") for part in entry.action) and not name.startswith("droid"):
            assert any("velocit" in guess for guess in entry.guesses), name
        rates = ["velocity" in " ".join(part.names) for part in entry.action if part.encoding == "delta"]
        assert not any(rates) or any(part.unit.endswith("/s") for part in entry.action), name


def entry(more: str) -> DatasetEntry:
    return parse_entry(
        f"name: x\nkind: robot\ncontrol_hz: 5\ncameras: {{primary: i}}\naction: [{{from: a}}]\n{more}", "mine.yaml"
    )


def test_scales_are_of_one_column_or_of_all() -> None:
    made = entry("proprio: [{from: s, slice: [0, 2], scale: [10, -1]}, {from: s, scale: 0.5}]")
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = standardize(replace(made, cameras={}), Episode({"a": values, "s": values}))
    assert np.array_equal(found.proprio, np.concatenate([values[:, :2] * [10, -1], values * 0.5], axis=1))
    with pytest.raises(RejectedError, match="gives 3 columns, scale has 2"):
        standardize(
            replace(entry("proprio: [{from: s, scale: [1, 2]}]"), cameras={}), Episode({"a": values, "s": values})
        )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("proprio: [{from: s, scale: 0}]", "scale must be a finite number other than 0"),
        ("proprio: [{from: s, scale: []}]", "scale must be"),
        ("proprio: [{from: s, scale: '2'}]", "scale must be"),
        ("proprio: [{from: s, scale: [.nan]}]", "scale must be"),
        ("proprio: [{from: s, slice: [0, 3], scale: [1, 2]}]", "scale has 2 numbers, the slice takes 3 columns"),
        ("proprio: [{from: s, encoding: gripper, scale: 2}]", "closed and open"),
        ("proprio: [{from: s, rotation: quaternion_xyzw, scale: 2}]", "a quaternion has no unit"),
        ("filters: {matches: success}", "matches is 'success', expected a mapping"),
        ("filters: {matches: {path: '('}}", r"matches: '\(' is no regular expression"),
        ("filters: {excludes: {path: 3}}", "path must be text"),
        ("guesses: all of it", "guesses must be a list"),
    ],
)
def test_what_cannot_be_is_told(line: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"mine\.yaml: line 6: .*{message}"):
        entry(line)


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ("{matches: {path: success}}", None),
        ("{matches: {path: '^/data/failure'}}", "matches"),
        ("{excludes: {path: failure}}", None),
        ("{excludes: {path: 'succ.*h5$'}}", "excludes"),
        ("{matches: {text: pick}, excludes: {path: failure, text: drop}}", None),
        ("{matches: {a: pick}}", "features"),
        ("{matches: {missing: pick}}", "features"),
    ],
)
def test_episodes_are_told_by_text(filters: str, reason: str | None) -> None:
    made = replace(entry(f"filters: {filters}"), cameras={})
    episode = Episode(
        {"a": np.zeros((3, 2), np.float32), "text": [b"pick up"] * 3}, {"path": b"/data/success/2023/trajectory.h5"}
    )
    if reason is None:
        assert len(standardize(made, episode).steps) == 3
        return
    with pytest.raises(RejectedError) as caught:
        standardize(made, episode)
    assert caught.value.reason == reason
    assert caught.value.filtered == (reason != "features")  # a wrong entry is an error, not a wish


def test_guesses_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run_show(DatasetShowConfig("utokyo_xarm_bimanual_converted_externally_to_rlds"))
    assert 'guesses:\n  - "Which value of the grippers is open is not stated' in capsys.readouterr().out
    run_list(DatasetListConfig(json=True))
    rows = {row["name"]: row["guesses"] for row in json.loads(capsys.readouterr().out)}
    assert rows["utokyo_xarm_bimanual_converted_externally_to_rlds"] == 2
    assert rows["kuka"] == 0
    assert "- `nyu_door_opening_surprising_effectiveness`: That the velocities" in markdown()


def test_an_entry_that_says_none_of_it_is_written_as_before(tmp_path: Path) -> None:
    from fasttok.common import json_files

    written = json_files.encode(entry_of("kuka"))
    assert "guesses" not in written
    assert "matches" not in written["filters"]
    assert "scale" not in written["action"][0]
