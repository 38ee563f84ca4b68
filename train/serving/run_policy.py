"""A run behind the server, compiled for several batch sizes before anybody connects.

Requests are computed in the smallest batch size in which they fit, so that one robot alone does not wait for rows that nobody
asked for.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fasttok.common.console import progress
from fasttok.errors import InputError, unknown_name
from train.acting import rtc
from train.acting.rows import ActingRow
from train.judging.measurements import Decoding
from train.player import Player, check_restores, robot_dim
from train.serving.asking import Answer, Ask
from train.serving.keys import KeyMap


def batch_sizes(most: int) -> list[int]:
    """Returns the batch sizes to compile: 1, 2, 4 ..., and `most`.

    Raises:
        InputError: `most` is less than 1.

    >>> batch_sizes(6)
    [1, 2, 4, 6]
    """
    if most < 1:
        raise InputError(f"--batch is {most}; expected at least 1: how many robots are answered at once")
    return sorted({2**power for power in range(most.bit_length())} | {most})


def chosen_embodiment(player: Player, asked: str) -> str:
    """Returns the embodiment that acts if a request names none.

    Args:
        player: the run.
        asked: name that the user gave; "" for the only embodiment of the run.

    Raises:
        InputError: the run does not know this embodiment, or `asked` is "" and the run does not know exactly one.
    """
    known = player.embodiments
    if asked and asked not in known:
        raise unknown_name("embodiment", asked, known)
    if not asked and len(known) != 1:
        raise InputError(f"the run knows {', '.join(known) or 'no robots'}; say which one is served with --embodiment")
    return asked or known[0]


def chosen_decodes(player: Player, asked: Sequence[Decoding]) -> tuple[Decoding, ...]:
    """Returns the ways to act that the server gets ready for, the default first.

    Args:
        player: the run.
        asked: ways from the command line; if there are none: the run's usual one.

    Raises:
        InputError: the run was not trained for one of these ways.
    """
    ways = tuple(dict.fromkeys(asked)) or (player.usual_decode,)
    for way in ways:
        player.check_decode(way)
    return ways


class RunPolicy:
    """A loaded run behind the server (`train.serving.asking.BatchPolicy`).

    Args:
        player: the run.
        keys: key map that turns a request into an observation.
        embodiment: embodiment that acts if a request names none.
        decodes: ways to act to get ready for, the default first.
        most: maximum number of requests that are computed at once.
        real_time: whether to get ready also for chunks that continue the last one, if the run can make them.
    """

    def __init__(
        self,
        player: Player,
        keys: KeyMap,
        embodiment: str,
        decodes: tuple[Decoding, ...],
        most: int,
        real_time: bool,
    ) -> None:
        check_restores(player.robot(embodiment))
        self.player, self.keys = player, keys
        self.embodiment, self.embodiments, self.decodes = embodiment, tuple(player.embodiments), decodes
        self.real_time = real_time and "flow" in decodes and rtc.supported(player.config)
        self.asked_real_time = real_time
        self.most = most
        self.players = {size: dataclasses.replace(player, batch=size) for size in batch_sizes(most)}
        self.robots = {name: player.robot(name) for name in self.embodiments}

    def prepare(self, ask: Ask) -> ActingRow:
        """Checks everything about a request, and decodes its images.

        Raises:
            InputError: the run cannot act on the request.
        """
        if ask.prefix is not None and not self.asked_real_time:
            raise InputError("fasttok/executed, but the server was started with --no-real-time; leave it out")
        if ask.says:
            self.player.check_says()
            self.player.check_follows()
        seen, task = self.keys.observation(ask.request, self.robots[ask.embodiment])
        row = self.player.row(ask.embodiment, task, seen, ask.decode, ask.prefix, ask.delay, ask.subtask)
        if ask.says:
            self.player.check_room(row, "Subtask")
        return row

    def act(self, asks: Sequence[Ask], ready: Sequence[ActingRow]) -> list[Answer | Exception]:
        """Returns chunks for requests of one kind; if a chunk has numbers that are not finite, an error instead."""
        player = next(player for size, player in self.players.items() if size >= len(ready))
        said, rows = [ask.subtask for ask in asks], ready
        if asks[0].says:
            said = player.say_rows(ready)
            rows = [dataclasses.replace(row, subtask=text) for row, text in zip(ready, said, strict=True)]
        player.warn_without_subtask(ready[0].robot.embodiment, said)
        rngs = [np.random.default_rng((ask.seed, ask.number)) for ask in asks]
        chunks = player.act_rows(rows, asks[0].decode, rngs)
        return [_answer(chunk, text) for chunk, text in zip(chunks, said, strict=True)]

    def warm(self) -> None:
        """Compiles everything that a request may need, and shows its progress."""
        programs = self._programs()
        with progress("compiling", len(programs), "programs", lines=True) as advance:
            for name, compute in programs:
                began = time.monotonic()
                compute()
                advance(1, note=f"{name}: {time.monotonic() - began:.1f} s")

    def _programs(self) -> list[tuple[str, Callable[[], object]]]:
        """Lists the programs to compile: each with its name, and a function that computes it once."""
        return [
            (f"{name}, batch of {size}", partial(compute, player))
            for name, compute in self._ways()
            for size, player in self.players.items()
        ]

    def _ways(self) -> list[tuple[str, Callable[[Player], object]]]:
        """Lists the ways to act, each with a function that acts once; each way is compiled for each batch size."""
        ways: list[tuple[str, Callable[[Player], object]]] = []
        row = self._blank(self.embodiment)
        if "flow" in self.decodes:
            ways.append(("flow", partial(_act, row, "flow")))
        if "tokens" in self.decodes:  # the maximum number of tokens depends on the robot
            ways += [
                (f"tokens of {name}", partial(_act, self._blank(name), "tokens")) for name in self.embodiments
            ]  # fmt: skip
        if self.real_time:
            robot = self.robots[self.embodiment]
            going = dataclasses.replace(row, prefix=np.zeros((robot.horizon, robot_dim(robot)), np.float32))
            ways.append(("real-time chunks", partial(_act, going, "flow")))
        if self.player.says:
            ways.append(("subtasks", partial(_say, row)))
        return ways

    def _blank(self, embodiment: str) -> ActingRow:
        """Returns a row of zeros."""
        robot, size = self.robots[embodiment], self.player.config.image_size
        images = {slot: np.zeros((size, size, 3), np.uint8) for slot in robot.cameras}
        return ActingRow(robot, "", np.zeros(robot.state_dim, np.float32), images)


def _act(row: ActingRow, decode: Decoding, player: Player) -> object:
    return player.act_rows([row], decode, [np.random.default_rng(0)])


def _say(row: ActingRow, player: Player) -> object:
    return player.say_rows([row])


def _answer(chunk: NDArray[np.float32], subtask: str) -> Answer | Exception:
    """Returns a chunk as an answer, or an error if a robot should not get it."""
    if not np.isfinite(chunk).all():
        return InputError(
            "the run's chunk contains numbers that are not finite, so there is none; look at what it was trained on"
        )
    return Answer(np.ascontiguousarray(chunk, np.float32), subtask)
