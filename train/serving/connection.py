"""What the server remembers of a connection between its requests, and the optional keys of a request.

A request that gets no answer changes nothing of what the server remembers.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError, unknown_name
from fasttok.packed_arrays import Packed
from train.acting.sampling_numbers import LARGEST_SEED
from train.serving.asking import Answer, Ask, BatchPolicy

PREFIX = "fasttok/"
OPTIONS = {
    "fasttok/embodiment": "text: the robot that acts, if the run knows several",
    "fasttok/decode": "text: flow or tokens, of those that the server is ready for",
    "fasttok/seed": "integer: the noise of this connection begins anew, from this seed",
    "fasttok/executed": "integer: the observation was taken after so many actions of the connection's last chunk, which goes on",
    "fasttok/delay": "integer: so many more actions of it will be executed until the new chunk is there",
    "fasttok/subtask": 'text: acts on this subtask from now on; "say": on one that the run says now; "": on none',
}
"""Optional keys of a request that the server defines, and not the robot's key map -> what their values mean."""
SAY = "say"
MOST_TEXT = 1000  # characters of a text value


@dataclass(eq=False)
class ConnectionState:
    """What the server remembers of one connection.

    Attributes:
        seed: seed of the connection's noise.
        number: number of chunks that the connection got since its noise began.
        subtask: subtask that it acts on; "" for none.
        chunk: (H, D) its last chunk in raw units; None before the first.
        embodiment: embodiment of this last chunk.
    """

    seed: int = 0
    number: int = 0
    subtask: str = ""
    chunk: NDArray[np.float32] | None = None
    embodiment: str = ""

    def ask(self, message: Mapping[str, Packed], policy: BatchPolicy) -> Ask:
        """Reads what a message asks for.

        Args:
            message: keys and values of the robot, and any of `OPTIONS`.
            policy: policy behind the server.

        Raises:
            InputError: the message has an unknown "fasttok/" key or a wrong value of one, or there is no chunk to continue.
        """
        options = {key: value for key, value in message.items() if key.startswith(PREFIX)}
        for key in options:
            if key not in OPTIONS:
                raise unknown_name(
                    "key", key, OPTIONS, "Keys that begin with fasttok/ are the server's, not the robot's"
                )
        embodiment = _text(options, "fasttok/embodiment", policy.embodiment)
        if embodiment not in policy.embodiments:
            raise unknown_name("embodiment", embodiment, policy.embodiments)
        decode = _text(options, "fasttok/decode", policy.decodes[0])
        ways = {str(way): way for way in policy.decodes}
        if decode not in ways:
            raise unknown_name("decode", decode, ways, "fasttok-serve --decode says what the server is ready for")
        seed = _whole(options, "fasttok/seed", 0, LARGEST_SEED)
        subtask = _text(options, "fasttok/subtask", self.subtask)
        says = options.get("fasttok/subtask") == SAY
        prefix, delay = self._going_on(options, embodiment)
        return Ask(
            embodiment,
            ways[decode],
            {key: value for key, value in message.items() if not key.startswith(PREFIX)},
            self.seed if seed is None else seed,
            self.number if seed is None else 0,
            "" if says else subtask,
            says,
            prefix,
            delay,
        )

    def answered(self, ask: Ask, answer: Answer) -> None:
        """Remembers what the next request may need."""
        self.seed, self.number = ask.seed, ask.number + 1
        self.subtask, self.chunk, self.embodiment = answer.subtask, answer.actions, ask.embodiment

    def _going_on(self, options: Mapping[str, Packed], embodiment: str) -> tuple[NDArray[np.float32] | None, int]:
        """Returns the remaining actions of the last chunk, and how many of them will surely be executed."""
        if "fasttok/executed" not in options:
            if "fasttok/delay" in options:
                raise InputError(
                    "fasttok/delay without fasttok/executed; expected both, or none: the first says how many actions of the last "
                    "chunk had been executed when the observation was taken"
                )
            return None, 0
        if self.chunk is None:
            raise InputError(
                "fasttok/executed, but this connection has no chunk yet that could go on; leave it out of the first request"
            )
        if self.embodiment != embodiment:
            raise InputError(
                f"fasttok/executed, but the last chunk of this connection was {self.embodiment}'s, not {embodiment}'s; leave it "
                "out of the first request of another embodiment"
            )
        most = len(self.chunk)
        executed = _whole(options, "fasttok/executed", 0, most) or 0
        if executed == most:
            raise InputError(
                f"fasttok/executed is {executed}: nothing is left of a chunk of {most} actions that could go on; leave it out"
            )
        return self.chunk[executed:], _whole(options, "fasttok/delay", 0, most - executed) or 0


def _text(options: Mapping[str, Packed], key: str, otherwise: str) -> str:
    """Returns the text of a key, or `otherwise` if the key is missing.

    Raises:
        InputError: the value is not a text, or is too long.
    """
    value = options.get(key, otherwise)
    if not isinstance(value, str):
        raise InputError(f"{key} is a {type(value).__name__}; expected {OPTIONS[key]}")
    if len(value) > MOST_TEXT:
        raise InputError(f"{key} has {len(value):,} characters; expected at most {MOST_TEXT:,}. {OPTIONS[key]}")
    return value


def _whole(options: Mapping[str, Packed], key: str, least: int, most: int) -> int | None:
    """Returns the integer of a key; None if the key is missing.

    Raises:
        InputError: the value is not an integer, or is out of range.
    """
    if key not in options:
        return None
    value = options[key]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise InputError(f"{key} is a {type(value).__name__}; expected {OPTIONS[key]}")
    number = operator.index(value)
    if not least <= number <= most:
        raise InputError(f"{key} is {number}; expected {least} to {most}. {OPTIONS[key]}")
    return number
