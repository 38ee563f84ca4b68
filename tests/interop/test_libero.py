"""LIBERO and LIBERO-PRO of the released package, played through `train.worlds.libero` in an environment of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.server import ServerConnection

from fasttok.packed_arrays import pack, unpack_map
from tests.interop.environments import PackageSet, run_inside
from tests.policy_servers import running

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


def test_a_served_policy_is_judged_in_its_environment(
    built: Built, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """`fasttok-evaluate --policy` beside LIBERO, without JAX: the server gets the environment's instruction and its pictures."""
    environment = built("libero")
    about: Any = {
        "server": "fasttok", "protocol": 1, "run": "random", "step": 1, "decodes": ["flow"],
        "embodiments": {"libero_goal_no_noops": {"horizon": 4, "action_dim": 7}},
        "keys": {"image/primary": "camera", "image/wrist": "camera", "state": "8 numbers", "prompt": "a text"},
    }  # fmt: skip
    requests: list[dict[str, Any]] = []

    def random_policy(ws: ServerConnection) -> None:
        ws.send(pack(about))
        for message in ws:
            assert isinstance(message, bytes)
            requests.append({**unpack_map(message)})
            noise = np.random.default_rng(requests[-1]["fasttok/seed"])
            ws.send(pack({"actions": noise.uniform(-1, 1, (4, 7)).astype(np.float32)}))

    world = tmp_path / "libero.yaml"
    world.write_text("world: libero\nsize: 64\nwaiting: 1\nmax_steps: 4\ntasks: [0, 4]\n")
    out = tmp_path / "results.json"
    with running(random_policy) as url:
        run_inside(
            environment, "evaluate_here.py", ROOT, "--policy", url, "--env", world, "--splits", "libero_goal_lan",
            "--seed", "0", "--episodes", "2", "--batch", "2", "--out", out,
        )  # fmt: skip
    result = json.loads(out.read_text())["world"][0]
    assert (result["split"], result["episodes"], result["success"]) == ("libero_goal_lan", 2, 0.0)
    assert result["task"] == ["open_the_middle_drawer_of_the_cabinet", "put_the_bowl_on_top_of_the_cabinet"]
    assert {request["prompt"] for request in requests} >= {"open the cabinet\u2019s middle drawer"}
    assert len(requests) == 4  # two episodes of four steps, by chunks of which half is executed
    assert {request["image/wrist"].shape for request in requests} == {(64, 64, 3)}
    assert {request["state"].shape for request in requests} == {(8,)}
    record_property(
        "checked", "fasttok-evaluate --policy in its environment: two tasks of libero_goal_lan by a random policy"
    )
