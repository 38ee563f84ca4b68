"""Makes any gymnasium environment with a language instruction an environment of `fasttok-evaluate`.

    from train.worlds.gymnasium import GymnasiumWorld

    make = GymnasiumWorld(id="gym_pusht/PushT-v0", images={"primary": "pixels"}, state=("agent_pos",), instruction="push the T")

If this line is in my_world.py, pass `--env my_world:make`. If the same settings are in a YAML file, pass `--env my_world.yaml`.
For an environment without a registered id, write a factory of your own that returns `GymnasiumEnv(env, settings)`. The interface
is gymnasium 1.x: `reset(seed=)` gives (observation, info), `step` gives (observation, reward, terminated, truncated, info).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.common.kinds import CAMERA_SLOTS
from fasttok.errors import InputError, require, unknown_name

if TYPE_CHECKING:
    import gymnasium

Setting = bool | int | float | str | list[Any] | dict[str, Any] | None
"""The value of an environment's keyword argument, as YAML can express it."""
TOLD = ("success", "is_success")
WHOLE = "."  # the observation itself, if it is not a Dict
RENDERED = "render()"
LOOKED_UP = re.compile(r"(info|observation|attribute):(\S.*)")


@dataclass(frozen=True)
class WorldGripper:
    """What an environment takes for a gripper.

    Attributes:
        closed: number that closes the gripper.
        open: number that opens it.
    """

    closed: float
    open: float


@dataclass(frozen=True, kw_only=True)
class GymnasiumWorld:
    """Settings of an environment, and a factory for it: `world(embodiment=..., split=...)` makes one.

    Attributes:
        id: registered name, as `gymnasium.make` takes it; "module:Name-v0" first imports the module, which registers it.
        images: camera slot -> where its image comes from: a key of the observation ("a/b" for b inside a), "." for the
            observation itself, or "render()" for the frame that the environment renders.
        state: keys of the observation whose numbers are joined to the state; "." for the observation itself.
        instruction: the text itself; or where to find it: "info:KEY", "observation:KEY", or "attribute:NAME" (a value of the
            environment, or a method without arguments).
        success: key of `info` that says whether the task is done; "terminated" if an episode terminates only by success. By
            default `success` or `is_success`, whichever exists.
        actions: "clip" takes actions in the environment's units and clips them to its bounds; "scale" takes actions in [-1, 1]
            and scales them to its bounds.
        grippers: column of an action -> the environment's numbers for this gripper, from which a policy's openings (1 open,
            0 closed, as in our shards) are computed; -1 is the last column. By default grippers are as `actions` says.
        max_steps: number of steps after which an episode ends; by default the registered one.
        upside_down: slots whose images are turned by 180 degrees.
        task: kind of task in the results: the text itself, or where to find it, as for `instruction`; by default the id.
        embodiments: embodiments that may play it; by default any.
        options: keyword arguments of `gymnasium.make`.
        reset_options: the argument `options` of `reset`.
        variants: name of a split -> more keyword arguments of `gymnasium.make`; by default one split, "seen".
    """

    id: str
    instruction: str
    images: dict[str, str] = field(default_factory=dict)
    state: tuple[str, ...] = ()
    success: str = ""
    actions: Literal["clip", "scale"] = "clip"
    grippers: dict[int, WorldGripper] = field(default_factory=dict)
    max_steps: int | None = None
    upside_down: tuple[str, ...] = ()
    task: str = ""
    embodiments: tuple[str, ...] = ()
    options: dict[str, Setting] = field(default_factory=dict)
    reset_options: dict[str, Setting] = field(default_factory=dict)
    variants: dict[str, dict[str, Setting]] = field(default_factory=lambda: {"seen": {}})

    def __post_init__(self) -> None:
        for slot in (*self.images, *self.upside_down):
            if slot not in CAMERA_SLOTS:
                raise unknown_name(f"camera slot in images of {self.id}", slot, CAMERA_SLOTS)
        for slot in self.upside_down:
            if slot not in self.images:
                raise unknown_name(
                    f"camera in upside_down of {self.id}", slot, self.images, "Give it an image, or leave it out"
                )
        for column, ends in self.grippers.items():
            if not (math.isfinite(ends.closed) and math.isfinite(ends.open) and ends.closed != ends.open):
                raise InputError(
                    f"{self.id}: the gripper of column {column} closes at {ends.closed:g} and opens at {ends.open:g}; expected "
                    "two different numbers"
                )
        if not self.images and not self.state:
            raise InputError(f"{self.id}: no images and no state: say what of the observation a policy sees")
        if self.max_steps is not None and self.max_steps < 1:
            raise InputError(f"{self.id}: max_steps is {self.max_steps}, expected a number above 0, or none")
        if not self.instruction.strip():
            raise InputError(
                f"{self.id}: the instruction is empty; expected a text, info:KEY, observation:KEY or attribute:NAME"
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.variants)

    def __call__(self, embodiment: str, split: str) -> "GymnasiumEnv":
        """Makes an environment.

        Args:
            embodiment: embodiment that acts.
            split: one of `splits`.

        Raises:
            InputError: gymnasium is not installed or has no such environment, the environment cannot be made or used with these
                settings, or the embodiment or the split is unknown.
        """
        require("gymnasium", "gymnasium", f"the world {self.id}")
        import gymnasium

        if self.embodiments and embodiment not in self.embodiments:
            raise unknown_name(f"embodiment for {self.id}", embodiment, self.embodiments, "Pass --embodiments")
        if split not in self.variants:
            raise unknown_name(f"split of {self.id}", split, self.variants)
        options = {**self.options, **self.variants[split]}
        if RENDERED in self.images.values():
            options.setdefault("render_mode", "rgb_array")
        if self.max_steps is not None:  # the package cuts episodes at the registered number, whatever we count
            options.setdefault("max_episode_steps", self.max_steps)
        try:
            env = gymnasium.make(self.id, **options)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            raise InputError(
                f"gymnasium cannot make {self.id!r}: {error}. Expected a registered id; 'module:Name-v0' imports the module that "
                "registers it"
            ) from None
        return GymnasiumEnv(env, self)


