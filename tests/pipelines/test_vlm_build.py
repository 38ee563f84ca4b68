"""From files in every format to shards: texts, answers and the very bytes of the images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fasttok.common.images import Fit
from fasttok.episodes.index_file import SplitCounts, open_index
from mixtures.spec import Resize
from pipelines import vlm
from pipelines.builder.config import BuildConfig
from pipelines.builder.resize import resized
from pipelines.builder.run import run_build
from pipelines.index.config import IndexConfig
from pipelines.index.run import run_index
from pipelines.shards import ShardReader
from tests.pipelines import vlm_formats
from tests.pipelines.vlm_formats import COUNT, FORMATS, picture


def index(path: Path, out: Path) -> tuple[SplitCounts, list[dict[str, Any]], list[dict[str, Any]]]:
    """(counts of the train split, indexed rows, dead letters)."""
    run_index(IndexConfig((str(path),), str(out)), [])
    (name, dataset), *_ = open_index(str(out)).datasets.items()
    counts = dataset.splits["train"]
    tables = [[pq.read_table(out / name / "train" / f"{stem}.{part}.parquet").to_pylist() for stem in counts.files]
              for part in ("episodes", "rejected")]  # fmt: skip
    found, bad = ([row for table in part for row in table] for part in tables)
    assert counts.read == counts.indexed + sum(counts.rejected.values()) + sum(counts.filtered.values())
    assert counts.indexed == len(found)
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
    path = vlm_formats.write(tmp_path, name)
    counts, rows, _ = index(path, tmp_path / "index")
    entry = open_index(str(tmp_path / "index")).datasets["ask" if name == "tfds" else name].entry
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
    assert not counts.rejected


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_shards(tmp_path: Path, name: str) -> None:
    path = vlm_formats.write(tmp_path, name)
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
    assert reader.manifest.sources[dataset].license == "CC-BY-4.0"


def test_images_that_change_after_the_index_are_dead_letters(tmp_path: Path) -> None:
    path = vlm_formats.write(tmp_path, "jsonl")
    index(path, tmp_path / "index")
    (path / "images" / "0.jpg").write_bytes(picture(0) + b"\xff\xd9")
    (path / "images" / "1.jpg").unlink()
    (tmp_path / "m.yaml").write_text("sources:\n  - {dataset: jsonl}\n")
    run_build(BuildConfig(str(tmp_path / "m.yaml"), str(tmp_path / "out"), 12, str(tmp_path / "index"), shards=1), [])
    source = ShardReader(str(tmp_path / "out")).manifest.sources["jsonl"]
    assert (source.planned, source.written, source.rejected) == (12, 8, 4)


def test_images_whose_texts_name_places_get_no_black_edges(tmp_path: Path) -> None:
    """A box is four shares of the image's height and width, so `fit: pad` would move it."""
    path = vlm_formats.write(tmp_path, "jsonl")
    for file in path.glob("*.jsonl"):
        file.write_text(file.read_text().replace("thing 0", "<loc0000><loc0256><loc0512><loc1023> thing 0"))
    index(path, tmp_path / "index")
    (tmp_path / "m.yaml").write_text(
        "sources:\n  - {dataset: jsonl, resize: {height: 64, width: 64, fit: pad, quality: 100}}\n"
    )
    run_build(BuildConfig(str(tmp_path / "m.yaml"), str(tmp_path / "out"), 12, str(tmp_path / "index"), shards=1), [])
    reader = ShardReader(str(tmp_path / "out"))
    rows = [reader.row(i) for i in range(reader.num_rows)]
    assert {"<loc" in row["target"] for row in rows} == {True, False}
    to = Resize(64, 64, "pad", 100)
    for row in rows:
        fit: Fit = "stretch" if "<loc" in row["target"] else "pad"
        number = int(row["target"].rpartition(" ")[2])
        assert row["image/primary"] == resized(picture(number), replace(to, fit=fit))[0]


def test_a_second_build_of_a_process_reads_the_new_index(tmp_path: Path) -> None:
    path = vlm_formats.write(tmp_path, "jsonl")
    mixture = tmp_path / "m.yaml"
    mixture.write_text("name: m\nsources:\n  - {dataset: jsonl, weight: 1}\n")
    for number, old in enumerate(("nothing", "thing")):
        for file in path.glob("*.jsonl"):
            file.write_text(file.read_text().replace(old, "stuff"))
        run_index(IndexConfig((str(path),), str(tmp_path / "index"), overwrite=bool(number)), [])
        out = tmp_path / f"shards{number}"
        run_build(BuildConfig(str(mixture), str(out), samples=20, index=str(tmp_path / "index")), [])
        reader = ShardReader(str(out))
        word = "stuff" if number else "thing"
        assert all(word in reader.row(i)["target"] for i in range(20))
