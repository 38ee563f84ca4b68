"""The environment itself: N robots at N tables that step together. `env.Env` is one with N = 1, so both have the same physics.

Pictures are drawn only at the first access (`Seen`).
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

SECONDS = 8.0  # maximum duration of an episode
HOLD_SECONDS = 0.3  # a task counts only if it stays done for so long: passing by is not enough
REST = 0.02  # a hand that stays within this many metres of a spot rests there
MOVED = 0.02  # if a block has moved this many metres, the robot did something with it
REACH = list(KINDS).index("reach")


class Seen(Mapping[str, NDArray]):
    """What robots see and feel at one moment: {"image/<slot>": (N, 64, 64, 3) uint8 per camera, "state": (N, S) float32}.

    Pictures are drawn at the first access, from a copy of the tables at that moment.
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
        """Returns what the robot at one table sees: "image/<slot>" (64, 64, 3) uint8, "state" (S,) float32."""
        return SeenByOne(self, row)


class SeenByOne(Mapping[str, NDArray]):
    """One robot's part of what all robots see. The first access draws the pictures of all robots."""

    def __init__(self, seen: Seen, row: int) -> None:
        self._seen, self._row = seen, row

    def __getitem__(self, name: str) -> NDArray:
        return self._seen[name][self._row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._seen)

    def __len__(self) -> int:
        return len(self._seen)


class VectorEnv:
    """N robots of one embodiment, each at its own table. The same seed gives the same scene, task and pictures at every table.

    Attributes:
        embodiment: name of the robot.
        control_hz: steps per second.
        action_dim: number of dims D of an action.
        max_steps: maximum number of steps of an episode.
        tables: states of the current episodes.
        tasks: tasks of the current episodes.
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
        """Begins new episodes on all tables, or only on `rows`, and returns what all robots see.

        Raises:
            InputError: the number of seeds is not the number of these tables.
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
        """Does one control step.

        Args:
            actions: (N, D) in raw units. Motions that are too fast are limited; NaN is refused.
            active: (N,) bool, the tables that move; the others stay as they are. None: all move.

        Raises:
            ValueError: `actions` is not (N, D) finite numbers. Only active tables need finite ones.
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
        """Counts how long hands have rested and tasks have been done, and stores the first block that each robot acted on."""
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
        """Returns what all robots see and feel now."""
        return Seen(self.tables, self.robot)

    def expert(self, active: NDArray) -> NDArray[np.float64]:
        """Returns the expert's next actions (N, D) for the active tables (N,); NaN for others, and if nothing is left to do."""
        return self._played("expert", active)

    def blind(self, active: NDArray) -> NDArray[np.float64]:
        """Returns the next actions (N, D) of a robot that replays demonstrations of other scenes; NaN if not active."""
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
        """Returns a new table for this robot and kind of task, with scenes like those of the demonstrations."""
        return VectorEnv(self.robot, split_named("seen", None), 1, self.kind)

    def world(self, row: int) -> World:
        """Returns a view of one table."""
        return World.of(self.tables, row)

    @property
    def instructions(self) -> list[str]:
        """The instruction of each robot."""
        return [task.instruction for task in self.tasks]

    def success(self) -> NDArray[np.bool_]:
        """Returns (N,) whether the task has been done for the last 0.3 s.

        A `reach` needs the hand to rest. Other tasks need the named block to have moved: two blocks also touch if the robot
        brings the other one.
        """
        return self._held_for >= HOLD_SECONDS * self.control_hz

    def followed(self) -> NDArray[np.bool_]:
        """Returns (N,) language following: whether the robot acted first on the block that the instruction names.

        A robot acts on a block if it moves it by more than 2 cm. In a `reach`, it also acts on a block if it rests beside it: the
        hand stays within 2 cm of a spot for 0.3 s, while that block is the nearest one and within reach (6.1 cm). The task need
        not succeed. A robot that has not acted on any block yet has not followed.
        """
        return self._touched == self._asked.target

    def info(self) -> dict[str, NDArray]:
        """Returns facts about the current episodes, (N,) each.

        Returns:
            task: kind of the task.
            success: result of `success`.
            followed: result of `followed`.
            steps: number of steps taken.
            named: number of the named block.
            touched: number of the first block that the robot acted on (see `followed`), or -1.
            nearest: number of the block nearest to the hand at the start.
            shortcut: whether `touched` is the nearest block and not the named one, as for a robot that learned the spurious
                correlation.
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
    """Makes N environments in one.

    Args:
        embodiment: planar or arm.
        split: one of `scenes.SPLITS`; `a+b` applies both.
        n: number of tables.
        task: kinds of `tasks.KINDS`, such as "reach" or "reach+push"; "": all kinds.
        correlation: share of episodes in which the named block is the nearest one, in splits that do not set it; None: 0.9.

    Raises:
        InputError: there is no such embodiment, split or task, `correlation` is not a share, or n is below 1.
    """
    if embodiment not in EMBODIMENTS:
        raise unknown_name("embodiment", embodiment, EMBODIMENTS)
    kinds_named(task)
    if n < 1:
        raise InputError(f"n is {n}, expected at least 1 table")
    return VectorEnv(EMBODIMENTS[embodiment], split_named(split, correlation), n, task)
