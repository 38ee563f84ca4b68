"""Serves a run to the benchmarks of vla-eval 0.8.0 (github.com/allenai/vla-evaluation-harness), as one of its model servers.

    fasttok-serve --run RUN --port 8000
    python -m train.worlds.vla_eval --policy ws://127.0.0.1:8000 --port 8001       # where vla-eval is installed
    vla-eval run --config libero.yaml --server-url ws://127.0.0.1:8001             # its own command

This program connects the two: vla-eval (the hub) sees a model server, and `fasttok-serve` sees a client. The client has one
connection per session, so that `fasttok-serve` computes waiting requests together. This program needs vla-eval and the light
install with the extra `client`, but no JAX.

It reads `images` (name -> (h, w, 3) uint8), `states` or `state`, and `task_description` from the hub's observations. Benchmarks
differ in the form of a gripper's values, so the program converts the gripper columns of our actions (1 open, 0 closed) to the
form that --gripper names.
"""

import asyncio
import json
import os
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from fasttok.client import Client
from fasttok.common.console import log
from fasttok.common.flags import OPTIONAL
from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.common.start import start
from fasttok.errors import InputError, unknown_name
from fasttok.packed_arrays import Packed
from train.judging.served_policy import API_KEY, WAIT, ServedRun

PACKAGE = "vla-eval==0.8.0"
GripperForm = Literal["close_positive", "open_positive", "closing", "opening"]
GRIPPERS: dict[GripperForm, tuple[float, float]] = {
    "close_positive": (1, -2),
    "open_positive": (-1, 2),
    "closing": (1, -1),
    "opening": (0, 1),
}
"""Form -> the two numbers that turn an opening x in [0, 1] into it: first + second * x."""


@dataclass(frozen=True)
class HubConfig:
    """Serves a run to vla-eval: its benchmarks ask this server, and this server asks `fasttok-serve`.

    Example: python -m train.worlds.vla_eval --policy ws://127.0.0.1:8000 --port 8001
    """

    policy: str
    """Address of `fasttok-serve --keys ours`, ws://HOST:PORT. The API key, if it wants one, is read from the variable
    FASTTOK_API_KEY."""
    host: str = "127.0.0.1"
    """Where it listens; 0.0.0.0 for benchmarks in containers or on other machines."""
    port: int = 8001
    """Port that vla-eval connects to; 0 takes a free one."""
    embodiment: Annotated[str, OPTIONAL] = ""
    """Whose actions are asked for; needed if the run knows several."""
    cameras: dict[str, str] = field(default_factory=lambda: {"agentview": "primary", "wrist": "wrist"})
    """The benchmark's name of a camera, and its slot; these are LIBERO's."""
    gripper: GripperForm = "close_positive"
    """What the benchmark takes: close_positive and open_positive are in [-1, 1], closing and opening in [0, 1]."""
    gripper_columns: Annotated[tuple[int, ...], OPTIONAL] = ()
    """Which columns of an action are grippers, from 0, or -1 for the last; for runs that learned another form of their actions,
    whose server does not say."""
    execute: float = 0.5
    """Share of each predicted chunk that is executed before the next prediction."""
    ask: tuple[str, ...] = ("send_wrist_image", "send_state", "quat_no_antipodal")
    """Settings of the benchmark that are switched on; those that it does not have are skipped. The third one gives LIBERO's state
    the rotation vectors that the published sets were recorded with."""
    batch: int = 1
    """Sessions that are answered together; as many as benchmarks run side by side."""


