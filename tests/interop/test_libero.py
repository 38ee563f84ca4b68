"""LIBERO and LIBERO-PRO of the released package, played through `train.worlds.libero` in an environment of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.interop.environments import PackageSet, run_inside

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
Built = Callable[[str], PackageSet]


def test_tables_are_played_as_published(
    built: Built, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """All in one process: a simulator takes seconds to make, and half a minute where several share a core."""
    environment = built("libero")
    run_inside(environment, "play_libero.py", ROOT, tmp_path / "found.json")
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert {"libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90", "libero_goal_task"} <= set(
        found["splits"]
    )
    assert "unknown split 'seen'" in found["split"]
    assert "--splits libero_spatial" in found["split"]
    # seed 5 of two tasks: the second of them, from its initial state number 2, to the bit
    assert found["initial_state"] == [2, 0.0]
    assert found["task"] == "pick_up_the_black_bowl_on_the_cookie_box_and_place_it_on_the_plate"
    assert found["shapes"] == {
        "image/primary": [[256, 256, 3], "uint8"],
        "image/wrist": [[256, 256, 3], "uint8"],
        "state": [[8], "float32"],
    }
    assert found["turned"]
    assert found["repeats"]
    assert found["max_steps"] == 220
    left, right = found["gripper"]
    assert left > 0 > right
    # the instruction is the environment's, not the file's name
    assert found["instruction"] == "pick the akita black bowl on the cookies box and place it on the plate"
    assert found["pro"] == ["open the bottom drawer of the cabinet", "open the middle drawer of the cabinet"]
    assert "libero_spatial has 10 tasks" in found["number"]
    assert "expected 7 finite numbers: x, y, z, rx, ry, rz, gripper" in found["action"]
    # a policy that sees everything succeeds, by actions as runs on our shards predict them
    assert found["episode"] == [
        [True],
        ["pick_up_the_alphabet_soup_and_place_it_in_the_basket"],
        "pick up the alphabet soup and place it in the basket",
    ]
    record_property(
        "checked",
        f"an episode of libero_object by a scripted policy: success after {found['predictions']} steps; initial states, pictures "
        "and state of libero_spatial; the instruction of libero_goal_task is the environment's",
    )
