"""A replay: what is asked, what errors come of it, which robots and units are refused, and what the page shows."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fasttok.actions.rotations import read, write
from fasttok.episodes import Where
from fasttok.episodes.frames import BadFrame, Frame
from fasttok.errors import InputError
from pipelines.stored_episode import StoredEpisode, StoredPlace, stored_episode
from tests.chain import Chain
from tests.html_checks import assert_whole
from tests.parsed_page import ParsedPage
from tests.policy_servers import answering, running
from train.replay.asked_robot import AskedRobot, TrainedRange, check_episode, chosen_embodiment, from_metadata
from train.replay.command import ReplayConfig, replay
from train.replay.compared import GripperEvent, errors, executed, grippers, written_alike
from train.replay.predicted import MOST_PICTURES, Predicted, predict
from train.replay.replay_page import ReplayFacts, document

HOSTILE = "</script><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\"'&"
HORIZON = 6


@dataclasses.dataclass
class Pixels:
    """Images that say their step; one may be torn, and all after the first `most` lost."""

    numbers: NDArray[np.int64]
    bad: int = -1
    most: int = 1000

    def __len__(self) -> int:
        return len(self.numbers)

    def check(self) -> str:
        return ""

    def take(self, steps: NDArray[Any]) -> "Pixels":
        return Pixels(self.numbers[steps], self.bad, self.most)

    def size(self) -> int:
        return 0

    def read(self) -> Iterator[Frame]:
        for step in self.numbers[: self.most].tolist():
            yield BadFrame("it is torn") if step == self.bad else np.full((8, 8, 3), (step, 0, 100), np.uint8)


def episode(length: int = 40, name: str = "set", **more: Any) -> StoredEpisode:
    time = np.arange(length)
    action = np.stack([np.sin(time / 5), 0.01 * time, np.where((time < 10) | (time >= 25), 1.0, 0.0)], 1)
    known: dict[str, Any] = {
        "dataset": name,
        "split": "val",
        "number": 3,
        "where": Where(f"{name}.h5", number=3),
        "embodiment": "arm",
        "control_hz": 10.0,
        "prompt": "push",
        "action": action.astype(np.float32),
        "action_names": (f"x (m) {name}", "y (m)", "gripper"),
        "action_encoding": ("absolute", "delta", "gripper"),
        "state": np.stack([time, time], 1).astype(np.float32),
        "state_names": ("x (m)", "y (m)"),
        "cameras": {"primary": Pixels(time)},
        "bgr": (),
    }
    return StoredEpisode(**known | more)


class Recorded:
    """Predicts what was recorded, `late` steps later and higher by `above`; and remembers what it was asked."""

    def __init__(self, of: StoredEpisode, late: int = 0, above: float = 0.0) -> None:
        self.of, self.late, self.above = of, late, above
        self.asked: list[tuple[str, int, Any]] = []

    def __call__(self, tasks: list[str], seen: list[Any]) -> NDArray[Any]:
        chunks = []
        for task, one in zip(tasks, seen, strict=True):
            step = int(one["state"][0])
            self.asked.append((task, step, one.get("image/primary")))
            at = np.clip(step + np.arange(HORIZON) - self.late, 0, len(self.of.action) - 1)
            chunks.append(self.of.action[at] + np.float32(self.above))
        return np.stack(chunks)


def test_the_policy_is_asked_with_what_was_recorded_then() -> None:
    one = episode()
    policy = Recorded(one)
    made = predict(policy, one, ("primary", "wrist"), "pull", every=3, batch=4)
    assert made.steps.tolist() == [step for _, step, _ in policy.asked] == list(range(0, 40, 3))
    assert {task for task, _, _ in policy.asked} == {"pull"}
    assert all(image[0, 0].tolist() == [step, 0, 100] for _, step, image in policy.asked)
    off = errors(one, made)
    assert off.total == 0.0
    assert off.rmse.tolist() == [0, 0, 0]
    assert (off.along_episode == 0).all()
    assert off.along_chunk.shape == (HORIZON,)
    [trace] = grippers(one, made, 3)
    assert trace.agrees == 1.0
    assert trace.events == (GripperEvent(False, 10, 10), GripperEvent(True, 25, 25))


def test_errors_are_those_of_the_predictions() -> None:
    one = episode()
    made = predict(Recorded(one, above=0.25), one, (), "push", every=5, batch=3)
    off = errors(one, made)
    assert np.allclose(off.rmse, 0.25)
    assert np.allclose(off.mae, 0.25)
    assert np.allclose(off.bias, 0.25)
    assert np.allclose(off.spread, one.action.std(0))
    assert np.isclose(off.total, np.sqrt(np.mean((0.25 / off.spread) ** 2)))
    assert np.allclose(off.along_chunk, off.total)
    assert np.allclose(off.along_episode, off.total)


@pytest.mark.parametrize("form", ["euler_zyx", "quaternion_wxyz", "rotation_vector"])
def test_a_rotation_in_other_numbers_is_no_error(form: str) -> None:
    """The hand points down: its angles jump between both ends of a turn, and a policy of 6D rotations writes them otherwise."""
    angles = np.pi + 0.3 * np.sin(np.arange(40) / 4)
    turns = Rotation.from_euler("zx", np.stack([np.full(40, 0.2), angles], 1))
    recorded = write(turns, form)
    again = {
        "euler_zyx": recorded + 2 * np.pi,
        "quaternion_wxyz": -recorded,
        "rotation_vector": recorded * (1 - 2 * np.pi / np.linalg.norm(recorded, axis=1, keepdims=True)),
    }[form]
    one = episode(action=recorded.astype(np.float32), rotations=((0, form),))
    made = Predicted(np.array([0, 20, 34]), np.stack([again[:6], again[20:26], again[34:40]]), {})
    alike, wrote = written_alike(one, made)
    assert np.abs(np.diff(alike.action, axis=0)).max() < 0.2
    assert errors(alike, wrote).rmse.max() < 1e-6
    assert errors(one, made).rmse.max() > 1
    assert np.allclose(read(wrote.chunks[1], form).as_matrix(), turns[20:26].as_matrix(), atol=1e-6)


def test_a_late_gripper_is_late_and_a_missed_one_is_missed() -> None:
    one = episode()
    [late] = grippers(one, predict(Recorded(one, late=2), one, (), "push", HORIZON, 8), HORIZON)
    assert late.events == (GripperEvent(False, 10, 12), GripperEvent(True, 25, 27))
    assert late.agrees == 1 - 4 / 40
    open_ = Predicted(np.arange(0, 40, 6), np.ones((7, 6, 3)), {})
    [missed] = grippers(one, open_, 6)
    assert missed.events == (GripperEvent(False, 10, None), GripperEvent(True, 25, None))
    assert executed(open_, 40, 6).shape == (40, 3)
    assert np.isnan(executed(open_, 40, 4)[4:6]).all()


def test_a_last_chunk_is_compared_up_to_the_end_alone() -> None:
    one = episode(8)
    made = Predicted(np.array([6]), np.full((1, HORIZON, 3), 1e9), {})
    made.chunks[0, :2] = one.action[6:]
    assert errors(one, made).rmse.tolist() == [0, 0, 0]
    assert np.isnan(errors(one, made).along_episode[:6]).all()


def test_pictures_are_few_and_channels_are_turned() -> None:
    one = episode(400)
    policy = Recorded(one)
    made = predict(policy, dataclasses.replace(one, bgr=("primary",)), ("primary",), "push", every=1, batch=16)
    assert len(made.pictures["primary"]) == MOST_PICTURES
    assert {0, 399} <= set(made.pictures["primary"])
    assert policy.asked[7][2][0, 0].tolist() == [100, 0, 7]


def test_what_cannot_be_asked_says_so() -> None:
    one = episode()
    torn = dataclasses.replace(one, cameras={"primary": Pixels(np.arange(40), bad=9)})
    with pytest.raises(InputError, match=r"set\.h5: camera primary, step 9: it is torn"):
        predict(Recorded(one), torn, ("primary",), "push", 3, 4)
    short = dataclasses.replace(one, cameras={"primary": Pixels(np.arange(40), most=0)})
    with pytest.raises(InputError, match="step 0: there are fewer images than steps"):
        predict(Recorded(one), short, ("primary",), "push", 3, 4)
    with pytest.raises(InputError, match=r"shape \(2, 6, 2\) for 2 observations; expected \(2, horizon, 3\)"):
        predict(lambda tasks, seen: np.zeros((len(seen), 6, 2)), one, (), "push", 3, 2)
    with pytest.raises(InputError, match="NaN or infinity around step 0"):
        predict(lambda tasks, seen: np.full((len(seen), 6, 3), np.nan), one, (), "push", 3, 2)


def asked(**more: Any) -> AskedRobot:
    one = episode()
    known: dict[str, Any] = {
        "embodiment": "arm",
        "horizon": HORIZON,
        "action_dim": 3,
        "action_names": one.action_names,
        "control_hz": 10.0,
        "cameras": ("primary", "wrist"),
        "state_names": one.state_names,
        "actions": TrainedRange((-1.0, 0.0, 0.0), (1.0, 0.4, 1.0)),
        "states": TrainedRange((0.0, 0.0), (40.0, 40.0)),
    }
    return AskedRobot(**known | more)


@pytest.mark.parametrize(
    ("robot", "said"),
    [
        (
            {"action_dim": 7, "action_names": tuple("abcdefg")},
            "actions of 3 columns: .* expected those of arm: 7 columns: a, b",
        ),
        ({"action_names": ("x (m) set", "y (mm)", "gripper")}, r"column 1 is 'y \(m\)', expected 'y \(mm\)'"),
        ({"state_names": ("x (m)",)}, r"other states than arm: column 1 is 'y \(m\)', expected none"),
        (
            {"actions": TrainedRange((-1.0, 0.0, 0.0), (1.0, 0.001, 1.0))},
            r"in other units: y \(m\) is 0.195 at the median.*0 to 0.001",
        ),
        ({"states": TrainedRange((0.0, 0.0), (40.0, 0.04))}, r"states in other units: y \(m\)"),
        ({"control_hz": 20.0}, "recorded at 10 Hz; the policy's arm acts at 20 Hz"),
        ({"cameras": ("wrist",)}, "has the cameras primary; expected some of wrist"),
    ],
)
def test_an_episode_of_another_robot_is_refused(robot: dict[str, Any], said: str) -> None:
    check_episode(asked(), episode())
    with pytest.raises(InputError, match=said):
        check_episode(asked(**robot), episode())


def test_the_embodiment_is_the_episodes_own() -> None:
    assert chosen_embodiment("", episode(), ["planar", "arm"]) == "arm"
    assert chosen_embodiment("planar", episode(), ["planar", "arm"]) == "planar"
    with pytest.raises(InputError, match="is of arm, which the policy was not trained on; it knows planar"):
        chosen_embodiment("", episode(), ["planar"])
    with pytest.raises(InputError, match="embodiment"):
        chosen_embodiment("planer", episode(), ["planar"])


def test_a_server_says_what_it_expects() -> None:
    said: dict[str, Any] = {
        "horizon": 6, "action_dim": 3, "action_names": ["a", "b", "c"], "control_hz": 10, "cameras": ["primary"],
        "action_encoding": ["absolute", "delta", "gripper"],
        "state_names": ["s"], "action_low": [0, 0, 0], "action_high": [1, 1, 1], "other": 3,
    }  # fmt: skip
    robot = from_metadata("arm", said, "ws://there")
    assert robot == AskedRobot(
        "arm", 6, 3, ("a", "b", "c"), 10.0, ("primary",), ("s",), TrainedRange((0, 0, 0), (1, 1, 1))
    )
    assert from_metadata("arm", {**said, "action_low": None}, "ws://there").actions is None
    assert from_metadata("arm", {**said, "action_low": [0, None, 0]}, "ws://there").actions is None
    ranged = from_metadata("arm", {**said, "state_low": [-1.0], "state_high": [2.0]}, "ws://there")
    assert ranged.states == TrainedRange((-1.0,), (2.0,))
    assert from_metadata("arm", {**said, "state_low": [-1.0], "state_high": []}, "ws://there").states is None
    unnamed = ["action 0", "action 1", "action 2"]  # as of a run of relative actions
    assert from_metadata("arm", {**said, "action_names": unnamed}, "ws://there").action_names == ()
    with pytest.raises(InputError, match="ws://there does not say the horizon"):
        from_metadata("arm", {}, "ws://there")


def page(name: str = "set", **more: Any) -> str:
    one = episode(name=name, **more)
    made = predict(Recorded(one, late=1), one, ("primary",), "push", 3, 8)
    about = ReplayFacts(
        f"RUN {name}", 1200, "arm", "flow", 3, f"push {name}", ("wrist",), f"fasttok-evaluate replay {name}"
    )
    return document(one, made, errors(one, made), grippers(one, made, 3), about)


def test_the_page_holds_what_it_must() -> None:
    text = page()
    assert_whole(text)
    parsed = ParsedPage(text)
    assert parsed.open == []
    read = " ".join(parsed.text)
    for part in (
        "push set", "RUN set, step 1,200", "fasttok-evaluate replay set", "episode 3", "10 Hz", "6 steps",
        "at 14 steps, 3 apart",
        "x (m) set, absolute", "y (m), delta", "rmse / spread", "1 step late", "lacks the cameras wrist", "recorded", "3.90 s",
        "closes", "opens", "Made on 2", "set.h5, number 3",
    ):  # fmt: skip
        assert part in read, part
    labels = [attrs["aria-label"] for tag, attrs in parsed.tags if tag == "svg"]
    assert [label for label in labels if label and label.startswith("x (m)")] == [
        "x (m) set, absolute over time in the episode (s)"
    ]
    assert len(labels) == 3 + 2
    figures = [attrs["data-step"] for tag, attrs in parsed.tags if tag == "figure" and "data-step" in attrs]
    assert figures == [str(step) for step in range(0, 40, 3)]  # all are in the page, script or not
    [cursor] = [attrs for tag, attrs in parsed.tags if tag == "input"]
    assert (cursor["type"], cursor["max"]) == ("range", "39")


def test_an_episode_without_a_rate_or_pictures_is_drawn_in_steps() -> None:
    parsed = ParsedPage(page(control_hz=None, cameras={}))
    assert "not known" in " ".join(parsed.text)
    assert not any(tag == "img" for tag, _ in parsed.tags)
    assert "step 10" in " ".join(parsed.text)


@pytest.mark.parametrize("length", [1, 30])
def test_an_episode_in_which_nothing_moves_is_not_called_perfect(length: int) -> None:
    one = dataclasses.replace(episode(length), action=np.ones((length, 3), np.float32))
    made = predict(Recorded(one, above=0.25), one, (), "push", 3, 8)
    off = errors(one, made)
    assert off.rmse.tolist() == [0.25] * 3
    assert np.isnan(off.total)
    assert np.isnan(off.along_episode).all()
    about = ReplayFacts("RUN", None, "arm", "flow", 3, "push", (), "")
    read = " ".join(ParsedPage(document(one, made, off, grippers(one, made, 3), about)).text)
    assert "nothing moves" in read
    assert "0.00" not in read.split("Actions, recorded")[0]


def test_flags_that_a_server_does_not_follow_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--flow-steps, --checkpoint, --seed with --policy: that is the server's"):
        replay(ReplayConfig("d", policy="ws://x", flow_steps=3, seed=1, checkpoint="best", out=tmp_path / "page.html"))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_draws_no_noise_is_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(InputError, match=f"--seed is {seed}; expected 0 to 9223372036854775807"):
        replay(ReplayConfig("d", run=tmp_path, seed=seed, out=tmp_path / "page.html"))


def test_text_of_the_data_is_never_markup() -> None:
    text = page(HOSTILE)
    parsed = ParsedPage(text)
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)
    sources = [attrs["src"] or "" for tag, attrs in parsed.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert HOSTILE in "".join(parsed.text)
    assert not re.findall(r'(?:src|href)="(?!data:image/)', text)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|eval\(", text)


def test_a_server_is_replayed(chain: Chain, tmp_path: Path) -> None:
    place = StoredPlace(str(chain.data / "tabletop_planar/1.0.0"), "val", 1)
    one = stored_episode(place)
    at = {tuple(state): step for step, state in enumerate(one.state.tolist())}
    asked_for: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked_for.append(request)
        steps = np.minimum(at[tuple(request["state"].tolist())] + np.arange(10), len(one.action) - 1)
        return {"actions": one.action[steps] + np.float32(0.5)}

    robot = {
        "horizon": 10, "action_dim": 3, "action_names": list(one.action_names), "action_encoding": list(one.action_encoding),
        "control_hz": 10, "cameras": ["primary"], "state_names": list(one.state_names), "action_low": None, "action_high": None,
    }  # fmt: skip
    said = {
        "server": "fasttok", "protocol": 1, "run": "ki", "step": 7, "decodes": ["flow"], "embodiments": {"planar": robot},
        "keys": {"image/primary": "", "state": "", "prompt": ""},
    }  # fmt: skip
    with running(answering(answer, said)) as url:
        config = ReplayConfig(place.data, policy=url, split="val", episode=1, out=tmp_path / "page.html")
        read = " ".join(ParsedPage(replay(config).read_text()).text)
        with pytest.raises(InputError, match="is of arm, which the policy was not trained on; it knows planar"):
            replay(dataclasses.replace(config, data=str(chain.data / "tabletop_arm/1.0.0"), overwrite=True))
        robot["action_names"] = ["dx (mm)", "dy (mm)", "gripper"]
        with pytest.raises(InputError, match=r"column 0 is 'dx \(m\)', expected 'dx \(mm\)'"):
            replay(dataclasses.replace(config, overwrite=True))
        robot["action_names"] = list(one.action_names)
        robot |= {
            "state_low": [0.001 * v for v in one.state.min(0).tolist()],
            "state_high": [0.001 * v for v in one.state.max(0).tolist()],
        }
        with pytest.raises(InputError, match="has states in other units"):
            replay(dataclasses.replace(config, overwrite=True))
    assert len(asked_for) == -(-len(one.action) // 5)
    assert all(request["prompt"] == one.prompt and isinstance(request["image/primary"], bytes) for request in asked_for)
    assert f"{url}, step 7" in read
    assert "0.5" in read  # everything is off by it


def test_a_run_is_replayed(chain: Chain, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    config = ReplayConfig(
        str(chain.index),
        trained,
        dataset="tabletop_planar",
        split="val",
        episode=1,
        every=4,
        flow_steps=2,
        out=out,
        json=True,
    )
    assert replay(config, "fasttok-evaluate replay") == out
    told = json.loads(capsys.readouterr().out)
    assert told["names"] == ["dx (m)", "dy (m)", "gripper"]
    assert np.isfinite(told["total"])
    one = stored_episode(StoredPlace(str(chain.index), "val", 1, "tabletop_planar"))
    read = " ".join(ParsedPage(out.read_text()).text)
    assert one.prompt in read
    assert "dx (m), delta" in read
    for changed, said in (
        ({}, "page.html"),
        ({"run": None}, "pass --run RUN, or --policy"),
        ({"policy": "ws://x", "overwrite": True}, "and not both"),
        ({"every": 11, "overwrite": True}, "a chunk has 10 steps"),
        ({"embodiment": "arm", "overwrite": True}, "expected those of arm: 7 columns"),
        ({"batch": 0, "overwrite": True}, "--batch is 0"),
        ({"out": trained / "config.json", "overwrite": True}, "which the command reads"),
    ):
        with pytest.raises(InputError, match=said):
            replay(dataclasses.replace(config, **changed))
