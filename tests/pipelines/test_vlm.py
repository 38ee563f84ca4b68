"""Every format: what is sound is indexed, everything else is counted with a reason, and places lead back to the same bytes."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fasttok.common import json_files
from fasttok.common.images import ORIENTATION
from fasttok.episodes import BadRecord
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.index_file import SplitCounts
from fasttok.errors import InputError
from pipelines import vlm
from pipelines.datasets.entry_parser import parse_entry
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.vlm import llava
from pipelines.vlm.confined_folder import check_name
from pipelines.vlm.image_files import open_images
from pipelines.vlm.record import MAX_TEXT, texts
from tests.pipelines import vlm_data
from tests.pipelines.vlm_data import MAKERS, Made


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    found: Made = request.param(tmp_path / "data")
    return found


def own_entry(directory: Path) -> DatasetEntry:
    return parse_entry((directory / "dataset.yaml").read_text(), "dataset.yaml")


def index(directory: Path, out: Path) -> tuple[SplitCounts, list[dict[str, Any]], list[dict[str, Any]]]:
    """(the split's counts, indexed rows, rejected rows)."""
    result = run_index(IndexConfig((str(directory),), str(out), json=True), [])
    (dataset,) = result.datasets.values()

    def rows(what: str) -> list[dict[str, Any]]:
        return [row for file in sorted(out.glob(f"*/*/*.{what}.parquet")) for row in pq.read_table(file).to_pylist()]

    return dataset.splits["train"], rows("episodes"), rows("rejected")


def test_every_format_is_indexed_and_its_images_found_again(made: Made, tmp_path: Path) -> None:
    counts, rows, letters = index(made.directory, tmp_path / "index")
    assert {"rejected": counts.rejected, "filtered": counts.filtered} == {
        "rejected": made.rejected,
        "filtered": made.filtered,
    }, letters
    assert counts.indexed == len(rows) == len(made.records)
    assert counts.read == len(made.records) + sum(made.rejected.values()) + sum(made.filtered.values())
    read = vlm.open_images(own_entry(made.directory), str(made.directory))
    found = [(r["language"], r["target"], *read(r["image"], r["image_offset"], r["image_length"])) for r in rows]
    assert found == [(*record, "") for record in made.records]
    backwards = [read(r["image"], r["image_offset"], r["image_length"])[0] for r in reversed(rows)]
    assert backwards == [record[2] for record in reversed(made.records)]
    assert [r["image_bytes"] for r in rows] == [len(record[2]) for record in made.records]
    numbers = [(r["file"], r["episode"]) for r in rows]
    assert len(set(numbers)) == len(numbers)


def test_another_place_gives_the_same_index(made: Made, tmp_path: Path) -> None:
    first = run_index(IndexConfig((str(made.directory),), str(tmp_path / "a"), json=True), [])
    made.directory.rename(tmp_path / "moved")
    (tmp_path / "moved").joinpath("dataset.yaml").touch()
    again = run_index(IndexConfig((str(tmp_path / "moved"),), str(tmp_path / "b"), json=True), [])
    assert first.digest == again.digest


def test_images_that_changed_since_the_index_are_told(made: Made, tmp_path: Path) -> None:
    _, rows, _ = index(made.directory, tmp_path / "index")
    read = vlm.open_images(own_entry(made.directory), str(made.directory))
    row = rows[0]
    assert read(row["image"], row["image_offset"], row["image_length"] - 70)[0] == b""
    assert read(row["image"], row["image_offset"] + 10**9, row["image_length"])[0] == b"" or not row["image_offset"]
    for name in vlm_data.HOSTILE:
        data, problem = read(name, 0, 100)
        assert data == b""
        assert problem


def test_jobs_do_not_change_what_is_read(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = own_entry(made.directory)
    file = sorted(p for p in made.directory.rglob("*") if p.match(entry.splits["train"]))[0]
    source = vlm.SourceFile(entry, str(made.directory), "train", str(file))
    module = vlm.reader(entry)

    def read() -> list[Any]:
        return [record for part in vlm.ranges(source) for record in vlm.read(source, part)]

    whole = read()
    for name in ("CAPTIONS_PER_JOB", "IMAGES_PER_JOB", "QUESTIONS_PER_JOB", "PER_JOB", "ROWS_PER_JOB"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, 2)
    monkeypatch.setattr(vlm.jsonl, "PER_JOB", 2)
    monkeypatch.setattr(vlm.jsonl.line_ranges, "__defaults__", (2,))
    assert read() == whole
    if entry.format != "webdataset":
        assert len(vlm.ranges(source)) > (file.name != "t.parquet")


@pytest.mark.parametrize("maker", [vlm_data.llava, vlm_data.coco_captions, vlm_data.vqav2])
def test_a_json_file_that_ends_early_costs_one_dead_letter(maker: Any, tmp_path: Path) -> None:
    made = maker(tmp_path / "data")
    file = made.directory / dict(own_entry(made.directory).splits)["train"]
    text = json.loads(file.read_text())
    if isinstance(text, dict):
        text = {key: text[key] for key in sorted(text, key=lambda key: key in ("annotations", "questions"))}
    data = json.dumps(text).encode()
    file.write_bytes(data[: -len(data) // 10])
    counts, _, letters = index(made.directory, tmp_path / "index")
    assert 0 < counts.indexed <= len(made.records)
    assert "the rest of the file is lost" in letters[-1]["detail"]
    assert counts.read == counts.indexed + sum(counts.rejected.values()) + sum(counts.filtered.values())


def test_broken_boxes_are_refused_whole(tmp_path: Path) -> None:
    made = vlm_data.coco_boxes(tmp_path / "data")
    file = made.directory / "instances.json"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"instances\.json.*byte"):
        index(made.directory, tmp_path / "index")


def test_boxes_one_class_at_a_time_and_what_was_left_out(tmp_path: Path) -> None:
    made = vlm_data.coco_boxes(tmp_path / "data")
    counts, _, letters = index(made.directory, tmp_path / "a")
    assert counts.left_out == {"crowd boxes": 1}
    details = {letter["detail"] for letter in letters}
    assert any(
        "1 boxes of no known class, 1 boxes outside the image, 2 boxes without area, 1 boxes smaller" in d
        for d in details
    )
    text = (made.directory / "dataset.yaml").read_text()
    (made.directory / "dataset.yaml").write_text(text.replace("}}", "}, detect: each}"))
    _, rows, _ = index(made.directory, tmp_path / "b")
    assert [(r["language"], r["target"], r["id"], r["episode"]) for r in rows][:2] == [
        (
            "detect cat",
            "<loc0000><loc0000><loc0512><loc0512> cat ; <loc0000><loc0512><loc1023><loc1023> cat",
            "100/0",
            0,
        ),
        ("detect traffic light", "<loc0256><loc0256><loc1023><loc1023> traffic light", "100/1", 1),
    ]


def test_boxes_of_more_classes_than_records_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = vlm_data.coco_boxes(tmp_path / "data")
    monkeypatch.setattr(vlm.coco_boxes, "PARTS", 1)
    text = (made.directory / "dataset.yaml").read_text()
    (made.directory / "dataset.yaml").write_text(text.replace("}}", "}, detect: each}"))
    counts, rows, _ = index(made.directory, tmp_path / "index")
    assert [row["id"] for row in rows if row["id"].startswith("100/")] == ["100/0"]
    assert counts.left_out[vlm.coco_boxes.MORE_CLASSES] == 1


def coco_of(folder: Path, **changes: Any) -> Path:
    """A folder with COCO's instances and captions of two pictures of 40 x 20 pixels, with some members changed."""
    (folder / "images").mkdir(parents=True)
    for number in (0, 1):
        (folder / "images" / f"{number}.jpg").write_bytes(vlm_data.encoded(number))
    made = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": 40, "height": 20} for n in (0, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 20, 20], "caption": "a"} for n in (0, 1)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (folder / "all.json").write_text(json.dumps(made | changes))
    return folder


@pytest.mark.parametrize("form", ["coco_boxes", "coco_captions"])
def test_ids_that_different_images_share_are_rejected(form: str, tmp_path: Path) -> None:
    images = [{"id": 0, "file_name": f"{n}.jpg", "width": 40, "height": 20} for n in (0, 1)]
    folder = coco_of(
        tmp_path / "data", images=[*images, {"id": 1, "file_name": "1.jpg", "width": 40.0, "height": 20.0}] * 2
    )
    more = "fixed_prompt: caption\n" if form == "coco_captions" else ""
    (folder / "dataset.yaml").write_text(f"name: a\nkind: vqa\nformat: {form}\nsplits: {{train: all.json}}\n{more}")
    counts, rows, letters = index(folder, tmp_path / "index")
    assert {row["image"] for row in rows} == {"images/1.jpg"}
    assert set(counts.rejected) == {"id"}
    assert "different" in letters[0]["detail"]


def test_boxes_of_a_turned_image_and_classes_of_two_names_are_told(tmp_path: Path) -> None:
    images = [
        {"id": 0, "file_name": "0.jpg", "width": 20, "height": 40},
        {"id": 1, "file_name": "1.jpg", "width": 40, "height": 20},
    ]
    boxes = [{"image_id": n, "category_id": kind, "bbox": [0, 0, 20, 20]} for n in (0, 1) for kind in (1, 2)]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 2, "name": "cow"}]
    folder = coco_of(tmp_path / "data", images=images, annotations=boxes, categories=names)
    (folder / "dataset.yaml").write_text("name: a\nkind: vqa\nformat: coco_boxes\nsplits: {train: all.json}\n")
    counts, rows, letters = index(folder, tmp_path / "index")
    assert [row["target"] for row in rows] == ["<loc0000><loc0000><loc1023><loc0512> cat"]
    assert counts.left_out == {"boxes of no known class": 1}
    assert [letter["detail"] for letter in letters] == [
        "the image has 40 x 20 pixels, and its boxes are those of 20 x 40"
    ]
    turned, exif = io.BytesIO(), Image.Exif()
    exif[ORIENTATION] = 6
    Image.open(folder / "images" / "0.jpg").save(turned, "JPEG", exif=exif)
    (folder / "images" / "0.jpg").write_bytes(turned.getvalue())
    _, rows, letters = index(folder, tmp_path / "again")
    assert rows[0]["target"] == "<loc0000><loc0000><loc0512><loc1023> cat"
    assert not letters


def test_a_target_of_several_texts_is_the_most_common_of_them_beside_answers() -> None:
    entry = parse_entry("name: d\nkind: vqa\nsplits: {train: t}\nprompt: q\ntarget: a\nanswers: all\n", "d.yaml")
    assert texts(entry, {"q": "x", "a": ["y", "z", "z"], "all": ["k"]}) == ("x", "z", ("k",))
    assert texts(entry, {"q": "x", "a": None, "all": ["k", "m", "m"]}) == ("x", "m", ("k", "m", "m"))


@pytest.mark.parametrize(
    ("maker", "file", "key"),
    [(vlm_data.coco_captions, "captions_train2017.json", "image_id"), (vlm_data.vqav2, "q.json", "question_id")],
)
def test_ids_that_are_texts_are_named(maker: Any, file: str, key: str, tmp_path: Path) -> None:
    made = maker(tmp_path / "data")
    path = next(made.directory.rglob(file))
    data = json.loads(path.read_text())
    rows = data["annotations" if key == "image_id" else "questions"]
    rows[0][key] = "abc"
    path.write_text(json.dumps(data))
    _, _, rejected = index(made.directory, tmp_path / "index")
    assert f"{key} is 'abc', expected an integer" in [row["detail"] for row in rejected]


def test_answers_may_be_numbers(tmp_path: Path) -> None:
    row = {"image": "0.jpg", "question": "How many?", "answer": 3}
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "images" / "0.jpg").write_bytes(vlm_data.encoded(0))
    answers = [3, 0, 2.0, 2.5, True, None, float("nan"), ["2", 2, 3]]
    lines = [json.dumps({**row, "answer": answer}) for answer in answers]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(lines))
    (tmp_path / "data" / "dataset.yaml").write_text(
        "name: tally\nkind: vqa\nimages: images\nsplits: {train: train.jsonl}\nprompt: question\ntarget: answer\n"
    )
    counts, rows, letters = index(tmp_path / "data", tmp_path / "index")
    assert [row["target"] for row in rows] == ["3", "0", "2", "2.5", "2"]
    assert rows[-1]["answers"] == ["2", "2", "3"]
    assert counts.rejected == {"language": 3}, letters
    assert llava_targets(tmp_path / "chat") == ["3"]


