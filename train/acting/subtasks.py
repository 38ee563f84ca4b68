"""Policies that say a subtask, then act on it for some chunks, as pi0.5 does (arXiv 2504.16054, IV-A). Imports no JAX.

The policy factors pi(actions, subtask | seen, task) = pi(actions | seen, subtask) pi(subtask | seen, task); our prompts contain
the task, too. A policy may also act in real time: it says nothing, and continues the rest of its last chunk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from fasttok.errors import InputError

Seen = Mapping[str, NDArray[Any] | bytes]
"""What a robot sees: "image/<slot>" (h, w, 3) uint8, or the bytes of an encoded image, and "state" (S,) in raw units."""
Act = Callable[[list[str], list[Seen]], NDArray[Any]]
"""A policy: instructions and observations -> chunks (n, horizon, D) in raw units."""


@dataclass(frozen=True)
class SayThenAct:
    """A policy that says a subtask, then acts on it for some chunks.

    Attributes:
        say: instructions and observations -> subtasks.
        act: instructions, observations and subtasks -> chunks (n, horizon, D) in raw units.
        chunks: number of chunks for which a subtask is kept.

    Raises:
        InputError: `chunks` is less than 1.
    """

    say: Callable[[list[str], list[Seen]], list[str]]
    act: Callable[[list[str], list[Seen], list[str]], NDArray[Any]]
    chunks: int

    def __post_init__(self) -> None:
        if self.chunks < 1:
            raise InputError(f"a subtask is kept for {self.chunks} chunks; expected at least 1")


@dataclass(frozen=True)
class InRealTime:
    """A policy that acts while the last chunk is still being executed (`train.acting.rtc`).

    Attributes:
        act: instructions, observations, and the remaining actions (L, D) of the chunks being executed -> chunks (n, horizon, D)
            in raw units. A new chunk begins with the actions that are executed while it is computed. None instead of remaining
            actions: no chunk is being executed.
    """

    act: Callable[[list[str], list[Seen], list[NDArray[Any]] | None], NDArray[Any]]


@dataclass
class Conversation:
    """Several episodes side by side, and what a policy said in each.

    Attributes:
        policy: policy that acts, and may say a subtask first.
        said: subtasks of each episode, in order; [] if the policy says none.
        left: for each episode, the number of chunks for which its last subtask is still kept.
    """

    policy: Act | SayThenAct | InRealTime
    said: list[list[str]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, policy: Act | SayThenAct | InRealTime, episodes: int) -> "Conversation":
        """Returns a conversation for `episodes` that are about to begin."""
        speaks = episodes if isinstance(policy, SayThenAct) else 0
        return cls(policy, [[] for _ in range(speaks)], [0] * speaks)

    def act(
        self, rows: list[int], tasks: list[str], seen: list[Seen], left: list[NDArray[Any]] | None = None
    ) -> NDArray[Any]:
        """Returns the next chunks of some of the episodes.

        Args:
            rows: numbers of these n episodes.
            tasks: n instructions.
            seen: n observations.
            left: for a policy that acts in real time, the remaining actions of each episode's chunk; None before the first ones.

        Returns:
            (n, horizon, D) in raw units.
        """
        if isinstance(self.policy, InRealTime):
            return self.policy.act(tasks, seen, left)
        if not isinstance(self.policy, SayThenAct):
            return self.policy(tasks, seen)
        asking = [i for i, row in enumerate(rows) if not self.left[row]]
        if asking:
            answers = self.policy.say([tasks[i] for i in asking], [seen[i] for i in asking])
            for i, answer in zip(asking, answers, strict=True):
                self.said[rows[i]].append(answer)
                self.left[rows[i]] = self.policy.chunks
        for row in rows:
            self.left[row] -= 1
        return self.policy.act(tasks, seen, [self.said[row][-1] for row in rows])
