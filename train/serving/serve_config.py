"""The flags of fasttok-serve. Imports no JAX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from train.judging.measurements import Decoding


@dataclass(frozen=True)
class ServeConfig:
    """Serves a run to robots: openpi's websocket protocol, so that openpi-client and fasttok.client drive it.

    Example: fasttok-serve --run RUN --embodiment planar --keys ours
    """

    run: Path
    """Folder of `fasttok-train`."""
    host: str = "127.0.0.1"
    """Address to listen at: by default only this machine reaches it; 0.0.0.0 is all of them, and then set an API key."""
    port: int = 8000
    """Port to listen at; 0 takes a free one, which is printed."""
    embodiment: str = ""
    """Robot that acts if a request names none; needed if the run knows several."""
    keys: Annotated[str, tyro.conf.arg(metavar="ours|droid|droid_joint_velocity|libero|aloha|FILE.yaml")] = "ours"
    """Under which names a robot sends what it sees: a preset (ours, droid, droid_joint_velocity, libero, aloha), or a YAML file
    (docs/robot.md)."""
    prompt: str = ""
    """Instruction for requests without one. openpi's ALOHA clients send none."""
    batch: int = 4
    """Requests that are computed at once, of different connections; 1 for one robot. Each size 1, 2, 4 ... is compiled."""
    decode: tuple[Decoding, ...] = ()
    """Ways to act that requests can ask for, the usual one first; by default flow, or tokens for a run without an expert."""
    flow_steps: int = 10
    """Euler steps: fewer are faster and coarser."""
    temperature: float = 0.0
    """Temperature of action tokens: 0 takes the likeliest ones, 1 samples, as the flow does."""
    real_time: bool = True
    """Compile real-time chunking (fasttok/executed), too. Use --no-real-time if no robot needs it: the server is ready sooner."""
    checkpoint: int | Literal["best"] | None = None
    """Step of the checkpoint to serve, or best: the one that `fasttok-train --keep-best` kept; the newest by default."""
    api_key_file: Path | None = None
    """File with a line that clients must send; without it the variable FASTTOK_API_KEY, if that is set."""
    seed: int = 0
    """Seed of the noise of each connection, unless its requests name another: the same requests get the same chunks."""
    max_frame_mb: int = 64
    """Largest request in MiB."""
