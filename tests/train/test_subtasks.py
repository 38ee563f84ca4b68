"""A run that was trained on subtasks says one, then acts on it, and keeps it for some chunks; others refuse."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.shared_folders import once
from tests.train.tiny_runs import FakeEnv, FakePlayer, config
from train import evaluate, policy
from train.acting.observations import say_once
from train.acting.robots import FILE, Robots
from train.acting.subtasks import Conversation, SayThenAct
from train.batches import Batcher
from train.examples import Example
from train.player import SUBTASK_TOKENS, Player
from train.rollouts import RolloutOptions, closed_loop, play
from train.serving.asking import Ask
from train.serving.keys import KeyMap
from train.serving.run_policy import RunPolicy

SEEN: dict[str, np.ndarray] = {
    "image/primary": np.zeros((64, 64, 3), np.uint8),
    "image/wrist": np.full((64, 64, 3), 9, np.uint8),
    "state": np.zeros(7, np.float32),
}
MIXTURE = """
name: subtasks
sources:
  - {name: arm, dataset: tabletop_arm, weight: 1, subtask: true}
  - {name: planar, dataset: tabletop_planar, weight: 1}
"""


@pytest.fixture(scope="module")
def shards(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Robot rows of which half have subtasks."""

    def build(out: Path) -> None:
        out.mkdir(exist_ok=True)
        (out / "mixture.yaml").write_text(MIXTURE)
        given = str(chain.index), str(chain.tokenizer)
        run_build(BuildConfig(str(out / "mixture.yaml"), str(out / "shards"), 240, *given, shards=2), [])

    return once(tmp_path_factory, "subtasks", build) / "shards"


