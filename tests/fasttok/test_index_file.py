"""index.json: what is not one says at which key, and what is written is what was read."""

import json
from typing import Any

import pytest

from fasttok.common import json_files
from fasttok.episodes.dataset_entry import FeatureColumns
from fasttok.episodes.index_file import (
    FORMAT_VERSION,
    IndexedDataset,
    IndexedEntry,
    IndexFile,
    SplitCounts,
    parse_index,
)
from fasttok.errors import InputError

COUNTS = SplitCounts(("00000-a",), 3, 2, 20, 100, {"short": 1}, {}, {"idle": 4})
ROBOT = IndexedEntry(
    "a",
    "robot",
    control_hz=5,
    cameras={"primary": "observation/image"},
    action=(FeatureColumns("action", 0, 2, "delta", names=("x", "y")),),
    action_dim=2,
    action_widths=(2,),
    action_encoding=("delta", "delta"),
    action_names=("x", "y"),
)
QUESTIONS = IndexedEntry("q", "vqa", prompt="question", target="answer", splits={"train": "train.jsonl"})
INDEX = IndexFile(
    FORMAT_VERSION,
    "0123456789abcdef",
    {name: IndexedDataset("/data", entry, "", {"train": COUNTS}) for name, entry in (("a", ROBOT), ("q", QUESTIONS))},
)


def plain() -> dict[str, Any]:
    found: dict[str, Any] = json_files.encode(INDEX)
    return found


def test_what_is_written_is_read() -> None:
    assert parse_index(json.dumps(plain()), "index.json") == INDEX
    assert json_files.encode(parse_index(json.dumps(plain()), "index.json")) == plain()


def test_only_robots_have_keys_of_their_columns_and_whole_numbers_stay_whole() -> None:
    entries = {name: dataset["entry"] for name, dataset in plain()["datasets"].items()}
    assert entries["a"]["proprio_dim"] == 0
    assert "action_dim" not in entries["q"]
    assert json.dumps(entries["a"]["control_hz"]) == "5"
    again = parse_index(json.dumps(plain()), "index.json")
    assert json.dumps(again.datasets["a"].entry.control_hz) == "5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.update(format_version=FORMAT_VERSION + 1), "written by a newer fasttok"),
        (lambda index: index.update(format_version=FORMAT_VERSION - 1), f"this fasttok reads {FORMAT_VERSION}"),
        (lambda index: index.pop("format_version"), "format version None"),
        (lambda index: index.pop("digest"), "digest"),
        (lambda index: index.update(colour="red"), r"unknown key \$\.colour"),
        (lambda index: index["datasets"]["a"]["splits"]["train"].pop("read"), "read"),
        (lambda index: index["datasets"]["a"]["splits"]["train"].update(read="many"), r"read|splits"),
        (lambda index: index["datasets"]["a"]["entry"].update(kind="fish"), "fish"),
        (lambda index: index["datasets"]["a"]["entry"].update(camera="x"), r"unknown key \$\.datasets\.a\.entry\.camera"),
        (lambda index: index["datasets"]["a"]["entry"].pop("action_dim"), r"missing key \$\.datasets\.a\.entry\.action_dim"),
    ],
)  # fmt: skip
def test_what_is_no_index_says_where(change: Any, message: str) -> None:
    index = plain()
    change(index)
    with pytest.raises(InputError, match=message) as caught:
        parse_index(json.dumps(index), "some/index.json")
    assert "some/index.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "3"])
def test_other_files_are_no_index(text: str) -> None:
    with pytest.raises(InputError, match=r"some/index\.json"):
        parse_index(text, "some/index.json")
