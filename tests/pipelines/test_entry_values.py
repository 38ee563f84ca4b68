"""Values of an entry that cannot be: every one is refused with file and line, none gives wrong numbers or a traceback."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok.episodes.dataset_entry import DatasetEntry, EntryFilters
from fasttok.errors import InputError
from pipelines.datasets.entry_columns import KNOWN
from pipelines.datasets.entry_parser import parse_entry
from pipelines.datasets.find_entry import find_entry

ROBOT = "name: x\nkind: robot\ncontrol_hz: 5\ncameras: {primary: image}\naction: [{from: a}]\n"
VQA = "name: x\nkind: vqa\nprompt: q\ntarget: t\nsplits: {train: a.jsonl}\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("drop_first: -1", "drop_first must be an integer >= 0, got -1"),
        ("drop_first: 1.0", "drop_first must be an integer >= 0, got 1.0"),
        ("drop_first: true", "drop_first must be an integer"),
        ("size_gib: -3", "size_gib must be a finite number >= 0"),
        ("episodes: {train: many}", "train must be an integer >= 0, got 'many'"),
        ("episodes: [3]", "expected a mapping"),
        ("version: 1.0", "version must be text, got 1.0; put it in quotes"),
        ("version: 2024-01-01", "version must be text, got datetime.date"),
        ("embodiment: [a]", "embodiment must be text"),
        ("defects: [a: b]", r"defects\[0\] must be text"),
        ("notes: some", "notes must be a list"),
        ("language: true", "language must be text, got True"),
        ("language: ''", "language is empty"),
        ("language_format: [text]", "language_format must be text"),
        ("bgr: [wrist]", "bgr names 'wrist', which is none of the cameras: primary"),
        ("bgr: [[wrist]]", r"bgr\[0\] must be text"),
        ("unknwon: x", "did you mean 'unknown'"),
        ("filters: {min_steps: -1}", "filters: min_steps must be an integer >= 1, got -1"),
        ("filters: {min_steps: 2.5}", "filters: min_steps must be an integer"),
        ("filters: {idle_below: .nan}", "filters: idle_below must be a finite number >= 0, got nan"),
        ("filters: {idle_below: 1e-3}", "1e-3 is written 1.0e-3"),
        ("filters: {idle_below: 0.1, max_idle: 2}", "filters: max_idle must be a finite number >= 0 and <= 1"),
        ("filters: {language: 1}", "language must be true or false"),
        ("filters: [min_steps]", "filters is .* expected a mapping"),
        ("proprio: [{from: s, slice: [-3, 6]}]", r"proprio\[0\]: slice: expected .* got \[-3, 6\]; negative"),
        ("proprio: [{from: s, slice: [6, 3]}]", r"slice: expected \[start, stop\] with 0 <= start < stop"),
        ("proprio: [{from: s, slice: [3, 3]}]", "slice: expected"),
        ("proprio: [{from: s, slice: [3]}]", "slice: expected"),
        ("proprio: [{from: s, slice: [0, 3, 2]}]", "slice: expected"),
        ("proprio: [{from: s, slice: 3}]", "slice: expected"),
        ("proprio: [{from: s, slice: [0.0, 3.0]}]", "slice: expected"),
        ("proprio: [{from: s, slice: [false, true]}]", "slice: expected"),
        ("proprio: [{from: [s]}]", "from must be text"),
        ("proprio: [{slice: [0, 3]}]", r"proprio\[0\]: expected a mapping with `from`"),
        ("proprio: [s]", r"proprio\[0\]: expected a mapping with `from`"),
        ("proprio: [{from: s, names: xyz}]", "names must be a list"),
        ("proprio: [{from: s, names: [1, 2]}]", r"names\[0\] must be text"),
        ("proprio: [{from: s, slice: [0, 2], names: [x, y, z]}]", "names has 3 names, the slice takes 2 columns"),
        ("proprio: [{from: s, slice: [0, 4], rotation: euler_xyz}]", "euler_xyz has 3 columns, the slice takes 4"),
        ("proprio: [{from: s, slice: [0, 2], rotation: angle}]", "angle has 1 columns, the slice takes 2"),
        (
            "proprio: [{from: s, rotation: euler_xyz, unit: deg}]",
            "read in radians, unit is 'deg'; .*scale: 0.0174532925",
        ),
        (
            "proprio: [{from: s, rotation: angle, unit: Degrees/s}]",
            "read in radians, .*scale: 0.0174532925 and unit: rad/s",
        ),
        ("proprio: [{from: s, encoding: gripper, open: .inf}]", "open must be a finite number, got inf"),
        ("proprio: [{from: s, encoding: gripper, relative: 1}]", "relative must be true or false"),
        ("proprio: [{from: s, encoding: [delta]}]", "encoding must be text"),
        ("proprio: [{from: s, unit: 3}]", "unit must be text"),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_line(line: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"mine\.yaml: line 6: .*{message}"):
        parse_entry(f"{ROBOT}{line}\n", "mine.yaml")


@pytest.mark.parametrize(
    "value", ["-10", "0", '"10"', "ten", ".inf", ".nan", "true", "[10]", "1e9", "9" * 5000, "9" * 400]
)
def test_a_control_frequency_is_a_number_that_a_robot_can_have(value: str) -> None:
    with pytest.raises(InputError, match=r"^mine\.yaml: (line 3: control_hz must be|not valid YAML)") as caught:
        parse_entry(ROBOT.replace("control_hz: 5", f"control_hz: {value}"), "mine.yaml")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", ".hidden", "a\\b", '"a\\nb"', "gs:x", '" "', "[a]", "3"])
def test_a_name_is_a_plain_one(name: str) -> None:
    for text in (ROBOT, VQA):
        with pytest.raises(InputError, match=r"mine\.yaml: line 1: (key )?'?name"):
            parse_entry(text.replace("name: x", f"name: {name}"), "mine.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images: 3", "images is 3, expected a path"),
        ("turns: [each]", "'turns' is a key of format"),
        ("format: [jsonl]", "format must be text"),
        ("fixed_prompt: [a]", "fixed_prompt must be text"),
        ("annotations: [a]", "'annotations' is a key of format"),
        ("id: 3", "id must be text"),
        ("splits: [a]", "given twice"),
    ],
)
def test_values_of_questions_and_captions_are_checked_too(line: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"mine\.yaml: line 6: .*{message}"):
        parse_entry(f"{VQA}{line}\n", "mine.yaml")


def test_a_file_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    own = tmp_path / "data"
    own.mkdir()
    (own / "dataset.yaml").write_bytes((ROBOT + "license: caf\xe9\n").encode("latin-1"))
    for extra in ((), (str(own / "dataset.yaml"),), (str(own),)):
        with pytest.raises(InputError, match=r"dataset\.yaml: line 6: cannot be read as text: byte 0xe9 is not UTF-8"):
            find_entry(str(own), "x", extra)
    (own / "dataset.yaml").write_bytes(b"\xef\xbb\xbf" + ROBOT.encode())
    assert find_entry(str(own), "x").control_hz == 5


@pytest.mark.parametrize(
    "text",
    [
        "version: 2024-99-99", "a: !!bool maybe", "a: !!int x", "a: !!timestamp x", "a: !!python/object:os.system x",
        "? [a]\n: b", "a: &a {b: *a}", "[" * 5000, "- a", "", "a: 1\n---\nb: 2", "a: 'b", "a: *b", "\x00", "<<: 3",
    ],
)  # fmt: skip
def test_what_is_no_yaml_is_told(text: str) -> None:
    with pytest.raises(InputError, match=r"^mine\.yaml: "):
        parse_entry(text, "mine.yaml")


def test_merged_mappings_may_be_overridden_and_what_is_twice_may_not() -> None:
    action = "action:\n- &a {from: a, slice: [0, 1], unit: m}\n- {<<: *a, slice: [1, 2]}"
    entry = parse_entry(f"name: x\nkind: robot\ncameras: {{primary: i}}\n{action}", "m")
    assert [(part.start, part.stop, part.unit) for part in entry.action] == [(0, 1, "m"), (1, 2, "m")]
    with pytest.raises(InputError, match=r"m: line 2: 'name' is given twice \(first on line 1\)"):
        parse_entry("name: x\nname: y", "m")


KEYS = [f.name for f in fields(DatasetEntry)]
PARTS = list(KNOWN)
FILTERS = [f.name for f in fields(EntryFilters)]
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
words = st.text(max_size=5)
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=5
)


@settings(deadline=None, max_examples=150)
@given(
    st.booleans(),
    st.dictionaries(st.sampled_from(KEYS), anything, max_size=2),
    st.dictionaries(st.sampled_from(PARTS), anything, max_size=2),
    st.dictionaries(st.sampled_from(FILTERS), anything, max_size=2),
)
def test_whatever_stands_there_is_an_entry_or_told(
    robot: bool, own: dict[str, Any], part: dict[str, Any], filters: dict[str, Any]
) -> None:
    base = yaml.safe_load(ROBOT if robot else VQA)
    base |= ({"proprio": [{"from": "s"} | part], "filters": filters} if robot else {}) | own
    try:
        entry = parse_entry(yaml.safe_dump(base, allow_unicode=True), "mine.yaml")
    except InputError as error:
        message = str(error)
    else:
        message = "mine.yaml: "
        assert entry.drop_first >= 0
        assert entry.control_hz is None or 0 < entry.control_hz < 1e6
        assert all(part.start >= 0 and (part.stop is None or part.stop > part.start) for part in entry.proprio)
    assert message.startswith("mine.yaml: ")
