"""Runs in an environment with vla-eval: its own runner judges a stand-in policy behind `train.worlds.vla_eval`.

python play_vla_eval.py CHECKOUT OUT.json
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np
from vla_eval import api
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.connection import Connection
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW
from websockets.sync.server import serve

from fasttok.packed_arrays import pack, unpack_map
from train.worlds.vla_eval import Bridge, HubConfig, model_server

ROBOT = {"horizon": 4, "action_encoding": ["delta", "delta", "gripper"]}
METADATA: Any = {
    "server": "fasttok", "protocol": 1, "version": "0", "run": "stand-in", "step": 3, "decodes": ["flow"],
    "embodiments": {"arm": ROBOT}, "keys": ["image/primary", "image/wrist", "state", "prompt"],
}  # fmt: skip
GOALS = {"go right": 0.6, "go left": -0.6}


class Table(StepBenchmark):
    """A benchmark of theirs: a point is to be brought to a goal, and the gripper to be closed there."""

    render_backends = frozenset({"cpu", "gpu"})

    @classmethod
    def configure_render(cls, mode):
        """Nothing is rendered."""
        return {}

    def __init__(self, send_wrist_image: bool = False, send_state: bool = False) -> None:
        super().__init__()
        self.shown = (send_wrist_image, send_state)
        self.x, self.goal, self.gripper = 0.0, 0.0, -1.0

    def get_tasks(self):
        """Two."""
        return [{"name": name, "suite": "points"} for name in GOALS]

    def reset(self, task):
        """The point starts in the middle, the gripper open."""
        self.x, self.goal, self.gripper = 0.0, GOALS[task["name"]], -1.0
        return {}

    def step(self, action):
        """Moves; succeeds where the gripper closes at the goal."""
        taken = np.asarray(action["actions"])
        assert taken.shape == (3,), taken
        self.x, self.gripper = self.x + float(taken[0]), float(taken[2])
        done = abs(self.x - self.goal) < 0.05 and self.gripper > 0.5
        return StepResult(obs={}, reward=float(done), done=done, info={})

    def make_obs(self, raw_obs, task):
        """One camera, and what was asked for."""
        seen: dict[str, Any] = {
            "images": {"agentview": np.full((8, 8, 3), 9, np.uint8)},
            "task_description": task["name"],
        }
        if self.shown[0]:
            seen["images"]["wrist"] = np.full((8, 8, 3), 200, np.uint8)
        if self.shown[1]:
            seen["states"] = np.array([self.x, 0.0])
        return seen

    def check_done(self, step_result):
        """With success."""
        return step_result.done

    def get_step_result(self, step_result):
        """Success."""
        return {"success": step_result.done}

    def get_metadata(self):
        """At most 20 steps."""
        return {"max_steps": 20}

    def get_action_spec(self):
        """Of no convention."""
        return {"actions": RAW}

    def get_observation_spec(self):
        """What `make_obs` gives."""
        return {"image": IMAGE_RGB, "state": RAW, "language": LANGUAGE}


class StandIn:
    """A policy's server of our protocol: it goes where it was asked to, and closes its gripper there."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0

    def __call__(self, ws) -> None:
        """One connection."""
        self.connections += 1
        ws.send(pack(METADATA))
        for frame in ws:
            request: Any = unpack_map(frame)
            self.requests.append({key: value for key, value in request.items() if not key.startswith("image/")})
            self.requests[-1]["images"] = {k: int(v.flat[0]) for k, v in request.items() if k.startswith("image/")}
            far = GOALS[request["prompt"]] - float(request["state"][0])
            opening = float(abs(far) > 0.05)
            chunk = np.tile(np.array([far / 2 * opening, 0, opening], np.float32), (4, 1))
            ws.send(pack({"actions": chunk}))


def judge(config: HubConfig, episodes: int) -> list[dict[str, Any]]:
    """Their runner, with our server in between."""
    with api.serve_background(model_server(Bridge(config))) as handle:
        asked = {
            "benchmarks": [{"benchmark": "play_vla_eval:Table", "episodes_per_task": episodes}],
            "output_dir": str(Path(sys.argv[2]).parent / "results"),
            "render": "cpu",
        }
        return api.run(asked, server_url=handle.url, no_save=True, docker=False)


async def refused(url: str) -> str:
    """What an observation without a known camera is answered with; then one that is good, on the same connection."""
    async with Connection(url) as conn:
        await conn.start_episode({"task": {"name": "go right"}})
        message = ""
        try:
            await conn.act({"images": {"front": np.zeros((8, 8, 3), np.uint8)}, "task_description": "go right"})
        except RuntimeError as error:
            message = str(error)
        good = {
            "images": {"agentview": np.zeros((8, 8, 3), np.uint8)},
            "task_description": "go right",
            "state": [0.0, 0.0],
        }
        assert (await conn.act(good))["actions"].shape == (3,)
        return message


def main(out: Path) -> None:
    """All that the test asks about."""
    import anyio

    policy = StandIn()
    with serve(policy, "127.0.0.1", 0, compression=None, max_size=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        results = judge(HubConfig(policy=url), episodes=2)
        seeds = [one["fasttok/seed"] for one in policy.requests if "fasttok/seed" in one]
        asked, connections = list(policy.requests), policy.connections
        policy.requests.clear()
        together = judge(HubConfig(policy=url, batch=4), episodes=1)
        with api.serve_background(model_server(Bridge(HubConfig(policy=url)))) as handle:
            message = anyio.run(refused, handle.url)
        server.shutdown()
    found = {
        "tasks": {task["task"]: task["mean_success"] for task in results[0]["tasks"]},
        "episodes": [episode["steps"] for task in results[0]["tasks"] for episode in task["episodes"]],
        "together": together[0]["mean_success"],
        "first": {key: np.asarray(value).tolist() for key, value in asked[0].items() if key != "images"},
        "images": asked[0]["images"],
        "requests": len(asked),
        "seeds": seeds,
        "connections": connections,
        "refused": message,
    }
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
