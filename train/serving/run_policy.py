"""A run as the server asks it: several sizes of batches, each compiled before anybody connects.

A request is computed in the smallest batch that fits it and those beside it, so that one robot alone does not wait for rows that
nobody asked for.
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
from train.player import Player, robot_dim
from train.serving.asking import Answer, Ask
from train.serving.keys import KeyMap


def batch_sizes(most: int) -> list[int]:
    """Sizes that are compiled: 1, 2, 4 ..., and the largest.

    Raises:
        InputError: the largest is less than 1.

    >>> batch_sizes(6)
    [1, 2, 4, 6]
    """
    if most < 1:
        raise InputError(f"--batch is {most}; expected at least 1: how many robots are answered at once")
    return sorted({2**power for power in range(most.bit_length())} | {most})


def chosen_embodiment(player: Player, asked: str) -> str:
    """Who acts where a request does not say.

    Args:
        player: the run.
        asked: its name, "" if the run knows only one.

    Raises:
        InputError: the run does not know it, or knows several.
    """
    known = player.embodiments
    if asked and asked not in known:
        raise unknown_name("embodiment", asked, known)
    if not asked and len(known) != 1:
        raise InputError(f"the run knows {', '.join(known) or 'no robots'}; say which one is served with --embodiment")
    return asked or known[0]


def chosen_decodes(player: Player, asked: Sequence[Decoding]) -> tuple[Decoding, ...]:
    """Ways to act that the server gets ready for, the usual one first.

    Args:
        player: the run.
        asked: of the command; none: flow where the run has it, else tokens.

    Raises:
        InputError: the run was not trained for one of them.
    """
    usual: Decoding = "flow" if player.config.flow else "tokens"
    ways = tuple(dict.fromkeys(asked)) or (usual,)
    for way in ways:
        player.check_decode(way)
    return ways


class RunPolicy:
    """A loaded run behind the server (`train.serving.asking.BatchPolicy`).

    Args:
        player: the run.
        keys: how a request's keys become an observation.
        embodiment: who acts where a request does not say.
        decodes: ways to act to get ready for, the usual one first.
        most: requests that are computed at once.
        real_time: whether to get ready for chunks that go on with the last one, too, if the run can make them.
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
            InputError: it cannot be acted on.
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
        """Chunks of requests of one kind; one whose chunk contains numbers that are not finite gets none."""
        player = next(player for size, player in self.players.items() if size >= len(ready))
        said, rows = [ask.subtask for ask in asks], ready
        if asks[0].says:
            said = player.say_rows(ready)
            rows = [dataclasses.replace(row, subtask=text) for row, text in zip(ready, said, strict=True)]
        rngs = [np.random.default_rng((ask.seed, ask.number)) for ask in asks]
        chunks = player.act_rows(rows, asks[0].decode, rngs)
        return [_answer(chunk, text) for chunk, text in zip(chunks, said, strict=True)]

    def warm(self) -> None:
        """Compiles everything that a request may need, and says so as it goes."""
        programs = self._programs()
        with progress("compiling", len(programs), "programs", lines=True) as advance:
            for name, compute in programs:
                began = time.monotonic()
                compute()
                advance(1, note=f"{name}: {time.monotonic() - began:.1f} s")

    def _programs(self) -> list[tuple[str, Callable[[], object]]]:
        """What is compiled: its name, and what computes it once."""
        return [
            (f"{name}, batch of {size}", partial(compute, player))
            for name, compute in self._ways()
            for size, player in self.players.items()
        ]

    def _ways(self) -> list[tuple[str, Callable[[Player], object]]]:
        """Each way to act; a way is compiled for each size."""
        ways: list[tuple[str, Callable[[Player], object]]] = []
        row = self._blank(self.embodiment)
        if "flow" in self.decodes:
            ways.append(("flow", partial(_act, row, "flow")))
        if "tokens" in self.decodes:  # how many tokens there is room for depends on the robot
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
        """A row of zeros."""
        robot, size = self.robots[embodiment], self.player.config.image_size
        images = {slot: np.zeros((size, size, 3), np.uint8) for slot in robot.cameras}
        return ActingRow(robot, "", np.zeros(robot.state_dim, np.float32), images)


def _act(row: ActingRow, decode: Decoding, player: Player) -> object:
    return player.act_rows([row], decode, [np.random.default_rng(0)])


def _say(row: ActingRow, player: Player) -> object:
    return player.say_rows([row])


def _answer(chunk: NDArray[np.float32], subtask: str) -> Answer | Exception:
    """A chunk, unless a robot should not get it."""
    if not np.isfinite(chunk).all():
        return InputError(
            "the run's chunk contains numbers that are not finite, so there is none; look at what it was trained on"
        )
    return Answer(np.ascontiguousarray(chunk, np.float32), subtask)
