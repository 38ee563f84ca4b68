"""docs/robot.md: its loop drives an arm, and the pages and sections that it names are there."""

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from tests.policy_servers import answering, running
from train.serving.keys import KeyMap, presets

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "robot.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RATE = 100
METADATA: dict[str, Any] = {
    "embodiments": {
        "arm": {
            "horizon": 12, "action_dim": 3, "control_hz": RATE, "action_encoding": ["absolute", "delta", "gripper"],
            "action_names": ["x (m)", "y (m)", "gripper"], "state_dim": 3, "action_low": [-1.0, -1.0, 0.0],
            "action_high": [1.0, 1.0, 1.0],
        }
    }
}  # fmt: skip


class Arm:
    """Remembers what it was sent."""

    def __init__(self) -> None:
        self.moves: list[Any] = []
        self.held = 0
        self.seen = threading.Event()

    def observe(self) -> dict[str, Any]:
        self.seen.set()
        return {"state": np.zeros(3, np.float32)}

    def command(self) -> Any:
        return np.zeros(3)

    def move(self, action: Any) -> None:
        self.moves.append(action)

    def hold(self) -> None:
        self.held += 1


def block(word: str) -> dict[str, Any]:
    """What a block of the page defines."""
    scope: dict[str, Any] = {}
    exec(next(code for code in BLOCKS if word in code), scope)
    return scope


def test_the_loop_moves_an_arm_within_its_limits() -> None:
    def chunk(request: dict[str, Any]) -> dict[str, Any]:
        assert request["prompt"] == "push"
        return {"actions": np.tile(np.array([5, 0.01, 1], np.float32), (12, 1))}

    arm = Arm()
    with running(answering(chunk, METADATA)) as url:
        safe = block("def drive")["drive"](url, "arm", "push", arm, every=4, seconds=0.5, largest_step=[0.05, 0.05, 1])
    moves = np.array(arm.moves)
    assert len(moves) + arm.held == RATE // 2
    assert len(moves) > 0
    assert np.abs(np.diff(moves[:, 0], prepend=0)).max() <= 0.05 + 1e-12
    assert moves[:, 0].max() <= 1
    assert (moves[:, 2] == 1).all()
    assert safe.ticks == len(moves)
    assert safe.clipped[0] == len(moves)


def test_an_error_of_the_server_ends_the_loop() -> None:
    with running(answering(lambda request: "no state", METADATA)) as url, pytest.raises(InputError, match="no state"):
        block("def drive")["drive"](url, "arm", "push", Arm(), seconds=5.0)


def test_every_preset_has_its_row_and_the_map_of_the_page_is_one(tmp_path: Path) -> None:
    for name in presets():
        assert f"| `{name}` |" in PAGE
        for key in KeyMap.load(name).cameras:
            assert f"`{key}`" in PAGE or name == "droid_joint_velocity"
    [text] = re.findall(r"```yaml\n(# my_arm.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_arm.yaml").write_text(text)
    keys = KeyMap.load(tmp_path / "my_arm.yaml")
    assert [str(part) for part in keys.state] == ["joints (7)", "pose[2, 0, 1]", "gripper (1)"]


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    for place in re.findall(r"\]\(([^)]+)\)", PAGE):
        file, _, anchor = place.partition("#")
        assert (DOCS / file).exists() if file else anchor in anchors, place
