"""Runs in an environment: drive_server.py PORT SHAPE OUT. openpi-client, unmodified, drives a server of ours.

SHAPE says which keys the requests have: ours, droid, libero or aloha. Writes OUT/said.json and OUT/chunks.npz.
"""

import json
import sys
from pathlib import Path

import numpy as np
from openpi_client import action_chunk_broker, msgpack_numpy, websocket_client_policy
from openpi_client.runtime import environment, runtime
from openpi_client.runtime.agents import policy_agent

RNG = np.random.RandomState(0)  # its numbers are the same in all versions of numpy
REQUESTS = 3


def picture(*shape):
    return RNG.randint(0, 256, shape).astype(np.uint8)


def numbers(n):
    return RNG.uniform(-0.5, 0.5, n).astype(np.float32)


def request(shape):
    """What openpi's examples send; and what our own worlds do."""
    if shape == "droid":
        return {
            "observation/exterior_image_1_left": picture(224, 224, 3),
            "observation/wrist_image_left": picture(224, 224, 3),
            "observation/joint_position": numbers(7),
            "observation/gripper_position": np.array([0.25], np.float32),
            "prompt": "put the cup on the shelf",
        }
    if shape == "libero":
        return {
            "observation/image": picture(224, 224, 3),
            "observation/wrist_image": picture(224, 224, 3),
            "observation/state": numbers(8).astype(np.float64),
            "prompt": "open the top drawer",
        }
    if shape == "aloha":
        names = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
        return {
            "state": numbers(14),
            "images": {name: picture(3, 224, 224) for name in names},
            "prompt": "fold the towel",
        }
    return {
        "image/primary": picture(64, 64, 3),
        "image/wrist": picture(48, 64, 3),
        "state": numbers(7),
        "prompt": "push the red circle",
    }


class Still(environment.Environment):
    """A world in which nothing moves."""

    def __init__(self, seen, steps):
        self.seen, self.steps, self.applied = seen, steps, []

    def reset(self):
        pass

    def is_episode_complete(self):
        return len(self.applied) >= self.steps

    def get_observation(self):
        return self.seen

    def apply_action(self, action):
        self.applied.append(action["actions"])


def main(port: int, shape: str, out: Path) -> None:
    """Drives the server as openpi's examples do."""
    client = websocket_client_policy.WebsocketClientPolicy("127.0.0.1", port, api_key="secret")
    said = {"metadata": client.get_server_metadata()}
    robots = said["metadata"]["embodiments"]
    horizon = robots[said["metadata"]["embodiment"]]["horizon"]
    requests = [request(shape) for _ in range(REQUESTS)]
    replies = [client.infer(one) for one in requests]
    said["replies"] = [{key: type(value).__name__ for key, value in reply.items()} for reply in replies]
    said["timing"] = replies[0]["server_timing"]
    chunks = {f"chunk{i}": reply["actions"] for i, reply in enumerate(replies)}
    errors = []
    for wrong in ({}, {"prompt": "go"}, dict(requests[0], **{"fasttok/sed": 1})):
        try:
            client.infer(wrong)
        except RuntimeError as error:
            errors.append(str(error))
    said["errors"] = errors
    chunks["seeded"] = client.infer(dict(requests[0], **{"fasttok/seed": np.int64(5)}))["actions"]

    broker = action_chunk_broker.ActionChunkBroker(client, action_horizon=horizon)
    again = dict(requests[0], **{"fasttok/seed": 5})
    chunks["broken"] = np.stack([broker.infer(again)["actions"] for _ in range(2 * horizon)])

    other = websocket_client_policy.WebsocketClientPolicy(f"ws://127.0.0.1:{port}", api_key="secret")
    world = Still(again, horizon + 1)
    agent = policy_agent.PolicyAgent(policy=action_chunk_broker.ActionChunkBroker(other, action_horizon=horizon))
    runtime.Runtime(environment=world, agent=agent, subscribers=[], max_hz=0, num_episodes=1).run()
    chunks["applied"] = np.stack(world.applied)
    said["packed"] = [msgpack_numpy.packb(one).hex() for one in requests]
    np.savez(out / "chunks.npz", **chunks)
    (out / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
