"""What a server tells a client first: whom it serves, in which units, and what a request has. Imports no JAX."""

import hashlib
import json
from dataclasses import dataclass

from fasttok import ActionTokenizer
from fasttok._version import __version__
from train.acting.robots import Robot
from train.judging.measurements import Decoding

SERVER = "fasttok"
PROTOCOL = 1


@dataclass(frozen=True, kw_only=True)
class ServedRobot:
    """One embodiment. D columns of an action, S of a state, both in raw units.

    Attributes:
        horizon: steps of a chunk.
        action_dim: D.
        action_names: D names with units; where the run learned another form of actions than the robot takes, only numbers are
            known.
        action_encoding: of D columns "absolute", "delta" or "gripper", as the robot takes them.
        control_hz: steps per second; None if that is not known.
        cameras: slots.
        image_size: (height, width) of the training images; those of another size are brought to it.
        state_dim: S; 0 if it reads none.
        state_names: S names with units.
        action_low: D, the smallest value of each column in training; None where it learned another form.
        action_high: D, the largest.
        state_low: S, the smallest value of each column in training; None if the run has no statistics of the state.
        state_high: S, the largest.
        normaliser: digest of the statistics of actions and states; 16 hex digits.
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
    action_low: tuple[float, ...] | None
    action_high: tuple[float, ...] | None
    state_low: tuple[float, ...] | None
    state_high: tuple[float, ...] | None
    normaliser: str

    @classmethod
    def of(cls, robot: Robot, tok: ActionTokenizer, model_size: int) -> "ServedRobot":
        """What a client learns of a robot.

        Args:
            robot: of the run.
            tok: with its statistics.
            model_size: pixels of a side of what the model sees, where the shards kept the datasets' own sizes.
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
            action_low=tuple(stats.min.tolist()) if raw else None,
            action_high=tuple(stats.max.tolist()) if raw else None,
            state_low=None if state is None else tuple(state.min.tolist()),
            state_high=None if state is None else tuple(state.max.tolist()),
            normaliser=normaliser_digest(tok, robot.embodiment),
        )


@dataclass(frozen=True, kw_only=True)
class ServerMetadata:
    """The first message of a connection.

    Attributes:
        server: "fasttok".
        protocol: version of the keys that are ours.
        version: of fasttok.
        run: name of the run's folder.
        step: of its checkpoint.
        embodiment: who acts where a request does not say.
        embodiments: all that the run knows, by name.
        keys: of a request -> what stands under it, for `embodiment`.
        options: keys of a request that ask for something else than usual -> what stands under them.
        decode: how actions are predicted where a request does not say.
        decodes: ways that the server is ready for.
        real_time: whether chunks can go on with the last one.
        rtc_delay: most actions that the run was trained to be given; 0: none, it is guided.
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


def numbered(dim: int) -> tuple[str, ...]:
    """What the columns of actions are called of which the names are not known.

    >>> numbered(2)
    ('action 0', 'action 1')
    """
    return tuple(f"action {i}" for i in range(dim))


def normaliser_digest(tok: ActionTokenizer, embodiment: str) -> str:
    """16 hex digits of an embodiment's statistics: two runs with the same ones mean the same by the same numbers."""
    state = tok.state_stats.get(embodiment)
    stats = [tok.stats[embodiment].to_json(), None if state is None else state.to_json()]
    return hashlib.sha256(json.dumps(stats, sort_keys=True).encode()).hexdigest()[:16]
