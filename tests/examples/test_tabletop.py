"""The tabletop world: deterministic, solvable, honest about what it holds out, and written as true RLDS."""

import hashlib
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from PIL import Image
from scipy.stats import binom

from examples.metaworld import baselines as metaworld_baselines
from examples.tabletop import baselines, questions, rlds
from examples.tabletop.baselines import POLICIES, play
from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.entropy import EntropyConfig
from examples.tabletop.env import make, make_vector
from examples.tabletop.expert import Expert
from examples.tabletop.generate import GenerateConfig, first_seed, records
from examples.tabletop.generate import main as generate
from examples.tabletop.manner import HUMAN, PREDICTABLE, Manner
from examples.tabletop.render import TOGETHER, primary
from examples.tabletop.rlds import demonstrate
from examples.tabletop.scenes import COUNTS, HELD_OUT_PAIRS, MORE_COUNTS, SPLITS, sample, split_named
from examples.tabletop.tasks import CORNERS, HELD_OUT_PHRASES, KINDS, PHRASES, Task
from examples.tabletop.vector import VectorEnv
from examples.tabletop.world import BLOCK, Block, World
from fasttok.episodes import open_episodes
from fasttok.errors import InputError


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
@pytest.mark.parametrize("split", ["seen", "held_out+uncorrelated", "more_objects"])
def test_expert_succeeds(embodiment: str, split: str) -> None:
    info = play(make_vector(embodiment, split, 60), range(60), POLICIES["expert"])
    assert info["success"].mean() >= 0.97
    assert info["followed"].mean() >= 0.97
    assert set(info["task"]) == set(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("embodiment", EMBODIMENTS)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", KINDS)
def test_expert_succeeds_at_everything(embodiment: str, split: str, task: str) -> None:
    info = play(make_vector(embodiment, split, 200, task), range(200), POLICIES["expert"])
    assert info["success"].mean() >= 0.97
    assert info["followed"].mean() >= 0.97


def test_acting_blindly_is_far_below_the_expert() -> None:
    info = play(make_vector("planar", "seen", 40), range(40), POLICIES["blind"])
    assert info["success"].mean() < 0.3
    assert info["followed"].mean() < 0.7


def test_what_is_named_twice_is_played_once(capsys: pytest.CaptureFixture[str]) -> None:
    twice = baselines.BaselineConfig(
        episodes=1, splits=("seen",) * 2, policies=("expert",) * 2, embodiments=("planar",) * 2, json=True
    )
    baselines.main(twice)
    [row] = json.loads(capsys.readouterr().out)
    assert (row["policy"], row["embodiment"], row["split"]) == ("expert", "planar", "seen")


def test_going_to_the_nearest_block_works_only_where_it_correlates() -> None:
    seen = play(make_vector("planar", "seen", 60), range(60), POLICIES["nearest"])
    apart = play(make_vector("planar", "uncorrelated", 60), range(60), POLICIES["nearest"])
    assert seen["followed"].mean() > 0.8
    assert apart["followed"].mean() < 0.05
    assert apart["shortcut"].mean() > 0.95
    assert apart["success"].mean() < 0.1


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
def test_same_seed_same_episode(embodiment: str) -> None:
    [first], [second] = demonstrate(embodiment, [5]), demonstrate(embodiment, [5])
    assert first is not None
    assert second is not None
    for a, b in zip(first["steps"], second["steps"], strict=True):
        assert a["action"].tobytes() == b["action"].tobytes()
        assert np.array_equal(a["observation"]["image"], b["observation"]["image"])
    [other] = demonstrate(embodiment, [6])
    assert other is not None
    assert not np.array_equal(other["steps"][0]["observation"]["state"], first["steps"][0]["observation"]["state"])


def said(phrase: str, instruction: str) -> bool:
    """Whether an instruction was made by filling in a phrase."""
    pattern = re.sub(r"\\\{\w+\\\}", "[a-z ]+?", re.escape(phrase))
    return re.fullmatch(pattern, instruction) is not None


def test_nothing_held_out_is_shown_in_training() -> None:
    for seed in range(300):
        world, task = sample(np.random.default_rng(seed))
        assert not HELD_OUT_PAIRS & set(world.blocks)
        assert COUNTS[0] <= len(world.blocks) <= COUNTS[1]
        assert any(said(phrase, task.instruction) for phrase in PHRASES[task.kind])
        assert not any(said(phrase, task.instruction) for phrase in HELD_OUT_PHRASES.values())
        rng = np.random.default_rng(seed)
        assert len(questions.scene(rng).blocks) <= COUNTS[1]


@pytest.mark.parametrize("task", KINDS)
def test_splits_show_what_they_say(task: str) -> None:
    for seed in range(60):
        held, asked = sample(np.random.default_rng(seed), "held_out", task)
        assert held.blocks[asked.target] in HELD_OUT_PAIRS
        assert said(HELD_OUT_PHRASES[task], asked.instruction)
        world, asked = sample(np.random.default_rng(seed), "unseen", task)
        assert world.blocks[asked.target] in HELD_OUT_PAIRS
        assert not said(HELD_OUT_PHRASES[task], asked.instruction)
        world, asked = sample(np.random.default_rng(seed), "phrasings", task)
        assert not HELD_OUT_PAIRS & set(world.blocks)
        assert said(HELD_OUT_PHRASES[task], asked.instruction)
        world, asked = sample(np.random.default_rng(seed), "more_objects", task)
        assert MORE_COUNTS[0] <= len(world.blocks) <= MORE_COUNTS[1]
        assert not HELD_OUT_PAIRS & set(world.blocks)
        for split, near in (("uncorrelated", False), (split_named("seen", 1.0), True)):
            world, asked = sample(np.random.default_rng(seed), split, task)
            assert (np.argmin(world.distances) == asked.target) == near


def test_the_correlation_is_what_was_asked_for() -> None:
    n = 600
    for share in (0.2, 0.9):
        env = make_vector("planar", "seen", n, correlation=share)
        env.reset(range(n))
        info = env.info()
        low, high = binom.interval(0.999, n, share)
        assert low <= (info["named"] == info["nearest"]).sum() <= high


def test_a_scene_to_sort_tells_colour_from_shape() -> None:
    for seed in range(100):
        world, task = sample(np.random.default_rng(seed), kind="sort")
        target = world.blocks[task.target]
        assert task.goal is not None
        assert getattr(world.blocks[task.goal], task.by) == getattr(target, task.by)
        others = [b for i, b in enumerate(world.blocks) if i != task.target]
        for name in ("colour", "shape"):
            assert sum(getattr(b, name) == getattr(target, name) for b in others) == 1
        assert task.instruction.endswith(task.by)


def test_tasks_are_not_done_at_the_start_and_named_without_ambiguity() -> None:
    for seed in range(300):
        world, task = sample(np.random.default_rng(seed))
        assert not task.satisfied(world)
        named = [b for b in world.blocks if f"the {b}" in task.instruction]
        assert len(set(world.blocks)) == len(world.blocks)
        assert len(named) <= 2
        gaps = np.hypot(*(world.positions[:, None] - world.positions[None]).transpose(2, 0, 1))
        assert gaps[~np.eye(len(gaps), dtype=bool)].min() > 2 * BLOCK


def test_pictures_of_questions_are_those_drawn_alone() -> None:
    drawn = records("vqa", np.random.default_rng(5))
    rng, counts = np.random.default_rng(5), set()
    for _ in range(2 * TOGETHER + 3):
        picture, fields = next(drawn)
        world, question = questions.ask(rng)
        assert (fields["question"], fields["answer"]) == (question.prompt, question.target)
        assert (picture == primary(world.tables)[world.row]).all()
        counts.add(len(world.blocks))
    assert len(counts) > 1


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
    world.positions[0] = [0.15, 0.08]
    assert Task("push", "", 0, goal=1).satisfied(world)
    assert Task("sort", "", 0, goal=1, by="shape").satisfied(world)
    world.tables.held[0] = 0
    assert not Task("sort", "", 0, goal=1, by="shape").satisfied(world)
    world.tables.held[0] = -1
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
        "point to the red circle": "2 2",
        "Task: reach the red circle; where?": "2 2",
        "Task: move next to the red block; where?": "2 2",
    }
    seen = {}
    for _ in range(2000):
        question = questions.ASKERS[rng.integers(len(questions.ASKERS))][1](world, rng)
        if question is not None:
            seen[question.prompt] = question.target
    assert truth.items() <= seen.items()
    assert seen["which block has the colour of the blue star?"] == "blue square"
    assert "which block has the shape of the blue star?" not in seen
    assert not any(prompt == "what shape is the blue block?" for prompt in seen)  # two of them: not asked
    assert questions.caption(world).startswith(
        "a red circle at the top left, a blue square at the bottom right and a blue"
    )


