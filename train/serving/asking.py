"""The interface between the server and a policy: requests, answers, and the methods of a policy. Imports no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fasttok.packed_arrays import Packed
from train.judging.measurements import Decoding


@dataclass(frozen=True, eq=False)
class Ask:
    """One request, with what the server remembers of its connection.

    Attributes:
        embodiment: embodiment that acts.
        decode: how actions are predicted.
        request: the robot's keys and values, as they came.
        seed: seed of the connection's noise.
        number: number of chunks that the connection got since its noise began; the noise depends only on seed and number.
        subtask: subtask to act on; "" for none.
        says: whether the run first says a subtask, and then acts on it.
        prefix: (L, D) float32 in raw units: remaining actions of the connection's last chunk, which is being executed; None if
            the request does not continue a chunk.
        delay: how many steps of `prefix` will surely be executed.
    """

    embodiment: str
    decode: Decoding
    request: Mapping[str, Packed]
    seed: int = 0
    number: int = 0
    subtask: str = ""
    says: bool = False
    prefix: NDArray[np.float32] | None = None
    delay: int = 0

    @property
    def kind(self) -> tuple[str, Decoding, bool, bool]:
        """The kind of the request; requests of one kind can be computed together."""
        return self.embodiment, self.decode, self.prefix is not None, self.says


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer to a request.

    Attributes:
        actions: (H, D) float32 in raw units.
        subtask: subtask that the actions follow; "" for none.
    """

    actions: NDArray[np.float32]
    subtask: str = ""


class BatchPolicy(Protocol):
    """A policy behind the server: `train.serving.run_policy.RunPolicy`, or a stand-in.

    Attributes:
        embodiment: embodiment that acts if a request names none.
        embodiments: all embodiments that a request can ask for.
        decodes: ways to act that the policy is ready for; the first is used if a request does not say.
        most: maximum number of requests that `act` takes at once.
    """

    embodiment: str
    embodiments: tuple[str, ...]
    decodes: tuple[Decoding, ...]
    most: int

    def prepare(self, ask: Ask) -> Any:
        """Checks a request and prepares it for `act`. Several threads call this, also while `act` computes.

        Raises:
            InputError: the policy cannot act on the request.
        """
        ...

    def act(self, asks: Sequence[Ask], ready: Sequence[Any]) -> Sequence[Answer | Exception]:
        """Answers 1 to `most` requests of one kind. Only one thread calls this.

        Args:
            asks: the requests.
            ready: result of `prepare` for each request.

        Returns:
            For each request an answer, or the error that says why there is none.
        """
        ...
