"""Asks a policy behind `fasttok-serve`, for worlds whose Python environment has no JAX: fasttok-evaluate --policy ws://HOST:PORT.

Episodes that run side by side ask at the same time, each over a connection of its own, so that the server computes their chunks
together. Each request contains the seed of its noise: its number among all requests of an evaluation. So the same episodes get
the same chunks, whatever else the server does. Imports no JAX.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.client import Client, ServerError, chunk_of
from fasttok.common import json_files
from fasttok.errors import InputError, unknown_name
from fasttok.packed_arrays import Packed
from train.judging.measurements import Decoding
from train.rollouts import Observation

SERVER, PROTOCOL = "fasttok", 1
API_KEY = "FASTTOK_API_KEY"  # environment variable
NAMES = ("state", "prompt")  # keys of a world's requests, besides "image/<slot>"
WAIT = 600.0  # seconds to wait for a server, which may still be compiling


@dataclass(frozen=True)
class ServedRun:
    """What an evaluation needs to know about a server's run.

    Attributes:
        run: name of the run.
        step: step of the checkpoint.
        horizons: steps of a chunk, by embodiment.
        decodes: ways in which the server can predict actions.
        keys: keys of a request.
    """

    run: str
    step: int
    horizons: dict[str, int]
    decodes: tuple[Decoding, ...]
    keys: tuple[str, ...]

    @classmethod
    def of(cls, client: Client) -> "ServedRun":
        """Reads the metadata of a connection.

        Raises:
            InputError: the server is not `fasttok-serve`, speaks another version of its protocol, or was started with other keys
                than worlds have.
        """
        said = client.metadata
        if said.get("server") != SERVER:
            raise InputError(
                f"{client.url} does not say that it is fasttok-serve, whose metadata has embodiments and horizons; it said "
                f"{', '.join(said) or 'nothing'}"
            )
        if said.get("protocol") != PROTOCOL:
            raise InputError(
                f"{client.url} speaks protocol {said.get('protocol')}, and this fasttok {PROTOCOL}; install the same version on "
                "both sides"
            )
        robots, keys = said.get("embodiments"), said.get("keys")
        horizons = robots if not isinstance(robots, dict) else {
            name: robot.get("horizon") if isinstance(robot, dict) else None for name, robot in robots.items()
        }  # fmt: skip
        facts = {
            "run": said.get("run"),
            "step": said.get("step"),
            "horizons": horizons,
            "decodes": said.get("decodes"),
            "keys": list(keys) if isinstance(keys, dict) else keys,
        }
        served = json_files.decode(cls, facts, f"{client.url}: metadata")
        if not served.decodes:
            raise InputError(f"{client.url} does not say how it can predict actions (decodes); expected flow or tokens")
        other = [key for key in served.keys if not key.startswith("image/") and key not in NAMES]
        if other:
            raise InputError(
                f"{client.url} takes requests with {', '.join(other)}, but a world tells image/<camera>, state and prompt; start "
                "the server with --keys ours"
            )
        return served


class ServedPolicy:
    """A server's run as a policy for the evaluation (`train.rollouts.ChunkPolicy`).

    Args:
        url: address of the server.
        api_key: API key that the server wants; None if it wants none.
        most: maximum number of connections; if there are more rows, some ask one after the other.
        wait: seconds to wait for a server that has not started yet.

    Attributes:
        served: what the server says about its run.

    Raises:
        ServerError: there is no server, or it refuses the key.
        InputError: the server is not a `fasttok-serve` that worlds can use.
    """

    def __init__(self, url: str, *, api_key: str | None = None, most: int = 20, wait: float = WAIT) -> None:
        self._url, self._api_key, self._wait = url, api_key, wait
        self._most = max(1, most)
        self._opened = ExitStack()
        self._clients: list[Client] = []
        self._last: list[NDArray[np.float32] | None] = []
        self._asked = 0
        self._threads = self._opened.enter_context(ThreadPoolExecutor(self._most, thread_name_prefix="served"))
        try:
            self._connections(1)
            self.served = ServedRun.of(self._clients[0])
        except BaseException:
            self.close()
            raise

    @property
    def embodiments(self) -> list[str]:
        """Embodiments that the run knows."""
        return list(self.served.horizons)

    @property
    def usual_decode(self) -> Decoding:
        """How the server predicts actions if nobody says how."""
        return self.served.decodes[0]

    def horizon(self, embodiment: str) -> int:
        """Returns the steps of an embodiment's chunk.

        Raises:
            InputError: the run does not know the embodiment.
        """
        if embodiment not in self.served.horizons:
            raise unknown_name("embodiment", embodiment, self.served.horizons)
        return self.served.horizons[embodiment]

    def act(
        self,
        embodiment: str,
        tasks: Sequence[str],
        observations: Sequence[Observation],
        decode: Decoding = "flow",
        *,
        prefix: Sequence[NDArray[Any]] | None = None,
        delay: int = 0,
        subtasks: Sequence[str] | None = None,
    ) -> NDArray[np.float32]:
        """Returns chunks (n, horizon, D) in raw units for n instructions and observations, like `train.player.Player.act`.

        Args:
            embodiment: embodiment that acts.
            tasks: n instructions.
            observations: n observations.
            decode: how actions are predicted; the server must be ready for it.
            prefix: n arrays (L, D): the remaining actions of chunks that this policy gave, from the moment of the observations.
                The server remembers the chunks, so each row asks over the connection that got its chunk.
            delay: how many steps of the prefixes will surely be executed.
            subtasks: n subtasks to act on; "" for none.

        Raises:
            ServerError: the server refuses, is gone, or gives chunks of another length.
            InputError: the server is not ready for `decode`, or a prefix is not the end of a chunk that this policy gave.
        """
        if decode not in self.served.decodes:
            raise InputError(
                f"--decode {decode}: the server is ready for {', '.join(self.served.decodes)}; start it with --decode {decode}"
            )
        horizon = self.horizon(embodiment)
        told = [""] * len(tasks) if subtasks is None else subtasks  # "" ends a subtask that the connection remembers
        requests: list[dict[str, Packed]] = [
            {
                **_request(task, seen),
                "fasttok/embodiment": embodiment,
                "fasttok/decode": decode,
                "fasttok/subtask": subtask,
            }
            for task, seen, subtask in zip(tasks, observations, told, strict=True)
        ]
        places = self._places(len(requests))
        if prefix is not None:
            places = self._found_again(prefix)
            for request, rest in zip(requests, prefix, strict=True):
                request |= {"fasttok/executed": horizon - len(rest), "fasttok/delay": delay}
        chunks = [chunk_of(reply) for reply in self._ask(places, requests)]
        for place, chunk in zip(places, chunks, strict=True):
            if len(chunk) != horizon:
                raise ServerError(f"{self._url} gave a chunk of {len(chunk)} steps; its metadata says {horizon}")
            self._last[place] = chunk
        return np.stack(chunks)

    def say(self, embodiment: str, tasks: Sequence[str], observations: Sequence[Observation]) -> list[str]:
        """Returns subtasks for n instructions and observations; "" if the run says none.

        Raises:
            ServerError: the run was not trained to say any, or the server is gone.
        """
        requests: list[dict[str, Packed]] = [
            {**_request(task, seen), "fasttok/embodiment": embodiment, "fasttok/subtask": "say"}
            for task, seen in zip(tasks, observations, strict=True)
        ]
        places = self._places(len(requests))
        replies = self._ask(places, requests)
        for place in places:  # the last chunk of this connection is now one that no episode executes
            self._last[place] = None
        return [str(reply.get("subtask", "")) for reply in replies]

    def close(self) -> None:
        """Ends all connections."""
        self._opened.close()

    def __enter__(self) -> "ServedPolicy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _places(self, rows: int) -> list[int]:
        """Returns the number of the connection over which each row asks."""
        self._connections(min(rows, self._most))
        return [row % len(self._clients) for row in range(rows)]

    def _connections(self, needed: int) -> None:
        """Opens connections until there are `needed` of them."""
        while len(self._clients) < needed:
            client = Client(self._url, api_key=self._api_key, wait=self._wait, timeout=self._wait)
            self._clients.append(self._opened.enter_context(client))
            self._last.append(None)

    def _found_again(self, prefix: Sequence[NDArray[Any]]) -> list[int]:
        """Returns for each prefix a connection of its own, whose last chunk ends with this prefix."""
        free = dict(enumerate(self._last))
        places = []
        for rest in prefix:
            place = next((p for p, last in free.items() if last is not None and _ends_with(last, rest)), None)
            if place is None:
                raise InputError(
                    "what is left of a chunk is not of one that the server gave; episodes side by side need --batch of them"
                )
            del free[place]
            places.append(place)
        return places

    def _ask(self, places: Sequence[int], requests: Sequence[dict[str, Packed]]) -> list[dict[str, Packed]]:
        """Returns the replies in the order of the requests; each request gets noise of its own."""
        seeds = range(self._asked, self._asked + len(requests))
        self._asked += len(requests)
        rows: list[list[tuple[int, dict[str, Packed]]]] = [[] for _ in self._clients]
        for row, (place, request, seed) in enumerate(zip(places, requests, seeds, strict=True)):
            rows[place].append((row, {**request, "fasttok/seed": seed}))

        def ask(place: int) -> list[tuple[int, dict[str, Packed]]]:
            return [(row, self._clients[place].infer(request)) for row, request in rows[place]]

        busy = [place for place, asked in enumerate(rows) if asked]
        replies = [pair for pairs in self._threads.map(ask, busy) for pair in pairs]
        return [reply for _, reply in sorted(replies, key=lambda pair: pair[0])]


def _request(task: str, seen: Observation) -> dict[str, Packed]:
    """Makes a request from an instruction and an observation of a world."""
    return {
        **{name: value if isinstance(value, bytes) else np.asarray(value) for name, value in seen.items()},
        "prompt": task,
    }


def _ends_with(chunk: NDArray[np.float32], rest: NDArray[Any]) -> bool:
    return len(rest) <= len(chunk) and np.array_equal(chunk[len(chunk) - len(rest) :], rest)
