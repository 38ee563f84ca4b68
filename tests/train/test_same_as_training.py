"""A row of the shards, sent as an observation, reaches the model as it did in training: every array, to the bit."""

import dataclasses
import io
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from fasttok.client import Client
from fasttok.common import json_files
from fasttok.common.images import decoded, opened
from fasttok.packed_arrays import pack, unpack_map
from mixtures.spec import ImageEncoding, Resize
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.shards import ShardReader
from pipelines.stored_episode import StoredPlace, stored_episode
from tests.chain import Chain
from tests.train.handmade_run import ARM
from tests.train.serving import served
from tests.train.tiny_runs import config
from train import policy
from train.acting.observations import encoded, images_of
from train.acting.robots import QuestionForm, Robot, Robots, acting_notes
from train.config import StateForm
from train.examples import Encoder
from train.judging.vqa_accuracy import answer_questions
from train.player import Player
from train.replay.asked_robot import AskedRobot, from_metadata
from train.replay.predicted import predict
from train.serving.keys import KeyMap, StatePart
from train.serving.metadata import ServedRobot
from train.serving.run_policy import RunPolicy
from train.setup import Setup, prepare

Row = dict[str, Any]
Send = Callable[[Player, Row, KeyMap, Row], dict[str, Any]]
READ = ("images", "image_mask", "state", "state_mask")
ROBOTS = ("tabletop_planar", "tabletop_arm")


def player_of(setup: Setup) -> Player:
    """One that acts with no parameters: what they would be given is looked at."""
    nothing: Any = {}
    key, draws = jax.random.key(0), np.random.default_rng(0)
    return Player(setup.model, nothing, setup.encoder, setup.batcher, 0, 10, 1, key, draws)