def llava_targets(folder: Path) -> list[str]:
    """The answers of a conversation whose answer is a number."""
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "0.jpg").write_bytes(vlm_data.encoded(0))
    turns = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": 3}]
    (folder / "chat.json").write_text(json.dumps([{"id": "0", "image": "0.jpg", "conversations": turns}]))
    (folder / "dataset.yaml").write_text(
        "name: chat\nkind: vqa\nformat: llava\nimages: images\nsplits: {train: chat.json}\n"
    )
    return [row["target"] for row in index(folder, folder / "index")[1]]


def test_short_floats_are_the_numbers_that_people_wrote(tmp_path: Path) -> None:
    image = {"bytes": vlm_data.encoded(0), "path": None}
    answers = pa.array([0.1, 3.0, None, float("nan")], pa.float32())
    pq.write_table(pa.table({"image": [image] * 4, "answer": answers}), tmp_path / "train.parquet")
    (tmp_path / "dataset.yaml").write_text(
        "name: few\nkind: vqa\nformat: parquet\nsplits: {train: train.parquet}\nimage: image\n"
        "fixed_prompt: How much?\ntarget: answer\n"
    )
    counts, rows, _ = index(tmp_path, tmp_path / "index")
    assert [row["target"] for row in rows] == ["0.1", "3"]
    assert counts.rejected == {"language": 2}


