"""Checks whether recordings that name the same robot are one embodiment, whose statistics would mix their numbers.

They are one if control frequency, number and names of dims, encodings and state dims agree, and if no dim's usual size differs
by a factor of `FACTOR` or more. Tasks differ in how far they move a robot, but other units differ more: degrees are 57 times
radians, millimetres 1000 times metres, and percent 100 times a fraction.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes import Episode
from fasttok.errors import InputError

FACTOR = 20.0  # factor between the sizes of a dim from which on its units seem to differ
ADVICE = (
    "one embodiment has one frequency, one order of dims and one set of units. Use --embodiments apart to give each dataset "
    "its own statistics (datasets of an INDEX: give one another `embodiment:` in its entry, and index it again)"
)

RENAME = (
    "rename one of these datasets, or give it by a link with another name, and use --embodiments apart, which names embodiments "
    "by their datasets"
)


@dataclass
class Recording:
    """What one source of an embodiment's episodes says about its actions.

    Attributes:
        source: where the episodes come from.
        control_hz: control frequency in Hz; None if it is not known.
        names: names of the action's dims; () if they are not recorded.
        encoding: encodings of the action's dims; () if they are not recorded.
        action_dim: D, dims of the action.
        state_dim: dims of the proprio; None if there is none.
        dataset: name of its dataset.
        columns: names of the action's columns, which pages show if `names` is empty; () if there are none.
        sizes: (D,) the largest absolute action of each episode.
    """

    source: str
    control_hz: float | None
    names: tuple[str, ...]
    encoding: tuple[str, ...]
    action_dim: int
    state_dim: int | None
    dataset: str = ""
    columns: tuple[str, ...] = ()
    sizes: list[NDArray[np.float32]] = field(default_factory=list)

    @classmethod
    def of(cls, episode: Episode, action: NDArray[np.float32], state_dim: int | None, hz: float | None) -> "Recording":
        """Returns what an episode says; `hz` is its control frequency if it does not record one."""
        return cls(
            source_of(episode),
            frequency_of(episode, hz),
            tuple(map(str, episode.metadata.get("action_names") or ())),
            tuple(map(str, episode.metadata.get("action_encoding") or ())),
            action.shape[1],
            state_dim,
            str(episode.metadata.get("dataset") or ""),
            tuple(map(str, (episode.metadata.get("columns") or {}).get("action") or ())),
        )

    def size(self) -> NDArray[np.float64]:
        """Returns (D,): the median over episodes of the largest absolute action, which one glitch does not change."""
        return np.median(np.stack(self.sizes), axis=0).astype(np.float64)


def source_of(episode: Episode) -> str:
    """Returns the path that was given to the reader, the dataset's name, or both if the path has several datasets.

    >>> source_of(Episode({}, {"dataset": "bridge"}))
    'bridge'
    """
    path, dataset = str(episode.metadata.get("source") or ""), str(episode.metadata.get("dataset") or "")
    if path and dataset and dataset not in path.split("/"):
        return f"{path} ({dataset})"
    return path or dataset or "the data"


def frequency_of(episode: Episode, otherwise: float | None = None) -> float | None:
    """Returns the control frequency in Hz that an episode records, or `otherwise` if it records none.

    Raises:
        InputError: what it records is no frequency.

    >>> frequency_of(Episode({}, {"control_hz": "10"})), frequency_of(Episode({}), 5.0)
    (10.0, 5.0)
    """
    said = episode.metadata.get("control_hz")
    if not said:
        return otherwise
    try:
        found = float(said)
    except (TypeError, ValueError):
        found = np.nan
    if not 0 < found < np.inf:
        raise InputError(
            f"{episode.where.file}: control_hz is {said!r}, expected the steps per second, above 0; correct it in the file"
        )
    return found


def frequencies_differ(one: float | None, other: float | None) -> bool:
    """Whether two known control frequencies differ by more than 2 %.

    >>> frequencies_differ(30, 29.97), frequencies_differ(10, 50), frequencies_differ(10, None)
    (False, True, False)
    """
    return one is not None and other is not None and abs(one - other) > 0.02 * max(one, other)


def shape_difference(one: Recording, other: Recording, trusted: bool, steps: bool) -> str:
    """Says why two recordings are not one embodiment, from their metadata; "" if they may be one.

    Args:
        one: a recording.
        other: another recording.
        trusted: whether to ignore names and encodings.
        steps: whether the length of chunks was given in steps; if also `trusted`, frequencies may differ.
    """
    if frequencies_differ(one.control_hz, other.control_hz) and not (trusted and steps):
        return f"the control frequency is {one.control_hz:g} and {other.control_hz:g} Hz"
    if one.action_dim != other.action_dim:
        return f"the action has {one.action_dim} and {other.action_dim} dims"
    if None not in (one.state_dim, other.state_dim) and one.state_dim != other.state_dim:
        return f"the state has {one.state_dim} and {other.state_dim} dims"
    for what, a, b in (("name", one.names, other.names), ("encoding", one.encoding, other.encoding)):
        if not trusted and a and b and a != b:
            at = next((d for d, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), None)
            where = f"{len(a)} and {len(b)} {what}s" if at is None else f"the {what} of dim {at} is {a[at]} and {b[at]}"
            return f"their dims differ: {where}"
    return ""


def size_difference(one: Recording, other: Recording) -> str:
    """Says why two recordings seem to have different units, from the usual size of their dims; "" if they do not.

    A dim that is always 0 is ignored.
    """
    a, b = one.size(), other.size()
    moving = (a > 0) & (b > 0)
    ratio = np.ones(len(a))
    ratio[moving] = np.maximum(a[moving] / b[moving], b[moving] / a[moving])
    worst = int(ratio.argmax())
    if ratio[worst] < FACTOR:
        return ""
    return (
        f"their units seem to differ: {int((ratio >= FACTOR).sum())} of {len(a)} dims differ in size by {FACTOR:g} times or "
        f"more, dim {worst} usually reaches {a[worst]:.3g} and {b[worst]:.3g}"
    )
