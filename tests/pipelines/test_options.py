"""What a mixture's source may ask for: cameras, other sizes, prompts, filters, questions about robots, a curriculum."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fasttok import ActionTokenizer
from fasttok.common.images import Fit, UndecodableError
from fasttok.errors import InputError
from mixtures.spec import Resize
from pipelines.builder.config import BuildConfig
from pipelines.builder.resize import resized
from pipelines.builder.run import run_build
from pipelines.shards import ShardReader
from tests.chain import Chain


def build(
    chain: Chain, folder: Path, text: str, samples: int = 200, **more: Any
) -> tuple[ShardReader, list[dict[str, Any]]]:
    (folder / "mine.yaml").write_text("name: mine\n" + text)
    given = {"tokenizer": str(chain.tokenizer), "shards": 3, **more}
    run_build(BuildConfig(str(folder / "mine.yaml"), str(folder / "out"), samples, str(chain.index), **given), [])
    reader = ShardReader(str(folder / "out"))
    return reader, [reader.row(i) for i in range(reader.num_rows)]


def jpeg(width: int, height: int, colour: tuple[int, int, int] = (200, 30, 40)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "JPEG", quality=95)
    return out.getvalue()


def test_cameras_are_chosen_and_renamed(chain: Chain, tmp_path: Path) -> None:
    text = (
        "sources:\n  - {dataset: tabletop_arm, weight: 1, cameras: {primary: wrist}}\n"
        "  - {dataset: tabletop_planar, weight: 1, cameras: [primary]}\n"
    )
    reader, rows = build(chain, tmp_path, text)
    assert [s.cameras for s in reader.manifest.sources.values()] == [("primary",), ("primary",)]
    assert all(row["image/primary"] and row["image/wrist"] is None for row in rows)
    (tmp_path / "b").mkdir()
    with pytest.raises(
        InputError, match=r"mine\.yaml: line 3: unknown camera of tabletop_planar 'wrist'.*Known: primary"
    ):
        build(chain, tmp_path / "b", "sources:\n  - {dataset: tabletop_planar, cameras: [wrist]}\n")


def test_images_are_resized_once_and_only_when_asked(chain: Chain, tmp_path: Path) -> None:
    text = (
        "sources:\n  - {dataset: tabletop_arm, weight: 1, resize: {height: 32, width: 48, fit: pad}}\n"
        "  - {dataset: tabletop_planar, weight: 1, resize: {height: 64, width: 64}}\n"
        "  - {dataset: tabletop_vqa, weight: 1}\n"
    )
    reader, rows = build(chain, tmp_path, text)
    sources = reader.manifest.sources
    assert sources["tabletop_arm"].resize == Resize(height=32, width=48, fit="pad", quality=95)
    arm = [row for row in rows if row["source"] == "tabletop_arm"]
    assert {Image.open(io.BytesIO(row["image/primary"])).size for row in arm} == {(48, 32)}
    assert sources["tabletop_arm"].images_resized >= len(arm)  # two cameras a frame
    assert sources["tabletop_planar"].images_resized == 0  # they have that size: the very bytes pass
    assert sources["tabletop_vqa"].images_resized == 0


def test_resizing_keeps_proportions_pads_and_turns_channels() -> None:
    red = jpeg(100, 50)
    wanted: tuple[tuple[Fit, tuple[int, int]], ...] = (("inside", (40, 20)), ("pad", (40, 40)), ("stretch", (40, 40)))
    for fit, size in wanted:
        data, changed = resized(red, Resize(40, 40, fit))
        image = Image.open(io.BytesIO(data))
        assert (image.size, changed) == (size, True)
        corner = np.asarray(image.convert("RGB"))[0, 20]
        assert (max(corner) < 40) == (fit == "pad")  # black bars above and below
    assert resized(red, Resize(50, 100)) == (red, False)
    assert resized(red, Resize(200, 200)) == (red, False)  # inside never enlarges
    turned, changed = resized(red, Resize(50, 100), bgr=True)
    assert changed
    blue = np.asarray(Image.open(io.BytesIO(turned)).convert("RGB"))[25, 50]
    assert blue[2] > 150 > blue[0]
    with pytest.raises(UndecodableError):
        resized(red[:300], Resize(40, 40))


def test_images_that_cannot_be_decoded_are_rejected_not_lost(own_data: Path, chain: Chain, tmp_path: Path) -> None:
    from pipelines.index.config import IndexConfig
    from pipelines.index.run import run_index

    victims = sorted((own_data / "tabletop_vqa" / "images").rglob("*.jpg"))[:4]
    for victim in victims:  # a sound header and end marker, and nothing in between
        data = victim.read_bytes()
        victim.write_bytes(data[: data.index(b"\xff\xda")] + b"\xff\xd9")
    run_index(IndexConfig((str(own_data / "tabletop_vqa"),), str(tmp_path / "index")), [])
    (tmp_path / "mine.yaml").write_text("sources:\n  - {dataset: tabletop_vqa, resize: {height: 16, width: 16}}\n")
    out = tmp_path / "out"
    run_build(BuildConfig(str(tmp_path / "mine.yaml"), str(out), 120, str(tmp_path / "index"), shards=2), [])
    manifest = ShardReader(str(out)).manifest
    assert manifest.counts.rejected > 0
    assert manifest.counts.planned == 120 == manifest.counts.written + manifest.counts.rejected
    letters = [json.loads(line) for f in (out / "rejected").glob("*.jsonl") for line in f.read_text().splitlines()]
    assert {letter["reason"] for letter in letters} == {"image"}
    assert all("cannot be decoded" in letter["detail"] for letter in letters)


def test_prompts_take_a_template_by_their_own_bits(chain: Chain, tmp_path: Path) -> None:
    text = (
        'sources:\n  - {dataset: tabletop_planar, weight: 1, prompt: ["Task: {prompt}.", "{prompt}, please"]}\n'
        '  - {dataset: tabletop_planar, weight: 1, name: plain, prompt: "Now {prompt}!"}\n'
    )
    reader, rows = build(chain, tmp_path, text)
    first = [row["prompt"] for row in rows if row["source"] == "tabletop_planar"]
    counts = [sum(p.startswith("Task: ") for p in first), sum(p.endswith(", please") for p in first)]
    assert sum(counts) == len(first)
    assert min(counts) > 25
    assert all(r["prompt"].startswith("Now ") and r["prompt"].endswith("!") for r in rows if r["source"] == "plain")
    assert reader.manifest.sources["plain"].prompts == ("Now {prompt}!",)


def test_filters_hold_for_rows_and_for_the_tokenizer(chain: Chain, tmp_path: Path) -> None:
    text = 'sources:\n  - {dataset: tabletop_planar, filters: {excludes: "red", min_steps: 5}}\n'
    reader, rows = build(chain, tmp_path, text, tokenizer="fit")
    assert rows
    assert all("red" not in row["prompt"] for row in rows)
    left = reader.manifest.sources["tabletop_planar"].left_out
    assert left["excludes"] > 0
    every = ActionTokenizer.load(chain.tokenizer).stats["planar"]
    own = ActionTokenizer.load(tmp_path / "out" / "tokenizer").stats["planar"]
    assert not np.array_equal(every.mean, own.mean)  # statistics of what passes the filters alone


def test_questions_about_robots_are_answered_from_their_episodes(chain: Chain, tmp_path: Path) -> None:
    text = (
        "sources:\n  - {dataset: tabletop_arm, weight: 1}\n"
        "  - {dataset: tabletop_arm, name: about, weight: 2, questions: [task, motion, gripper, progress, subtask]}\n"
        "  - {dataset: tabletop_arm, name: said, weight: 1, questions: [caption]}\n"
    )
    reader, rows = build(chain, tmp_path, text, 400)
    sources = reader.manifest.sources
    assert [s.kind for s in sources.values()] == ["robot", "vqa", "caption"]
    about = [row for row in rows if row["source"] == "about"]
    assert all(
        row["kind"] == "vqa" and row["target"] and len(row["action"]) == 0 and row["image/primary"] for row in about
    )
    by_prompt = {
        "gripper": {row["target"] for row in about if "gripper" in row["prompt"] and "state" in row["prompt"]},
        "percent": {row["target"] for row in about if "percent" in row["prompt"]},
    }
    assert by_prompt["gripper"] <= {"open", "closed"}
    assert by_prompt["percent"] <= {str(10 * i) for i in range(11)}
    assert any(" cm " in row["target"] for row in about)
    said = [row for row in rows if row["source"] == "said"]
    assert {row["prompt"] for row in said} == {"caption en"}
    assert all("robot" in row["target"] for row in said)
    # Sources of one dataset are read together: each record once for all three.
    states = [json.loads(file.read_text()) for file in (tmp_path / "out" / "state").glob("*.json")]
    records = {(row["file"], row["episode"]) for row in rows}
    assert sum(state["records_read"] for state in states) == len(records)


def test_robot_rows_that_say_what_the_robot_is_at(chain: Chain, tmp_path: Path) -> None:
    """`subtask: true`: the word follows the gripper; the commanded one is the action's last dimension, 1 = open."""
    _, rows = build(chain, tmp_path, "sources:\n  - {dataset: tabletop_arm, subtask: true}\n", 300)
    words = ("reaching for the object", "moving the object", "letting go of the object", "moving away after letting go")
    assert {row["kind"] for row in rows} == {"robot"}
    assert {row["target"] for row in rows} > {words[0], words[1]}
    for row in rows:
        closed = np.asarray(row["action"]).reshape(-1, 7)[0, 6] <= 0.5
        assert row["target"] in (words[1:3] if closed else (words[0], words[3]))