def test_numbers_of_classes_are_no_answers(tmp_path: Path) -> None:
    images = [{"bytes": vlm_data.encoded(0), "path": None}]
    table = pa.table({"image": images, "label": pa.array([3])})
    for kind in ("ClassLabel", "Value"):
        features = {"label": {"_type": kind}, "image": {"_type": "Image"}}
        about = {"huggingface": json.dumps({"info": {"features": features}})}
        folder = tmp_path / kind
        folder.mkdir()
        pq.write_table(table.replace_schema_metadata(about), folder / "train.parquet")
        (folder / "dataset.yaml").write_text(
            "name: few\nkind: vqa\nformat: parquet\nsplits: {train: train.parquet}\nimage: image\n"
            "fixed_prompt: How many?\ntarget: label\n"
        )
    with pytest.raises(InputError, match="'label' has numbers of classes"):
        index(tmp_path / "ClassLabel", tmp_path / "index")
    assert [row["target"] for row in index(tmp_path / "Value", tmp_path / "index2")[1]] == ["3"]


@pytest.mark.parametrize(
    ("value", "what"),
    [({"image": "0.jpg", "q": "é"}, "an object over several lines"), ([1, [2]], "an array over several")],
)
@pytest.mark.parametrize("form", ["jsonl", "llava"])
def test_json_over_several_lines_is_no_json_lines(value: Any, what: str, form: str, tmp_path: Path) -> None:
    keys = "" if form == "llava" else "fixed_prompt: q\ntarget: q\n"
    entry = f"name: a\nkind: vqa\nformat: {form}\nsplits: {{train: a.json}}\n{keys}"
    source = vlm.SourceFile(parse_entry(entry, "dataset.yaml"), str(tmp_path), "train", str(tmp_path / "a.json"))
    for mark in ("", "\ufeff", "\n"):
        (tmp_path / "a.json").write_text(mark + json.dumps(value, indent=1, ensure_ascii=False), "utf-8")
        with pytest.raises(InputError, match=what):
            vlm.ranges(source)
    for lines in ('{"a": 1}\n{"b": 2}\n', '{"a": 1\n{"b": 2}\n', "{\n"):  # bad lines are told one by one
        (tmp_path / "a.json").write_text(lines)
        assert len(vlm.ranges(source)) == 1


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("mark", ["", "\ufeff", " \n"])
def test_an_array_of_objects_is_read_as_lines_are(mark: str, indent: int | None, tmp_path: Path) -> None:
    """As VizWiz, A-OKVQA and others store their questions, in one line or in many."""
    made = vlm_data.jsonl(tmp_path / "data")
    file, entry = made.directory / "train.jsonl", own_entry(made.directory)
    source = vlm.SourceFile(entry, str(made.directory), "train", str(file))

    def read() -> list[Any]:
        found = [record for part in vlm.ranges(source) for record in vlm.read(source, part)]
        return [
            (record.reason, record.records)
            if isinstance(record, BadRecord)
            else (record.prompt, record.target, record.data)
            for record in found
        ]

    rows = [vlm.jsonl.parse(line) for line in file.read_bytes().splitlines() if vlm.jsonl.is_object(line)]
    file.write_text("\n".join(map(json.dumps, rows)))
    lines = read()
    file.write_text(mark + json.dumps(rows, indent=indent))
    assert read() == lines
    file.write_text("[]")
    with pytest.raises(InputError, match="none, or an empty one"):
        read()


