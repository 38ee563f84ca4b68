"""Key maps: the keys under which a robot sends its images, its state and its instruction. Imports no JAX.

A key map is data, not code:

description: my arm            # optional
cameras:                       # key of a request -> camera slot of the run
  cam/front: primary
  cam/hand: wrist
state:                         # parts that are joined, in this order; leave it out for a robot without a state
  - {key: joints, length: 7}
  - {key: pose, columns: [2, 0, 1]}                         # these columns of it, in this order
  - {key: gripper, length: 1, gripper: {closed: 1, open: 0}}  # the values sent; the model has 0 for closed and 1 for open
prompt: task                   # the key of the instruction
default_prompt: pick it up     # optional: for requests without one

A key with slashes can be a name or a path through mappings: `cam/front` finds {"cam/front": x} and {"cam": {"front": x}}.
"""

import logging
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.kinds import CAMERA_SLOTS, CameraSlot
from fasttok.common.packaged import yaml_texts
from fasttok.errors import InputError, unknown_name
from mixtures.yaml_lines import Keys, load, loads
from mixtures.yaml_values import CheckedValues
from train.acting.robots import Robot
from train.acting.subtasks import Seen
from train.serving.request_values import PICTURE, Request, found, is_picture, leaves, numbers, picture

logger = logging.getLogger(__name__)
OURS = "fasttok/"  # how the server's own keys begin
MOST_BYTES = 1 << 20  # of a file
MOST_VALUES = 10_000  # in a file, aliases counted as often as they are used
MOST_PROMPT = 10_000  # characters of an instruction
MOST_COLUMNS = 1 << 16  # of a state


