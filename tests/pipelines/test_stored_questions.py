"""Questions of every format, read from their folder without an INDEX."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fasttok.episodes import BadRecord
from fasttok.errors import InputError
from pipelines.stored_questions import stored_questions
from pipelines.vlm import VlmRecord
from tests.pipelines import vlm_formats
from tests.pipelines.vlm_formats import COUNT, FORMATS, picture

CAPTIONS = ("coco_captions", "webdataset")


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in CAPTIONS])
def test_every_format_is_read_with_its_very_images(tmp_path: Path, name: str) -> None:
    opened = stored_questions(str(vlm_formats.write(tmp_path, name)), "train")
    records = [record for record in opened.records if isinstance(record, VlmRecord)]
    assert len(records) >= COUNT
    for record in records:
        assert opened.image(replace(record, data=b"")) == record.data
        assert record.data in map(picture, range(COUNT))
        assert record.prompt
        assert record.target


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_are_no_questions(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="has kind caption; expected questions"):
        stored_questions(str(vlm_formats.write(tmp_path, name)), "train")


def test_the_kind_of_a_question_is_known(tmp_path: Path) -> None:
    path = vlm_formats.write(tmp_path / "a", "jsonl")
    for file in path.glob("*.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("\n".join(json.dumps(line | {"kind": "colour"}) for line in lines))
    assert {
        record.topic for record in stored_questions(str(path), "train").records if isinstance(record, VlmRecord)
    } == {"colour"}


def test_what_cannot_be_asked_is_yielded_and_counted(tmp_path: Path) -> None:
    path = vlm_formats.write(tmp_path, "jsonl")
    (path / "images" / "0.jpg").write_bytes(b"no picture")
    found = list(stored_questions(str(path), "train").records)
    assert {record.reason for record in found if isinstance(record, BadRecord)} == {"image"}
    with pytest.raises(InputError, match="unknown split 'test'"):
        stored_questions(str(path), "test")


def test_an_image_that_changes_between_question_and_answer_is_an_error(tmp_path: Path) -> None:
    path = vlm_formats.write(tmp_path, "jsonl")
    opened = stored_questions(str(path), "train")
    first = next(record for record in opened.records if isinstance(record, VlmRecord))
    (path / first.image.path).write_bytes(picture(1) + b"\xff\xd9")
    with pytest.raises(InputError, match="changed since"):
        opened.image(first)