def test_conversations_of_text_only_are_filtered_in_parquet_too(tmp_path: Path) -> None:
    """As in lmms-lab/LLaVA-NeXT-Data, whose image is null there."""
    made = vlm_data.parquet_turns(tmp_path / "data")
    file = next(made.directory.rglob("*.parquet"))
    table = pq.read_table(file)
    name = parse_entry((made.directory / "dataset.yaml").read_text(), "d.yaml").image
    rows = [{**row, name: None} if i == 0 else row for i, row in enumerate(table.to_pylist())]
    before, _, _ = index(made.directory, tmp_path / "before")
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)
    after, _, _ = index(made.directory, tmp_path / "after")
    assert after.rejected == before.rejected
    assert after.filtered == {"no image": before.filtered.get("no image", 0) + 1}


def test_contents_in_parts_are_their_texts() -> None:
    """As in HuggingFaceH4/llava-instruct-mix-vsft."""
    ask = [{"index": None, "text": "What is it?", "type": "text"}, {"index": 0, "text": None, "type": "image"}]
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": ask},
        {"role": "assistant", "content": [{"type": "text", "text": "a cat"}]},
    ]
    assert llava.pairs(turns) == [("What is it?", "a cat")]
    for odd in ([], [{"type": "video", "text": "x"}], ["x"], [{"type": "text", "text": 3}]):
        turns[0]["content"] = odd
        assert llava.pairs(turns) == [(odd, "a cat")]  # no text: the pair is rejected