@dataclass(frozen=True)
class Gripper:
    """What the numbers of a gripper mean, as the robot sends them.

    Attributes:
        closed: the value of a closed gripper.
        open: the value of an open gripper.
    """

    closed: float
    open: float

    def opening(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Returns how far a gripper is open, in [0, 1]: the convention of the shards (docs/datasets.md).

        >>> Gripper(closed=1, open=0).opening(np.array([0.75, 0.25]))
        array([0.25, 0.75], dtype=float32)
        """
        share = (values.astype(np.float32) - np.float32(self.closed)) / np.float32(self.open - self.closed)
        opened: NDArray[np.float32] = np.clip(share, 0, 1).astype(np.float32)
        return opened


@dataclass(frozen=True)
class StatePart:
    """A part of the state.

    Attributes:
        key: key of the request.
        length: how many numbers the request has under the key; None for any.
        columns: which of these numbers to take, in this order; () for all.
        gripper: meaning of the numbers if they are a gripper's; they are converted to 0 (closed) ... 1 (open). None leaves them
            as they are.
    """

    key: str
    length: int | None = None
    columns: tuple[int, ...] = ()
    gripper: Gripper | None = None

    @property
    def width(self) -> int | None:
        """Number of columns of the state that this part fills; None if the key map does not say."""
        return len(self.columns) or self.length

    def of(self, request: Request) -> NDArray[Any]:
        """Reads this part from a request, (n,).

        Raises:
            InputError: the part is missing, or is not what it should be.
        """
        array = numbers(found(request, self.key), self.key, self.length)
        if self.columns:
            if max(self.columns) >= len(array):
                raise InputError(f"{self.key} has {len(array)} numbers; expected at least {max(self.columns) + 1}")
            array = array[list(self.columns)]
        return array if self.gripper is None else self.gripper.opening(array)

    def __str__(self) -> str:
        size = "" if self.length is None else f" ({self.length})"
        return f"{self.key}{size}{list(self.columns) if self.columns else ''}"


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """The keys under which a robot sends what the model sees.

    Attributes:
        name: name of a preset, or path of the file.
        description: which robot's keys these are; "" if not given.
        cameras: key of a request -> camera slot of the run.
        state: parts that are joined to the state; () for none.
        prompt: key of the instruction.
        default_prompt: instruction for requests without one; None: each request needs one.
    """

    name: str
    description: str
    cameras: dict[str, CameraSlot]
    state: tuple[StatePart, ...]
    prompt: str
    default_prompt: str | None = None

    @classmethod
    def load(cls, name_or_path: str | Path) -> "KeyMap":
        """Loads a key map that comes with the package, or one from a file.

        Args:
            name_or_path: "droid", "droid_joint_velocity", "libero", "aloha", "ours", or the path of a YAML file.

        Raises:
            InputError: there is no key map of this name, or the file is not a key map; the error names the line.
        """
        known, name = presets(), str(name_or_path)
        if name in known:
            return _KeyMapReader(name).read(loads(known[name], name))
        path = Path(name_or_path)
        if not path.is_file():
            raise unknown_name("key map", name, known, "Or give the path of a YAML file (docs/robot.md)")
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: a key map has at most {MOST_BYTES:,} bytes, and this file has more")
        return _KeyMapReader(name).read(load(path))

    def with_prompt(self, prompt: str) -> "KeyMap":
        """Returns a key map with another instruction for requests without one; "" changes nothing."""
        return replace(self, default_prompt=prompt) if prompt.strip() else self

    def check(self, robot: Robot) -> None:
        """Refuses a robot that this key map cannot serve, and warns of grippers; a server calls this before it listens.

        Raises:
            InputError: no key is for any camera of the robot, or the state has another length.
        """
        if robot.cameras and not set(robot.cameras) & set(self.cameras.values()):
            raise InputError(
                f"key map {self.name} has keys for the cameras {', '.join(self.cameras.values()) or 'none'}, but "
                f"{robot.embodiment} was trained with {', '.join(robot.cameras)}; write a key map of your own (docs/robot.md)"
            )
        widths = [part.width for part in self.state]
        known = sum(width or 0 for width in widths)
        if robot.state_dim and (known > robot.state_dim or (None not in widths and known != robot.state_dim)):
            raise InputError(
                f"the state of key map {self.name} is {self._state_text()}, {known} numbers in all; {robot.embodiment} was "
                f"trained with {robot.state_dim}: {', '.join(robot.state_names)}. Write a key map of your own (docs/robot.md)"
            )
        if robot.state_dim:
            self._warn_of_grippers(robot)

    def _warn_of_grippers(self, robot: Robot) -> None:
        """Warns if the state contains a gripper as the robot sends it: 1 may mean closed there, but means open in the shards."""
        at = 0
        for part in self.state:
            width = part.width or robot.state_dim - at
            columns, at = robot.state_names[at : at + width], at + width
            if part.gripper is None and "gripper" in part.key and "gripper" in columns:
                logger.warning(
                    f"key map {self.name} takes {part.key} as it is sent. The catalogue's entries make a gripper's state 1 for "
                    f"open and 0 for closed; if {robot.embodiment} was trained on such shards and the robot sends anything else, "
                    "say `gripper: {closed: 1, open: 0}` in a key map, as the preset droid_joint_velocity does"
                )

    def expected(self, robot: Robot) -> dict[str, str]:
        """Returns what a request for a robot contains: key -> what its value means.

        Args:
            robot: robot that acts.
        """
        said = {
            key: f"camera {slot}: {PICTURE}; leave it out if it is not there"
            for key, slot in self.cameras.items()
            if slot in robot.cameras
        }
        names = list(robot.state_names)
        for part in self.state if robot.state_dim else ():
            width = part.width or len(names)
            mine, names = names[:width], names[width:]
            what = f"{part.length or 'numbers'} of the state, in raw units: {', '.join(mine)}"
            if part.gripper is not None:
                what += f" ({part.gripper.closed:g} is closed, {part.gripper.open:g} is open)"
            said[part.key] = f"{said[part.key]}; {what}" if part.key in said else what
        default = "" if self.default_prompt is None else f"; without it: {self.default_prompt!r}"
        return said | {self.prompt: f"the instruction, a text{default}"}

    def observation(self, request: Request, robot: Robot) -> tuple[Seen, str]:
        """Turns a request into the observation and the instruction that `Player.act` takes.

        A missing camera is left out, and the model sees that it is missing, as in training. Keys that the map does not know are
        ignored, unless a camera is missing and one of these keys contains an image: then this key is probably a wrong name.

        Args:
            request: what the robot sent: arrays, texts and numbers by key, and mappings of them.
            robot: robot that acts; the model sees its cameras and its state.

        Returns:
            The observation: "image/<slot>" for each camera that is not missing, (h, w, 3) uint8 or the bytes of an encoded
            image, and "state" (S,) float32 in raw units if the robot has a state. And the instruction.

        Raises:
            InputError: the images, the state or the instruction are missing or wrong. The error lists what was expected.
        """
        try:
            seen: dict[str, NDArray[Any] | bytes] = {**self._images(request, robot)}
            if robot.state_dim:
                seen["state"] = self._state(request, robot)
            return seen, self._prompt(request)
        except InputError as error:
            listed = "; ".join(f"{key}: {what}" for key, what in self.expected(robot).items())
            raise InputError(
                f"{error}.\nA request for {robot.embodiment} by key map {self.name} has: {listed}"
            ) from None

    def _images(self, request: Request, robot: Robot) -> dict[str, NDArray[np.uint8] | bytes]:
        mine = {key: slot for key, slot in self.cameras.items() if slot in robot.cameras}
        there = {key: value for key in mine if (value := found(request, key)) is not None}
        absent = ", ".join(key for key in mine if key not in there)
        if absent:
            others = [key for key, value in leaves(request) if is_picture(value) and self._strange(key)]
            if others:
                raise InputError(
                    f"the request has no image under {absent}, but one under {', '.join(others[:8])}, which the key map does not "
                    "know; use the map's key, or leave that image out"
                )
        if robot.cameras and not there:
            keys = [key for key, _ in islice(leaves(request), 20)]
            raise InputError(f"the request has none of the run's cameras; its keys are {', '.join(keys) or 'none'}")
        return {f"image/{mine[key]}": picture(value, key) for key, value in there.items()}

    def _strange(self, key: str) -> bool:
        """Returns whether a key belongs neither to the map nor to the server."""
        known = key in self.cameras or key == self.prompt or any(key == part.key for part in self.state)
        return not known and not key.startswith(OURS)

    def _state(self, request: Request, robot: Robot) -> NDArray[np.float32]:
        if not self.state:
            raise InputError(
                f"the key map has no state, and {robot.embodiment} was trained with one; add `state:` to it"
            )
        parts = [part.of(request) for part in self.state]
        with np.errstate(over="ignore"):  # too large numbers become inf, which is refused below
            state = np.concatenate(parts).astype(np.float32)
        if len(state) != robot.state_dim:
            lengths = " + ".join(f"{part.key} {len(array)}" for part, array in zip(self.state, parts, strict=True))
            raise InputError(f"the state has {len(state)} numbers ({lengths}), expected {robot.state_dim}")
        if not np.isfinite(state).all():
            raise InputError(f"the state is {state.tolist()[:20]}, expected numbers within the range of float32")
        return state

    def _prompt(self, request: Request) -> str:
        said = found(request, self.prompt)
        if said is None and self.default_prompt is not None:
            return self.default_prompt
        if isinstance(said, bytes):
            try:
                said = said.decode()
            except UnicodeDecodeError:
                raise InputError(f"{self.prompt} is bytes that are not UTF-8, expected a text") from None
        if not isinstance(said, str):
            raise InputError(
                f"{self.prompt} is {'missing' if said is None else f'a {type(said).__name__}'}, expected a text"
            )
        if len(said) > MOST_PROMPT:
            raise InputError(f"{self.prompt} has {len(said):,} characters, expected at most {MOST_PROMPT:,}")
        return str(said)

    def _state_text(self) -> str:
        return " + ".join(map(str, self.state)) or "none"


def presets() -> dict[str, str]:
    """Returns the key maps that come with the package: name -> YAML text."""
    return yaml_texts("train.serving", "key_maps")


class _KeyMapReader(CheckedValues):
    """Turns the YAML keys of a file into a `KeyMap`."""

    def read(self, top: Keys) -> KeyMap:
        if not _small(top):
            raise self.error(top, None, f"a key map has at most {MOST_VALUES:,} values, and this file has more")
        self.check_keys(top, ("description", "cameras", "state", "prompt", "default_prompt"), "key map")
        cameras, state = self.cameras(top), self.state(top)
        prompt = self.key(top, "prompt")
        keys = [*cameras, *(part.key for part in state), prompt]
        for key in keys:
            if keys.count(key) > 1 and [part.key for part in state].count(key) < keys.count(key):
                raise self.error(top, None, f"the key {key!r} is used for two things; give each its own")
        default = self.filled(top, "default_prompt") if "default_prompt" in top else None
        return KeyMap(
            name=self.where,
            description=self.text(top, "description", ""),
            cameras=cameras,
            state=state,
            prompt=prompt,
            default_prompt=default,
        )

    def key(self, keys: Keys, name: str) -> str:
        """Reads the name of a request's key."""
        if name not in keys:
            raise self.error(
                keys, None, f"{name} is missing; it is a key of the robot's requests, such as `{name}: {name}`"
            )
        return self.allowed(keys, name, self.filled(keys, name))

    def allowed(self, keys: Keys, where: str, key: str) -> str:
        if key.startswith(OURS) or not key.strip("/ "):
            raise self.error(keys, where, f"{key!r} cannot be a key: those of {OURS!r} are the server's own")
        return key

    def cameras(self, top: Keys) -> dict[str, CameraSlot]:
        table = self.table(top, "cameras", "{cam/front: primary}")
        found: dict[str, CameraSlot] = {}
        for key in table:
            self.allowed(table, key, key)
            slot = self.choice(table, key, CAMERA_SLOTS, "primary")
            if slot in found.values():
                raise self.error(table, key, f"two keys are for the camera slot {slot}; keep one")
            found[key] = slot
        return found

    def state(self, top: Keys) -> tuple[StatePart, ...]:
        value = top.get("state", [])
        items = [Keys({"key": value}, top.lines.get("state", 0))] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, Keys) for item in items):
            raise self.error(top, "state", "state must be a list of parts such as {key: joints, length: 7}")
        return tuple(self.part(item) for item in items)

    def part(self, item: Keys) -> StatePart:
        self.check_keys(item, ("key", "length", "columns", "gripper"), "state part")
        key = self.key(item, "key")
        length = self.whole(item, "length", 1, MOST_COLUMNS) if "length" in item else None
        columns = self.columns(item, length)
        ends = self.mapping(item, "gripper", ("closed", "open"), "{closed: 1, open: 0}")
        if ends is None:
            return StatePart(key, length, columns)
        for name in ("closed", "open"):
            if name not in ends:
                raise self.error(item, "gripper", f"{name} is missing; gripper must be like {{closed: 1, open: 0}}")
        closed, opened = (float(self.number(ends, name, -1e9, 1e9)) for name in ("closed", "open"))
        if np.float32(opened - closed) == 0:
            raise self.error(
                item, "gripper", f"closed and open are both {closed:g}; give the values that the robot sends"
            )
        return StatePart(key, length, columns, Gripper(closed, opened))

    def columns(self, item: Keys, length: int | None) -> tuple[int, ...]:
        if "columns" not in item:
            return ()
        given, most = item["columns"], length or MOST_COLUMNS
        whole = isinstance(given, list) and all(type(column) is int and 0 <= column < most for column in given)
        if not whole or not given or len(set(given)) < len(given):
            raise self.error(
                item,
                "columns",
                f"columns must be a list of different whole numbers from 0 to {most - 1}, such as [2, 0, 1]",
            )
        return tuple(given)


def _small(top: Keys) -> bool:
    """Returns whether a file has at most `MOST_VALUES` values.

    Aliases can turn a few lines of YAML into very many values, or into a list that contains itself.
    """
    left: list[object] = [top]
    for _ in range(MOST_VALUES):
        if not left:
            return True
        value = left.pop()
        left.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    return False
