"""MetaWorld without its simulator: the cut of the state, actions, questions from what is known, entries, and refusals."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock

import numpy as np
import pytest

from examples.metaworld import generate, questions, rendering, run
from examples.metaworld.baselines import FIRST_SEED
from examples.metaworld.blind import DEMONSTRATIONS, OTHER_TABLES
from examples.metaworld.env import View, make
from examples.metaworld.generate import (
    CAPTION_ENTRY,
    DATASETS,
    VQA_ENTRY,
    MetaWorldData,
    first_seed,
    main,
)
from examples.metaworld.recorder import beside_the_table
from examples.metaworld.robot import DATASET, ENTRY, known_to_robot, to_index, to_simulator
from examples.metaworld.scene import Scene, SeenThing, cell, colour_word
from examples.metaworld.tasks import DEFAULT_TASKS, TASKS, Split, task_names
from examples.web_data import write_web
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from mixtures.registry import load_mixture
from pipelines.datasets.entry_parser import parse_entry
from train.rollouts import SteppedEnvs

DRAWER = Scene(
    "drawer-open",
    (
        SeenThing("drawer handle", "white", (0.62, 0.55)),
        SeenThing("drawer", "green", (0.71, 0.43)),
        SeenThing("goal mark", "green", None),
    ),
    (0.31, 0.98),
    1.0,
)  # fmt: skip
NO_METAWORLD = pytest.mark.skipif(importlib.util.find_spec("metaworld") is not None, reason="metaworld is here")


def test_a_robot_knows_its_hand_and_no_object() -> None:
    seen = np.arange(39.0)
    assert known_to_robot(seen).tolist() == [0, 1, 2, 3]
    assert known_to_robot(seen).dtype == np.float32
    moved = np.where(np.arange(39) < 4, seen, -1)  # objects, the last step's, the goal's
    assert np.array_equal(known_to_robot(moved), known_to_robot(seen))
    with pytest.raises(ValueError, match=r"39 numbers, got an array of shape \(4,\)"):
        known_to_robot(np.zeros(4))


def test_actions_turn_over_and_back() -> None:
    """An INDEX says 1 = open, the simulator -1 = open."""
    asked = np.array([0.2, -7.0, 1.0, 1.0])
    assert to_simulator(asked).tolist() == pytest.approx([0.2, -1, 1, -1])
    for action in np.random.default_rng(0).uniform(-1, 1, (20, 4)):
        assert to_simulator(to_index(action)) == pytest.approx(action, abs=1e-6)
    for bad in (np.zeros(3), np.array([0, 0, np.nan, 0]), np.zeros((1, 4))):
        with pytest.raises(ValueError, match="expected 4 finite numbers"):
            to_simulator(bad)


def test_every_task_is_said_in_several_ways() -> None:
    assert len(TASKS) == 50
    said = [phrase for task in TASKS.values() for phrase in (*task.phrases, task.held_out)]
    assert len(said) == len(set(said)), "a sentence asks for one task"
    for name, task in TASKS.items():
        assert len(task.phrases) >= 3, name
        assert task.things, name
        assert all(bool(thing.body) != bool(thing.site) for thing in task.things), name


def test_splits_name_tasks_and_words() -> None:
    assert Split.named("seen") == Split(DEFAULT_TASKS)
    assert Split.named("held_out") == Split(DEFAULT_TASKS, held_out=True)
    assert Split.named("reach-v3+push") == Split(("reach", "push"))
    assert len(Split.named("all").tasks) == 50
    assert task_names(("push", "push-v3")) == ("push",)
    assert len(task_names(("mt10",))) == 10
    assert Split.named("mt10+held_out") == Split(task_names(("mt10",)), held_out=True)
    with pytest.raises(InputError, match="did you mean 'drawer-open'"):
        Split.named("drawer-opne")
    with pytest.raises(InputError, match="no MetaWorld task is named"):
        task_names(())


def test_no_layout_of_a_demonstration_is_evaluated() -> None:
    evaluated = range(FIRST_SEED, FIRST_SEED + 1_000_000)
    blind = range(OTHER_TABLES, OTHER_TABLES + DEMONSTRATIONS)
    starts = [first_seed(seed, number) for seed in range(3) for number in range(6)]
    assert min(starts) > max(*evaluated[-1:], *blind[-1:])
    assert len(set(starts)) == len(starts)
    assert min(np.diff(sorted(starts))) >= 1_000_000
    assert not set(blind) & set(evaluated)


def test_where_the_hand_begins_does_not_tell_the_table() -> None:
    """The simulator draws a table from the stream of its seed; scatter from the same stream gave the drawer's place away."""
    for seed in range(first_seed(0, 0), first_seed(0, 0) + 20):
        table = np.random.default_rng(seed).random(50)
        assert not np.isin(beside_the_table(seed).random(50), table).any()


