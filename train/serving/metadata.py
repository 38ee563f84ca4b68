"""The first message of a server to a client: which robots it serves, their units, and the keys of a request. Imports no JAX."""

import hashlib
import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fasttok import ActionTokenizer, NormStats
from fasttok._version import __version__
from fasttok.common import json_files
from train.acting.robots import Robot
from train.judging.measurements import Decoding

SERVER = "fasttok"
PROTOCOL = 1


@dataclass(frozen=True, kw_only=True)
class ServedRobot:
    """What a client learns about one embodiment. An action has D columns and a state has S, both in raw units.

    Attributes:
        horizon: steps of a chunk.
        action_dim: D.
        action_names: D names with units; only "action 0", "action 1", ... if the run learned another form of actions than the
            robot takes.
        action_encoding: "absolute", "delta" or "gripper" for each of the D columns, as the robot takes them.
        control_hz: steps per second; None if not known.
        cameras: camera slots.
        image_size: (height, width) of the training images; images of another size are resized to it.
        state_dim: S; 0 if the policy reads no state.
        state_names: S names with units.
        action_low: smallest value of each of the D columns in training; None if the run learned another form of actions. Its
            statistics may be somebody else's, which may not say the range of a column: then the column's value is None.
        action_high: largest value of each of the D columns, or None likewise.
        state_low: smallest value of each of the S columns in training; None if the run has no statistics of the state. Single
            columns may be None, too.
        state_high: largest value of each of the S columns, or None likewise.
        normaliser: digest of the statistics of actions and states, 16 hex digits.
        cameras_renamed: camera slot -> what the dataset calls this camera, for each one that the mixture renamed; the key is
            missing if there are none.
    """

    horizon: int
    action_dim: int
    action_names: tuple[str, ...]
    action_encoding: tuple[str, ...]
    control_hz: int | float | None
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    state_dim: int
    state_names: tuple[str, ...]
    action_low: tuple[float | None, ...] | None
    action_high: tuple[float | None, ...] | None
    state_low: tuple[float | None, ...] | None
    state_high: tuple[float | None, ...] | None
    normaliser: str
    cameras_renamed: dict[str, str] = field(default_factory=dict, metadata=json_files.IF_NOT_DEFAULT)

    @classmethod
    def of(cls, robot: Robot, tok: ActionTokenizer, model_size: int) -> "ServedRobot":
        """Collects what a client learns about a robot.

        Args:
            robot: robot of the run.
            tok: tokenizer with the robot's statistics.
            model_size: pixels per side of the model's images; used if the shards kept the datasets' own sizes.
        """
        form, stats, state = robot.representation, tok.stats[robot.embodiment], tok.state_stats.get(robot.embodiment)
        raw = form is None or form.stored
        dim = robot.action_dim if form is None else sum(piece.width for piece in form.pieces)
        size = robot.resize
        return cls(
            horizon=robot.horizon,
            action_dim=dim,
            action_names=robot.action_names if raw else numbered(dim),
            action_encoding=robot.action_encoding if form is None or raw else form.stored_encoding,
            control_hz=robot.control_hz,
            cameras=robot.cameras,
            image_size=(model_size, model_size) if size is None else (size.height, size.width),
            state_dim=robot.state_dim,
            state_names=robot.state_names,
            action_low=_known(stats, stats.min) if raw else None,
            action_high=_known(stats, stats.max) if raw else None,
            state_low=None if state is None else _known(state, state.min),
            state_high=None if state is None else _known(state, state.max),
            normaliser=normaliser_digest(tok, robot.embodiment),
            cameras_renamed=dict(robot.renamed),
        )


@dataclass(frozen=True, kw_only=True)
class ServerMetadata:
    """The first message of a connection.

    Attributes:
        server: "fasttok".
        protocol: version of our own keys.
        version: version of fasttok.
        run: name of the run's folder.
        step: step of the checkpoint.
        embodiment: embodiment that acts if a request names none.
        embodiments: all embodiments that the run knows, by name.
        keys: keys of a request for `embodiment` -> what their values mean.
        options: optional keys of a request -> what their values mean.
        decode: how actions are predicted if a request does not say.
        decodes: ways to predict actions that the server is ready for.
        real_time: whether a chunk can continue the last one.
        rtc_delay: largest number of given actions that the run was trained with; 0: none, so chunks are guided instead.
        says_subtasks: whether the run can say a subtask.
    """

    server: str = SERVER
    protocol: int = PROTOCOL
    version: str = __version__
    run: str
    step: int
    embodiment: str
    embodiments: dict[str, ServedRobot]
    keys: dict[str, str]
    options: dict[str, str]
    decode: Decoding
    decodes: tuple[Decoding, ...]
    real_time: bool
    rtc_delay: int
    says_subtasks: bool


def _known(stats: NormStats, ends: NDArray[np.float64]) -> tuple[float | None, ...]:
    """Returns one end of the range of each column; None if the statistics have only a mean and a deviation, and no range."""
    unknown = (stats.min == stats.max) & (stats.std > 0)
    return tuple(None if missing else end for end, missing in zip(ends.tolist(), unknown.tolist(), strict=True))


def numbered(dim: int) -> tuple[str, ...]:
    """Returns names for action columns whose real names are not known.

    >>> numbered(2)
    ('action 0', 'action 1')
    """
    return tuple(f"action {i}" for i in range(dim))


def normaliser_digest(tok: ActionTokenizer, embodiment: str) -> str:
    """Returns 16 hex digits for an embodiment's statistics; if they are equal for two runs, both normalise in the same way."""
    state = tok.state_stats.get(embodiment)
    stats = [tok.stats[embodiment].to_json(), None if state is None else state.to_json()]
    return hashlib.sha256(json.dumps(stats, sort_keys=True).encode()).hexdigest()[:16]
