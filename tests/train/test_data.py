"""Rows to batches: prompts, masks, re-encoding, images."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from fasttok import ActionTokenizer
from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from fasttok.fitting.fit import FitConfig, fit_tokenizer
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.shards import ShardReader
from tests.chain import MIXTURE, Chain
from tests.train.tiny_runs import config as tiny_run
from train.acting.robots import Robots, action_tokenizer, unseen_states
from train.batches import Batcher, decode_image
from train.config import DataConfig, ModelConfig
from train.examples import Encoder
from train.given_paths import check_shards
from train.initial_params import some_images
from train.setup import prepare
from train.texts.shard_texts import longest_row
from train.tokens import TextTokenizer, bins, robot_prompt, state_text, text_prompt

MODEL = ModelConfig(horizon=20, action_dim=7, state_dim=7)


def encoder_of(
    reader: ShardReader,
    text: TextTokenizer,
    model: ModelConfig = MODEL,
    data: DataConfig | None = None,
    tok: ActionTokenizer | None = None,
) -> Encoder:
    data = data or DataConfig()
    robots = Robots.of(reader.manifest, data.kinds)
    return Encoder(robots, text, model, data, tok or action_tokenizer(reader, data.tokenizer))


@pytest.fixture(scope="module")
def encoder(chain: Chain) -> Encoder:
    reader = ShardReader(str(chain.shards))
    rows = [reader.row(i) for i in range(200)]
    text = TextTokenizer.train([r["prompt"] for r in rows] + [r["target"] for r in rows], 600)
    return encoder_of(reader, text)


@pytest.fixture(scope="module")
def batcher(chain: Chain, encoder: Encoder) -> Batcher:
    length = longest_row(ShardReader(str(chain.shards)), encoder, ("robot", "vqa", "caption"))
    return Batcher(MODEL, encoder.slots, length, encoder.text.pad)


def test_batch_says_what_the_rows_say(chain: Chain, encoder: Encoder, batcher: Batcher) -> None:
    reader = ShardReader(str(chain.shards))
    rows = [reader.row(i) for i in range(40)]
    batch = batcher([encoder.row(row) for row in rows])
    assert batch["images"].shape == (40, 2, 64, 64, 3)
    assert batch["images"].dtype == np.uint8
    for i, row in enumerate(rows):
        tokens = batch["tokens"][i]
        suffix = tokens[batch["loss_mask"][i]]
        prefix = tokens[batch["token_mask"][i] & ~batch["token_ar"][i]]
        assert suffix[-1] == encoder.text.eos
        assert prefix[0] == encoder.text.bos
        source = reader.manifest.sources[row["source"]]
        if row["kind"] != "robot":
            assert encoder.text.decode(prefix) == text_prompt(row["prompt"])
            assert encoder.text.decode(suffix) == row["target"]
            assert not batch["is_action"][i]
            assert not batch["action_mask"][i].any()
            continue
        assert source.embodiment is not None
        state = encoder.tok.state_stats[source.embodiment].normalize(row["state"])
        assert encoder.text.decode(prefix) == robot_prompt(row["prompt"], state_text(state))
        assert encoder.placement.ids_of(suffix[: len(row["action_tokens"])]).tolist() == row["action_tokens"].tolist()
        assert batch["action_mask"][i].sum() == row["action_steps"] * source.action_dim
        raw = encoder.tok.stats[source.embodiment].unnormalize(
            batch["actions"][i, : source.horizon, : source.action_dim]
        )
        assert np.allclose(raw, row["action"].reshape(raw.shape), atol=1e-5)
        assert batch["image_mask"][i].tolist() == [True, source.embodiment == "arm"]


def test_steps_after_an_episodes_end_are_learned_if_asked_for(chain: Chain, encoder: Encoder, batcher: Batcher) -> None:
    reader = ShardReader(str(chain.shards))
    examples = [encoder.row(row) for row in map(reader.row, range(reader.num_rows)) if row["kind"] != "caption"]
    assert any(0 < example.steps < example.horizon for example in examples)
    some, every = (replace(batcher, held_steps=held)(examples)["action_mask"] for held in (False, True))
    for i, example in enumerate(examples):
        acts = example.actions is not None
        assert some[i].sum() == acts * example.steps * example.dim
        assert every[i].sum() == acts * example.horizon * example.dim


def test_another_tokenizer_re_encodes(chain: Chain, encoder: Encoder) -> None:
    reader = ShardReader(str(chain.shards))
    row = next(r for r in map(reader.row, range(50)) if r["source"] == "tabletop_planar")
    other = fit_tokenizer(open_episodes(str(chain.index)), FitConfig(vocab_size=350, scale=20))[0]
    fresh = encoder_of(reader, encoder.text, tok=other)
    assert not fresh.cached
    ids = fresh.row(row).suffix[: -1 - len(encoder.text.end_of_action)]
    assert (
        fresh.placement.ids_of(np.array(ids)).tolist()
        == other.encode(row["action"].reshape(10, 3), embodiment="planar")[0].tolist()
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"form": "delta"}, "was fitted on actions delta, source .* as stored"),
        ({"relative": [0]}, r"dims \[0\] relative"),
    ],
)
def test_a_tokenizer_of_actions_in_another_form_is_refused(
    chain: Chain, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    """Its statistics are of other numbers: actions would be normalised by them, and only the robot would notice."""
    other = shutil.copytree(chain.tokenizer, tmp_path / "other")
    file = other / "processor_config.json"
    said = json.loads(file.read_text())
    for fitted in said["fasttok"]["embodiments"].values():
        fitted.update(change)
    file.write_text(json.dumps(said))
    prepare(tiny_run(chain, tmp_path / "run", data={"tokenizer": chain.tokenizer}))
    with pytest.raises(InputError, match=f"--data.tokenizer .*other: embodiment .*{says}"):
        prepare(tiny_run(chain, tmp_path / "run", data={"tokenizer": other}))


def test_a_tokenizer_that_is_not_the_shards_own_is_caught(chain: Chain, encoder: Encoder, tmp_path: Path) -> None:
    """Other statistics in SHARDS/tokenizer would change every action: the fingerprint in the manifest tells."""
    shutil.copytree(chain.shards, tmp_path / "shards")
    file = tmp_path / "shards" / "tokenizer" / "norm_stats.json"
    stats = json.loads(file.read_text())
    first = next(iter(stats["norm_stats"].values()))
    first["q99"] = [value * 1.5 for value in first["q99"]]
    file.write_text(json.dumps(stats))
    with pytest.raises(InputError, match="its merges or statistics are not those"):
        encoder_of(ShardReader(str(tmp_path / "shards")), encoder.text)
    given = BuildConfig(MIXTURE, str(tmp_path / "shards"), 700, str(chain.index), "fit", shards=3, resume=True)
    with pytest.raises(InputError, match=r"begun with tokenizer|has fingerprint"):
        run_build(replace(given, tokenizer=str(chain.tokenizer)), [])


def test_too_long_and_broken_rows_are_refused(chain: Chain, encoder: Encoder) -> None:
    reader = ShardReader(str(chain.shards))
    short = Batcher(MODEL, encoder.slots, 8, encoder.text.pad)
    with pytest.raises(InputError, match=r"--data\.text-length"):
        short([encoder.row(reader.row(0))])
    with pytest.raises(InputError, match="cannot be decoded"):
        decode_image(b"no image", 64)


def test_a_source_without_rows_is_not_the_one_that_acts(chain: Chain) -> None:
    """All its rows were rejected, or the shares left none for it; its chunks have another length."""
    manifest = ShardReader(str(chain.shards)).manifest
    name, source = next((name, one) for name, one in manifest.sources.items() if one.robot)
    lost = replace(source, written=0, horizon=source.horizon + 1)
    robots = Robots.of(replace(manifest, sources={"lost": lost} | manifest.sources), ("robot",)).robots
    assert [one for one in robots if robots[one].embodiment == source.embodiment] == [name, "lost"]


def test_states_that_nothing_normalises_are_named(encoder: Encoder) -> None:
    """The prompt has no state then, whatever --model.state says."""
    assert unseen_states(encoder.robots, encoder.tok) == ""
    states = {name: stats for name, stats in encoder.tok.state_stats.items() if name != "arm"}
    assert "of the states of arm, so the model does not see them" in unseen_states(
        encoder.robots, replace(encoder.tok, state_stats=states)
    )


def test_images_of_any_size_and_format() -> None:
    for mode, size in (("RGB", (64, 64)), ("L", (30, 50)), ("RGBA", (128, 128))):
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, "PNG")
        assert decode_image(buffer.getvalue(), 64).shape == (64, 64, 3)
    assert decode_image(np.full((64, 64, 3), 255, np.uint8), 64).max() == 255
    wide = decode_image(np.full((30, 60, 3), 255, np.uint8), 64)
    assert wide[:16].max() == wide[48:].max() == 0
    assert wide[16:48].min() == 255
    assert decode_image(np.full((30, 60, 3), 255, np.uint8), 64, "stretch").min() == 255


@pytest.mark.parametrize(
    ("prompt", "target", "stretched"),
    [
        ("where is the cat?", "<loc0000><loc0256><loc0512><loc1023> cat", True),
        ("what is at <loc0100><loc0100>?", "a cat", True),
        ("detect cat ; dog", "none", True),
        ("where is the cat?", "in the middle", False),
    ],
)
def test_texts_that_name_places_see_the_whole_square(
    batcher: Batcher, encoder: Encoder, prompt: str, target: str, stretched: bool
) -> None:
    """A place is a share of the image's height and width. Black edges, crops and rotations would make all of them wrong."""
    buffer = io.BytesIO()
    Image.new("RGB", (60, 30), (255, 255, 255)).save(buffer, "PNG")
    row: dict[str, Any] = {"kind": "caption", "source": "none", "prompt": prompt, "target": target}
    row |= {f"image/{slot}": buffer.getvalue() for slot in encoder.slots}
    wide = replace(batcher, length=200)
    batch = wide([encoder.row(row)])
    assert (batch["images"].min() == 255) == stretched  # else black edges above and below
    assert batch["located"].tolist() == [stretched]


