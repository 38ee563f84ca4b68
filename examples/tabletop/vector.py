"""N robots at N tables, stepped together: the environment itself. `env.Env` is one with N = 1, so there is one physics.

Pictures are drawn only when somebody looks at them (`Seen`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.embodiments import EMBODIMENTS, Embodiment
from examples.tabletop.players import POLICIES
from examples.tabletop.render import CAMERAS
from examples.tabletop.scenes import Split, sample, split_named
from examples.tabletop.tasks import KINDS, NEAR, Asked, Task, kinds_named
from examples.tabletop.world import Tables, World, norm
from fasttok.errors import InputError, unknown_name

SECONDS = 8.0  # of an episode, at most
HOLD_SECONDS = 0.3  # a task counts as done when it has been for so long: passing by is not enough
REST = 0.02  # a hand that stays within this many metres of a spot rests there
MOVED = 0.02  # a block that moved this far was meant
REACH = list(KINDS).index("reach")


class Seen(Mapping[str, NDArray]):
    """What robots see and feel at one moment: {"image/<slot>": (N, 64, 64, 3) uint8 per camera, "state": (N, S) float32}.

    Drawn when first asked for, of a copy of the tables as they were then.
    """

    def __init__(self, tables: Tables, robot: Embodiment) -> None:
        self._tables, self._robot = tables.take(slice(None)), robot
        self._made: dict[str, NDArray] = {}

    def __getitem__(self, name: str) -> NDArray:
        if name not in self._made:
            if name not in list(self):
                raise KeyError(name)
            of_tables = self._robot.state if name == "state" else CAMERAS[name.removeprefix("image/")]
            self._made[name] = of_tables(self._tables)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        yield from (f"image/{slot}" for slot in self._robot.cameras)
        yield "state"

    def __len__(self) -> int:
        return len(self._robot.cameras) + 1

    def row(self, row: int) -> "SeenByOne":
        """What the robot at one table sees: "image/<slot>" (64, 64, 3) uint8, "state" (S,) float32."""
        return SeenByOne(self, row)


class SeenByOne(Mapping[str, NDArray]):
    """One robot's part of what all see; drawn for all at once when one asks."""

    def __init__(self, seen: Seen, row: int) -> None:
        self._seen, self._row = seen, row

    def __getitem__(self, name: str) -> NDArray:
        return self._seen[name][self._row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)