def test_captions_name_the_middle_only_if_a_block_is_there() -> None:
    red = Block("red", "circle")
    said = {
        place: questions.described(red, np.array(place))
        for place in [(0.1, 0.1), (0.0, 0.1), (0.1, 0.0), (-0.1, 0.01), (0.0, -0.1), (0.01, -0.01)]
    }
    assert [text.removeprefix("a red circle ") for text in said.values()] == [
        "at the top right", "at the top", "at the right", "at the left", "at the bottom", "in the middle",
    ]  # fmt: skip


def test_no_demonstration_shows_a_scene_of_an_evaluation() -> None:
    """`fasttok-evaluate` and studies begin at seed 1,000,000, studies that choose at 3,000,000; no more than 500,000 episodes."""
    episodes = 400_000  # and as many that the expert fails at
    for seed, number in product(range(20), (0, 1)):
        first = first_seed(seed, number)
        for begin in (1_000_000, 3_000_000):
            assert first + episodes <= begin or begin + 500_000 <= first
    assert len({first_seed(seed, number) // 500_000 for seed, number in product(range(20), (0, 1))}) == 40


def test_questions_of_some_kinds_only() -> None:
    """A kind is what the question says of itself; without any, all kinds are asked."""
    rng = np.random.default_rng(0)
    asked = [questions.ask(rng, ("where", "point"))[1].kind for _ in range(200)]
    assert set(asked) == {"where", "point"}
    assert {questions.ask(rng)[1].kind for _ in range(500)} == set(questions.KINDS)
    for kind in questions.KINDS:
        assert questions.ask(rng, (kind,))[1].kind == kind
    with pytest.raises(InputError, match="wheer"):
        generate(GenerateConfig(Path("nowhere"), questions=("wheer",)))


def test_the_arm_may_have_its_own_number_of_episodes() -> None:
    config = GenerateConfig(Path("nowhere"), episodes=30, arm_episodes=3)
    assert [config.episodes_of(name) for name in ("planar", "arm")] == [30, 3]
    assert GenerateConfig(Path("nowhere"), episodes=30).episodes_of("arm") == 30
    with pytest.raises(InputError, match="--arm-episodes is 0"):
        generate(replace(config, arm_episodes=0))


def test_numbers_that_make_nothing_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--seed is -1, expected at least 0"):
        generate(GenerateConfig(tmp_path / "data", seed=-1))
    for wrong in (dict[str, Any](episodes=0), dict[str, Any](seed=-1)):
        with pytest.raises(InputError, match="expected at least 1, and at least 0"):
            baselines.main(baselines.BaselineConfig(**wrong))
        with pytest.raises(InputError, match="expected at least 1, and at least 0"):
            metaworld_baselines.main(metaworld_baselines.MetaWorldBaselines(**wrong))
    with pytest.raises(InputError, match="--seed is -1, expected at least 0"):
        EntropyConfig(seed=-1)
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_cannot_be_made_leaves_nothing_and_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the folder that earlier versions made their data in: somebody else's may have this name."""
    theirs = tmp_path / ".tabletop_planar.part" / "file"
    theirs.parent.mkdir()
    theirs.write_text("not ours")
    monkeypatch.setattr(rlds, "write", lambda *_: pytest.fail("stopped"))
    with pytest.raises(pytest.fail.Exception):
        generate(GenerateConfig(tmp_path, embodiments=("planar",), web=False))
    assert theirs.read_text() == "not ours"
    assert list(tmp_path.iterdir()) == [theirs.parent]


def test_rlds_read_back_is_what_the_world_made(tabletop: Path) -> None:
    for name, dims, hz_steps in (("planar", 3, 10), ("arm", 7, 20)):
        episodes = list(open_episodes(str(tabletop / f"tabletop_{name}" / "1.0.0")))
        assert len(episodes) == 12
        for episode in episodes[:3]:
            [made] = demonstrate(name, [int(episode.metadata["episode_metadata/seed"])])
            assert made is not None
            near = made["episode_metadata"]["named_is_nearest"]
            assert bool(episode.metadata["episode_metadata/named_is_nearest"]) == near
            assert np.array_equal(episode.steps["action"], np.stack([s["action"] for s in made["steps"]]))
            assert np.shape(episode.steps["action"])[1] == dims
            assert 0.7 * hz_steps <= episode.length <= 8 * hz_steps
            assert episode.steps["language_instruction"][0].decode() == made["steps"][0]["language_instruction"]
            assert list(episode.steps["is_last"]) == [False] * (episode.length - 1) + [True]
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


ACTIONS = {
    "planar": "200567f136ecc76a",
    "arm": "2fd81e669e8dba9b",
}  # of 12 demonstrations, before the expert had manners


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
def test_demonstrations_without_options_stay_what_they_were(embodiment: str) -> None:
    digest = hashlib.sha256()
    for made in demonstrate(embodiment, range(12)):
        assert made is not None
        digest.update(b"".join(step["action"].tobytes() for step in made["steps"]))
    assert digest.hexdigest()[:16] == ACTIONS[embodiment]


def acted(manner: Manner, dice: int) -> np.ndarray:
    """The actions of a planar expert of that manner in one scene."""
    env = make("planar", task="reach")
    env.reset(4)
    expert = Expert(env.world, env.task, env.robot, np.random.default_rng(dice), manner)
    actions = []
    while (action := expert.act()) is not None:
        actions.append(action)
        env.step(action)
    return np.array(actions)


@pytest.mark.parametrize("embodiment", EMBODIMENTS)
@pytest.mark.parametrize(
    "manner", [Manner(tremor=False), Manner(bends=False), Manner(paces=False), Manner(pauses=False), PREDICTABLE]
)
def test_the_expert_succeeds_in_every_manner(embodiment: str, manner: Manner) -> None:
    env = make_vector(embodiment, n=40)

    def policy(env: VectorEnv, row: int, seed: int) -> Iterator[np.ndarray]:
        expert = Expert(env.world(row), env.tasks[row], env.robot, np.random.default_rng(seed), manner)
        while (action := expert.act()) is not None:
            yield action

    assert play(env, range(40), policy)["success"].mean() >= 0.97


def test_each_option_takes_one_thing_away() -> None:
    still, prompt = acted(Manner(tremor=False), 0), acted(Manner(tremor=False, pauses=False), 0)
    assert not still[0, :2].any()  # the pause before it moves, without a tremble
    assert acted(HUMAN, 0)[0, :2].any()
    assert len(prompt) < len(still)
    assert prompt[0, :2].any()
    straight = np.cumsum(acted(Manner(tremor=False, bends=False), 0)[:, :2], 0)
    bent = np.cumsum(acted(Manner(tremor=False), 0)[:, :2], 0)
    assert sideways(straight) < 1e-6 < 1e-3 < sideways(bent)
    assert (
        len({len(acted(Manner(paces=False, pauses=False), dice)) for dice in range(8)}) <= 2
    )  # where it stops differs
    assert len({len(acted(Manner(pauses=False), dice)) for dice in range(8)}) > 2


def sideways(path: np.ndarray) -> float:
    """How far a path (T, 2) goes to the side of a straight line to its end, in metres."""
    return float(np.abs(path @ np.array([-path[-1, 1], path[-1, 0]])).max() / np.hypot(*path[-1]))


def test_generate_demonstrates_in_the_manner_asked_for(tmp_path: Path) -> None:
    flags = [
        "--no-tremor",
        "--no-bends",
        "--no-pauses",
        "--constant-pace",
        "--episodes",
        "4",
        "--vqa",
        "1",
        "--captions",
        "1",
    ]
    config = tyro.cli(GenerateConfig, args=["--out", str(tmp_path), "--embodiments", "planar", *flags])
    assert config.manner == PREDICTABLE
    assert GenerateConfig(tmp_path).manner == HUMAN
    generate(config)
    again = replace(config, out=tmp_path / "again", web=False)
    generate(again)  # a process may write several sets of one name
    assert [made.name for made in again.out.iterdir()] == ["tabletop_planar"]
    second = [e.steps["action"] for e in open_episodes(str(again.out / "tabletop_planar" / "1.0.0"))]
    first = [e.steps["action"] for e in open_episodes(str(tmp_path / "tabletop_planar" / "1.0.0"))]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    for episode in open_episodes(str(tmp_path / "tabletop_planar" / "1.0.0")):
        [made] = demonstrate("planar", [int(episode.metadata["episode_metadata/seed"])], manner=PREDICTABLE)
        assert made is not None
        assert np.array_equal(episode.steps["action"], np.stack([s["action"] for s in made["steps"]]))