def test_a_robot_sees_the_same_image_while_it_learns_places_and_while_it_acts(
    chain: Chain, batcher: Batcher, encoder: Encoder
) -> None:
    reader = ShardReader(str(chain.shards))
    row = next(row for i in range(200) if (row := reader.row(i))["kind"] == "robot")
    located = encoder.row(row | {"prompt": "push what is at <loc0100><loc0100>"})
    assert located.located
    assert not located.stretched
    assert not encoder.row(row).located


def test_shards_of_a_store_are_those_of_the_folder(chain: Chain, tmp_path: Path) -> None:
    """A command line makes a `Path` of the URL, which takes a `/` out of it."""
    store = fsspec.filesystem("memory")
    store.put(str(chain.shards), "/trained_on", recursive=True)
    try:
        there, here = tiny_run(chain, tmp_path / "run"), prepare(tiny_run(chain, tmp_path / "run"))
        far = prepare(replace(there, shards=Path("memory://trained_on")))
        assert far.reader.digest == here.reader.digest
        assert far.encoder.tok.fingerprint == here.encoder.tok.fingerprint
        check_shards(Path("memory://trained_on"))
    finally:
        store.rm("/trained_on", recursive=True)


def test_the_encoder_begins_with_the_colours_that_training_shows(chain: Chain, tmp_path: Path) -> None:
    setup = prepare(tiny_run(chain, tmp_path / "run"))
    robots = replace(setup.encoder.robots, bgr=dict.fromkeys(setup.reader.manifest.sources, ("primary",)))
    plain = some_images(setup)
    setup.encoder.robots = robots
    turned = some_images(setup)
    assert plain is not None
    assert turned is not None
    assert np.array_equal(plain, turned[..., ::-1])
    assert not np.array_equal(plain, turned)