class VectorEnv:
    """N robots of one embodiment, each at a table of its own. The same seed gives the same scene, task and pictures at any place.

    Attributes:
        embodiment: name. control_hz: steps per second. action_dim: D. max_steps: of an episode.
        tables: the states. tasks: what is asked of each; of the current episodes.
    """

    def __init__(self, embodiment: Embodiment, split: Split, n: int, task: str = "") -> None:
        self.robot, self.split, self.kind = embodiment, split, task
        self.embodiment = embodiment.name
        self.control_hz = embodiment.control_hz
        self.action_dim = embodiment.action_dim
        self.max_steps = round(SECONDS * embodiment.control_hz)
        self.tables = Tables(n)
        self.tasks: list[Task] = [Task("reach", "", 0)] * n
        self._asked = Asked(n)
        self._start = self.tables.positions.copy()
        self._spot, self._beside = np.zeros((n, 2)), np.zeros(n, np.int64)
        self._rested, self._held_for, self._steps, self._nearest = (np.zeros(n, np.int64) for _ in range(4))
        self._touched = np.full(n, -1)
        self._seeds = [0] * n
        self._playing: dict[tuple[str, int], Iterator[NDArray]] = {}

    def __len__(self) -> int:
        return len(self.tables)

    def reset(self, seeds: Sequence[int], rows: Sequence[int] | None = None) -> Seen:
        """New episodes on all tables, or on `rows` alone; returns what all robots see.

        Raises:
            InputError: not a seed for each of these tables.
        """
        rows = list(range(len(self)) if rows is None else rows)
        if len(seeds) != len(rows):
            raise InputError(f"reset got {len(seeds)} seeds for {len(rows)} tables; give one each")
        for row, seed in zip(rows, seeds, strict=True):
            world, self.tasks[row] = sample(np.random.default_rng(seed), self.split, self.kind)
            self.tables.put(row, world.blocks, world.positions, world.hand)
            self.tables.height[row] = self.robot.cruise
            self._asked.put(row, self.tasks[row])
            self._seeds[row] = seed
        self._playing = {(who, row): acts for (who, row), acts in self._playing.items() if row not in rows}
        self._start[rows] = self.tables.positions[rows]
        self._nearest[rows] = self._beside[rows] = self.tables.distances[rows].argmin(1)
        self._spot[rows] = self.tables.hand[rows]
        self._rested[rows], self._held_for[rows], self._steps[rows], self._touched[rows] = 0, 0, 0, -1
        return self.observe()

    def step(self, actions: NDArray, active: NDArray | None = None) -> Seen:
        """One control step.

        Args:
            actions: (N, D) raw units; too fast a motion is limited, NaN is refused.
            active: (N,) bool, the tables that move; the others stay as they are. All by default.

        Raises:
            ValueError: not (N, D) finite numbers (those of tables that stay do not matter).
        """
        actions = np.asarray(actions, np.float64)
        if actions.shape != (len(self), self.action_dim):
            raise ValueError(f"{self.embodiment}: expected actions {(len(self), self.action_dim)}, got {actions.shape}")
        rows = slice(None) if active is None or np.all(active) else np.flatnonzero(active)
        actions = actions[rows]
        if not np.isfinite(actions).all():
            bad = actions[~np.isfinite(actions).all(1)][0]
            raise ValueError(f"{self.embodiment}: expected {self.action_dim} finite numbers, got {bad}")
        tables = self.tables if isinstance(rows, slice) else self.tables.take(rows)
        self.robot.apply(tables, actions)
        if tables is not self.tables:
            self.tables.place(rows, tables)
        self._judge(tables, rows)
        return self.observe()

    def _judge(self, tables: Tables, rows: Any) -> None:
        """Counts for how long hands have rested and tasks have been done, and notes which block was the first to be meant."""
        hold = HOLD_SECONDS * self.control_hz
        distances = tables.distances
        beside = distances.argmin(1)
        drifted = norm(tables.hand - self._spot[rows]) > REST
        leaves = drifted | (beside != self._beside[rows]) | (distances.min(1) >= NEAR)
        rested = np.where(leaves, 0, self._rested[rows] + 1)
        self._spot[rows] = np.where(leaves[:, None], tables.hand, self._spot[rows])
        self._rested[rows], self._beside[rows] = rested, beside
        reach = self._asked.kind[rows] == REACH
        moved = norm(tables.positions - self._start[rows])
        moved_named = moved[np.arange(len(tables)), self._asked.target[rows]] > MOVED
        done = self._asked.satisfied(tables, rows) & (reach | moved_named)
        self._held_for[rows] = np.where(done, np.where(reach, rested, self._held_for[rows] + 1), 0)
        meant = np.where(moved.max(1) > MOVED, moved.argmax(1), np.where(reach & (rested >= hold), beside, -1))
        self._touched[rows] = np.where(self._touched[rows] < 0, meant, self._touched[rows])
        self._steps[rows] += 1

    def observe(self) -> Seen:
        """What all robots see and feel now."""
        return Seen(self.tables, self.robot)

    def expert(self, active: NDArray) -> NDArray[np.float64]:
        """What the expert does next on the tables that are active (N,): (N, D), rows of NaN where there is nothing more to do."""
        return self._played("expert", active)

    def blind(self, active: NDArray) -> NDArray[np.float64]:
        """What one does next that replays demonstrations of other scenes: (N, D), rows of NaN on tables that are not active."""
        return self._played("blind", active)

    def _played(self, who: str, active: NDArray) -> NDArray[np.float64]:
        actions = np.full((len(self), self.action_dim), np.nan)
        for row in np.flatnonzero(active).tolist():
            if (who, row) not in self._playing:
                self._playing[who, row] = POLICIES[who](self, row, self._seeds[row])
            action = next(self._playing[who, row], None)
            if action is not None:
                actions[row] = action
        return actions

    def demonstration(self) -> "VectorEnv":
        """A table of its own for this robot and kind of task, with scenes as demonstrations have them."""
        return VectorEnv(self.robot, split_named("seen", None), 1, self.kind)

    def world(self, row: int) -> World:
        """The window on one table."""
        return World.of(self.tables, row)

    @property
    def instructions(self) -> list[str]:
        """What is asked of each robot."""
        return [task.instruction for task in self.tasks]

    def success(self) -> NDArray[np.bool_]:
        """(N,) whether what was asked has been so for the last 0.3 s.

        A `reach` wants the hand at rest. Other tasks want the named block to be moved: two blocks also touch when the other one
        is brought.
        """
        return self._held_for >= HOLD_SECONDS * self.control_hz

    def followed(self) -> NDArray[np.bool_]:
        """(N,) language following: the first block that the robot did something with is the one that the instruction names.

        Doing something with a block is to move it by more than 2 cm; in a `reach` also to rest beside it, which is to stay within
        2 cm of a spot for 0.3 s while it is the nearest block and within reach (6.1 cm). The task need not succeed. A robot that
        has not yet done anything with any block has not followed.
        """
        return self._touched == self._asked.target

    def info(self) -> dict[str, NDArray]:
        """Of the current episodes, each (N,).

        Returns:
            task: kind of the task.
            success: as the method says.
            followed: as the method says.
            steps: number of steps taken.
            named: number of the named block.
            touched: the first block that the robot did something with (`followed`), or -1.
            nearest: the block nearest to the hand at the start.
            shortcut: touched is the nearest one and not the named one: what a robot does that learnt the spurious correlation.
        """
        named, touched = self._asked.target.copy(), self._touched.copy()
        return {
            "task": np.array([task.kind for task in self.tasks]),
            "success": self.success(),
            "followed": self.followed(),
            "steps": self._steps.copy(),
            "named": named,
            "touched": touched,
            "nearest": self._nearest.copy(),
            "shortcut": (touched == self._nearest) & (touched != named),
        }


def make_vector(
    embodiment: str = "planar", split: str = "seen", n: int = 1, task: str = "", correlation: float | None = None
) -> VectorEnv:
    """N environments in one.

    Args:
        embodiment: planar or arm.
        split: one of `scenes.SPLITS`; `a+b` applies both.
        n: number of tables.
        task: one kind of `tasks.KINDS` only, or some ("reach+push"); all when "".
        correlation: share of episodes in which the named block is the nearest one, in splits that are not about it; None: 0.9.

    Raises:
        InputError: no such embodiment, split, task or share, or no table.
    """
    if embodiment not in EMBODIMENTS:
        raise unknown_name("embodiment", embodiment, EMBODIMENTS)
    kinds_named(task)
    if n < 1:
        raise InputError(f"n is {n}, expected at least 1 table")
    return VectorEnv(EMBODIMENTS[embodiment], split_named(split, correlation), n, task)
