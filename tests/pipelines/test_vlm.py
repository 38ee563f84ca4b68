"""Questions and captions in every format: what is indexed is what stands in the files, images are the very bytes."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.episodes.index import open_index
from fasttok.errors import InputError
from pipelines import boxes, entries, vlm
from pipelines.index import IndexConfig, run_index
from pipelines.jobs import BuildConfig, run_build
from pipelines.shards import ShardReader
from pipelines.vlm.folder import check_name
from tests.pipelines import vlm_data
from tests.pipelines.vlm_data import COUNT, FORMATS, add, picture


def index(path: Path, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """(counts of the train split, indexed rows, dead letters)."""
    run_index(IndexConfig((str(path),), str(out)), [])
    (name, dataset), *_ = open_index(str(out))["datasets"].items()
    counts = dataset["splits"]["train"]
    tables = [[pq.read_table(out / name / "train" / f"{stem}.{part}.parquet").to_pylist() for stem in counts["files"]]
              for part in ("episodes", "rejected")]  # fmt: skip
    found, bad = ([row for table in part for row in table] for part in tables)
    assert counts["read"] == counts["indexed"] + sum(counts["rejected"].values()) + sum(counts["filtered"].values())
    assert counts["indexed"] == len(found)
    return counts, found, bad


EXPECTED = {
    "jsonl": [("what is in {i}?", "thing {i}")],
    "llava": [("what is in {i}?", "thing {i}"), ("and its colour?", "red")],
    "coco_captions": [("caption en", "a picture of {i}.")],
    "vqav2": [("how many in {i}?", "2")],
    "parquet": [("what is in {i}?", "thing {i}")],
    "webdataset": [("caption en", "a picture of {i}")],
    "tfds": [("what is in {i}?", "a")],
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_indexed_and_its_images_are_the_very_bytes(tmp_path: Path, name: str) -> None:
    path = vlm_data.write(tmp_path, name)
    counts, rows, _ = index(path, tmp_path / "index")
    entry = entries.from_json(
        open_index(str(tmp_path / "index"))["datasets"]["ask" if name == "tfds" else name]["entry"]
    )
    read = vlm.open_images(entry, str(path))
    known = {picture(i): i for i in range(COUNT)}
    for row in rows:
        data, problem = read(row["image"], row["image_offset"], row["image_length"])
        assert problem == ""
        assert data in known
        if name in EXPECTED:
            texts = [(a.format(i=known[data]), b.format(i=known[data])) for a, b in EXPECTED[name]]
            if name == "coco_captions":  # two captions an image
                texts.append(("caption en", f"a picture of {known[data] + COUNT}."))
            assert (row["language"], row["target"]) in texts
    assert len({(row["file"], row["episode"]) for row in rows}) == len(rows)
    assert not counts["rejected"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_shards(tmp_path: Path, name: str) -> None:
    path = vlm_data.write(tmp_path, name)
    index(path, tmp_path / "index")
    dataset = "ask" if name == "tfds" else name
    (tmp_path / "m.yaml").write_text(f"sources:\n  - {{dataset: {dataset}}}\n")
    run_build(BuildConfig(str(tmp_path / "m.yaml"), str(tmp_path / "out"), 30, str(tmp_path / "index"), shards=2), [])
    reader = ShardReader(str(tmp_path / "out"))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    assert len(rows) == 30 == len({row["sample_id"] for row in rows})
    assert {row["image/primary"] for row in rows} <= {picture(i) for i in range(COUNT)}
    assert all(row["prompt"] and row["target"] and not len(row["action"]) for row in rows)
    if name == "vqav2":
        assert list(rows[0]["answers"]) == ["two", "2", "2", "two", "3"]
    assert reader.manifest.sources[dataset]["license"] == "CC-BY-4.0"


def test_llava_leaves_out_text_alone_and_takes_first_turns_if_asked(tmp_path: Path) -> None:
    path = vlm_data.write(tmp_path, "llava")
    counts, rows, _ = index(path, tmp_path / "index")
    assert counts["filtered"] == {"no image": 1}
    assert len(rows) == 2 * COUNT
    (path / "dataset.yaml").write_text((path / "dataset.yaml").read_text() + "turns: first\n")
    counts, rows, _ = index(path, tmp_path / "index2")
    assert len(rows) == COUNT
    lines = [json.dumps(row) for row in json.loads((path / "llava.json").read_text())]
    (path / "llava.json").write_text("\n".join(lines))  # the same as JSON lines
    assert [r["target"] for r in index(path, tmp_path / "index3")[1]] == [r["target"] for r in rows]


def test_boxes_become_location_tokens_and_bad_ones_are_counted(tmp_path: Path) -> None:
    counts, rows, _ = index(vlm_data.write(tmp_path, "coco_boxes"), tmp_path / "index")
    first = next(row for row in rows if row["id"] == "100")
    assert first["language"] == "detect cat ; traffic light"
    places, names, bad = boxes.from_text(first["target"])
    assert names == ["cat", "traffic light"]
    assert bad == 0
    assert places == pytest.approx(
        np.array([[6 / 30, 10 / 40, 18 / 30, 30 / 40], [20 / 30, 30 / 40, 1, 1]]), abs=0.5 / 1023
    )
    assert counts["left_out"] == {"boxes without area": 1, "crowd boxes": 1}


def test_bins_are_big_visions() -> None:
    """`get_refcoco_mask2str`: x * 1023 in float32, rounded half to even, clipped; back by / 1023."""
    values = np.array([0, 0.25, 0.5, 1.0, 0.000488, 0.0004887586, 511.5 / 1023, -0.2, 1.7], np.float32)
    wanted = np.clip(np.rint(values * np.float32(1023)), 0, 1023).astype(int)
    assert boxes.to_bins(np.stack([values] * 4, 1))[:, 0].tolist() == wanted.tolist()
    assert wanted[:4].tolist() == [0, 256, 512, 1023]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
def test_box_texts_lead_back_to_within_half_a_bin(found: list[tuple[float, ...]]) -> None:
    array = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in found])
    kept = array[boxes.is_box(boxes.to_bins(array))]
    back, names, bad = boxes.from_text(boxes.to_text(kept, ["a thing"] * len(kept)))
    assert bad == 0
    assert names == ["a thing"] * len(kept)
    assert np.abs(back - kept).max(initial=0) <= 0.5 / 1023 + 1e-6


NAMES_THAT_LEAD_OUT = [
    *("/etc/passwd", "../secret.jpg", "a/../../secret.jpg", "file:///etc/passwd", "..\\secret.jpg"),
    *("", "\x00.jpg", "out.jpg"),
]


@pytest.mark.parametrize("name", NAMES_THAT_LEAD_OUT)
def test_names_that_lead_out_are_rejected(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture(0))
    path = vlm_data.write(tmp_path, "jsonl")
    os.symlink(tmp_path / "secret.jpg", path / "images" / "out.jpg")
    lines = (path / "train.jsonl").read_text().splitlines()
    lines[2] = json.dumps({"id": 2, "image": name, "q": "what?", "a": "x"})
    (path / "train.jsonl").write_text("\n".join(lines))
    counts, rows, bad = index(path, tmp_path / "index")
    assert len(rows) == COUNT - 1
    assert counts["rejected"] == {"image": 1}
    assert bad[0]["episode"] == 2


@given(st.text(max_size=12))
def test_names_that_pass_stay_inside(name: str) -> None:
    if check_name(name) == "":
        assert os.path.normpath(f"/data/{name}").startswith("/data/")
        assert "\x00" not in name


def bomb() -> bytes:
    """A PNG that says it is 60,000 x 60,000 pixels."""
    data = bytearray(picture(0, "PNG"))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "x.jpg", "no bytes"),
        (picture(1)[:200], "x.jpg", "truncated"),
        (bomb(), "x.png", "pixels"),
        (picture(1, "GIF"), "x.gif", "GIF"),
        (picture(1, "WEBP"), "x.jpg", "WebP"),
        (picture(1, "PNG"), "x.jpg", "PNG"),
        (b"<html>not found</html>", "x.jpg", "neither"),
    ],
)
def test_images_that_are_none_are_rejected(tmp_path: Path, content: bytes, name: str, says: str) -> None:
    path = vlm_data.write(tmp_path, "jsonl")
    (path / "images" / name).write_bytes(content)
    with (path / "train.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": 9, "image": name, "q": "what?", "a": "x"}) + "\n")
    counts, rows, bad = index(path, tmp_path / "index")
    assert len(rows) == COUNT
    assert list(counts["rejected"]) == ["extension" if content == picture(1, "PNG") else "image"]
    assert says.lower() in bad[0]["detail"].lower()


def test_tar_members_that_are_no_files_are_rejected(tmp_path: Path) -> None:
    path = vlm_data.write(tmp_path, "webdataset")
    with tarfile.open(path / "train-1.tar", "w") as tar:
        for name, more in {
            "link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
            "hard": {"type": tarfile.LNKTYPE, "linkname": "link.jpg"},
            "device": {"type": tarfile.CHRTYPE},
        }.items():
            add(tar, f"{name}.jpg", b"", **more)
            add(tar, f"{name}.json", json.dumps({"caption": "x"}).encode())
        for name in ("/abs", "../up"):
            add(tar, f"{name}.jpg", picture(0))
            add(tar, f"{name}.json", json.dumps({"caption": "x"}).encode())
    counts, rows, _ = index(path, tmp_path / "index")
    assert len(rows) == COUNT
    assert counts["rejected"] == {"member": 5}
    (path / "train-2.tar").write_bytes((path / "train-0.tar").read_bytes()[:5000])
    counts, rows, _ = index(path, tmp_path / "index2")
    assert counts["rejected"]["tar"] == 1  # cut off: what came before is there, the rest is said to be lost
    assert len(rows) >= COUNT


def test_images_that_change_after_the_index_are_dead_letters(tmp_path: Path) -> None:
    path = vlm_data.write(tmp_path, "jsonl")
    index(path, tmp_path / "index")
    (path / "images" / "0.jpg").write_bytes(picture(0) + b"\xff\xd9")
    (path / "images" / "1.jpg").unlink()
    (tmp_path / "m.yaml").write_text("sources:\n  - {dataset: jsonl}\n")
    run_build(BuildConfig(str(tmp_path / "m.yaml"), str(tmp_path / "out"), 12, str(tmp_path / "index"), shards=1), [])
    source = ShardReader(str(tmp_path / "out")).manifest.sources["jsonl"]
    assert (source["planned"], source["written"], source["rejected"]) == (12, 8, 4)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("format: llava", "format: lava", "did you mean 'llava'"),
        ("format: llava", "format: vqav2", "needs the key 'annotations'"),
        ("turns: first", "turns: last", "unknown turns 'last'"),
        ("turns: first", "detect: each", "'detect' is a key of format coco_boxes"),
        ("images: pictures", "images: ../pictures", "without '..'"),
        ("llava.json", "nothing.json", "has no file nothing.json"),
        ("images: pictures", "images: photos", "there is no images folder 'photos'"),
    ],
)
def test_entries_that_cannot_be(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = vlm_data.write(tmp_path, "llava")
    text = (path / "dataset.yaml").read_text() + "turns: first\n"
    (path / "dataset.yaml").write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        index(path, tmp_path / "index")
    assert says in str(caught.value)