def test_text_tokenizer_round_trip(encoder: Encoder, tmp_path: Any) -> None:
    for text in ("what colour is the star?", "Ünïcode: 東京 \n", "Task: x, State: 1 255 -1;\nAction: "):
        assert encoder.text.decode(encoder.text.encode([text])[0]) == text
    encoder.text.save(tmp_path / "t.json")
    assert TextTokenizer.load(tmp_path / "t.json").encode(["red circle"]) == encoder.text.encode(["red circle"])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match=r"not a tokenizer\.json"):
        TextTokenizer.load(tmp_path / "bad.json")


def of_kind(chain: Chain, source: str) -> dict[str, Any]:
    reader = ShardReader(str(chain.shards))
    return next(row for row in map(reader.row, range(200)) if row["source"] == source)


def test_state_is_text_special_tokens_or_a_vector(chain: Chain, encoder: Encoder) -> None:
    row, reader = of_kind(chain, "tabletop_arm"), ShardReader(str(chain.shards))
    state = encoder.tok.state_stats["arm"].normalize(row["state"])
    special = encoder_of(reader, encoder.text, replace(MODEL, state="special"))
    prefix = np.array(special.row(row).prefix)
    found = prefix[prefix >= encoder.placement.size] - encoder.placement.size
    assert found.tolist() == np.maximum(bins(state), 0).tolist()
    assert special.placement.size == encoder.placement.size + 256
    vector = encoder_of(reader, encoder.text, replace(MODEL, state="continuous"))
    example = vector.row(row)
    assert np.array_equal(example.state, state.astype(np.float32))
    assert vector.text.decode(example.prefix) == robot_prompt(row["prompt"], None)
    batch = Batcher(replace(MODEL, state="continuous"), vector.slots, 128, 0)(
        [example, vector.row(of_kind(chain, "tabletop_vqa"))]
    )
    assert np.array_equal(batch["state"][0, :7], example.state)
    assert batch["state_mask"].tolist() == [True, False]