def rows_of(setup: Setup, source: str, count: int = 3) -> list[Row]:
    reader, number = setup.reader, setup.reader.sources.index(source)
    places = reader.layout.locate(np.full(count, number), np.arange(count))
    return list(reader.take(*places).rows())


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the model would have read, batch by batch."""
    read: list[dict[str, Any]] = []

    def sampled(params: Any, model: Any, rows: dict[str, Any], *rest: Any) -> Any:
        read.append(rows)
        return np.zeros((1, model.horizon, model.action_dim), np.float32)

    monkeypatch.setattr(policy, "sample_actions", sampled)
    return read


@pytest.fixture
def send(given: list[dict[str, Any]]) -> Send:
    """Sends a request through a packed frame and a key map; what the model would read."""

    def through(player: Player, row: Row, keys: KeyMap, request: Row) -> dict[str, Any]:
        robot = player.robot(player.encoder.robots.robots[row["source"]].embodiment)
        seen, prompt = keys.observation(unpack_map(pack(request)), robot)
        player.act(robot.embodiment, [prompt], [seen])
        return given[-1]

    return through


def trained(encoder: Encoder, player: Player, row: Row) -> dict[str, Any]:
    """The batch that training has of a row, up to where it predicts."""
    batch = player.batcher([encoder.row(row)])
    read = batch["token_mask"] & ~batch["loss_mask"]
    tokens = np.where(read, batch["tokens"], player.batcher.pad)
    return {name: batch[name] for name in READ if name in batch} | {"tokens": tokens, "token_mask": read}


def same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert expected["token_mask"].any()
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
        assert got[name].dtype == array.dtype


def pixels(image: bytes) -> Any:
    return np.asarray(decoded(opened(image)))


def as_png(image: bytes) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels(image)).save(out, "PNG")
    return out.getvalue()


def request(keys: KeyMap, row: Row, nested: bool = False) -> Row:
    """A row as a robot that has these keys would send it."""
    sent: Row = {keys.prompt: row["prompt"]}
    for key, slot in keys.cameras.items():
        if row[f"image/{slot}"]:
            outer, _, inner = key.partition("/")
            if nested:
                sent.setdefault(outer, {})[inner] = row[f"image/{slot}"]
            else:
                sent[key] = row[f"image/{slot}"]
    at = 0
    for part in keys.state:
        length = part.length or len(row["state"]) - at
        sent[part.key] = np.asarray(row["state"][at : at + length], np.float32)
        at += length
    return sent


@pytest.fixture(scope="module", params=["text", "continuous", "special"])
def setup(request: pytest.FixtureRequest, chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    state: StateForm = request.param
    return prepare(config(chain, tmp_path_factory.mktemp("run"), model={"state": state}))


@pytest.mark.parametrize("source", ROBOTS)
def test_encoded_images_of_a_row_are_those_of_training(setup: Setup, send: Send, source: str) -> None:
    player, keys = player_of(setup), KeyMap.load("ours")
    for row in rows_of(setup, source):
        same(send(player, row, keys, request(keys, row)), trained(setup.encoder, player, row))


def test_a_row_through_the_server(setup: Setup, given: list[dict[str, Any]]) -> None:
    player, keys = player_of(setup), KeyMap.load("ours")
    with (
        served(RunPolicy(player, keys, "arm", ("flow",), 1, False)) as server,
        Client(f"ws://127.0.0.1:{server.address[1]}") as client,
    ):
        for row in rows_of(setup, "tabletop_arm"):
            assert client.act(request(keys, row)).shape == (20, 7)
            same(given[-1], trained(setup.encoder, player, row))


@pytest.mark.parametrize("name", ["droid", "droid_joint_velocity", "libero", "aloha", "ours"])
@pytest.mark.parametrize("missing", [False, True])
def test_presets_with_and_without_a_camera(setup: Setup, send: Send, name: str, missing: bool) -> None:
    """The tabletop arm has fewer numbers in its state than these robots; so the parts have other lengths here."""
    player, preset = player_of(setup), KeyMap.load(name)
    first, *others = preset.state
    keys = dataclasses.replace(
        preset, state=(StatePart(first.key, 1 if others else None), *(StatePart(part.key) for part in others))
    )
    for row in rows_of(setup, "tabletop_arm"):
        if missing:
            row["image/wrist"] = b""
        got, expected = (
            send(player, row, keys, request(keys, row, name == "aloha")),
            trained(setup.encoder, player, row),
        )
        assert expected["image_mask"].sum() == (1 if missing else 2)
        same(got, expected)


def test_pixels_give_what_training_saw_of_images_without_losses(setup: Setup, send: Send) -> None:
    """Arrays, floats and (3, h, w), for shards that hold PNG images: the dataset's own, or as the mixture asked."""
    keys = KeyMap.load("ours")
    for change in ({"image_format": "png"}, {"encode": ImageEncoding("png")}):
        robots = setup.encoder.robots
        changed = {name: dataclasses.replace(robot, **change) for name, robot in robots.robots.items()}
        encoder = Encoder(
            dataclasses.replace(robots, robots=changed),
            setup.encoder.text,
            setup.model,
            setup.encoder.data,
            setup.encoder.tok,
        )
        player = player_of(dataclasses.replace(setup, encoder=encoder))
        for row in rows_of(setup, "tabletop_arm"):
            row |= {name: as_png(image) for name, image in row.items() if name.startswith("image/") and image}
            expected, sent = trained(encoder, player, row), request(keys, row)
            same(send(player, row, keys, sent), expected)
            arrays = {name: pixels(value) if isinstance(value, bytes) else value for name, value in sent.items()}
            same(send(player, row, keys, arrays), expected)
            floats = {
                name: np.moveaxis(value / np.float32(255), 2, 0) if name.startswith("image/") else value
                for name, value in arrays.items()
            }
            same(send(player, row, keys, floats), expected)


