"""Keeps the actions of a policy within limits, and joins chunks that overlap into one motion. It needs only NumPy.

    from fasttok.client import Client
    from fasttok.safe_actions import ActionLimits, ChunkPlan, SafeActions

    with Client("ws://127.0.0.1:8000") as policy:
        arm = policy.metadata["embodiments"]["arm"]
        limits = ActionLimits.of(arm, largest_step=0.05)      # clip to the training range; at most 0.05 per control tick
        safe, plan = SafeActions(limits, start=robot.command()), ChunkPlan(how="blend", ticks=4)
        for tick in range(1000):                              # at the rate of the demonstrations, arm["control_hz"]
            if tick % 8 == 0:                                 # execute 8 actions of each chunk
                plan.add(policy.act(robot.observe(), prompt="push the red circle"), tick)
            action = plan.action(tick)                        # None: no chunk reaches so far
            if action is None:
                robot.hold()
            else:
                robot.move(safe(action))

This is not a safety system: it knows nothing about obstacles, forces or the shape of the arm. docs/robot.md says what else you
need for a first motion.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fasttok.errors import InputError, unknown_name

Overlap = Literal["cut", "blend", "ensemble"]
"""What to execute when chunks overlap: the newest chunk, a fade from the older to the newest, or an average of all."""
Vector = NDArray[np.float64]


def ticks_of(seconds: float, control_hz: float) -> int:
    """Returns the control ticks in a time, rounded up: how many ticks late a chunk is, or how many ticks it must last.

    Args:
        seconds: a time, such as that of a request.
        control_hz: ticks per second.

    Raises:
        InputError: `seconds` is negative, `control_hz` is not above 0, or one of them is not finite.

    >>> ticks_of(0.13, 20), ticks_of(0.1, 10), ticks_of(0, 10)
    (3, 1, 0)
    """
    if not (math.isfinite(seconds) and seconds >= 0 and math.isfinite(control_hz) and control_hz > 0):
        raise InputError(f"{seconds} s at {control_hz} Hz; expected a time of at least 0 and a rate above 0")
    return math.ceil(round(seconds * control_hz, 6))


@dataclass(frozen=True, eq=False)
class ActionLimits:
    """Limits of an action, per dimension, in raw units.

    For an absolute dimension (a position) `largest_step` bounds the speed. For a delta or a velocity, `low` and `high` bound the
    speed, and `largest_step` bounds how fast the speed changes.

    Attributes:
        low: (D,) smallest values; -inf for no limit.
        high: (D,) largest values; inf for no limit.
        largest_step: (D,) largest change from one control tick to the next, above 0; inf for no limit.

    Raises:
        InputError: the arrays have different lengths, `low` is above `high`, or a step is not above 0.
    """

    low: Vector
    high: Vector
    largest_step: Vector

    def __post_init__(self) -> None:
        shapes = {np.shape(value) for value in (self.low, self.high, self.largest_step)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise InputError(
                f"limits of shapes {sorted(shapes)}; expected low, high and largest_step of one shape, (D,)"
            )
        for name in ("low", "high", "largest_step"):
            value = np.array(getattr(self, name), np.float64)
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        if not (self.low <= self.high).all():  # NaN fails, too
            raise InputError(
                f"low is {self.low.tolist()}, high is {self.high.tolist()}; expected low <= high everywhere"
            )
        if not (self.largest_step > 0).all():
            raise InputError(
                f"largest_step is {self.largest_step.tolist()}; expected numbers above 0, or inf for no limit"
            )

    @classmethod
    def of(
        cls, embodiment: Mapping[str, Any], *, largest_step: ArrayLike = math.inf, margin: float = 0.0
    ) -> "ActionLimits":
        """Makes limits from the range of the training actions in a server's metadata.

        Args:
            embodiment: `client.metadata["embodiments"][NAME]`, with "action_dim", "action_low" and "action_high". None for one of
                these lists, or in it, means that the range is not known and not limited there.
            largest_step: one number for all dimensions, or (D,).
            margin: share of the range to add below and above it, such as 0.1 for a tenth.

        Raises:
            InputError: the metadata has no such keys, or the limits make no sense.
        """
        try:
            dim = int(embodiment["action_dim"])
            low = _ends(embodiment["action_low"], dim, -math.inf)
            high = _ends(embodiment["action_high"], dim, math.inf)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"this is not an embodiment of a server's metadata: {type(error).__name__}: {error}; expected action_dim, "
                'action_low and action_high, such as client.metadata["embodiments"]["arm"]'
            ) from None
        if not (math.isfinite(margin) and margin >= 0):
            raise InputError(f"margin is {margin}; expected a share of the range, at least 0")
        with np.errstate(invalid="ignore"):
            more = margin * np.nan_to_num(high - low, nan=0.0, posinf=0.0)
        return cls(low - more, high + more, _spread(largest_step, dim))


class SafeActions:
    """Keeps a stream of actions within limits: first within the range, then within the largest step from the action before.

    Args:
        limits: limits of the robot.
        start: (D,) the present command of the robot, from which the first step is measured. None only clips the first action to
            the range; use it only for robots whose actions are deltas or velocities.

    Attributes:
        limits: limits of the robot.
        ticks: number of actions so far.
        clipped: (D,) number of ticks at which the range changed the dimension.
        slowed: (D,) number of ticks at which the largest step changed it.

    Raises:
        InputError: `start` is not (D,) of finite numbers.
    """

    def __init__(self, limits: ActionLimits, *, start: ArrayLike | None) -> None:
        self.limits, self.ticks = limits, 0
        dim = len(limits.low)
        self.clipped, self.slowed = np.zeros(dim, np.int64), np.zeros(dim, np.int64)
        self._last = None if start is None else _vector(start, dim, "start")

    def __call__(self, action: ArrayLike) -> Vector:
        """Returns the action (D,) to send: the one within the limits that is nearest to the given one.

        If the arm starts within the range, every action is within it. If not, the arm comes back by the largest step per tick.

        Args:
            action: (D,) in raw units.

        Raises:
            InputError: the action is not (D,) of finite numbers. This object does not change, and the arm should hold still.
        """
        wanted = _vector(action, len(self.limits.low), "the action")
        inside = np.clip(wanted, self.limits.low, self.limits.high)
        sent = inside
        if self._last is not None:
            step = self.limits.largest_step
            sent = np.clip(inside, self._last - step, self._last + step)
        self.ticks += 1
        self.clipped += inside != wanted
        self.slowed += sent != inside
        self._last = sent
        return sent.copy()


class ChunkPlan:
    """Joins chunks that overlap into one motion: says which action belongs to which control tick. Threads may share it.

    A chunk begins at the tick of its observation; the actions of ticks that have passed when it arrives are not used. So a chunk
    that is over when it arrives changes nothing. Before a chunk begins, the plan stays as it was. "cut"
    executes the newest chunk. "blend" fades linearly, within `ticks` ticks, from what was planned to the newest chunk. "ensemble"
    averages the actions of all chunks for a tick with weights exp(-decay * i), where i = 0 is the oldest chunk. This is ACT's
    temporal ensemble (arXiv 2304.13705); it needs a new chunk every tick or every few ticks.

    List dimensions in `newest` if their numbers do not average well, such as an open or closed gripper, or angles that jump at
    half a turn.

    Args:
        how: "cut", "blend" or "ensemble".
        ticks: length of a fade in ticks, at least 0.
        decay: decay of the weights of "ensemble", 0.01 in ACT's code; with a smaller one, new observations count sooner.
        newest: dimensions that always come from the newest chunk.

    Attributes:
        how: see the arguments.

    Raises:
        InputError: `how` is unknown, or a number is not valid.
    """

    def __init__(
        self, *, how: Overlap = "blend", ticks: int = 4, decay: float = 0.01, newest: Sequence[int] = ()
    ) -> None:
        if how not in get_args(Overlap):
            raise unknown_name("overlap", how, get_args(Overlap))
        if ticks < 0 or not math.isfinite(decay) or any(column < 0 for column in newest):
            raise InputError(
                f"ticks is {ticks}, decay {decay}, newest {list(newest)}; expected ticks >= 0, a finite decay, and dimensions "
                "counted from 0"
            )
        self.how: Overlap = how
        self._fade, self._decay, self._newest = ticks, decay, list(newest)
        self._chunks: list[tuple[int, Vector]] = []  # (first tick, actions), the newest last
        self._next: int | None = None  # tick after the last one that was asked for
        self._lock = threading.Lock()

    def add(self, chunk: ArrayLike, tick: int) -> None:
        """Adds a chunk to the plan.

        Args:
            chunk: (H, D) in raw units.
            tick: control tick of the chunk's observation; the first action of the chunk is for that tick.

        Raises:
            InputError: the chunk is not (H, D) of finite numbers, has other dimensions than the last chunk, or is older than it.
        """
        actions = _floats(chunk, "a chunk", "(H, D) of finite numbers")
        with self._lock:
            dim = self._chunks[-1][1].shape[1] if self._chunks else None
            right = actions.ndim == 2 and actions.size > 0 and (dim is None or actions.shape[1] == dim)
            if not right or not np.isfinite(actions).all():
                raise InputError(
                    f"a chunk of shape {actions.shape} with {int((~np.isfinite(actions)).sum())} numbers that are not finite; "
                    f"expected (H, {dim or 'D'}) of finite numbers"
                )
            if max(self._newest, default=-1) >= actions.shape[1]:
                raise InputError(f"`newest` names dimension {max(self._newest)}, the chunk has {actions.shape[1]}")
            if self._chunks and tick < self._chunks[-1][0]:
                raise InputError(
                    f"the chunk is of tick {tick}, the last one of {self._chunks[-1][0]}; an older one is of no use"
                )
            known = self._chunks
            now = self._next if self._next is not None else known[0][0] if known else tick
            if known and tick + len(actions) <= now:
                return
            if self.how == "blend":
                actions = self._faded(actions, tick)
            if self.how != "ensemble":
                known = [(first, old[: tick - first]) for first, old in known]
            self._chunks = [*((first, old) for first, old in known if first + len(old) > now), (tick, actions)]

    def action(self, tick: int) -> Vector | None:
        """Returns the action (D,) for a tick. None if no chunk has one: then the arm should hold still.

        Args:
            tick: control tick; it must not go back.

        Raises:
            InputError: an action for a later tick was asked for before.
        """
        with self._lock:
            if self._next is not None and tick < self._next - 1:
                raise InputError(f"tick {tick} comes after tick {self._next - 1}; ticks only go forwards")
            self._next = tick + 1
            there = [(tick - first, known) for first, known in self._chunks if 0 <= tick - first < len(known)]
            said: list[Vector] = [known[at] for at, known in there]
            if not said:
                return None
            if len(said) == 1:
                return said[0].copy()
            weights = np.exp(-self._decay * np.arange(len(said)) - max(0.0, -self._decay * (len(said) - 1)))
            action: Vector = weights @ np.stack(said) / weights.sum()
            action[self._newest] = said[-1][self._newest]
            return action

    def left(self, tick: int) -> int:
        """Returns how many actions follow each other from a tick on.

        Below `ticks_of(time of a request, control_hz)`, ask for a new chunk.

        Args:
            tick: control tick.
        """
        with self._lock:
            end = tick
            for first, actions in self._chunks:
                if first <= end:
                    end = max(end, first + len(actions))
            return end - tick

    def _faded(self, actions: Vector, tick: int) -> Vector:
        """Returns the newest chunk, with its next ticks faded from what was planned."""
        if not self._chunks:
            return actions
        first, old = self._chunks[-1]
        begin = tick if self._next is None else max(tick, self._next)
        count = min(self._fade, first + len(old) - begin, tick + len(actions) - begin)
        if count <= 0:
            return actions
        share = (np.arange(count) + 1)[:, None] / (count + 1)
        rows = slice(begin - tick, begin - tick + count)
        faded: Vector = actions.copy()
        faded[rows] = (1 - share) * old[begin - first : begin - first + count] + share * actions[rows]
        faded[:, self._newest] = actions[:, self._newest]
        return faded


def _ends(given: Any, dim: int, unknown: float) -> Vector:
    """Returns one end of the training range, (D,), with `unknown` for numbers that are not known."""
    if given is None:
        return np.full(dim, unknown)
    values = np.array([unknown if value is None else float(value) for value in given])
    if values.shape != (dim,):
        raise ValueError(f"a range of {len(values)} dimensions, expected {dim}")
    return values


def _spread(given: ArrayLike, dim: int) -> Vector:
    """Returns (D,) numbers from one number for all dimensions, or from one for each."""
    values = _floats(given, "largest_step", f"a number above 0, or {dim} of them")
    return np.full(dim, float(values)) if values.ndim == 0 else values


def _vector(given: ArrayLike, dim: int, what: str) -> Vector:
    """Returns the numbers of one action, after checking that they are (dim,) and finite."""
    values = _floats(given, what, f"{dim} finite numbers")
    if values.shape != (dim,) or not np.isfinite(values).all():
        raise InputError(f"{what} is {values.tolist()} of shape {values.shape}; expected {dim} finite numbers")
    return values


def _floats(given: ArrayLike, what: str, expected: str) -> Vector:
    """Returns a float64 copy of numbers of any shape."""
    try:
        return np.array(given, np.float64)
    except (TypeError, ValueError):  # texts, or lists of different lengths
        raise InputError(
            f"{what} is a {type(given).__name__} that contains something else; expected {expected}"
        ) from None