@pytest.mark.parametrize("stride", [1, 3, 4, 5, 7, 10, 11, 10**12])
def test_bins_go_there_and_back_within_half_a_bin(chain: Chain, encoder: Encoder, stride: int) -> None:
    row, reader = of_kind(chain, "tabletop_planar"), ShardReader(str(chain.shards))
    binned = encoder_of(reader, encoder.text, data=DataConfig(discrete="bins", bins_stride=stride))
    example = binned.row(row)
    ids = example.suffix[: -1 - len(encoder.text.end_of_action)]
    assert len(ids) == binned.action_count(10, 3) == -(-10 // stride) * 3
    chunk, whole = binned.chunk(ids, "planar", 10, 3)
    assert whole
    stats = binned.tok.stats["planar"]
    assert example.actions is not None
    kept = np.abs(stats.normalize(chunk) - np.clip(example.actions, -1, 1))[::stride]
    assert kept.max() <= 1 / 256 + 1e-4
    for step in range(10):  # between two bins, and after the last one, the action is held
        np.testing.assert_array_equal(chunk[step], chunk[step - step % stride])
    assert not binned.chunk(ids[:-1], "planar", 10, 3)[1]
    assert encoder_of(reader, encoder.text, data=DataConfig(discrete="none")).row(row).suffix == []


def test_fast_tokens_of_a_row_decode_to_its_chunk(chain: Chain, encoder: Encoder) -> None:
    row = of_kind(chain, "tabletop_planar")
    ids = encoder.row(row).suffix[: -1 - len(encoder.text.end_of_action)]
    chunk, whole = encoder.chunk(ids, "planar", 10, 3)
    assert whole
    decoded = encoder.tok.decode([row["action_tokens"]], horizon=10, action_dim=3, embodiment="planar").actions[0]
    assert np.array_equal(chunk, decoded.astype(np.float32))
    assert not encoder.chunk([], "planar", 10, 3)[1]


def test_subtask_rows_ask_or_know(chain: Chain, encoder: Encoder) -> None:
    """A row with a subtask either predicts it and does not act, or has it in its prompt and acts; the share is as asked for."""
    row = of_kind(chain, "tabletop_planar") | {"target": "grasp the star"}
    rows = [row | {"sample_id": f"s{i}"} for i in range(400)]
    made = [encoder.row(r) for r in rows]
    asks = [e for e in made if not e.is_action]
    assert 0.4 < len(asks) / len(made) < 0.6
    assert asks[0].actions is None
    assert encoder.text.decode(asks[0].suffix) == "grasp the star"
    assert encoder.text.decode(asks[0].prefix).endswith(";\nSubtask: ")
    knows = next(e for e in made if e.is_action)
    assert ", Subtask: grasp the star, State: " in encoder.text.decode(knows.prefix)
    assert knows.actions is not None
    all_know = encoder_of(ShardReader(str(chain.shards)), encoder.text, data=DataConfig(subtasks=0.0))
    assert all(all_know.row(r).is_action for r in rows[:50])