class Bridge:
    """Answers the hub's observations with chunks of a policy's server.

    Args:
        config: flags of the command: what to ask, and in which form to answer.
        connect: opens a connection to the policy's server; by default as `config` says.

    Attributes:
        config: flags of the command.
        embodiment: embodiment that acts.
        steps: number of steps of each chunk that are executed.

    Raises:
        InputError: the server cannot be used, or does not know the embodiment.
    """

    def __init__(self, config: HubConfig, connect: Callable[[], Client] | None = None) -> None:
        self.config = config
        for slot in config.cameras.values():
            if slot not in CAMERA_SLOTS:
                raise unknown_name("camera slot of --cameras", slot, CAMERA_SLOTS)
            if list(config.cameras.values()).count(slot) > 1:
                named = ", ".join(name for name, other in config.cameras.items() if other == slot)
                raise InputError(f"--cameras gives slot {slot} to {named}; expected one camera for each slot")
        if not 0 < config.execute <= 1 or config.batch < 1:
            raise InputError(
                f"--execute is {config.execute} and --batch {config.batch}; expected a share above 0, and 1 or more"
            )
        self._connect = connect or (lambda: Client(config.policy, api_key=os.environ.get(API_KEY) or None, wait=WAIT))
        with self._connect() as first:
            served = ServedRun.of(first)
            robots = first.metadata.get("embodiments")
        if not config.embodiment and len(served.horizons) != 1:
            raise InputError(f"{config.policy} knows {', '.join(served.horizons)}; say which one acts: --embodiment")
        self.embodiment = config.embodiment or next(iter(served.horizons))
        if self.embodiment not in served.horizons:
            raise unknown_name("embodiment", self.embodiment, served.horizons)
        self.steps = max(1, round(config.execute * served.horizons[self.embodiment]))
        robot = robots.get(self.embodiment) if isinstance(robots, Mapping) else None
        encoding = robot.get("action_encoding") if isinstance(robot, Mapping) else None
        if not encoding and not config.gripper_columns and config.gripper != "opening":
            raise InputError(
                f"{config.policy} does not say which columns of {self.embodiment} are grippers, and the benchmark is to get "
                f"{config.gripper}; name them, such as --gripper-columns -1, or pass --gripper opening to change none"
            )
        said = encoding if isinstance(encoding, Sequence) else ()
        width = robot.get("action_dim") if isinstance(robot, Mapping) else None
        for column in config.gripper_columns:
            if isinstance(width, int) and not -width <= column < width:
                raise InputError(
                    f"--gripper-columns has {column}; {self.embodiment} has {width} columns, expected 0 to {width - 1}, or -1 "
                    "for the last"
                )
        self._grippers = list(config.gripper_columns) or [i for i, kind in enumerate(said) if kind == "gripper"]
        self._clients: dict[str, Client] = {}
        self._seeds: dict[str, int] = {}
        self._lock = threading.Lock()

    def begin(self, session: str, task: object) -> None:
        """Begins an episode; its noise depends only on what the hub says about it, such as its task and number.

        Args:
            session: id of the hub's session.
            task: what the hub says about the episode.
        """
        with self._lock:
            self._seeds[session] = zlib.crc32(json.dumps(task, sort_keys=True, default=str).encode())

    def end(self, session: str) -> None:
        """Ends an episode, and closes its connection."""
        with self._lock:
            self._seeds.pop(session, None)
            client = self._clients.pop(session, None)
        if client is not None:
            client.close()

    def answer(self, seen: Mapping[str, Packed], session: str) -> NDArray[np.float32]:
        """Returns the next chunk of a session, (H, D), with actions as the benchmark takes them.

        Raises:
            InputError: the observation has no known camera or no instruction, or the server refuses it.
        """
        request = self.request(seen)
        with self._lock:
            client, seed = self._clients.get(session), self._seeds.pop(session, None)
        if client is None:
            client = self._connect()
            with self._lock:
                self._clients[session] = client
        request["fasttok/embodiment"] = self.embodiment
        if seed is not None:
            request["fasttok/seed"] = seed
        chunk = client.act(request)
        first, second = GRIPPERS[self.config.gripper]
        chunk[:, self._grippers] = first + second * chunk[:, self._grippers]
        return chunk

    def answer_all(self, seen: Sequence[Mapping[str, Packed]], sessions: Sequence[str]) -> list[NDArray[np.float32]]:
        """Answers several sessions at the same time, each as `answer` does."""
        with ThreadPoolExecutor(max(1, len(sessions))) as threads:
            return list(threads.map(self.answer, seen, sessions))

    def request(self, seen: Mapping[str, Packed]) -> dict[str, Packed]:
        """Turns an observation of the hub into a request with our names.

        Args:
            seen: "images", "task_description", and "states" or "state".

        Raises:
            InputError: the observation has no known camera or no instruction.
        """
        images, prompt = seen.get("images"), seen.get("task_description")
        named = images if isinstance(images, Mapping) else {}
        known = {name: slot for name, slot in self.config.cameras.items() if name in named}
        if self.config.cameras and not known:
            raise InputError(
                f"the observation has the images {', '.join(map(str, named)) or 'none'}; expected one of "
                f"{', '.join(self.config.cameras)}. Name those of this benchmark: --cameras NAME SLOT"
            )
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError("the observation has no task_description; expected the instruction")
        request: dict[str, Packed] = {f"image/{slot}": np.asarray(named[name]) for name, slot in known.items()}
        state = seen.get("states", seen.get("state"))
        if state is not None:
            request["state"] = np.asarray(state, np.float32).reshape(-1)
        return request | {"prompt": prompt}


