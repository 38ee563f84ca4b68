"""What a policy expects of a robot's episodes, as its run or its server says, and a check that an episode fits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.normalize import NormStats
from fasttok.errors import InputError, unknown_name
from fasttok.packed_arrays import Packed
from pipelines.stored_episode import StoredEpisode
from train.serving.metadata import numbered

FAR = 10.0  # recorded values of more than FAR times the largest value of the training range are in other units
OFTEN = 0.5  # share of an episode's steps at which this must be so


@dataclass(frozen=True)
class TrainedRange:
    """The range of the values in training, in raw units.

    A run's own statistics give the 1st and the 99th percentile. A server's metadata gives the smallest and the largest value.

    Attributes:
        low: (D,) the lower end.
        high: (D,) the upper end.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, stats: NormStats | None) -> "TrainedRange | None":
        """Returns the range that a tokenizer's statistics give; None if there are none."""
        return None if stats is None else cls(tuple(map(float, stats.q01)), tuple(map(float, stats.q99)))

    def beyond(self, values: NDArray[np.float32]) -> list[int]:
        """Returns the columns of `values` (T, D) that are far outside of the range in more than half of the steps."""
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        far = (np.abs(values) > FAR * np.maximum(largest, 1e-6)).mean(0) > OFTEN
        return np.flatnonzero(far & (largest > 0)).tolist()


@dataclass(frozen=True)
class AskedRobot:
    """A robot, as the policy knows it.

    Attributes:
        embodiment: name of the embodiment.
        horizon: steps of a chunk.
        action_dim: number of columns of the chunks that the policy gives.
        action_names: names of these columns, with their units; () if the policy gives other columns than it was trained on, such
            as absolute actions from relative ones.
        control_hz: steps per second; None if not known.
        cameras: camera slots of the images that the policy sees.
        state_names: names of the state's columns, with their units.
        actions: range of the actions in training; None if not known.
        states: range of the states in training; None if not known.
        renamed: (camera slot that the policy sees, camera slot of the dataset) of each camera that the mixture renamed.
    """

    embodiment: str
    horizon: int
    action_dim: int
    action_names: tuple[str, ...]
    control_hz: float | None
    cameras: tuple[str, ...]
    state_names: tuple[str, ...]
    actions: TrainedRange | None = None
    states: TrainedRange | None = None
    renamed: tuple[tuple[str, str], ...] = ()

    def sees(self, episode: StoredEpisode) -> StoredEpisode:
        """Returns an episode with the cameras that the policy sees, under the names that the mixture gave them."""
        if not self.renamed:
            return episode
        of = {slot: slot for slot in self.cameras} | dict(self.renamed)
        there = {slot: of[slot] for slot in self.cameras if of[slot] in episode.cameras}
        return replace(
            episode,
            cameras={slot: episode.cameras[recorded] for slot, recorded in there.items()},
            bgr=tuple(slot for slot, recorded in there.items() if recorded in episode.bgr),
        )


