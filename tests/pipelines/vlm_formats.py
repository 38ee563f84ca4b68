"""Small datasets in every format that questions and captions come in, written as their tools write them."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COUNT = 6


def picture(number: int, kind: str = "JPEG") -> bytes:
    """An encoded 40 x 30 image, another for each number."""
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (40 * number % 256, 99, 255 - 40 * number % 256)).save(out, kind)
    return out.getvalue()


def images(folder: Path, name: Callable[[int], str] = lambda i: f"{i}.jpg") -> None:
    """The pictures as files."""
    folder.mkdir(parents=True)
    for i in range(COUNT):
        (folder / name(i)).write_bytes(picture(i))


def jsonl(folder: Path) -> str:
    images(folder / "images")
    rows = [{"id": i, "image": f"{i}.jpg", "q": f"what is in {i}?", "a": f"thing {i}"} for i in range(COUNT)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "kind: vqa\nsplits: {train: train.jsonl}\nprompt: q\ntarget: a\n"


def llava(folder: Path) -> str:
    images(folder / "pictures")
    rows: list[dict[str, Any]] = [
        {"id": f"c{i}", "image": f"{i}.jpg", "conversations": [
            {"from": "human", "value": f"<image>\nwhat is in {i}?"}, {"from": "gpt", "value": f"thing {i}"},
            {"from": "human", "value": "and its colour?"}, {"from": "gpt", "value": "red"}]} for i in range(COUNT)
    ]  # fmt: skip
    rows.append(
        {"id": "text only", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}
    )
    (folder / "llava.json").write_text(json.dumps(rows, indent=1))
    return "kind: vqa\nformat: llava\nsplits: {train: llava.json}\nimages: pictures\n"


def coco(folder: Path) -> dict[str, Any]:
    images(folder / "train2017", lambda i: f"{i:012d}.jpg")
    listed = [{"id": 100 + i, "file_name": f"{i:012d}.jpg", "width": 40, "height": 30} for i in range(COUNT)]
    return {"info": {"year": 2017}, "images": listed}


def coco_captions(folder: Path) -> str:
    notes = [{"id": i, "image_id": 100 + i % COUNT, "caption": f"a picture of {i}. "} for i in range(2 * COUNT)]
    (folder / "captions.json").write_text(json.dumps(coco(folder) | {"annotations": notes}))
    return "kind: caption\nformat: coco_captions\nsplits: {train: captions.json}\nimages: train2017\nfixed_prompt: caption en\n"


def coco_boxes(folder: Path) -> str:
    notes = [
        {"id": i, "image_id": 100 + i, "category_id": 1 + i % 2, "bbox": [10, 6, 20, 12], "iscrowd": 0}
        for i in range(COUNT)
    ]
    notes += [
        {"id": 90, "image_id": 100, "category_id": 2, "bbox": [30, 20, 50, 50], "iscrowd": 0},  # past the edge: clipped
        {"id": 91, "image_id": 100, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 92, "image_id": 100, "category_id": 2, "bbox": [5, 5, 0, 9], "iscrowd": 0},
    ]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "traffic light"}]
    (folder / "instances.json").write_text(json.dumps(coco(folder) | {"annotations": notes, "categories": names}))
    return "kind: vqa\nformat: coco_boxes\nsplits: {train: instances.json}\nimages: train2017\n"


def vqav2(folder: Path) -> str:
    images(folder / "train2014", lambda i: f"COCO_train2014_{100 + i:012d}.jpg")
    questions = [{"image_id": 100 + i, "question": f"how many in {i}?", "question_id": 1000 + i} for i in range(COUNT)]
    notes = [
        {"question_id": 1000 + i, "image_id": 100 + i, "multiple_choice_answer": "2",
         "answers": [{"answer": a, "answer_id": k} for k, a in enumerate(["two", "2", "2", "two", "3"])]}
        for i in range(COUNT)
    ]  # fmt: skip
    (folder / "questions.json").write_text(json.dumps({"questions": questions}))
    (folder / "annotations.json").write_text(json.dumps({"annotations": notes}))
    return (
        "kind: vqa\nformat: vqav2\nsplits: {train: questions.json}\nannotations: {train: annotations.json}\n"
        'images: train2014\nimage_name: "COCO_train2014_{image_id:012d}.jpg"\n'
    )


def parquet(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "image": {"bytes": picture(i), "path": "../../etc/passwd"},
            "question": f"what is in {i}?",
            "answer": f"thing {i}",
        }
        for i in range(COUNT)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000.parquet", row_group_size=4)
    return 'kind: vqa\nformat: parquet\nsplits: {train: "train-*.parquet"}\nimage: image\nprompt: question\ntarget: answer\n'


def webdataset(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "train-0.tar", "w") as tar:
        for i in range(COUNT):
            text = json.dumps({"caption": f"a picture of {i}"}).encode()
            add(tar, f"{i:04d}.jpg", picture(i))
            add(tar, f"{i:04d}.json", text)
    return (
        'kind: caption\nformat: webdataset\nsplits: {train: "train-*.tar"}\ntarget: caption\nfixed_prompt: caption en\n'
    )


def add(tar: tarfile.TarFile, name: str, data: bytes, **more: Any) -> None:
    """Adds a member to a tar file."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data) if data else None)


def tfds(folder: Path) -> str:
    from tensorflow_datasets.core import dataset_info

    from fasttok.episodes.tfds import tfds as load

    module = load()
    f = module.features
    features = f.FeaturesDict(
        {"image": f.Image(shape=(30, 40, 3), encoding_format="jpeg"), "question": f.Text(), "answers": f.Sequence(f.Text()),
         "id": f.Scalar(np.int64)}
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    identity = dataset_info.DatasetIdentity("ask", module.core.Version("1.0.0"), str(folder), "ask")
    writer = module.core.SequentialWriter(module.core.DatasetInfo(builder=identity, features=features), 3)
    writer.initialize_splits(["train"])
    for i in range(COUNT):
        row = {"image": io.BytesIO(picture(i)), "question": f"what is in {i}?", "answers": ["b", "a", "a"], "id": i}
        writer.add_examples({"train": [row]})
    writer.close_all()
    return "kind: vqa\nformat: tfds\nimage: image\nprompt: question\nanswers: answers\n"


FORMATS: dict[str, Callable[[Path], str]] = {
    "jsonl": jsonl,
    "llava": llava,
    "coco_captions": coco_captions,
    "coco_boxes": coco_boxes,
    "vqav2": vqav2,
    "parquet": parquet,
    "webdataset": webdataset,
    "tfds": tfds,
}


def write(folder: Path, name: str) -> Path:
    """A dataset in a format, with its dataset.yaml."""
    path = folder / name
    path.mkdir(parents=True, exist_ok=True)
    entry = FORMATS[name](path)
    title = "ask" if name == "tfds" else name
    (path / "dataset.yaml").write_text(f"name: {title}\nlicense: CC-BY-4.0\n{entry}")
    return path
