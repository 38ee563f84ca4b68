"""Small datasets of every VLM format, as other people's tools write them; each returns what its records should be."""

import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encoded(number: int, form: str = "JPEG", size: tuple[int, int] = (40, 20)) -> bytes:
    """An image that no other number gives."""
    pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG that says it has 10^10 pixels."""
    data = bytearray(encoded(0, "PNG"))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    return bytes(data)


@dataclass
class Made:
    """A dataset directory, and what is to be found: (prompt, target, image bytes) of records, reasons of the others."""

    directory: Path
    records: list[tuple[str, str, bytes]]
    rejected: dict[str, int] = field(default_factory=dict)
    filtered: dict[str, int] = field(default_factory=dict)


HOSTILE = ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "..\\secret.jpg", "file:///etc/passwd", "~/x.jpg", "a\0.jpg",
           "link.jpg", "out/secret.jpg", "missing.jpg", "folder.jpg", "bomb.png", "cut.jpg", "anim.gif", "empty.jpg",
           "\ud800.jpg", "x" * 300 + ".jpg", "", ".", "pipe.jpg"]  # fmt: skip


def images(root: Path, count: int = 4, folder: str = "images") -> list[bytes]:
    """`count` sound images 0.jpg.., 1.png for odd ones, beside everything that `HOSTILE` names."""
    import os

    out = root / folder
    (out / "folder.jpg").mkdir(parents=True)
    found = []
    for n in range(count):
        found.append(encoded(n, "PNG" if n % 2 else "JPEG"))
        (out / image_name(n)).write_bytes(found[-1])
    secret = root.parent / f"secret-{root.name}"
    secret.mkdir()
    (secret / "secret.jpg").write_bytes(encoded(99))
    (root.parent / "secret.jpg").write_bytes(encoded(99))
    (out / "link.jpg").symlink_to(secret / "secret.jpg")
    (out / "out").symlink_to(secret)
    (out / "bomb.png").write_bytes(bomb())
    (out / "cut.jpg").write_bytes(encoded(0)[:-20])
    (out / "anim.gif").write_bytes(encoded(0, "GIF"))
    (out / "webp.jpg").write_bytes(encoded(0, "WEBP"))
    (out / "wrong.png").write_bytes(encoded(0))
    (out / "empty.jpg").write_bytes(b"")
    os.mkfifo(out / "pipe.jpg")  # opening it would wait for ever
    return found


def image_name(number: int) -> str:
    return f"{number}.{'png' if number % 2 else 'jpg'}"


def entry(root: Path, text: str) -> None:
    (root / "dataset.yaml").write_text(text)


def jsonl(root: Path) -> Made:
    data = images(root)
    rows: list[Any] = [{"image": image_name(n), "q": f"q{n}?", "a": f"a{n}", "id": f"x{n}"} for n in range(4)]
    records = [(f"q{n}?", f"a{n}", data[n]) for n in range(4)]
    rows += [{"image": name, "q": "q", "a": "a"} for name in HOSTILE]
    rows += [{"image": "0.jpg", "q": "q", "a": ["b", "c", "c"]}]
    records.append(("q", "c", data[0]))
    rows += [{"image": "wrong.png", "q": "q", "a": "a"}, {"image": 3, "q": "q", "a": "a"}, {"q": "q", "a": "a"}]
    rows += [{"image": "0.jpg", "q": " ", "a": "a"}, {"image": "0.jpg", "q": "q", "a": "\udfff"}, [1]]
    lines = [json.dumps(row).encode() for row in rows] + [
        b'{"image": "0.jpg", "q": "\xff", "a": "a"}',
        b"{",
        b"1" * 5000,
    ]
    (root / "train.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    entry(root, "{name: j, kind: vqa, splits: {train: train.jsonl}, prompt: q, target: a}")
    return Made(root, records, {"image": len(HOSTILE) + 2, "extension": 1, "language": 2, "json": 4})


def llava_rows(root: Path) -> tuple[list[Any], Made]:
    data = images(root)

    def turns(*words: str) -> list[dict[str, str]]:
        return [{"from": ("human", "gpt")[i % 2], "value": word} for i, word in enumerate(words)]

    rows: list[Any] = [
        {"id": "ä", "image": "0.jpg", "conversations": turns("<image>\nWhat?", "Änderung", "And then?", "that")},
        {"id": 7, "image": "1.png", "messages": [{"role": "user", "content": "Why?\n<image>"},
                                                 {"role": "assistant", "content": "so"}]},
        {"image": "2.jpg", "conversations": [{"from": "system", "value": "be kind"}, *turns("a", "b")]},
        {"conversations": turns("text only", "yes")},
        {"image": ["0.jpg", "1.png"], "conversations": turns("a", "b")},
        {"image": "../secret.jpg", "conversations": turns("a", "b", "c", "d")},
        {"image": "3.png", "conversations": turns("a")},
        {"image": "3.png", "conversations": [{"from": "gpt", "value": "a"}]},
        {"image": "3.png", "conversations": turns("<image>", "b", "c", "d")},
        "text",
    ]  # fmt: skip
    records = [("What?", "Änderung", data[0]), ("And then?", "that", data[0]), ("Why?", "so", data[1]), ("a", "b", data[2]),
               ("c", "d", data[3])]  # fmt: skip
    entry(root, "{name: l, kind: vqa, format: llava, splits: {train: train.json}}")
    return rows, Made(root, records, {"image": 3, "conversation": 2, "language": 1, "json": 1}, {"no image": 1})


def llava(root: Path) -> Made:
    rows, made = llava_rows(root)
    (root / "train.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False))
    return made


def llava_lines(root: Path) -> Made:
    rows, made = llava_rows(root)
    (root / "train.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


def coco_images(count: int) -> list[dict[str, Any]]:
    return [{"id": 100 + n, "file_name": image_name(n), "width": 40, "height": 20} for n in range(count)]


def coco_captions(root: Path) -> Made:
    data = images(root, folder="train2017")
    rows: list[Any] = [{"id": i, "image_id": 100 + i % 4, "caption": f"caption {i}é"} for i in range(8)]
    rows += [{"id": 9, "image_id": 999, "caption": "no image"}, {"id": 10, "image_id": 100, "caption": ""}, None]
    listed = [*coco_images(4), {"id": 999}]
    folder = root / "annotations"
    folder.mkdir()
    (folder / "captions_train2017.json").write_text(
        json.dumps({"info": {"a": []}, "annotations": rows, "images": listed})
    )
    text = 'splits: {train: annotations/captions_train2017.json}, images: "{split}2017", fixed_prompt: caption en'
    entry(root, f"{{name: c, kind: caption, format: coco_captions, {text}}}")
    records = [("caption en", f"caption {i}é", data[i % 4]) for i in range(8)]
    return Made(root, records, {"image": 1, "language": 1, "json": 1})


def coco_boxes(root: Path) -> Made:
    data = images(root, 6)
    boxes = [
        (100, 1, [0, 0, 20, 10], 0), (100, 2, [10, 5, 40, 40], 0), (100, 1, [0, 0, 5, 5], 1), (100, 1, [20, 0, 20, 20], 0),
        (101, 1, [0, 0, 40, 20], 1), (102, 9, [0, 0, 5, 5], 0), (102, 1, [50, 0, 5, 5], 0), (102, 1, [1, 1, 0, 5], 0),
        (102, 1, [1, 1, 0.001, 5], 0), (102, 1, ["a", 1, 1, 5], 0), (102, 1, [1, 1, -3, 5], 0), (104, 2, [0, 0, 1, 1], 0),
        (106, 2, [0, 0, 1, 1], 0),
    ]  # fmt: skip
    rows = [
        {"image_id": i, "category_id": c, "bbox": b, "iscrowd": crowd, "segmentation": [[1.5] * 50]}
        for i, c, b, crowd in boxes
    ]
    listed = [*coco_images(5), {"id": 105, "file_name": "5.png", "width": 0, "height": 20}, {"id": 106, "file_name": "no.jpg",
              "width": 40, "height": 20}]  # fmt: skip
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "traffic light"}, {"id": 9, "name": "a ; b"}]
    (root / "instances.json").write_text(json.dumps({"images": listed, "annotations": rows, "categories": names}))
    entry(root, "{name: b, kind: vqa, format: coco_boxes, splits: {train: instances.json}}")
    first = ("<loc0000><loc0000><loc0512><loc0512> cat ; <loc0256><loc0256><loc1023><loc1023> traffic light ; "
             "<loc0000><loc0512><loc1023><loc1023> cat")  # fmt: skip
    records = [("detect cat ; traffic light", first, data[0]),
               ("detect traffic light", "<loc0000><loc0000><loc0051><loc0026> traffic light", data[4])]  # fmt: skip
    return Made(root, records, {"boxes": 2, "image": 1}, {"no boxes": 2})


def vqav2(root: Path) -> Made:
    data = images(root)
    for n in range(4):
        (root / "images" / f"COCO_train2014_{n:012d}.jpg").write_bytes(encoded(n))
    questions = [{"question_id": 10 + n, "image_id": n, "question": f"q{n}?"} for n in range(4)]
    questions += [
        {"question_id": 50, "image_id": 0, "question": "q"},
        {"question_id": 13, "image_id": 77, "question": "q"},
    ]
    questions += [{"question_id": 13, "image_id": "0", "question": "q"}, {"question_id": 13, "image_id": 0}]
    given = [("a b b", "b"), ("a b", "b"), ("b a", "c"), ("a", "a")]
    annotations = [
        {"question_id": 10 + n, "multiple_choice_answer": best,
         "answers": [{"answer": a, "answer_id": i} for i, a in enumerate(answers.split())]}
        for n, (answers, best) in enumerate(given)
    ]  # fmt: skip
    (root / "q.json").write_text(json.dumps({"info": {}, "questions": questions}))
    (root / "a.json").write_text(json.dumps({"annotations": annotations[::-1]}))
    entry(
        root,
        "name: v\nkind: vqa\nformat: vqav2\nsplits: {train: q.json}\nannotations: {train: a.json}\n"
        'image_name: "COCO_{split}2014_{image_id:012d}.jpg"\n',
    )
    del data
    records = [(f"q{n}?", target, encoded(n)) for n, target in enumerate(["b", "b", "b", "a"])]
    return Made(root, records, {"language": 2, "image": 2})


def parquet(root: Path) -> Made:
    root.mkdir(parents=True)
    good = [encoded(n, "PNG" if n % 2 else "JPEG") for n in range(30)]
    cells: list[Any] = [{"bytes": data, "path": f"{n}.jpg"} for n, data in enumerate(good)]
    bad = [None, {"bytes": None, "path": "/etc/passwd"}, {"bytes": b"", "path": None}, {"bytes": bomb(), "path": None},
           {"bytes": encoded(0, "WEBP"), "path": None}]  # fmt: skip
    q = [f"q{n}" for n in range(30)] + ["q"] * len(bad) + [None]
    answers = [["x", f"a{n}", f"a{n}"] for n in range(30)] + [["a"]] * len(bad) + [["a"]]
    columns = {"image": pa.array([*cells, *bad, cells[0]]), "question": pa.array(q), "answers": pa.array(answers)}
    table = pa.table({**columns, "id": pa.array(range(len(q)))})
    pq.write_table(table.slice(0, 20), root / "train-00000.parquet", row_group_size=7)
    pq.write_table(table.slice(20), root / "train-00001.parquet", row_group_size=7)
    entry(
        root,
        "{name: p, kind: vqa, format: parquet, splits: {train: train-*.parquet}, image: image, "
        "prompt: question, target: answers}",
    )
    return Made(root, [(f"q{n}", f"a{n}", good[n]) for n in range(30)], {"image": len(bad), "language": 1})


def parquet_turns(root: Path) -> Made:
    root.mkdir(parents=True)
    good = [encoded(n) for n in range(3)]
    turns = [[{"user": f"u{n}", "assistant": f"s{n}"}, {"user": f"v{n}", "assistant": f"t{n}"}] for n in range(3)]
    cells: list[Any] = [[data] for data in good]
    table = {"images": pa.array([*cells, [good[0], good[1]]]), "texts": pa.array([*turns, turns[0]])}
    pq.write_table(pa.table(table), root / "t.parquet")
    entry(
        root, "{name: t, kind: vqa, format: parquet, splits: {train: t.parquet}, image: images, conversations: texts}"
    )
    records = [(ask + str(n), answer + str(n), good[n]) for n in range(3) for ask, answer in ("us", "vt")]
    return Made(root, records, {"image": 1})


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    tar.addfile(info, io.BytesIO(data))


def webdataset(root: Path) -> Made:
    root.mkdir(parents=True)
    good = [encoded(n, "PNG" if n % 2 else "JPEG") for n in range(6)]
    with tarfile.open(root / "shard-000.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        add(tar, "./data", kind=tarfile.DIRTYPE)
        for n in range(6):
            name = f"./data/{n:06d}" + ("é" * 120 if n == 2 else "")
            add(tar, f"{name}.{'png' if n % 2 else 'jpg'}", good[n])
            add(tar, f"{name}.json", json.dumps({"caption": f"c{n}", "id": n}).encode())
    sound = {"txt": b"t", "json": json.dumps({"caption": "c"}).encode()}
    bad: list[tuple[str, bytes, bytes, str]] = [
        ("/abs.jpg", good[0], tarfile.REGTYPE, ""), ("../up.jpg", good[0], tarfile.REGTYPE, ""),
        ("link.jpg", b"", tarfile.SYMTYPE, "/etc/passwd"), ("hard.jpg", b"", tarfile.LNKTYPE, "dev.jpg"),
        ("dev.jpg", b"", tarfile.CHRTYPE, ""), ("a/../../b.jpg", good[0], tarfile.REGTYPE, ""),
        ("bomb.png", bomb(), tarfile.REGTYPE, ""), ("wrong.png", good[0], tarfile.REGTYPE, ""),
        ("gif.jpg", encoded(0, "GIF"), tarfile.REGTYPE, ""), ("only.webp", encoded(0, "WEBP"), tarfile.REGTYPE, ""),
    ]  # fmt: skip
    with tarfile.open(root / "shard-001.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data, kind, link in bad:
            add(tar, name, data, kind, link)
            add(tar, name.rpartition(".")[0] + ".json", sound["json"])
        add(tar, "noimage.json", sound["json"])
        add(tar, "badjson.jpg", good[0])
        add(tar, "badjson.json", b"{")
        add(tar, "notext.jpg", good[0])
        add(tar, "last.jpg", good[1][:0] + good[0])
        add(tar, "last.json", sound["json"])
    entry(
        root,
        "{name: w, kind: caption, format: webdataset, splits: {train: 'shard-*.tar'}, target: caption, fixed_prompt: cap}",
    )
    records = [("cap", f"c{n}", good[n]) for n in range(6)] + [("cap", "c", good[0])]
    return Made(root, records, {"member": 6, "image": 4, "extension": 1, "json": 1, "language": 1})


MAKERS = (jsonl, llava, llava_lines, coco_captions, coco_boxes, vqav2, parquet, parquet_turns, webdataset)
