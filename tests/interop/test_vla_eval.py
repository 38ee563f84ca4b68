"""vla-eval's own runner judges a policy of our protocol, through `train.worlds.vla_eval`, beside the released package."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.environments import PackageSet, run_inside

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
Built = Callable[[str], PackageSet]


def test_its_runner_judges_a_policy_of_ours(
    built: Built, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    environment = built("vla-eval")
    run_inside(environment, "play_vla_eval.py", ROOT, tmp_path / "found.json")
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    # Both tasks, so the instruction comes through; success needs the state, and the gripper in the benchmark's form.
    assert found["tasks"] == {"go right": 1.0, "go left": 1.0}
    assert found["episodes"] == [3, 3, 3, 3]
    assert found["requests"] == 8  # half of a chunk of four is executed
    assert found["images"] == {"image/primary": 9, "image/wrist": 200}
    seed = found["seeds"][0]
    assert found["first"] == {
        "state": [0.0, 0.0], "prompt": "go right", "fasttok/embodiment": "arm", "fasttok/seed": seed
    }  # fmt: skip
    assert len(set(found["seeds"])) == 4  # an episode's noise is its own
    assert found["connections"] == 5  # one for the metadata, one an episode
    assert found["together"] == 1.0  # batches of sessions
    assert "expected one of agentview, wrist. Name those of this benchmark" in found["refused"]
    record_property(
        "checked", "2 tasks x 2 episodes by its runner: success 100 %; alone and in batches; errors as its own"
    )
