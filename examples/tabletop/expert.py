"""A scripted demonstrator that moves like a person: minimum-jerk reaches along bent paths, pauses, and a tremor.

Each task is a generator of references: where the hand should be after the next step, with its height, yaw and opening. It
reads the world at every step, so it corrects for its tremor and for the motion of blocks. `manner.Manner` switches the human
details off.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.embodiments import Embodiment
from examples.tabletop.manner import HUMAN, Manner
from examples.tabletop.scenes import CLEARLY, beside
from examples.tabletop.tasks import BEHIND, CORNERS, Task
from examples.tabletop.world import BLOCK, HAND, World, norm

SPEED = (0.16, 0.24)  # mean speed of a reach, metres per second
PUSH_SPEED = 0.11
BEND = 0.12  # largest sideways bend of a path, as a share of its length
TREMOR = 0.0012  # standard deviation of the tremor in metres
TREMOR_SECONDS = 0.25  # correlation time of the tremor
REST = (0.1, 0.35)  # shortest and longest pause in seconds
FINGER_SECONDS = 0.4  # time to open or close
LOWERED = 0.0
TURNS = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5])  # radians around a block at which to stop, the best first


@dataclass(frozen=True, eq=False)
class Reference:
    """Where the hand should be after the next step: its position (2,), height (m), yaw (rad) and opening (0 to 1)."""

    to: NDArray[np.float64]
    height: float
    yaw: float
    opening: float


class Expert:
    """Acts until it is done; then `act` returns None."""

    def __init__(
        self, world: World, task: Task, embodiment: Embodiment, rng: np.random.Generator, manner: Manner = HUMAN
    ) -> None:
        self.world, self.task, self.embodiment, self.rng, self.manner = world, task, embodiment, rng, manner
        self.dt = 1.0 / embodiment.control_hz
        self.tremor = np.zeros(2)
        self.yaw = float(rng.normal(0, 0.4)) if embodiment.cruise else 0.0
        self.references = getattr(self, task.kind)()

    def act(self) -> NDArray[np.float32] | None:
        """Returns the next action (D,) float32, or None when the demonstration is over."""
        reference = next(self.references, None)
        if reference is None:
            return None
        if not self.manner.tremor:
            return self.embodiment.action(self.world, reference.to, reference.height, reference.yaw, reference.opening)
        keep = np.exp(-self.dt / TREMOR_SECONDS)
        self.tremor = keep * self.tremor + np.sqrt(1 - keep**2) * TREMOR * self.rng.normal(size=2)
        to = reference.to + self.tremor
        action = self.embodiment.action(self.world, to, reference.height, reference.yaw, reference.opening)
        if self.embodiment.cruise:
            action[2:6] += self.rng.normal(0, 0.002, 4).astype(np.float32) * np.array([0.25, 1, 1, 1], np.float32)
        return action

    def reach(self) -> Iterator[Reference]:
        """Moves next to the target: on the side from which the hand comes, or as near to it as the target is clearly nearest."""
        yield from self.rest(1.0)
        blocks, target = self.world.positions, self.task.target
        away = self.world.hand - blocks[target]
        away *= self.rng.uniform(0.85, 1.05) * (BLOCK + HAND) / np.hypot(*away)
        sides = blocks[target] + [away @ [[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]] for a in TURNS]
        gaps = norm(sides[:, None] - blocks)
        gaps[:, target] += CLEARLY
        yield from self.travel(sides[(gaps.argmin(1) == target).argmax()], 1.0, end_height=LOWERED)
        yield from self.rest(1.0, extra=0.4)

    def push(self) -> Iterator[Reference]:
        """Moves behind the target with open fingers, closes them, and pushes it towards the goal, steering all the way."""
        task, world = self.task, self.world
        assert task.goal is not None
        yield from self.rest(1.0)
        gap = world.positions[task.goal] - world.positions[task.target]
        yield from self.travel(world.positions[task.target] - BEHIND * gap / np.hypot(*gap), 1.0, end_height=LOWERED)
        yield from self.fingers(0.0)
        speed = 0.0
        for _ in range(round(4 / self.dt)):
            if task.satisfied(world):
                break
            speed = min(PUSH_SPEED, speed + 0.4 * self.dt)
            block = world.positions[task.target]
            gap = world.positions[task.goal] - block
            towards = gap / np.hypot(*gap)
            behind = world.hand - block
            sideways = behind - (behind @ towards) * towards
            ahead = world.hand + self.dt * (speed * towards - 5.0 * sideways)
            yield Reference(ahead, LOWERED, world.yaw, 0.0)
        yield from self.rest(0.0, extra=0.3)

    def place(self) -> Iterator[Reference]:
        """Picks the target, carries it to the corner, and lets it go."""
        yield from self.pick()
        corner = np.array(CORNERS[self.task.corner]) + self.rng.uniform(-0.015, 0.015, 2)
        yield from self.put(corner)

    def sort(self) -> Iterator[Reference]:
        """Picks the target, carries it beside the block that it belongs to, and lets it go."""
        assert self.task.goal is not None
        yield from self.pick()
        yield from self.put(beside(self.world.hand, self.world.positions[self.task.goal]))

    def pick(self) -> Iterator[Reference]:
        """Moves to the target, and closes the fingers around it."""
        yield from self.rest(1.0)
        yield from self.travel(self.world.positions[self.task.target], 1.0, end_height=LOWERED)
        yield from self.fingers(0.0)

    def put(self, to: NDArray[np.float64]) -> Iterator[Reference]:
        """Carries the gripped block to a place, lets it go and waits a little."""
        yield from self.travel(to, 0.0, end_height=LOWERED)
        yield from self.fingers(1.0)
        yield from self.rest(1.0, extra=0.2)

    def travel(self, to: NDArray[np.float64], opening: float, end_height: float) -> Iterator[Reference]:
        """Reaches along a bent path with a minimum-jerk profile; lifts to the cruising height and comes down again."""
        world, cruise = self.world, self.embodiment.cruise
        start, first_height, first_yaw = world.hand.copy(), world.height, world.yaw
        path = to - start
        length = float(np.hypot(*path))
        # Both are drawn whatever the manner is, so that switching one off does not change the other.
        sideways, pace = self.rng.uniform(-BEND, BEND), self.rng.uniform(*SPEED)
        bend = (sideways if self.manner.bends else 0.0) * np.array([-path[1], path[0]])
        pace = pace if self.manner.paces else sum(SPEED) / 2
        count = max(2, round((0.25 + length / pace) / self.dt))
        for step in range(1, count + 1):
            t = step / count
            s = t**3 * (10 - 15 * t + 6 * t**2)  # minimum jerk (Flash and Hogan 1985)
            up = first_height + (cruise - first_height) * min(1.0, 3 * t)
            height = up if t < 0.7 else end_height + (cruise - end_height) * (1 - t) / 0.3
            yaw = first_yaw + (self.yaw - first_yaw) * s
            yield Reference(start + s * path + np.sin(np.pi * s) ** 2 * bend, height, yaw, opening)

    def fingers(self, opening: float) -> Iterator[Reference]:
        """Opens or closes on the spot, at the table."""
        here = self.world.hand.copy()
        for _ in range(round(FINGER_SECONDS / self.dt)):
            yield Reference(here, LOWERED, self.world.yaw, opening)

    def rest(self, opening: float, extra: float = 0.0) -> Iterator[Reference]:
        """Waits on the spot, at the current height."""
        here, height = self.world.hand.copy(), self.world.height
        count = max(1, round((extra + self.rng.uniform(*REST)) / self.dt))
        if not self.manner.pauses:
            count = round((extra + REST[0]) / self.dt) if extra else 0
        for _ in range(count):
            yield Reference(here, height, self.world.yaw, opening)