def test_the_format_of_the_shards_images_is_found(setup: Setup, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {robot.image_format for robot in setup.encoder.robots.robots.values()} == {"jpeg"}
    take = ShardReader.take

    def png(self: ShardReader, *args: Any) -> Any:
        batch = take(self, *args)
        rows = [{name: as_png(v) if v else v for name, v in row.items()} for row in batch.rows()]
        return type("Rows", (), {"rows": lambda self: iter(rows)})()

    monkeypatch.setattr(ShardReader, "take", png)
    found = setup.encoder.robots.with_formats(setup.reader)
    assert {robot.image_format for robot in found.robots.values()} == {"png"}


RESIZED = """\
name: resized
tokenizer: fit
chunk: {seconds: 1.0}
seed: 0
sources:
  - {dataset: tabletop_arm, weight: 1, resize: RESIZE}
"""


@pytest.fixture(scope="module", params=["{height: 40, width: 48, fit: pad, quality: 80}", "{height: 24, width: 24}"])
def both(request: pytest.FixtureRequest, chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> tuple[Setup, Setup]:
    """Every step with the images that the dataset has, and some of them resized."""
    made = []
    for name, size, count in (("plain", "", 662), ("resized", f", resize: {request.param}", 12)):
        out = tmp_path_factory.mktemp(name)
        (out / "mix.yaml").write_text(RESIZED.replace(", resize: RESIZE", size))
        run_build(
            BuildConfig(
                str(out / "mix.yaml"), str(out / "shards"), count, str(chain.index), str(chain.tokenizer), shards=1
            ),
            [],
        )
        own = Chain(chain.data, chain.index, chain.tokenizer, out / "shards")
        made.append(prepare(config(own, out / "run", data={"kinds": ("robot",), "text_vocab": 300})))
    return made[0], made[1]


@pytest.mark.slow
def test_camera_images_get_the_size_that_the_build_gave_them(both: tuple[Setup, Setup], send: Send) -> None:
    """What a camera sees, as an array and encoded, and what the shards have of it, all become what training read."""
    plain, resized = both
    player, keys = player_of(resized), KeyMap.load("ours")
    originals = {row["sample_id"]: row for row in rows_of(plain, "tabletop_arm", 662)}
    for row in rows_of(resized, "tabletop_arm", 12):
        original, expected = originals[row["sample_id"]], trained(resized.encoder, player, row)
        assert original["image/primary"] != row["image/primary"]
        for seen in (row, original):
            same(send(player, row, keys, request(keys, seen)), expected)
        arrays = request(keys, original)
        arrays |= {name: pixels(value) for name, value in arrays.items() if isinstance(value, bytes)}
        same(send(player, row, keys, arrays), expected)


ASKED_OTHERWISE = """\
name: asked otherwise
sources:
  - dataset: tabletop_arm
    weight: 1
    cameras: {primary: wrist, wrist: primary}
    prompt: ["What should I do to {prompt}?", "{prompt}"]
  - {dataset: tabletop_vqa, weight: 1, prompt: "answer en {prompt}", resize: {height: 20, width: 30, fit: pad}}
"""
SMALL = Resize(20, 30, "pad")


@pytest.fixture(scope="module")
def otherwise(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The mixture gave the cameras other slots, the instructions and questions other words, and pictures another size."""
    out = tmp_path_factory.mktemp("otherwise")
    (out / "mix.yaml").write_text(ASKED_OTHERWISE)
    run_build(
        BuildConfig(str(out / "mix.yaml"), str(out / "shards"), 12, str(chain.index), str(chain.tokenizer), shards=1),
        [],
    )
    own = Chain(chain.data, chain.index, chain.tokenizer, out / "shards")
    return prepare(config(own, out / "run", data={"text_vocab": 300}))


def test_a_recorded_step_is_replayed_as_training_read_it(
    chain: Chain, otherwise: Setup, given: list[dict[str, Any]]
) -> None:
    player, robot = player_of(otherwise), a_robot(otherwise)
    said = ServedRobot.of(robot, otherwise.encoder.tok, 64)
    assert from_metadata("arm", json_files.encode(said), "here").renamed == robot.renamed
    asked = AskedRobot("arm", 20, 7, (), None, robot.cameras, (), renamed=robot.renamed)
    rows = [row for row in rows_of(otherwise, "tabletop_arm", 6) if row["prompt"].startswith("What should I do to")]
    assert rows
    for row in rows:
        places = (StoredPlace(str(chain.index), "train", number, "tabletop_arm") for number in range(12))
        found = (one for one in map(stored_episode, places) if one.where.file.endswith(row["file"]))
        episode = asked.sees(next(one for one in found if one.where.number == row["episode"]))
        given.clear()
        predict(partial(player.act, "arm"), episode, robot.cameras, episode.prompt, every=1, batch=1)
        same(given[row["step"]], trained(otherwise.encoder, player, row))


def test_questions_are_asked_as_training_read_them(
    chain: Chain, otherwise: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    robots = otherwise.encoder.robots
    assert robots.asked == {"tabletop_vqa": QuestionForm(prompts=("answer en {prompt}",), resize=SMALL)}
    robots.save(tmp_path / "robots.json")
    assert Robots.load(tmp_path / "robots.json", otherwise.model) == robots
    shutil.copytree(chain.data / "tabletop_vqa", tmp_path / "vqa")
    shutil.copy(tmp_path / "vqa/train.jsonl", tmp_path / "vqa/val.jsonl")  # what the shards are of
    asked: set[tuple[str, bytes]] = set()

    def answers(_: Player, prompts: list[str], images: list[bytes], most: int, located: list[bool]) -> list[str]:
        asked.update(zip(prompts, images, strict=True))
        return [""] * len(prompts)

    monkeypatch.setattr(Player, "answer", answers)
    answer_questions(player_of(otherwise), tmp_path / "vqa", 400)
    rows = rows_of(otherwise, "tabletop_vqa", 4)
    assert {(row["prompt"], row["image/primary"]) for row in rows} <= asked


def test_how_frames_are_encoded_counts_for_frames_alone(otherwise: Setup) -> None:
    """`encode:` changes no image that a dataset has encoded; of a robot's JPEG it is what happens after the resizing."""
    manifest = otherwise.reader.manifest
    lossless = dataclasses.replace(manifest.sources["tabletop_arm"], encode=ImageEncoding("png"), resize=SMALL)
    for images, form in ((0, "JPEG"), (24, "PNG")):
        source = dataclasses.replace(lossless, images_encoded=images)
        robot = Robots.of(dataclasses.replace(manifest, sources={"s": source}), ("robot",)).robots["s"]
        frame, out = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8), io.BytesIO()
        Image.fromarray(frame).save(out, "JPEG")
        for sent in (frame, out.getvalue()):
            seen = images_of({"image/primary": sent}, robot)["primary"]
            assert isinstance(seen, bytes)
            assert (opened(seen).format, opened(seen).size) == (form, (30, 20))


def test_a_note_says_which_cameras_have_other_names() -> None:
    robot = dataclasses.replace(ARM, renamed=(("primary", "wrist"),))
    [note] = acting_notes(Robots(slots=("primary",), robots={"s": robot}, bgr={}, tokenizer=None))
    assert "renamed cameras of arm: primary is the camera that the dataset calls wrist" in note


def a_robot(setup: Setup) -> Robot:
    return player_of(setup).robot("arm")


def test_an_image_without_losses_gets_those_of_training(setup: Setup) -> None:
    frame, robot = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8), a_robot(setup)
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "PNG")
    assert images_of({"image/primary": out.getvalue()}, robot) == {"primary": encoded(frame, robot)}


@pytest.mark.parametrize("what", ["bomb", "cut", "gif", "text", "empty"])
def test_bytes_that_are_no_image_are_refused(setup: Setup, what: str) -> None:
    from fasttok.errors import InputError

    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "GIF" if what == "gif" else "PNG")
    data = out.getvalue()
    if what == "bomb":  # 60,000 x 60,000 pixels by its header
        data = data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:]
    wrong = {"cut": data[: len(data) // 2], "text": b"no image", "empty": b""}.get(what, data)
    with pytest.raises(InputError, match=r"image/primary of arm is .* bytes that cannot be decoded"):
        images_of({"image/primary": wrong}, a_robot(setup))
