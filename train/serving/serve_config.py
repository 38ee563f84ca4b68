"""The flags of fasttok-serve. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fasttok.common.flags import OPTIONAL
from fasttok.common.maybe import Maybe
from train.judging.measurements import Decoding


@dataclass(frozen=True)
class ServeConfig:
    """Serves a run to robots over openpi's websocket protocol: openpi-client and fasttok.client can ask it for actions.

    Example: fasttok-serve --run RUN --embodiment planar --keys ours
    """

    run: Path
    """Folder of the run to serve, from `fasttok-train`."""
    host: str = "127.0.0.1"
    """Address at which the server listens. By default only programs on this machine can reach it.
    0.0.0.0 listens at all addresses of the machine; then set an API key."""
    port: int = 8000
    """Port at which the server listens. 0: the server takes a free port and prints it."""
    embodiment: Annotated[str, OPTIONAL] = ""
    """Robot (embodiment) that acts if a request names none. You need it if the run knows several."""
    keys: Annotated[str, tyro.conf.arg(metavar="ours|droid|droid_joint_velocity|libero|aloha|FILE.yaml")] = "ours"
    """Key map: the names under which a robot sends its images, its state and its instruction (docs/robot.md).
    ours: fasttok's own names; the other presets: those that openpi's example clients send; or a YAML file of your own."""
    prompt: Annotated[str, OPTIONAL] = ""
    """Instruction for requests without one. Use it with openpi's ALOHA clients, which send none."""
    batch: int = 4
    """Maximum number of requests, of different connections, that the server computes at once.
    It compiles a program for each size 1, 2, 4 ... Use 1 if you have one robot: the server is ready sooner."""
    decode: Annotated[tuple[Decoding, ...], OPTIONAL] = ()
    """Ways to act that a request can ask for. flow: with the action expert; tokens: with action tokens.
    The first one is used if a request asks for none. By default flow, or tokens if the run has no expert."""
    flow_steps: int = 10
    """Number of Euler steps from noise to actions: fewer are faster and coarser."""
    temperature: float = 0.0
    """Temperature of action tokens: 0 takes the likeliest tokens, 1 samples from what the model predicts."""
    real_time: bool = True
    """Also compile real-time chunking: a request can ask for a chunk that continues the last one (fasttok/executed).
    Use --no-real-time if no robot needs it: the server is ready sooner."""
    checkpoint: Maybe[int | Literal["best"]] = None
    """Which checkpoint to serve: a step, or best for the one that `fasttok-train --keep-best` kept. By default the newest."""
    api_key_file: Maybe[Path] = None
    """File with one line, the API key that clients must send.
    Without it, the key is in the variable FASTTOK_API_KEY. If that is not set either, clients need no key."""
    seed: int = 0
    """Seed of the noise that the predictions of each connection start from. A request can set another one.
    With the same seed, the same requests get the same chunks."""
    max_frame_mb: int = 64
    """Largest request that the server accepts, in MiB."""