def test_an_interrupted_dataset_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> Any:
        raise KeyboardInterrupt

    name = f"{DATASET}_vqa"
    place = check_output(tmp_path / name, DATASETS[name])
    with pytest.raises(KeyboardInterrupt):
        write_web(place, name, VQA_ENTRY, {"train": 1}, {"train": stopped})
    monkeypatch.setattr(generate, "tensorflow_datasets", MagicMock())  # which takes seconds to import
    monkeypatch.setattr(generate, "write_rlds", stopped)
    place = check_output(tmp_path / DATASET, DATASETS[DATASET])
    with pytest.raises(KeyboardInterrupt):
        generate.demonstrations(MetaWorldData(tmp_path), ("reach",), cast(Any, None), place)
    assert not list(tmp_path.iterdir())


def test_answers_are_what_the_simulator_knows() -> None:
    found: dict[tuple[str, str], set[str]] = {}
    rng = np.random.default_rng(0)
    for _ in range(3000):
        question = questions.ask(DRAWER, rng)
        found.setdefault((question.kind, question.prompt), set()).add(question.target)
    assert all(len(answers) == 1 for answers in found.values()), "a question has one answer"
    right = {
        ("point", "point to the drawer"): "7 4",
        ("point", "point to the drawer handle"): "6 5",
        ("hand", "point to the gripper"): "3 9",
        ("colour", "what colour is the drawer?"): "green",
        ("opening", "is the gripper open or closed?"): "open",
        ("side", "is the drawer right of the gripper?"): "yes",
        ("side", "is the drawer left of the gripper?"): "no",
        ("destination", "Task: open the drawer; where?"): "6 5",
        ("exists", "is there a drawer?"): "yes",
        ("exists", "is there a hammer?"): "no",
        ("possible", "can the robot open the drawer here?"): "yes",
        ("possible", "can the robot lock the door here?"): "no",
    }
    for asked, answer in right.items():
        assert found[asked] == {answer}, asked
    # The mark is outside of the picture: nobody is asked where it is. The drawer can be closed, too: that is not asked of it.
    assert ("point", "point to the goal mark") not in found
    assert not any("close the drawer" in prompt for _, prompt in found)


def test_what_has_two_names_is_not_said_to_be_absent() -> None:
    """A coffee button is a button, a wooden box is a box, and a door has a handle that its task speaks of."""
    rng = np.random.default_rng(0)
    clear = {
        "coffee-button": ("button", "button box", "press the button", "push the button in"),
        "hammer": ("box", "button box", "close the box"),
        "door-open": ("handle", "drawer handle", "faucet handle", "press the handle down"),
        "peg-unplug-side": ("brick wall", "press what is behind the wall"),
    }
    for task, words in clear.items():
        scene = Scene(task, tuple(SeenThing(t.noun, "red", (0.5, 0.5)) for t in TASKS[task].things), (0.2, 0.2), 1.0)
        said = [questions.ask(scene, rng) for _ in range(2000)]
        denied = {question.prompt for question in said if question.target == "no"}
        assert len(denied) > 20, "much is asked for anyway"
        here = {thing.noun for thing in scene.things}
        for word in set(words) - here:
            assert not any(prompt in denied for prompt in (f"is there a {word}?", f"can the robot {word} here?")), word
    hidden = Scene("reach", tuple(SeenThing(t.noun, "red", None) for t in TASKS["reach"].things), None, 1.0)
    assert not any(q.target == "yes" and q.kind == "exists" for q in (questions.ask(hidden, rng) for _ in range(300)))