def test_questions_that_a_dataset_cannot_answer(chain: Chain, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="subtask goes with a robot's actions"):
        build(chain, tmp_path, "sources:\n  - {dataset: tabletop_vqa, subtask: true}\n")
    with pytest.raises(InputError, match="questions are asked about robots"):
        build(chain, tmp_path, "sources:\n  - {dataset: tabletop_vqa, questions: [task]}\n")
    with pytest.raises(InputError, match="give them a source each"):
        build(chain, tmp_path, "sources:\n  - {dataset: tabletop_arm, questions: [caption, task]}\n")


def test_a_source_may_have_its_own_chunk(chain: Chain, tmp_path: Path) -> None:
    text = (
        "chunk: {seconds: 1}\nsources:\n  - {dataset: tabletop_arm, weight: 1, chunk: {steps: 6}}\n"
        "  - {dataset: tabletop_planar, weight: 1}\n"
    )
    reader, rows = build(chain, tmp_path, text, tokenizer="fit")
    assert [s.horizon for s in reader.manifest.sources.values()] == [6, 10]
    assert {len(row["action"]) for row in rows} == {42, 30}
    tok = ActionTokenizer.load(tmp_path / "out" / "tokenizer")
    assert {name: e.horizon for name, e in tok.embodiments.items()} == {"arm": 6, "planar": 10}


def test_a_curriculum_is_planned_and_recorded(chain: Chain, tmp_path: Path) -> None:
    text = (
        "sources:\n  - {dataset: tabletop_arm, weight: 3}\n  - {dataset: tabletop_vqa, weight: 1}\n"
        "schedule:\n  - {after: 100, weights: {tabletop_vqa: 3}}\n"
    )
    reader, rows = build(chain, tmp_path, text, 200)
    assert reader.manifest.phases == ((75, 25), (50, 50))
    assert sum(row["source"] == "tabletop_vqa" for row in rows) == 75
    assert reader.manifest.sources["tabletop_vqa"].share == pytest.approx(0.375)
    sources = [s for batch in reader.batches(50, epochs=1) for s in batch["source"]]
    assert [sources[:100].count("tabletop_vqa"), sources[100:].count("tabletop_vqa")] == [25, 50]
    assert len({i for batch in reader.batches(50, epochs=1) for i in batch["sample_id"]}) == 200
