"""`datasets draft` on the layouts of other people: the entry that it proposes finds their records."""

import json
import logging
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fasttok.episodes.rlds import open_raw
from fasttok.errors import InputError
from pipelines.catalogue.commands import DatasetDraftConfig, run_draft
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from tests.pipelines import vlm_data, vlm_formats

PROMPTS = {"cap": "caption en"}


@pytest.mark.parametrize("maker", [maker for maker in vlm_data.MAKERS if maker is not vlm_data.jsonl])
def test_a_draft_finds_the_records(maker: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = maker(tmp_path / "data")
    own = made.directory / "dataset.yaml"
    own.unlink()
    if maker is vlm_data.vqav2:
        (made.directory / "q.json").rename(made.directory / "v2_train_questions.json")
        (made.directory / "a.json").rename(made.directory / "v2_train_annotations.json")
    if maker is vlm_data.coco_boxes:
        (made.directory / "instances.json").rename(made.directory / "instances_train2017.json")
    run_draft(DatasetDraftConfig(str(made.directory)))
    own.write_text(capsys.readouterr().out)
    run_index(IndexConfig((str(made.directory),), str(tmp_path / "index")), [])
    rows = [
        r
        for file in sorted((tmp_path / "index").glob("*/*/*.episodes.parquet"))
        for r in pq.read_table(file).to_pylist()
    ]
    assert [(r["language"], r["target"]) for r in rows] == [(PROMPTS.get(p, p), t) for p, t, _ in made.records]


@pytest.mark.parametrize("name", ["my_val.jsonl", "my_val.json"])
@pytest.mark.parametrize(
    "said",
    [
        {"answer": "a"},
        {
            "answers": [{"answer": "a", "answer_confidence": "yes"}, {"answer": "b", "answer_confidence": "no"}]
        },  # VizWiz
    ],
)
def test_json_lines_and_an_array(
    name: str, said: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pics").mkdir()
    (tmp_path / "pics" / "0.jpg").write_bytes(vlm_data.encoded(0))
    row = {"image_file": "0.jpg", "question": "q?"} | said
    (tmp_path / name).write_text(json.dumps([row] if name.endswith(".json") else row, indent=None))
    (tmp_path / "info.json").write_text(json.dumps({"image": "0.jpg", "version": "1"}))
    run_draft(DatasetDraftConfig(str(tmp_path)))
    (tmp_path / "dataset.yaml").write_text(capsys.readouterr().out)
    result = run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    (dataset,) = result.datasets.values()
    assert dataset.splits["val"].indexed == 1


def test_what_is_not_recognised_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"is not a TFDS/RLDS directory.* write its dataset.yaml"):
        run_draft(DatasetDraftConfig(str(tmp_path)))
    with pytest.raises(InputError, match=r"^[^(]* has no dataset_info.json, so it is not a TFDS/RLDS directory"):
        open_raw(str(tmp_path))


@pytest.mark.parametrize("image", ["0.png", ["0.png"]])
def test_a_folder_of_images_with_a_list_of_their_names(
    image: str | list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0.png").write_bytes(vlm_data.encoded(0, "PNG"))
        (tmp_path / split / "metadata.jsonl").write_text(json.dumps({"file_name": image, "text": split}))
    entry, _ = drafted(tmp_path, capsys)
    assert (entry["images"], entry["image"], entry["target"]) == ("{split}", "file_name", "text")
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(entry))
    result = run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    (dataset,) = result.datasets.values()
    assert {name: split.indexed for name, split in dataset.splits.items()} == {"train": 1, "test": 1}


IMAGE: dict[str, Any] = {"bytes": vlm_data.encoded(0), "path": "0.jpg"}
CHAT = {"messages": [{"role": "user", "content": "<image>q?"}, {"role": "assistant", "content": "a"}]}


def drafted(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Returns the drafted entry of a folder as plain values, and what is not clear."""
    run_draft(DatasetDraftConfig(str(folder)))
    said = capsys.readouterr()
    return yaml.safe_load(said.out), said.err


def tables(folder: Path, files: tuple[str, ...], row: Mapping[str, Any]) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([dict(row)]), folder / file)
    return folder


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        (("question_type", "multiple_choice_answer", "image_id", "question_id", "question", "image"), "multiple_choice_answer"),
        (("question_id", "image", "question", "answer"), "answer"),
        (("questionId", "question", "question_types", "image", "answers"), "answers"),
        (("context", "answer_type", "image_id", "image", "question", "fullAnswer", "answer"), "answer"),
    ],
    ids=["lmms-lab/VQAv2", "lmms-lab/COCO-Caption", "lmms-lab/DocVQA", "GQA"],
)  # fmt: skip
def test_columns_about_a_question_are_not_the_question(
    columns: tuple[str, ...], target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {name: IMAGE if name == "image" else 7 if name == "image_id" else "text" for name in columns}
    entry, unclear = drafted(tables(tmp_path, ("val-0.parquet",), row), capsys)
    assert (entry["image"], entry["prompt"], entry["target"], unclear) == ("image", "question", target, "")


def test_texts_as_categories_and_in_long_lists_are_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = pa.array(["q"]).dictionary_encode()
    answers = pa.array([["a"]], pa.large_list(pa.large_string()))
    pq.write_table(pa.table({"image": [IMAGE], "question": questions, "answers": answers}), tmp_path / "train.parquet")
    entry, unclear = drafted(tmp_path, capsys)
    assert (entry["prompt"], entry["target"], unclear) == ("question", "answers", "")


@pytest.mark.parametrize(
    ("files", "splits", "unclear"),
    [
        (("train/0.parquet", "test/0.parquet"), {"train": "train/*.parquet", "test": "test/*.parquet"}, ""),
        (("0.parquet", "1.parquet", "test-0.parquet"), {"train": "[0-9]*.parquet", "test": "test-*.parquet"}, ""),
        (("latest-0.parquet",), {"train": "latest-*.parquet"}, ""),
        (("a-0.parquet", "b-0.parquet"), {"train": "a-*.parquet"}, "left out: b-0.parquet"),
        (("a[1].parquet",), {"train": "a[[]*].parquet"}, ""),
    ],
)
def test_a_split_takes_its_own_files_and_the_others_are_said(
    files: tuple[str, ...], splits: dict[str, str], unclear: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, said = drafted(tables(tmp_path, files, {"image": IMAGE, "question": "q", "answer": "a"}), capsys)
    assert (entry["splits"], unclear in said, bool(said)) == (splits, True, bool(unclear))
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(entry))
    result = run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    (dataset,) = result.datasets.values()
    assert sum(split.indexed for split in dataset.splits.values()) == len(files) - bool(unclear)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train2017", "val2017"), "{split}2017"),
        (("images/train", "images/val"), "images/{split}"),
        (("train2017", "other"), "train2017"),
    ],
)
def test_a_folder_of_images_for_each_split(
    folders: tuple[str, str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (split, folder) in enumerate(zip(("train", "val"), folders, strict=True)):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{number}.jpg").write_bytes(IMAGE["bytes"])
        row = {"image": f"{number}.jpg", "question": "q", "answer": "a"}
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row))
    entry, _ = drafted(tmp_path, capsys)
    assert entry["images"] == expected
    if "{split}" in expected:
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(entry))
        result = run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
        (dataset,) = result.datasets.values()
        assert [split.indexed for split in dataset.splits.values()] == [1, 1]


@pytest.mark.parametrize("kind", ["parquet", "tar", "jsonl"])
def test_files_that_macos_leaves_beside_others_are_no_data(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(500)
    (tmp_path / f"._train-0.{kind}").write_bytes(left)
    if kind == "parquet":
        tables(tmp_path, ("train-0.parquet",), {"image": IMAGE, "question": "q", "answer": "a"})
    elif kind == "jsonl":
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "0.jpg").write_bytes(IMAGE["bytes"])
        (tmp_path / "train-0.jsonl").write_text(json.dumps({"image": "0.jpg", "question": "q", "answer": "a"}))
    else:
        with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
            for name, data in (("0.jpg", IMAGE["bytes"]), ("0.json", b'{"question": "q", "answer": "a"}')):
                vlm_formats.add(tar, f"./._{name}", left)
                vlm_formats.add(tar, f"./{name}", data)
    entry, _ = drafted(tmp_path, capsys)
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(entry))
    result = run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    (dataset,) = result.datasets.values()
    assert (dataset.splits["train"].indexed, dataset.splits["train"].read) == (1, 1)


def test_chats_among_other_json_and_many_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = tmp_path / "a" / "pics"
    pictures.mkdir(parents=True)
    for number in range(10_001):
        (pictures / f"{number}.jpg").touch()
    (pictures / "0.jpg").write_bytes(IMAGE["bytes"])
    (tmp_path / "config.json").write_text("{}")
    for name in ("x 😀", "y"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{**CHAT, "images": ["pics/0.jpg"]}]))
    entry, unclear = drafted(tmp_path, capsys)
    assert (entry["splits"], entry["images"], entry["image"]) == ({"train": "x 😀.json"}, "a", "images")
    assert "there are also y.json" in unclear
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(entry))
    result = run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    (dataset,) = result.datasets.values()
    assert dataset.splits["train"].indexed == 1


@pytest.mark.parametrize("name", ["train.parquet", "train.tar"])
def test_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no such format" * 100)
    with pytest.raises(InputError, match=rf"{name}: expected a"):
        run_draft(DatasetDraftConfig(str(tmp_path)))


def test_index_warns_of_files_in_two_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tables(tmp_path, ("0.parquet", "test-0.parquet"), {"image": IMAGE, "question": "q", "answer": "a"})
    (tmp_path / "dataset.yaml").write_text(
        "name: d\nkind: vqa\nformat: parquet\nimage: image\nprompt: question\ntarget: answer\n"
        "splits: {train: '*.parquet', test: 'test-*.parquet'}\n"
    )
    with caplog.at_level(logging.WARNING):
        run_index(IndexConfig((str(tmp_path),), str(tmp_path / "index")), [])
    assert "1 files are in several splits (train, test): test-0.parquet" in caplog.text