def test_captions_say_what_is_where() -> None:
    assert (
        questions.caption(DRAWER) == "a white drawer handle at 6 5 and a green drawer at 7 4; the open gripper at 3 9"
    )
    nothing = Scene("push", (SeenThing("block", "red", None),), None, 0.6)
    assert questions.caption(nothing) == "an empty table"
    assert cell((0.0, 0.9999)) == "0 9"


@pytest.mark.parametrize(
    ("rgb", "word"),
    [
        ((0.8, 0, 0), "red"),
        ((0, 0.8, 0), "green"),
        ((0.15, 0.15, 0.15), "black"),
        ((0.7, 0.5, 0), "yellow"),
        ((0.85, 0.85, 0.85), "white"),
    ],
)  # fmt: skip
def test_colours_have_names(rgb: tuple[float, float, float], word: str) -> None:
    assert colour_word(np.array(rgb)) == word


def camera(position: list[float], looks_down: bool = True) -> tuple[Any, Any]:
    """A model and its data with one camera that looks straight down: x to the right, y up in the picture."""
    model = SimpleNamespace(camera=lambda name: SimpleNamespace(fovy=[90.0]))
    data = SimpleNamespace(camera=lambda name: SimpleNamespace(xmat=np.eye(3).ravel(), xpos=np.array(position)))
    return model, data


def test_places_in_the_picture() -> None:
    model, data = camera([0, 0, 1])
    assert rendering.image_position(model, data, "topview", np.zeros(3)) == pytest.approx((0.5, 0.5))
    assert rendering.image_position(model, data, "topview", np.array([0.5, 0.5, 0])) == pytest.approx((0.75, 0.25))
    # A camera that hangs upside down is turned, and what is seen with it.
    assert rendering.image_position(model, data, "corner2", np.array([0.5, 0.5, 0])) == pytest.approx((0.25, 0.75))
    assert rendering.image_position(model, data, "topview", np.array([2.0, 0, 0])) is None
    assert rendering.image_position(model, data, "topview", np.array([0, 0, 2.0])) is None, "behind the camera"


def test_entries_and_the_mixture_are_read() -> None:
    robot = parse_entry(ENTRY, "dataset.yaml")
    assert robot.control_hz == 80
    assert robot.embodiment == "metaworld_sawyer"
    assert [parse_entry(text, "dataset.yaml").kind for text in (VQA_ENTRY, CAPTION_ENTRY)] == ["vqa", "caption"]
    assert load_mixture("metaworld").name == "metaworld"


@NO_METAWORLD
def test_without_the_package_everything_says_how_to_install_it(tmp_path: Path) -> None:
    sentence = "the package metaworld is not installed.*pip install -c constraints.txt metaworld==3.1.1"
    with pytest.raises(InputError, match=sentence):
        make()
    with pytest.raises(InputError, match=sentence):
        main(MetaWorldData(tmp_path / "data"))
    with pytest.raises(InputError, match=sentence):
        run.main(run.MetaWorldRun(tmp_path / "all"))
    assert not list(tmp_path.iterdir()), "nothing is begun"


def test_bad_numbers_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    for wrong in ({"episodes": 0}, {"workers": 0}, {"scatter": -1}, {"resume": True, "overwrite": True}):
        with pytest.raises(InputError, match=r"expected at least 1|expected none below|exclude each other"):
            main(MetaWorldData(tmp_path / "data", **wrong))
    with pytest.raises(InputError, match="unknown embodiment 'arm'"):
        make("arm")


class Table:
    """A simulation that counts what is drawn."""

    observation, moment, drawn = np.zeros(39), 0, 0

    def picture(self, slot: str) -> np.ndarray:
        self.drawn += 1
        return np.full((2, 2, 3), self.drawn, np.uint8)


def test_pictures_are_drawn_when_looked_at_and_not_after_the_next_step() -> None:
    table = Table()
    view = View(cast(Any, table))
    assert list(view) == ["image/primary", "image/wrist", "state"]
    assert table.drawn == 0
    first = view["image/primary"]
    assert table.drawn == 1
    table.moment += 1
    assert view["image/primary"] is first
    with pytest.raises(RuntimeError, match="it is past"):
        view["image/wrist"]
    with pytest.raises(KeyError):
        view["image/secondary"]


