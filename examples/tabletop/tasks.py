"""Tasks: their kinds, the sentences that ask for them, and when they are done.

    reach   the hand rests next to the named block
    push    the named block touches another named block
    place   the named block is in a corner, let go
    sort    the named block is beside the one that shares its colour (or its shape, as asked), let go, and nearest to that one

A scene to sort contains one block of the target's colour and another of its shape: `by colour` and `by shape` ask for different
things.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.world import BLOCK, HAND, Tables, World, norm
from fasttok.errors import unknown_name

KINDS = {"reach": 0.4, "push": 0.2, "place": 0.2, "sort": 0.2}  # shares of the demonstrations
PROPERTIES = ("colour", "shape")
PHRASES = {
    "reach": ("move next to the {target}", "go to the {target}", "reach the {target}"),
    "push": ("push the {target} to the {goal}", "slide the {target} against the {goal}"),
    "place": ("put the {target} in the {corner} corner", "move the {target} to the {corner} corner"),
    "sort": ("sort the {target} by {by}", "put the {target} with its {by}"),
}
HELD_OUT_PHRASES = {
    "reach": "go next to the {target}",
    "push": "slide the {target} to the {goal}",
    "place": "push the {target} in the {corner} corner",
    "sort": "sort the {target} with its {by}",
}
CORNERS = {
    "top left": (-0.13, 0.13),
    "top right": (0.13, 0.13),
    "bottom left": (-0.13, -0.13),
    "bottom right": (0.13, -0.13),
}

NEAR = BLOCK + HAND + 0.012  # the hand is next to a block
TOUCH = 2 * BLOCK + 0.012  # two blocks touch
IN_CORNER = 0.055
BEHIND = BLOCK + HAND + 0.012  # where the hand starts to push


def kinds_named(task: str) -> dict[str, float]:
    """Returns kinds of tasks and their shares: all kinds for "", else those that are named, such as "push" or "reach+push".

    Raises:
        InputError: there is no such kind.

    >>> kinds_named("reach+push")
    {'reach': 0.4, 'push': 0.2}
    """
    names = task.split("+") if task else list(KINDS)
    for name in names:
        if name not in KINDS:
            raise unknown_name("task", name, KINDS)
    return {name: share for name, share in KINDS.items() if name in names}


@dataclass(frozen=True)
class Task:
    """What the robot should do.

    Attributes:
        kind: one of `KINDS`.
        instruction: the task in words.
        target: number of the named block.
        goal: number of the block to bring it to; None except for `push` and `sort`.
        corner: name of the corner; "" except for `place`.
        by: "colour" or "shape"; "" except for `sort`.
    """

    kind: str
    instruction: str
    target: int
    goal: int | None = None
    corner: str = ""
    by: str = ""

    def satisfied(self, world: World) -> bool:
        """Returns whether the task is done in the current state of the world."""
        one = Asked(1)
        one.put(0, self)
        return bool(one.satisfied(world.tables.take(slice(world.row, world.row + 1)))[0])


class Asked:
    """The tasks of N tables as arrays, which are judged all at once.

    Attributes:
        kind: (N,) int64, index in `KINDS`.
        target: (N,) int64, number of the named block.
        goal: (N,) int64, number of the goal's block; the target's if the task has no such goal.
        corner: (N, 2) float64, position of the corner in metres.
    """

    def __init__(self, n: int) -> None:
        self.kind, self.target, self.goal = (np.zeros(n, np.int64) for _ in range(3))
        self.corner = np.zeros((n, 2))

    def put(self, row: int, task: Task) -> None:
        """Sets the task of table `row`."""
        self.kind[row], self.target[row] = list(KINDS).index(task.kind), task.target
        self.goal[row] = task.target if task.goal is None else task.goal
        self.corner[row] = CORNERS.get(task.corner, (0.0, 0.0))

    def satisfied(self, tables: Tables, rows: NDArray | slice = slice(None)) -> NDArray[np.bool_]:
        """Returns (n,) whether the tasks of `rows` are done in the current state of the n tables.

        A `reach` also needs the hand to rest, which `vector.VectorEnv` checks.
        """
        kind, target, goal = self.kind[rows], self.target[rows], self.goal[rows]
        all_of = np.arange(len(tables))
        to_hand = tables.distances
        reached = (to_hand[all_of, target] < NEAR) & (to_hand.argmin(1) == target)
        at = tables.positions[all_of, target]
        between = norm(tables.positions - at[:, None])
        touches = between[all_of, goal] < TOUCH
        between[all_of, target] = np.inf
        free = tables.held < 0
        sorted_ = free & touches & (between.argmin(1) == goal)
        placed = free & (norm(at - self.corner[rows]) < IN_CORNER)
        return np.choose(kind, [reached, touches, placed, sorted_])