def test_an_image_that_only_a_turn_names_is_no_conversation_without_image(tmp_path: Path) -> None:
    asked = [{"type": "image_url", "image_url": {"url": "0.jpg"}}, {"type": "text", "text": "what?"}]
    row = {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "a cat"}]}
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "0.jpg").write_bytes(vlm_data.encoded(0))
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, [row, row | {"image": "0.jpg"}])))
    (folder / "dataset.yaml").write_text("name: chat\nkind: vqa\nformat: llava\nsplits: {train: a.jsonl}\n")
    counts, rows, letters = index(folder, tmp_path / "index")
    assert [(row["language"], row["target"]) for row in rows] == [("what?", "a cat")]
    assert (counts.rejected, counts.filtered) == ({"image": 1}, {})
    assert "image_url" in letters[0]["detail"]


FROM = {"from": "human", "value": "what?"}, {"from": "gpt", "value": "a cat"}
ROLE = {"role": "user", "content": "what?"}, {"role": "assistant", "content": "a cat"}


@pytest.mark.parametrize("turns", [FROM, ROLE, ({"user": "what?", "assistant": "a cat"},)])
def test_keys_of_other_kinds_of_turns_may_be_null(turns: tuple[dict[str, Any], ...]) -> None:
    every = dict.fromkeys(("from", "value", "role", "content", "user", "assistant"))
    assert llava.pairs([every | turn for turn in turns]) == [("what?", "a cat")]
    assert llava.conversation({"conversations": None, "messages": list(turns)}) == list(turns)


def test_all_answers_are_kept(tmp_path: Path) -> None:
    made = vlm_data.vqav2(tmp_path / "data")
    _, rows, _ = index(made.directory, tmp_path / "index")
    assert [row["answers"] for row in rows] == [["a", "b", "b"], ["a", "b"], ["b", "a"], ["a"]]
    assert pq.ParquetFile(next((tmp_path / "index").glob("*/*/*.episodes.parquet"))).schema_arrow.names[-4:] == [
        "answers", "image", "image_offset", "image_length"]  # fmt: skip