class GymnasiumEnv:
    """A gymnasium environment with the interface that the evaluation uses (`train.rollouts.Env`).

    Attributes:
        env: the environment.
        settings: how the environment is used.
        max_steps: number of steps after which an episode ends.
        instruction: instruction of the current episode.
    """

    def __init__(self, env: "gymnasium.Env[Any, Any]", settings: GymnasiumWorld) -> None:
        self.env, self.settings = env, settings
        self.instruction, self._task = "", settings.id
        self.max_steps = self._longest()
        self._space = self._action_space()
        self._shown: Any = None
        self._info: Any = {}
        self._seen: dict[str, NDArray[Any]] = {}
        self._done: bool | None = None  # None until the environment says
        self._over = False
        self._steps = 0

    def reset(self, seed: int) -> dict[str, NDArray[Any]]:
        """Starts an episode.

        Args:
            seed: seed of the environment's random numbers.

        Returns:
            "image/<slot>" (h, w, 3) uint8 and "state" (S,) float32, as far as the settings name them.

        Raises:
            InputError: the observation or the info does not have what the settings name.
        """
        self._shown, self._info = self.env.reset(seed=seed, options=dict(self.settings.reset_options) or None)
        self._done, self._over, self._steps = None, False, 0
        self.instruction = self._text("instruction", self.settings.instruction).strip()
        if not self.instruction:
            raise InputError(
                f"{self.settings.id}: the instruction of seed {seed} is empty ({self.settings.instruction})"
            )
        self._task = self._text("task", self.settings.task or self.settings.id)
        self._seen = self._observed()
        return self._seen

    def step(self, action: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Takes one action and returns the observation after it. An episode that is over does not change.

        Args:
            action: (D,), in the environment's units, or in [-1, 1] with `actions: scale`.

        Raises:
            InputError: the action has another number of dimensions or a number that is not finite, or the episode is over and
                the environment did not say whether it succeeded.
        """
        if self._over:
            return self._seen
        taken = self._action(np.asarray(action))
        self._shown, _, terminated, truncated, self._info = self.env.step(taken)
        self._steps += 1
        self._over = _truth(terminated) or _truth(truncated)
        told = self._told(_truth(terminated))
        self._done = told if told is not None else self._done
        if self._done is None and (self._over or self._steps >= self.max_steps):
            raise InputError(
                f"{self.settings.id} does not tell whether an episode succeeded: its info has "
                f"{', '.join(map(str, self._info)) or 'nothing'}; expected {self.settings.success or ' or '.join(TOLD)}. Name "
                "the key as `success`, or say `success: terminated`"
            )
        self._seen = self._observed()
        return self._seen

    def success(self) -> bool:
        """Returns whether the task is done."""
        return bool(self._done)

    def info(self) -> dict[str, str]:
        """Returns the kind of task."""
        return {"task": self._task}

    def close(self) -> None:
        """Frees what the environment uses."""
        self.env.close()

    def _told(self, terminated: bool) -> bool | None:
        """Returns what the last step says about success; None if nothing."""
        if self.settings.success == "terminated":
            return terminated
        for key in [self.settings.success] if self.settings.success else TOLD:
            if key in self._info:
                return _truth(self._info[key])
        return None

    def _observed(self) -> dict[str, NDArray[Any]]:
        seen: dict[str, NDArray[Any]] = {}
        for slot, where in self.settings.images.items():
            given = self.env.render() if where == RENDERED else self._part(where)
            frame = _frame(given, f"{self.settings.id}: the image of {slot}, {where},")
            seen[f"image/{slot}"] = frame[::-1, ::-1].copy() if slot in self.settings.upside_down else frame
        if self.settings.state:
            seen["state"] = np.concatenate(
                [_numbers(self._part(where), f"{self.settings.id}: {where}") for where in self.settings.state]
            )
        return seen

    def _text(self, what: str, where: str) -> str:
        """Returns a text itself, or the text that it refers to, as in `instruction`; a number becomes a text."""
        value = self._looked_up(where)
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.item()
        if not isinstance(value, str | int | float | np.number):
            raise InputError(f"{self.settings.id}: the {what} at {where} is {value!r}; expected a text")
        return str(value)

    def _looked_up(self, text: str) -> Any:
        """Returns a text itself, or the value that it refers to, as in `instruction`."""
        found = LOOKED_UP.fullmatch(text)
        if found is None:
            return text
        kind, name = found.groups()
        if kind == "observation":
            return self._part(name)
        if kind == "info":
            return _inside(self._info, name, f"{self.settings.id}: info")
        try:
            value = self.env.get_wrapper_attr(name)  # of the environment, or of a wrapper around it
        except AttributeError:
            raise InputError(
                f"{self.settings.id}: the environment {self.env.unwrapped} has no attribute {name}"
            ) from None
        return value() if callable(value) else value

    def _part(self, where: str) -> Any:
        return self._shown if where == WHOLE else _inside(self._shown, where, f"{self.settings.id}: the observation")

    def _longest(self) -> int:
        spec = self.env.spec
        steps = self.settings.max_steps or (spec.max_episode_steps if spec is not None else None)
        if steps is None:
            raise InputError(f"{self.settings.id} has no limit of steps; say max_steps")
        return int(steps)

    def _action_space(self) -> "gymnasium.spaces.Box":
        from gymnasium.spaces import Box

        space = self.env.action_space
        if not isinstance(space, Box):
            raise InputError(
                f"{self.settings.id} takes actions of {space}; expected a Box of numbers; wrap the environment"
            )
        size = int(np.prod(space.shape))
        for column in self.settings.grippers:
            if not -size <= column < size:
                raise InputError(
                    f"{self.settings.id}: grippers names column {column} of {size}; expected 0 to {size - 1}, or -1 for the last"
                )
        if self.settings.actions == "scale" and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise InputError(f"{self.settings.id}: `actions: scale` needs bounds, and the action space is {space}")
        return space

    def _action(self, given: NDArray[Any]) -> NDArray[Any]:
        """Returns an action in the environment's shape and units."""
        space = self._space
        if given.size != int(np.prod(space.shape)) or not np.isfinite(given).all():
            raise InputError(
                f"{self.settings.id}: the action is {given.tolist()}; expected {int(np.prod(space.shape))} finite numbers for "
                f"{space}. Was the run trained for this robot?"
            )
        said = given.reshape(-1).astype(np.float64)
        wanted = said.reshape(space.shape).copy()
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        if self.settings.actions == "scale":
            wanted = low + (np.clip(wanted, -1, 1) + 1) / 2 * (high - low)
        for column, ends in self.settings.grippers.items():
            wanted.flat[column] = ends.closed + np.clip(said[column], 0, 1) * (ends.open - ends.closed)
        limited: NDArray[Any] = np.clip(wanted, low, high)
        if np.issubdtype(space.dtype, np.integer):
            limited = np.rint(limited)
        return limited.astype(space.dtype)


def _inside(values: Any, name: str, where: str) -> Any:
    """Returns the value at a path such as "robot/qpos" in nested mappings."""
    for key in name.split("/"):
        if not isinstance(values, Mapping):
            raise InputError(
                f"{where} has no {name}: it is no mapping; use {WHOLE!r} for an observation that is one array"
            )
        if key not in values:
            raise unknown_name(f"key of {where}", key, map(str, values))
        values = values[key]
    return values


def _plain(given: Any) -> NDArray[Any]:
    """Turns a simulator's value into a NumPy array; PyTorch's tensors may be on another device."""
    return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)


