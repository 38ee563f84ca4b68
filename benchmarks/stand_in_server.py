"""`python -m benchmarks.stand_in_server`: the policy server around a policy that computes nothing, until its input ends.

Prints its port. With --codec requests go through the JPEG round trip that a run's training images went through; with --bare
nothing of ours runs: a websocket takes each request and sends as many bytes as an answer has.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tyro
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection, serve

from fasttok.common.console import run
from fasttok.packed_arrays import pack
from train.acting.observations import images_of, state_of
from train.acting.robots import Robot
from train.batches import decode_image
from train.judging.measurements import Decoding
from train.rollouts import Observation
from train.serving.access import bound
from train.serving.asking import Answer, Ask
from train.serving.keys import KeyMap
from train.serving.server import PolicyServer, ServerOptions

SIZE, HORIZON, DIM = 224, 50, 7
ROBOT = Robot(
    dataset="none", embodiment="arm", control_hz=20, horizon=HORIZON, action_dim=DIM, action_encoding=("delta",) * DIM,
    action_names=tuple(f"joint {i}" for i in range(DIM)), state_dim=8, state_names=tuple(f"state {i}" for i in range(8)),
    cameras=("primary", "secondary", "wrist"), resize=None, encode=None, representation=None,
)  # fmt: skip


@dataclass(frozen=True)
class StandInConfig:
    """Serves a policy that computes nothing.

    Example: python -m benchmarks.stand_in_server --codec
    """

    codec: bool = False
    """Encode and decode images as a run does."""
    bare: bool = False
    """A websocket and nothing else."""
    most: int = 8
    """Requests that are answered together."""


def seen_by_a_run(seen: Observation) -> dict[str, NDArray[np.uint8]]:
    """The images as the model of a run gets them: `train.player.Player` does the same."""
    return {slot: decode_image(data, SIZE) for slot, data in images_of(seen, ROBOT).items()}


class StandInPolicy:
    """Checks requests as a run does, and answers without computing (`train.serving.asking.BatchPolicy`)."""

    embodiment = "arm"
    embodiments: tuple[str, ...] = ("arm",)
    decodes: tuple[Decoding, ...] = ("flow",)

    def __init__(self, most: int, codec: bool) -> None:
        self.most, self.codec = most, codec
        self.keys = KeyMap.load("ours")

    def prepare(self, ask: Ask) -> object:
        """The observation, checked; with the codec, its images as the model gets them."""
        seen, task = self.keys.observation(ask.request, ROBOT)
        return task, state_of(seen, ROBOT), seen_by_a_run(seen) if self.codec else None

    def act(self, asks: Sequence[Ask], ready: Sequence[object]) -> Sequence[Answer | Exception]:
        """Chunks full of the request's seed: so it can be seen whose answer one is."""
        return [Answer(np.full((HORIZON, DIM), ask.seed, np.float32)) for ask, _ in zip(asks, ready, strict=True)]


async def answer_bare(ws: ServerConnection) -> None:
    """Takes requests, and sends as many bytes as an answer has."""
    reply = pack({"actions": np.zeros((HORIZON, DIM), np.float32)})
    await ws.send(pack({}))
    async for _ in ws:
        await ws.send(reply)


async def main(config: StandInConfig) -> None:
    """Serves until the input ends."""
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    with bound("127.0.0.1", 0) as sock:
        if config.bare:
            async with serve(answer_bare, sock=sock, compression=None, max_size=None):
                sys.stdout.write(f"{sock.getsockname()[1]}\n")
                sys.stdout.flush()
                await ended
            return
        policy = StandInPolicy(config.most, config.codec)
        async with PolicyServer(policy, {"server": "fasttok"}, ServerOptions()).listening(sock) as server:
            sys.stdout.write(f"{server.port}\n")
            sys.stdout.flush()
            await ended


if __name__ == "__main__":
    sys.exit(run(lambda: asyncio.run(main(tyro.cli(StandInConfig, prog="python -m benchmarks.stand_in_server")))))