class Looked:
    """An environment that draws when looked at."""

    max_steps, instruction = 5, "look"

    def __init__(self) -> None:
        self.table = Table()

    def reset(self, seed: int) -> View:
        return View(cast(Any, self.table))

    def step(self, action: np.ndarray) -> View:
        self.table.moment += 1
        return self.reset(0)

    def success(self) -> bool:
        return False


def test_the_evaluation_draws_only_what_it_looks_at() -> None:
    envs = [Looked(), Looked()]
    many = SteppedEnvs(envs)
    many.reset([0, 1])
    for _ in range(4):
        seen = many.step(np.zeros((2, 4)), np.array([True, True]))
    assert [env.table.drawn for env in envs] == [0, 0]
    assert seen["image/primary"].shape == (2, 2, 2, 3)
    assert seen["image/primary"] is seen["image/primary"]
    assert [env.table.drawn for env in envs] == [1, 1]


def test_the_chain_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(run, "check_package", lambda: None)
    monkeypatch.setattr(run, "results", lambda out: [])
    broken = {"fasttok-train"}

    def call(command: str) -> None:
        called.append(command)
        words = command.split()
        place = Path(words[words.index("--out") + 1])
        (place if "json" in place.name else place / "data").parent.mkdir(parents=True, exist_ok=True)
        if words[0] in broken:
            raise InputError(f"failed with exit status 1: {command}")

    monkeypatch.setattr(run, "call", call)
    config = run.MetaWorldRun(tmp_path / "all", steps=5)
    with pytest.raises(InputError, match="step 5 failed with exit status 1: fasttok-train"):
        run.main(config)
    assert [command.split()[0] for command in called[:2]] == ["python", "fasttok-pipelines"]
    assert len(called) == 5
    called.clear()
    broken.clear()
    with pytest.raises(InputError, match="begun with other settings of --steps"):
        run.main(run.MetaWorldRun(tmp_path / "all", steps=6))
    run.main(config)
    assert len(called) == 3
    assert called[0].startswith("fasttok-train")
    assert called[0].endswith("--resume"), "what the interrupted one left is kept"
    called.clear()
    run.main(config)
    assert called == []


def test_the_chain_replaces_films_whose_results_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fasttok-evaluate` writes its page of films before its results, and may be killed between them."""
    monkeypatch.setattr(run, "check_package", lambda: None)
    monkeypatch.setattr(run, "results", lambda out: [])
    killed = ["fasttok-evaluate"]
    called: list[str] = []

    def call(command: str) -> None:
        called.append(command)
        if command.split()[0] in killed:
            (tmp_path / "all" / "films.html").touch()
            raise InputError("killed")

    monkeypatch.setattr(run, "call", call)
    with pytest.raises(InputError, match="killed"):
        run.main(run.MetaWorldRun(tmp_path / "all"))
    killed.clear()
    called.clear()
    monkeypatch.chdir(tmp_path)  # the same folder by another name
    run.main(run.MetaWorldRun(Path("all")))
    assert called[0].startswith("fasttok-evaluate")
    assert called[0].endswith("--overwrite")


def test_the_chain_refuses_numbers_before_hours_of_work(tmp_path: Path) -> None:
    for name in run.COUNTS:
        zero: Any = {name: 0}
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is 0, expected at least 1"):
            run.main(replace(run.MetaWorldRun(tmp_path / "all"), **zero))
    with pytest.raises(InputError, match="--seed is -1"):
        run.main(run.MetaWorldRun(tmp_path / "all", seed=-1))
    assert not list(tmp_path.iterdir())


def test_commands_are_those_of_the_readme() -> None:
    """The steps of the chain stand in the README as they run."""
    readme = (Path(sys.modules["examples.metaworld"].__path__[0]) / "README.md").read_text(encoding="utf-8")
    flat = " ".join(readme.replace("\\\n", " ").split())
    for step in run.steps(run.MetaWorldRun()):
        name = " ".join(step.command.split()[: 3 if step.command.startswith("python") else 1])
        assert name in flat, name
