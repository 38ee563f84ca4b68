"""What one request asks for, what it gets, and what a policy is to the server. Imports no JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fasttok.packed_arrays import Packed
from train.judging.measurements import Decoding


@dataclass(frozen=True, eq=False)
class Ask:
    """One request, with what its connection adds to it.

    Attributes:
        embodiment: who acts.
        decode: how its actions are predicted.
        request: the robot's keys and values, as they came.
        seed: of the connection's noise.
        number: chunks that the connection got since its noise began: noise is drawn from seed and number alone.
        subtask: to act on; "" for none.
        says: whether the run says a subtask first, and acts on that.
        prefix: (L, D) float32 in raw units: what is left of the connection's last chunk, which is being executed; None: nothing.
        delay: how many steps of it will surely be executed.
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
        """Requests of one kind can be computed together."""
        return self.embodiment, self.decode, self.prefix is not None, self.says


@dataclass(frozen=True, eq=False)
class Answer:
    """What a request gets.

    Attributes:
        actions: (H, D) float32 in raw units.
        subtask: that they follow; "" for none.
    """

    actions: NDArray[np.float32]
    subtask: str = ""


class BatchPolicy(Protocol):
    """What acts behind the server: `train.serving.run_policy.RunPolicy`, or a stand-in.

    Attributes:
        embodiment: who acts where a request does not say.
        embodiments: all that it can be asked for.
        decodes: ways to act that it is ready for; the first is taken where a request does not say.
        most: requests that `act` takes at once.
    """

    embodiment: str
    embodiments: tuple[str, ...]
    decodes: tuple[Decoding, ...]
    most: int

    def prepare(self, ask: Ask) -> Any:
        """Checks a request, and makes what `act` takes of it. Several threads call it, while `act` computes.

        Raises:
            InputError: it cannot be acted on.
        """
        ...

    def act(self, asks: Sequence[Ask], ready: Sequence[Any]) -> Sequence[Answer | Exception]:
        """Answers 1 to `most` requests of one kind; one thread calls it.

        Args:
            asks: the requests.
            ready: what `prepare` made of each.

        Returns:
            For each an answer, or why there is none.
        """
        ...