def test_only_the_first_pair_of_turns(tmp_path: Path) -> None:
    made = vlm_data.llava(tmp_path / "data")
    text = (made.directory / "dataset.yaml").read_text()
    (made.directory / "dataset.yaml").write_text(text.replace("}}", "}, turns: first}"))
    _, rows, _ = index(made.directory, tmp_path / "index")
    assert [row["id"] for row in rows] == ["ä/0", "7/0", "2/0"]


@pytest.mark.parametrize("damage", ["gzip", "cut", "garbage", "no end", "huge header"])
def test_damaged_tar_files_say_so(damage: str, tmp_path: Path) -> None:
    made = vlm_data.webdataset(tmp_path / "data")
    (made.directory / "shard-001.tar").unlink()
    file = made.directory / "shard-000.tar"
    data = file.read_bytes()
    last = data.rindex(b"ustar") - 257
    if damage == "gzip":
        with tarfile.open(file, "w:gz") as tar:
            vlm_data.add(tar, "a.jpg", vlm_data.encoded(0))
    elif damage == "huge header":
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 1 << 33
        file.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + data)
    else:
        file.write_bytes({"cut": data[: last + 700], "garbage": data[:last] + b"x" * 512 + data[last + 512 :],
                          "no end": data[: last + 1024]}[damage])  # fmt: skip
    counts, rows, letters = index(made.directory, tmp_path / "index")
    assert letters[-1]["reason"] == "tar"
    assert len(rows) == counts.indexed >= (0 if damage in ("gzip", "huge header") else 5)
    assert counts.read == counts.indexed + sum(counts.rejected.values())