@pytest.fixture(scope="module")
def saying(chain: Chain, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps on them."""
    from train.loop import run

    def train(out: Path) -> None:
        run(replace(config(chain, out / "run", data={"kinds": ("robot",), "text_vocab": 600}), shards=shards))

    return once(tmp_path_factory, "saying", train) / "run"


@pytest.fixture(scope="module")
def player(saying: Path) -> Player:
    return Player.load(saying, batch=2)


def test_the_run_knows_that_it_has_subtasks(saying: Path, shards: Path, player: Player) -> None:
    robots = Robots.of(ShardReader(str(shards)).manifest, ("robot",))
    assert {name: robot.subtask for name, robot in robots.robots.items()} == {"arm": True, "planar": False}
    assert player.encoder.robots == robots
    assert "subtask" not in json.loads((saying / FILE).read_text())["robots"]["planar"]


def test_it_says_what_is_likeliest_after_the_prompt_that_training_has(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt asks for the subtask; what is generated is the answer, without action tokens and the end."""
    asked: list[str] = []
    text = player.encoder.text
    words = [text.encode(["reaching for it"])[0], [], text.encode(["lift"])[0]]

    def generate(params: Any, model: Any, batch: Any, most: int, eos: int) -> list[list[int]]:
        assert (most, eos) == (SUBTASK_TOKENS, text.eos)
        for tokens, mask, suffix in zip(batch["tokens"], batch["token_mask"], batch["token_ar"], strict=True):
            assert not suffix.any()
            asked.append(text.decode(tokens[mask]))
        ids = [words[len(asked) // 2 * 2 - 2 + i] if len(asked) // 2 * 2 - 2 + i < 3 else [] for i in range(2)]
        return [[*row, int(player.encoder.placement.place([3])[0])] for row in ids]

    monkeypatch.setattr(policy, "generate", generate)
    tasks = ["push the star", "lift_the cross", "stack"]
    assert player.say("arm", tasks, [SEEN] * 3) == ["reaching for it", "", "lift"]
    assert asked[0].startswith("Task: push the star, State: ")
    assert asked[0].endswith(";\nSubtask: ")
    assert asked[1].startswith("Task: lift the cross, State: ")


def test_it_acts_on_what_was_said(player: Player, saying: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []
    predict = Player.predict

    def watched(self: Player, examples: Any, *more: Any) -> Any:
        prompts.extend(self.encoder.text.decode(e.prefix) for e in examples)
        return predict(self, examples, *more)

    monkeypatch.setattr(Player, "predict", watched)
    runs = [Player.load(saying, batch=1) for _ in range(3)]
    chunks = [
        one.act("arm", ["push"], [SEEN], subtasks=said)
        for one, said in zip(runs, (None, [""], ["reaching for the object"]), strict=True)
    ]
    assert "Subtask" not in prompts[0] + prompts[1]
    assert ", Subtask: reaching for the object, State: " in prompts[2]
    assert np.array_equal(chunks[0], chunks[1])
    assert not np.array_equal(chunks[0], chunks[2])
    long = ["very " * 500 + "long"]
    assert player.act("arm", ["push"], [SEEN], subtasks=long).shape == chunks[0].shape  # its last words are left out
    assert ", Subtask: very very" in prompts[3]


def test_a_warning_says_that_training_always_had_a_subtask(
    player: Player, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def warned(embodiment: str, subtasks: list[str] | None) -> str:
        say_once.cache_clear()
        caplog.clear()
        player.act(
            embodiment, ["push"], [SEEN | {"state": np.zeros(7 if embodiment == "arm" else 3)}], subtasks=subtasks
        )
        return caplog.text

    assert "arm acts without a subtask, and each prompt for its actions in training had one; let the run say" in warned(
        "arm", None
    )
    assert "without a subtask" not in warned("arm", ["reach"])
    assert "without a subtask" not in warned("planar", None)  # no row of it has one
    monkeypatch.setattr(player.encoder, "data", replace(player.encoder.data, subtasks=0.0))
    assert "had one; give one" in warned("arm", [""])
    monkeypatch.setattr(player.encoder, "data", replace(player.encoder.data, subtasks=1.0))  # no row acts at all
    assert "without a subtask" not in warned("arm", None)


def test_a_text_comes_out_of_the_real_model(player: Player) -> None:
    said = player.say("arm", ["push the star", "push the star"], [SEEN, SEEN])
    assert len(said) == 2
    assert said[0] == said[1]
    assert player.say("arm", [], []) == []
    assert player.act("arm", ["push"], [SEEN], subtasks=said[:1]).shape == (1, player.horizon("arm"), 7)


def test_a_served_request_to_say_has_room_for_that(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prompt that asks for a subtask may be longer than the one that asks for actions; found before it is in a batch."""
    served = RunPolicy(player, KeyMap.load("ours"), "arm", ("flow",), 1, False)
    whole = Batcher.check_length

    def one_too_long(self: Batcher, example: Example) -> int:
        if player.encoder.text.decode(example.prefix).endswith(";\nSubtask: "):
            raise InputError("a row has one token more")
        return whole(self, example)

    monkeypatch.setattr(Batcher, "check_length", one_too_long)
    assert served.prepare(Ask("arm", "flow", {**SEEN, "prompt": "push"})).task == "push"
    with pytest.raises(InputError, match="one token more"):
        served.prepare(Ask("arm", "flow", {**SEEN, "prompt": "push"}, says=True))


def test_runs_that_cannot_say_so(trained: Path, player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Player.load(trained)
    with pytest.raises(InputError, match="not trained to say a subtask: its shards have none"):
        plain.say("arm", ["push"], [SEEN])
    with pytest.raises(InputError, match="not trained to act on a subtask: its shards have none"):
        plain.act("arm", ["push"], [SEEN], subtasks=["reach"])
    assert plain.act("arm", ["push"], [SEEN], subtasks=[""]).shape == (1, plain.horizon("arm"), 7)
    given = player.encoder.data
    for share, what in ((0.0, "say"), (1.0, "act on")):
        monkeypatch.setattr(player.encoder, "data", replace(given, subtasks=share))
        message = rf"not trained to {what} a subtask: --data.subtasks was {share:g}"
        if what == "say":
            with pytest.raises(InputError, match=message):
                player.say("arm", ["push"], [SEEN])
        else:
            with pytest.raises(InputError, match=message):
                player.act("arm", ["push"], [SEEN], subtasks=["reach"])
    monkeypatch.undo()
    wrongs: list[Any] = [["a", "b"], "a", [1]]
    for wrong in wrongs:
        with pytest.raises(InputError, match="act takes a subtask for each of 1 instructions"):
            player.act("arm", ["push"], [SEEN], subtasks=wrong)
    with pytest.raises(InputError, match="say takes n instructions and n observations"):
        player.say("arm", "push", [SEEN])  # one instruction, which is a list of letters


def test_a_subtask_is_kept_for_so_many_chunks_of_each_episode() -> None:
    talker = FakePlayer(horizon=4)
    policy = SayThenAct(lambda *of: talker.say("e", *of), lambda *of: talker.act("e", *of[:2], subtasks=of[2]), 2)
    talk = Conversation.of(policy, 3)
    for rows in ([0, 1, 2], [0, 2], [0, 2], [0], [0]):
        talk.act(rows, [str(row) for row in rows], [{}] * len(rows))
    assert talker.acted == [["0 1", "1 1", "2 1"], ["0 1", "2 1"], ["0 2", "2 2"], ["0 2"], ["0 3"]]
    assert talk.said == [["0 1", "0 2", "0 3"], ["1 1"], ["2 1", "2 2"]]
    with pytest.raises(InputError, match="kept for 0 chunks"):
        SayThenAct(policy.say, policy.act, 0)


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_what_was_said_is_in_the_result_of_a_world(keep: int) -> None:
    talker = FakePlayer(horizon=4)
    options = RolloutOptions(execute=0.5, batch=2, subtasks=keep)
    result, _ = play(talker, lambda embodiment, split: FakeEnv(split), "e", "seen", range(4), options)
    if not keep:
        assert result.said is None
        assert talker.asked == 0
        assert set(map(str, talker.acted)) == {"None"}
        return
    assert result.said is not None
    assert len(result.said) == 4
    # Two steps of six a chunk; the even seeds are done after two chunks, the odd ones after three.
    assert [len(said) for said in result.said] == ([2, 3, 2, 3] if keep == 1 else [1, 2, 1, 2])
    assert all(text.startswith("reach the red circle ") for said in result.said for text in said)
    silent, _ = closed_loop(
        partial(talker.act, "e"), lambda embodiment, split: FakeEnv(split), "e", "seen", range(4), execute=2
    )
    assert silent.success == [bool(i) for i in result.each["success"]]


def test_evaluate_says_what_was_said(
    saying: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "load_factory", lambda name: lambda embodiment, split: FakeEnv(split))
    monkeypatch.setattr(Player, "say", lambda self, embodiment, tasks, seen: ["closing the gripper"] * len(tasks))
    asked = evaluate.EvaluateConfig(
        saying, env="fake:make", embodiments=("planar",), splits=("seen",), episodes=2, batch=2, subtasks=2,
        out=tmp_path / "o.json",
    )  # fmt: skip
    result = evaluate.main(asked)
    assert result.world[0].said is not None
    assert "closing the gripper" in capsys.readouterr().out
    written = json.loads((tmp_path / "o.json").read_text())
    assert written["world"][0]["said"] == [list(said) for said in result.world[0].said]
    for wrong in (replace(asked, subtasks=-1), replace(asked, env="", held_out=tmp_path)):
        with pytest.raises(InputError, match=f"--subtasks is {wrong.subtasks}; expected"):
            evaluate.main(replace(wrong, out=None))


@pytest.mark.slow
def test_a_server_acts_on_what_the_run_says(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row of a batch on its own subtask, as if it had been asked for by its name."""
    from train.serving.asking import Answer, Ask
    from train.serving.keys import KeyMap
    from train.serving.run_policy import RunPolicy

    served = RunPolicy(player, KeyMap.load("ours"), "arm", ("flow",), 2, False)
    monkeypatch.setattr(Player, "say_rows", lambda self, rows: [f"lift it {row.task[-1]}" for row in rows])
    asks = [Ask("arm", "flow", {**SEEN, "prompt": f"clear table {n}"}, number=n, says=True) for n in (1, 2)]
    said = served.act(asks, [served.prepare(ask) for ask in asks])
    told = [replace(ask, says=False, subtask=f"lift it {n}") for n, ask in enumerate(asks, 1)]
    for one, other in zip(said, served.act(told, [served.prepare(ask) for ask in told]), strict=True):
        assert isinstance(one, Answer)
        assert isinstance(other, Answer)
        assert one.subtask == other.subtask != ""
        assert np.array_equal(one.actions, other.actions)