def _truth(given: Any) -> bool:
    """Returns whether a bool, or an array of one, is true."""
    return bool(_plain(given).any())


def _numbers(given: Any, where: str) -> NDArray[np.float32]:
    """Returns a part of the state, (k,)."""
    values = _plain(given)
    if values.dtype.kind not in "fiub":
        raise InputError(f"{where} is {values.dtype}; expected numbers")
    return values.astype(np.float32).reshape(-1)


def _frame(given: Any, what: str) -> NDArray[np.uint8]:
    """Turns an image into (h, w, 3) uint8.

    It may have the shape (h, w), (h, w, 1 or 3 or 4) or (1 or 3, h, w), also in a batch of one, and be uint8 or float from 0
    to 1.
    """
    frame = _plain(given)
    if frame.ndim == 4 and len(frame) == 1:
        frame = frame[0]
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim == 3 and frame.shape[2] not in (1, 3, 4) and frame.shape[0] in (1, 3):
        frame = frame.transpose(1, 2, 0)
    inside = frame.size and frame.ndim == 3 and frame.shape[2] in (1, 3, 4)
    fits = frame.dtype == np.uint8 or (frame.dtype.kind == "f" and inside and frame.min() >= 0 and frame.max() <= 1)
    if not inside or not fits:
        span = f", {frame.min()} to {frame.max()}" if inside and frame.dtype.kind in "fiu" else ""
        raise InputError(
            f"{what} is {frame.dtype} of shape {frame.shape}{span}; expected (h, w, 3) uint8 in RGB, or float from 0 to 1"
        )
    if frame.dtype != np.uint8:
        frame = np.rint(255 * frame.astype(np.float32)).astype(np.uint8)
    three = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame[..., :3]
    return np.ascontiguousarray(three)