def test_a_header_that_leads_backwards_ends_the_file(tmp_path: Path) -> None:
    made = vlm_data.webdataset(tmp_path / "data")
    (made.directory / "shard-001.tar").unlink()
    file = made.directory / "shard-000.tar"
    info = tarfile.TarInfo("a.jpg")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (-1024).to_bytes(11, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with tarfile.open(file) as tar:
        end = tar.getmembers()[-1].offset_data + 512
    file.write_bytes(file.read_bytes()[:end] + bytes(header) + b"\0" * 1024)
    counts, _, letters = index(made.directory, tmp_path / "index")
    assert letters[-1]["reason"] == "tar"
    assert counts.read == counts.indexed + sum(counts.rejected.values())


def test_images_folders_outside_are_refused_at_once(tmp_path: Path) -> None:
    made = vlm_data.jsonl(tmp_path / "data")
    (made.directory / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no images folder 'images'"):
        index(made.directory, tmp_path / "index")
    (made.directory / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link out of"):
        index(made.directory, tmp_path / "index")


def test_source_files_outside_are_refused(tmp_path: Path) -> None:
    made = vlm_data.jsonl(tmp_path / "data")
    (made.directory / "train.jsonl").rename(tmp_path / "train.jsonl")
    with pytest.raises(InputError, match=r"split train has no file train\.jsonl"):
        index(made.directory, tmp_path / "index")
    (made.directory / "train.jsonl").symlink_to(tmp_path / "train.jsonl")
    with pytest.raises(InputError, match="leads out of the dataset's directory"):
        index(made.directory, tmp_path / "index")


@given(st.text(max_size=40) | st.sampled_from(vlm_data.HOSTILE))
def test_no_name_leads_out(name: str) -> None:
    """Whatever passes the check stays below the folder that it is joined to."""
    import posixpath

    if not check_name(name):
        path = posixpath.normpath(posixpath.join("/data/images", name))
        assert path.startswith("/data/images/")
        name.encode()


@given(name=st.text(max_size=30))
def test_any_name_is_read_or_told(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp()
    data, problem = open_images(DatasetEntry("x", "vqa"), str(root))(name, 0, 3)
    assert (data == b"") == bool(problem)


def test_jsonl_files_are_cut_into_jobs_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines = [b'{"n": %d}' % n for n in range(10)]
    file.write_bytes(b"\n".join(lines[:5]) + b"\n\n" + b"\n".join(lines[5:]))
    ranges = vlm.jsonl.line_ranges(str(file), 4)
    assert [first for *_, first in ranges] == [0, 4, 8]
    assert ranges[-1][1] == file.stat().st_size
    source = vlm.SourceFile(DatasetEntry("v", "vqa", target="answer"), str(tmp_path), "train", str(file))
    found = [r for part in ranges for r in vlm.read(source, part)]
    whole = list(vlm.read(source, (0, None, 0)))
    assert [r.where for r in found] == [r.where for r in whole]
    assert [r.where.number for r in whole] == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    file.write_bytes(lines[0] + b"\n" + b"x" * (MAX_TEXT * 3) + b"\n" + lines[1])
    found = list(vlm.read(source, (0, None, 0)))
    assert [r.where.number for r in found] == [0, 1, 2]  # a line without end costs itself
    assert isinstance(found[1], BadRecord)
    assert "a line of 3145729 bytes" in found[1].detail


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format: lava", "did you mean 'llava'"),
        ("format: llava, splits: {train: a.json}, target: a", "'target' is a key of format jsonl, parquet"),
        ("splits: {train: a.json}, prompt: q", "needs the key 'target'"),
        ("splits: {train: a.json}, target: a", "needs 'prompt', or 'fixed_prompt'"),
        ("splits: {train: ../a.json}, target: a, prompt: q", "without '..'"),
        ("splits: {../x: a.json}, target: a, prompt: q", "no plain name"),
        ("splits: {train: a.json}, target: a, prompt: q, images: /x", "below the dataset's directory"),
        ("splits: {train: a.json}, target: a, prompt: q, images: '{spilt}'", "known fields are {split}"),
        ("format: coco_boxes, splits: {train: a.json}, detect: some", "unknown detect 'some'"),
        ("format: coco_captions, splits: {train: a.json}", "needs the key 'fixed_prompt'"),
        ("format: vqav2, splits: {train: a}, annotations: {val: b}, image_name: x", "annotations lacks the splits train"),
        ("format: vqav2, splits: {train: a}, annotations: {train: b}, image_name: '{image_id:999999999d}'", "expected a width"),
        ("format: vqav2, splits: {train: a}, annotations: {train: b}, image_name: '{image_id.real}'", "known fields"),
        ("format: parquet, splits: {train: a}, image: i, conversations: c, target: t", "leave out prompt"),
        ("format: tfds, image: i, splits: {train: x}, target: t, prompt: q", "'splits' is a key of format"),
    ],
)  # fmt: skip
def test_entries_that_cannot_be_say_why(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_entry(f"{{name: x, kind: vqa, {text}}}", "x.yaml")
    assert message in str(caught.value)


def test_robots_have_no_vlm_keys() -> None:
    with pytest.raises(InputError, match="'detect' is a key of vqa and caption entries"):
        parse_entry("{name: x, kind: robot, detect: all, cameras: {primary: a}, action: [{from: a}]}", "x.yaml")


def test_the_entries_of_the_documentation_are_entries() -> None:
    text = (Path(__file__).parents[2] / "docs" / "vlm.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```yaml\n")[1:]]
    found = [parse_entry(block, "docs/vlm.md") for block in blocks]
    assert {entry.format for entry in found} == set(vlm.READERS)
    for entry in found:
        assert json_files.decode(DatasetEntry, json.loads(json.dumps(json_files.encode(entry))), "docs/vlm.md") == entry


def test_object_stores(made: Made, tmp_path: Path) -> None:
    """The same records from a store that has no links."""
    import fsspec

    hostile = {"link.jpg", "out", "pipe.jpg"}
    store = fsspec.filesystem("memory")
    for file in made.directory.rglob("*"):
        if not hostile & set(file.relative_to(made.directory).parts) and file.is_file():
            store.pipe(f"/bucket/data/{file.relative_to(made.directory)}", file.read_bytes())
    try:
        result = run_index(IndexConfig(("memory://bucket/data",), str(tmp_path / "index"), json=True), [])
        (dataset,) = result.datasets.values()
        assert dataset.splits["train"].rejected == made.rejected
        files = sorted((tmp_path / "index").glob("*/*/*.episodes.parquet"))
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        read = vlm.open_images(own_entry(made.directory), "memory://bucket/data")
        found = [(r["language"], r["target"], *read(r["image"], r["image_offset"], r["image_length"])) for r in rows]
        assert found == [(*record, "") for record in made.records]
    finally:
        store.rm("/bucket", recursive=True)
