"""The tabletop world: deterministic, solvable, honest about what it holds out, and written as true RLDS."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.tabletop import questions
from examples.tabletop.baselines import blind, play, without_pictures
from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.env import make
from examples.tabletop.expert import Expert
from examples.tabletop.rlds import demonstrate
from examples.tabletop.tasks import CORNERS, HELD_OUT_PAIRS, HELD_OUT_PHRASES, Task, sample
from examples.tabletop.world import BLOCK, Block, World
from fasttok.episodes import open_episodes
from fasttok.errors import InputError


def rollout(embodiment: str, split: str, seed: int, task: Task | None = None):
    env = make(embodiment, split)
    env.observe = dict  # type: ignore[method-assign]  # pictures cost most of the time
    env.reset(seed)
    expert = Expert(env.world, task or env.task, env.robot, np.random.default_rng(seed))
    while (action := expert.act()) is not None:
        env.step(action)
    return env


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
@pytest.mark.parametrize("split", ["seen", "held_out"])
def test_expert_succeeds(embodiment: str, split: str) -> None:
    envs = [rollout(embodiment, split, seed) for seed in range(60)]
    assert np.mean([env.success() for env in envs]) >= 0.97
    assert np.mean([env.followed() for env in envs]) >= 0.97
    assert {env.task.kind for env in envs} == {"reach", "push", "place"}


def test_acting_blindly_is_far_below_the_expert() -> None:
    played = np.array([play(without_pictures("planar", "seen"), seed, blind) for seed in range(40)])
    assert played[:, 0].mean() < 0.3
    assert 0.1 < played[:, 1].mean() < 0.7


def test_following_is_about_the_named_block() -> None:
    """An expert that is told of another block succeeds at that, and does not follow what was said."""
    followed = []
    for seed in range(30):
        env = make("planar")
        env.reset(seed)
        other = (env.task.target + 1) % len(env.world.blocks)
        env = rollout("planar", "seen", seed, Task("reach", "", other))
        followed.append(env.followed())
    assert np.mean(followed) < 0.1


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
def test_same_seed_same_episode(embodiment: str) -> None:
    first, second = demonstrate(embodiment, 5), demonstrate(embodiment, 5)
    assert first is not None
    assert second is not None
    for a, b in zip(first["steps"], second["steps"], strict=True):
        assert a["action"].tobytes() == b["action"].tobytes()
        assert np.array_equal(a["observation"]["image"], b["observation"]["image"])
    other = demonstrate(embodiment, 6)
    assert other is not None
    assert not np.array_equal(other["steps"][0]["observation"]["state"], first["steps"][0]["observation"]["state"])


def test_nothing_held_out_is_shown_in_training() -> None:
    words = [phrase.split(" {")[0] for phrase in HELD_OUT_PHRASES.values()]
    for seed in range(300):
        world, task = sample(np.random.default_rng(seed))
        assert not HELD_OUT_PAIRS & set(world.blocks)
        phrase = {kind: text.split("{target}") for kind, text in HELD_OUT_PHRASES.items()}[task.kind]
        middle = phrase[1].split("{")[0]
        assert not (task.instruction.startswith(phrase[0]) and middle in task.instruction and middle), words
        held, held_task = sample(np.random.default_rng(seed), "held_out")
        assert held.blocks[held_task.target] in HELD_OUT_PAIRS


def test_tasks_are_not_done_at_the_start_and_named_without_ambiguity() -> None:
    for seed in range(300):
        world, task = sample(np.random.default_rng(seed))
        assert not task.satisfied(world)
        named = [b for b in world.blocks if f"the {b}" in task.instruction]
        assert len(set(world.blocks)) == len(world.blocks)
        assert len(named) <= 2
        gaps = np.hypot(*(world.positions[:, None] - world.positions[None]).transpose(2, 0, 1))
        assert gaps[~np.eye(len(gaps), dtype=bool)].min() > 2 * BLOCK


def test_physics_by_hand() -> None:
    """Closed fingers push, open ones pass over, and closing around a block carries it."""
    blocks, at = (Block("red", "circle"), Block("blue", "square")), np.array([[0.0, 0.0], [0.15, 0.15]])
    for opening, moved in ((0.0, True), (1.0, False)):
        world = World(blocks, at, np.array([-0.1, 0.0]))
        world.opening = opening
        for x in np.linspace(-0.1, 0.05, 10):
            world.advance(np.array([x, 0.0]), 0.0, 0.0, opening)
        assert (world.positions[0, 0] > 0.05) == moved
    world = World(blocks, at, np.array([0.005, 0.0]))
    world.advance(world.hand, 0.0, 0.0, 0.0)
    assert world.held == 0
    world.advance(np.array([0.1, -0.1]), 0.08, 0.0, 0.0)
    world.advance(world.hand, 0.0, 0.0, 1.0)
    assert world.held is None
    assert np.allclose(world.positions[0], [0.1, -0.1])
    assert Task("reach", "", 0).satisfied(world)
    assert not Task("reach", "", 1).satisfied(world)
    assert not Task("place", "", 0, corner="bottom left").satisfied(world)
    world.positions[0] = CORNERS["bottom left"]
    assert Task("place", "", 0, corner="bottom left").satisfied(world)


def test_answers_by_hand() -> None:
    blocks = (Block("red", "circle"), Block("blue", "star"), Block("blue", "square"))
    world = World(blocks, np.array([[-0.1, 0.1], [0.1, 0.05], [0.05, -0.1]]), np.array([-0.1, 0.05]))
    rng = np.random.default_rng(0)
    truth = {
        "how many blocks are there?": "three",
        "what colour is the leftmost block?": "red",
        "what colour is the bottommost block?": "blue",
        "what shape is the red block?": "circle",
        "what colour is the star?": "blue",
        "where is the blue square?": "bottom right",
        "is there a red circle?": "yes",
        "is there a red star?": "no",
        "is the red circle left of the blue star?": "yes",
        "is the red circle below the blue square?": "no",
        "which block is nearest to the gripper?": "red circle",
    }
    seen = {}
    for _ in range(600):
        question = questions.ASKERS[rng.integers(len(questions.ASKERS))](world, rng)
        if question is not None:
            seen[question.prompt] = question.target
    assert truth.items() <= seen.items()
    assert not any(prompt == "what shape is the blue block?" for prompt in seen)  # two of them: not asked
    assert questions.caption(world).startswith(
        "a red circle at the top left, a blue square at the bottom right and a blue"
    )


def test_rlds_read_back_is_what_the_world_made(tabletop: Path) -> None:
    for name, dims, hz_steps in (("planar", 3, 10), ("arm", 7, 20)):
        episodes = list(open_episodes(str(tabletop / f"tabletop_{name}" / "1.0.0")))
        assert len(episodes) == 12
        for episode in episodes[:3]:
            made = demonstrate(name, int(episode.metadata["episode_metadata/seed"]))
            assert made is not None
            assert np.array_equal(episode.steps["action"], np.stack([s["action"] for s in made["steps"]]))
            assert episode.steps["action"].shape[1] == dims
            assert 0.7 * hz_steps <= episode.length <= 8 * hz_steps
            assert episode.steps["language_instruction"][0].decode() == made["steps"][0]["language_instruction"]
            assert episode.steps["is_last"].tolist() == [False] * (episode.length - 1) + [True]
            image = np.asarray(Image.open(io.BytesIO(episode.steps["observation/image"][0])))
            original = made["steps"][0]["observation"]["image"]
            assert np.abs(image.astype(int) - original).mean() < 6  # JPEG
            assert original.std() > 10
    assert len(list((tabletop / "tabletop_arm" / "1.0.0").glob("*train*tfrecord*"))) > 1
    scenes = {}
    for split in ("train", "val"):
        found = open_episodes(str(tabletop / "tabletop_planar" / "1.0.0"), split)
        scenes[split] = {e.metadata["episode_metadata/episode_id"] for e in found}
    assert not scenes["train"] & scenes["val"]


def test_web_data_points_at_real_images(tabletop: Path) -> None:
    for name, key in (("tabletop_vqa", "answer"), ("tabletop_captions", "caption")):
        for line in (tabletop / name / "train.jsonl").read_text().splitlines():
            record = json.loads(line)
            assert record[key]
            assert Image.open(tabletop / name / "images" / record["image"]).size == (64, 64)


def test_wrong_names_and_actions_are_refused() -> None:
    with pytest.raises(InputError, match="planar"):
        make("planer")
    with pytest.raises(InputError, match="held_out"):
        make("planar", "test")
    env = make("planar")
    env.reset(0)
    with pytest.raises(ValueError, match="3 finite numbers"):
        env.step(np.array([0.0, np.nan, 0.0]))