def check_episode(robot: AskedRobot, episode: StoredEpisode) -> None:
    """Refuses an episode for which a replay would be meaningless.

    Raises:
        InputError: the episode has other columns, other units, another control frequency, or none of the policy's cameras.
    """
    asked = f"episode {episode.number} of {episode.dataset}, split {episode.split}"
    if episode.action.shape[1] != robot.action_dim:
        raise InputError(
            f"{asked} has actions of {episode.action.shape[1]} columns: {', '.join(episode.action_names)}; expected those of "
            f"{robot.embodiment}: {_columns(robot.action_names, robot.action_dim)}"
        )
    for what, named, known in (
        ("actions", episode.action_names, robot.action_names),
        ("states", episode.state_names, robot.state_names),
    ):
        if known and named != known:
            at = next(
                (i for i, (a, b) in enumerate(zip(named, known, strict=False)) if a != b), min(len(named), len(known))
            )
            raise InputError(
                f"{asked} has other {what} than {robot.embodiment}: column {at} is {_at(named, at)}, expected {_at(known, at)}. "
                f"Expected in all: {', '.join(known)}; got: {', '.join(named) or 'none'}. A unit or name is what the dataset's "
                "entry says; --entries names another one"
            )
    for what, values, names, within in (
        ("actions", episode.action, episode.action_names, robot.actions),
        ("states", episode.state, episode.state_names, robot.states),
    ):
        if within is not None and len(within.low) == values.shape[1] and (far := within.beyond(values)):
            i = far[0]
            raise InputError(
                f"{asked} has {what} in other units: {names[i]} is {np.median(values[:, i]):.4g} at the median, and training had "
                f"{within.low[i]:.4g} to {within.high[i]:.4g}. Expected raw units as in training; "
                "`scale` in the dataset's entry changes them (docs/datasets.md)"
            )
    if robot.control_hz and episode.control_hz and abs(robot.control_hz - episode.control_hz) > 1e-3 * robot.control_hz:
        raise InputError(
            f"{asked} was recorded at {episode.control_hz:g} Hz; the policy's {robot.embodiment} acts at {robot.control_hz:g} "
            "Hz, so their steps cannot be compared"
        )
    if robot.cameras and not set(robot.cameras) & set(episode.cameras):
        raise InputError(
            f"{asked} has the cameras {', '.join(episode.cameras) or 'none'}; expected some of {', '.join(robot.cameras)}, which "
            f"the policy sees of {robot.embodiment}"
        )


def chosen_embodiment(wanted: str, episode: StoredEpisode, known: Sequence[str]) -> str:
    """Returns the embodiment that should act: the one that the user asked for, or else the episode's own.

    Raises:
        InputError: the policy does not know this embodiment.
    """
    if wanted:
        if wanted not in known:
            raise unknown_name("embodiment", wanted, known, "of the policy")
        return wanted
    if episode.embodiment not in known:
        raise InputError(
            f"the episode is of {episode.embodiment}, which the policy was not trained on; it knows {', '.join(known)}. If it "
            "is one of these under another name, say so: --embodiment NAME"
        )
    return episode.embodiment


def from_metadata(embodiment: str, said: Mapping[str, Packed], where: str) -> AskedRobot:
    """Reads what a server says about an embodiment (docs/robot.md).

    Raises:
        InputError: the server does not say enough.
    """
    horizon, dim, hz = said.get("horizon"), said.get("action_dim"), said.get("control_hz")
    if not isinstance(horizon, int) or not isinstance(dim, int):
        raise InputError(f"{where} does not say the horizon and the action_dim of {embodiment}; expected fasttok-serve")
    names = _texts(said.get("action_names"))
    known = len(names) == dim and names != numbered(dim)  # a run of relative actions has no names for absolute ones
    states = _texts(said.get("state_names"))
    return AskedRobot(
        embodiment,
        horizon,
        dim,
        names if known else (),
        float(hz) if isinstance(hz, int | float) else None,
        _texts(said.get("cameras")),
        states,
        _range(said, "action", dim),
        _range(said, "state", len(states)),
        _pairs(said.get("cameras_renamed")),
    )


def _range(said: Mapping[str, Packed], what: str, dim: int) -> TrainedRange | None:
    """Returns the range of the actions or states in training; None if the server does not say it for every column."""
    low, high = _numbers(said.get(f"{what}_low")), _numbers(said.get(f"{what}_high"))
    return TrainedRange(low, high) if low and len(low) == len(high) == dim else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    return tuple((str(slot), str(of)) for slot, of in value.items()) if isinstance(value, Mapping) else ()


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list | tuple) and None not in value else ()


def _columns(names: tuple[str, ...], dim: int) -> str:
    return f"{dim} columns: {', '.join(names)}" if names else f"{dim} columns"


def _at(names: tuple[str, ...], place: int) -> str:
    return repr(names[place]) if place < len(names) else "none"