def model_server(bridge: Bridge) -> Any:
    """Returns a model server of vla-eval (a `PredictModelServer`) that answers with a bridge.

    Args:
        bridge: bridge to the policy's server.

    Raises:
        InputError: vla-eval is not installed.
    """
    try:
        from vla_eval.model_servers.predict import PredictModelServer
        from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW
    except ModuleNotFoundError as error:
        raise InputError(
            f"this needs the package vla-eval ({error}); it gets an environment of its own: pip install '{PACKAGE}' "
            "'fasttok-vla[client]'"
        ) from None

    async def on_episode_start(server: Any, config: Any, context: Any) -> None:
        bridge.begin(context.session_id, config.get("task"))
        await PredictModelServer.on_episode_start(server, config, context)

    async def on_episode_end(server: Any, result: Any, context: Any) -> None:
        await asyncio.to_thread(bridge.end, context.session_id)
        await PredictModelServer.on_episode_end(server, result, context)

    def predict(_: Any, seen: Any, context: Any) -> Any:
        return {"actions": bridge.answer(seen, context.session_id)}

    def predict_batch(_: Any, seen: Any, contexts: Any) -> Any:
        return [{"actions": chunk} for chunk in bridge.answer_all(seen, [one.session_id for one in contexts])]

    members = {
        "on_episode_start": on_episode_start,
        "on_episode_end": on_episode_end,
        "predict": predict,
        "predict_batch": predict_batch,
        "get_observation_params": lambda _: dict.fromkeys(bridge.config.ask, True),
        "get_action_spec": lambda _: {"actions": RAW},
        "get_observation_spec": lambda _: {"image": IMAGE_RGB, "state": RAW, "language": LANGUAGE},
    }
    kind = type("FasttokModelServer", (PredictModelServer,), members)
    return kind(chunk_size=bridge.steps, max_batch_size=bridge.config.batch)


def main(config: HubConfig) -> None:
    """Serves until it is interrupted.

    Raises:
        InputError: the policy's server cannot be used, or vla-eval is not installed.
    """
    bridge = Bridge(config)
    server = model_server(bridge)
    from vla_eval.model_servers.serve import serve

    log(f"{bridge.embodiment} of {config.policy} for vla-eval: --server-url ws://{config.host}:{config.port}")
    serve(server, config.host, config.port)


def command(argv: list[str]) -> None:
    """Runs the command with the words of a command line."""
    main(tyro.cli(HubConfig, prog="python -m train.worlds.vla_eval", args=argv))


if __name__ == "__main__":
    start("train.worlds.vla_eval", "train.worlds.vla_eval", "command")
