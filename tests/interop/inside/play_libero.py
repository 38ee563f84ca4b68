"""Runs in an environment with LIBERO: plays its tables through `train.worlds.libero` and writes what came of it.

python play_libero.py CHECKOUT OUT.json
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np

from fasttok.errors import InputError
from train.rollouts import closed_loop, load_factory
from train.worlds.libero import LiberoEnv, LiberoWorld
from train.worlds.world_file import check_splits

ABOVE, GRASP, CARRY = 0.12, 0.0, 0.25  # metres over a thing
OPEN, CLOSED = 1.0, 0.0  # as runs that were trained on our shards say it


def said(function, *values) -> str:
    """The message of an InputError."""
    try:
        function(*values)
    except InputError as error:
        return str(error)
    return ""


class Scripted:
    """A policy that sees everything: it takes a thing, carries it over a goal and lets go. Its chunks have one action."""

    def __init__(self, thing: str, goal: str) -> None:
        self.stages = [
            (thing, ABOVE, OPEN, 40),
            (thing, GRASP, OPEN, 25),
            (thing, GRASP, CLOSED, 12),
            ("", CARRY, CLOSED, 25),
            (goal, CARRY, CLOSED, 50),
            (goal, CARRY, OPEN, 30),
        ]
        self.envs: list[LiberoEnv] = []
        self.stage, self.steps, self.start = 0, 0, np.zeros(3)

    def factory(self, embodiment: str, split: str) -> LiberoEnv:
        """The table that it sees all of."""
        self.envs.append(LiberoWorld(tasks=(0,), size=64, instruction="file")(embodiment, split))
        return self.envs[-1]

    def act(self, tasks, seen, *_):
        """(1, 1, 7): towards the current stage's place."""
        simulator, hand = self.envs[0]._simulator, seen[0]["state"][:3]
        assert simulator is not None
        name, height, gripper, most = self.stages[self.stage]
        place = simulator.env.env._get_observations(force_update=True)[f"{name}_pos"] if name else self.start
        target = place + np.array([0, 0, height])
        near = self.stage < 2 and np.linalg.norm(target - hand) < 0.012
        self.steps += 1
        if (near or self.steps >= most) and self.stage + 1 < len(self.stages):
            self.stage, self.steps, self.start = self.stage + 1, 0, np.array(hand)
        return np.array([[[*np.clip((target - hand) / 0.05, -1, 1), 0, 0, 0, gripper]]], np.float32)


def tables() -> dict[str, Any]:
    """Initial states, instructions and pictures, at the size that the published sets have."""
    found: dict[str, Any] = {}
    env = LiberoWorld(tasks=(0, 3), waiting=0)("franka", "libero_spatial")
    states = env._suite.get_task_init_states(3)
    first = env.reset(5)
    assert env._simulator is not None
    simulator = env._simulator.env
    found["initial_state"] = [env.initial_state, float(np.abs(simulator.get_sim_state() - states[2]).max())]
    found["shapes"] = {name: [list(value.shape), str(value.dtype)] for name, value in first.items()}
    shown = simulator.regenerate_obs_from_state(states[2])
    found["turned"] = bool(np.array_equal(first["image/primary"], shown["agentview_image"][::-1, ::-1]))
    found["gripper"] = first["state"][6:].tolist()
    found["instruction"], found["task"], found["max_steps"] = env.instruction, env.task, env.max_steps
    env.step(np.array([1, 0, 0, 0, 0, 0, OPEN]))
    again = env.reset(5)
    found["repeats"] = all(np.array_equal(first[name], again[name]) for name in first)
    found["number"] = said(LiberoWorld(tasks=(10,)), "franka", "libero_spatial")
    found["action"] = said(env.step, np.zeros(8))
    env.close()
    return found


def main(out: Path) -> None:
    """All that the test asks about."""
    make = load_factory("train.worlds.libero:make")
    found = tables() | {
        "splits": list(LiberoWorld().splits),
        "split": said(check_splits, make, ["seen"], "train.worlds.libero:make"),
    }
    # LIBERO-PRO: another task in a file of the old name.
    env = LiberoWorld(tasks=(0,), size=64, waiting=0)("franka", "libero_goal_task")
    env.reset(0)
    found["pro"] = [env.instruction, env._suite.get_task(0).language]
    env.close()
    # A whole episode: the gripper closes and opens as our runs say it.
    policy = Scripted("alphabet_soup_1", "basket_1")
    done, _ = closed_loop(policy.act, policy.factory, "franka", "libero_object", range(1), execute=1)
    found["episode"] = [done.success, done.task, policy.envs[0].instruction]
    found["predictions"] = len(done.seconds)
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
