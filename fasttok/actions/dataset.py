"""Spools a dataset's actions to temporary files, by embodiment, and reads them as chunks as often as needed.

Memory does not grow with the data. One episode in ten is held out, and at least one of each dataset that has two or more. The
places of the episodes in their dataset decide which, not the order of reading.
"""

import hashlib
import itertools
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.chunks import MOST_STEPS, horizon_steps, run_ends
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.embodiment_actions import EmbodimentActions, EpisodePlace, Subset
from fasttok.actions.left_out import LeftOut
from fasttok.actions.recordings import (
    ADVICE,
    RENAME,
    Recording,
    frequencies_differ,
    frequency_of,
    shape_difference,
    size_difference,
    source_of,
)
from fasttok.actions.state_map import SideColumns, named, pairs_found, pairs_given, pairs_of
from fasttok.actions.step_values import action_of, state_of
from fasttok.common.choices import Embodiments, Gripper
from fasttok.common.stores import below
from fasttok.episodes import BadEpisodeError, Episode, episode_of
from fasttok.episodes.index import NUMBERED
from fasttok.errors import InputError, unknown_name

if TYPE_CHECKING:
    from fasttok.actions.representation import Representation  # imports scipy's rotations, which takes 0.3 s

logger = logging.getLogger(__name__)
HELD_OUT = 0.1  # share of the episodes that is held out


@dataclass(frozen=True)
class ChunkConfig:
    """How episodes become chunks.

    Attributes:
        horizon: steps per chunk; None for `seconds` times each embodiment's control frequency.
        seconds: length of a chunk in seconds, if there is no horizon.
        control_hz: control frequency in Hz, for data that does not record one.
        action_key: step feature that contains the actions, or several features whose columns are joined.
        gripper: how gripper dims are tokenised, see `Embodiment`.
        relative: whether every absolute dim is tokenised relative to the state at the chunk's first step.
        relative_to: pairs `ACTION=STATE`, by number or name, of the dims that are relative and the state column of each, see
            `state_map`; () for every absolute dim if `relative` is set.
        state_key: step feature that contains the state, "" for `proprio`.
        gain: factor on the scale for each dim, see `Embodiment`.
        episode_share: share of the episodes to read, in (0, 1]. They are chosen by their place in the files, so every order of
            reading gives the same ones.
        embodiments: whether recordings that name the same robot are one embodiment, see `recordings`.
        skip_bad: whether to leave out and count episodes that contain NaN or inf, or that lack the action; otherwise the first
            of them raises an error.
    """

    horizon: int | None = None
    seconds: float = 1.0
    control_hz: float | None = None
    action_key: str | tuple[str, ...] = "action"
    gripper: Gripper = "keep"
    relative: bool = False
    relative_to: tuple[str, ...] = ()
    state_key: str = ""
    gain: tuple[float, ...] = ()
    episode_share: float = 1.0
    embodiments: Embodiments = "check"
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.episode_share <= 1:
            raise InputError(f"episode share is {self.episode_share}, expected more than 0 and at most 1")
        if self.horizon is not None and self.horizon < 1:
            raise InputError(f"horizon is {self.horizon}, expected at least 1 step")
        if self.horizon is not None and self.horizon > MOST_STEPS:
            raise InputError(f"horizon is {self.horizon}, expected at most {MOST_STEPS} steps")
        if not self.action_key:
            raise InputError("no action key: name the step feature that contains the actions, or several of them")
        if self.relative_to and not self.relative:
            object.__setattr__(self, "relative", True)
        if not (np.isfinite(self.seconds) and self.seconds > 0):
            raise InputError(f"seconds is {self.seconds}, expected a positive number")


class Dataset:
    """Episodes grouped by embodiment; a context manager that deletes its temporary files at its end.

    Attributes:
        groups: the actions of each embodiment.
        left_out: episodes that could not be used.
        apart: whether each dataset is an embodiment of its own, whatever robot it names.
    """

    def __init__(
        self,
        episodes: Iterable[Episode],
        config: ChunkConfig,
        known: Mapping[str, Embodiment] | None = None,
        represent: "Mapping[str, Representation] | None" = None,
        horizons: Mapping[str, int] | None = None,
        every: bool = False,
    ) -> None:
        """Reads the episodes once.

        Args:
            episodes: episodes to read.
            config: how they become chunks.
            known: embodiments that are already described, such as those of a tokenizer. Their chunks are cut as they say, except
                that a horizon in `config` replaces theirs.
            represent: form to which the actions of some embodiments are converted first.
            horizons: steps per chunk of some embodiments, whatever `config` says.
            every: whether all episodes are held out, for data that no fit has seen.

        Raises:
            InputError: there are no episodes; an action is missing, not finite or of another size than the others of its
                embodiment; there is no control frequency to turn seconds into steps; or recordings of one name are not one
                embodiment.
        """
        self.groups: dict[str, EmbodimentActions] = {}
        self.left_out = LeftOut()
        self.apart = config.embodiments == "apart"
        self._recordings: dict[str, dict[str, Recording]] = {}
        self._states: dict[str, tuple[str, tuple[str, ...]]] = {}  # each one's first source, and its state columns
        self._folders: dict[str, str] = {}  # if datasets are kept apart, the folder of each
        self._every, self._unread = every, 0
        self._known, self._represent, self._horizons = known or {}, represent or {}, horizons or {}
        self._read(episodes, config)
        if not self.groups:
            if self._unread and not self.left_out.total:
                raise InputError(
                    f"the episode share {config.episode_share:g} takes none of the {self._unread} episodes; raise it "
                    "(--episode-share)"
                )
            why = "".join(f"; {line}" for line in self.left_out.lines()[:2])
            raise InputError(f"no episodes: nothing to learn from or to measure{why}")
        for other in {named(pair) for pair in config.relative_to} - {"", *self.groups}:
            raise unknown_name("embodiment", other, self.groups, "(--relative-to)")
        if config.relative and not any(group.embodiment.relative for group in self.groups.values()):
            raise InputError(
                "--relative: no dim of the actions is absolute, so none can be relative to the state; leave it out"
            )
        for difference in self._size_differences():
            if config.embodiments != "together":
                raise difference
            logger.warning("%s", str(difference).split(";")[0])
        if not every:
            for group in self.groups.values():
                group.hold_out()

    def _read(self, episodes: Iterable[Episode], config: ChunkConfig) -> None:
        reader = iter(episodes)
        try:
            for number, episode in enumerate(reader):
                if _lot(episode, number, "sample") >= config.episode_share:
                    self._unread += 1
                    continue
                try:
                    self._add(episode, number, config)
                except BadEpisodeError as error:
                    if not config.skip_bad:
                        raise
                    self.left_out.add([error.bad])
        finally:  # an exception keeps its stack frames alive, and with them a reader with open files
            if isinstance(reader, Generator):
                reader.close()

    @property
    def held_out(self) -> dict[str, int]:
        """Number of held-out episodes of each embodiment."""
        return {name: len(group.actions["held_out"].lengths) for name, group in self.groups.items()}

    @property
    def total(self) -> dict[str, int]:
        """Number of episodes of each embodiment."""
        return {name: sum(len(spool.lengths) for spool in g.actions.values()) for name, g in self.groups.items()}

    @property
    def embodiments(self) -> Embodiments:
        """What a fit of this data must be told (`--embodiments`) so that it makes the same embodiments."""
        if self.apart:
            return "apart"
        pairs = [pair for every in self._recordings.values() for pair in itertools.combinations(every.values(), 2)]
        differ = any(shape_difference(*pair, False, True) or size_difference(*pair) for pair in pairs)
        return "together" if differ else "check"

    def action_names(self, embodiment: str) -> tuple[str, ...]:
        """Returns the names of an embodiment's dims in its first source; () if it has none, or if a chunk has other dims."""
        first = next(iter(self._recordings.get(embodiment, {}).values()), None)
        names = () if first is None else first.names or first.columns
        return names if len(names) == self.groups[embodiment].embodiment.action_dim else ()

    def __enter__(self) -> "Dataset":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for group in self.groups.values():
            for spool in (*group.actions.values(), *group.references.values(), group.proprio):
                spool.close()

    def _embodiment(
        self, name: str, episode: Episode, action: NDArray[Any], state: NDArray[Any] | None, config: ChunkConfig
    ) -> Embodiment:
        if name in self._horizons:
            config = replace(config, horizon=self._horizons[name])
        if name not in self._known:
            return _new_embodiment(name, episode, action, state, config)
        known = self._known[name]
        return known if config.horizon is None else replace(known, horizon=config.horizon)

    def _add(self, episode: Episode, number: int, config: ChunkConfig) -> None:
        name = embodiment_name(episode, config.embodiments == "apart")
        action = action_of(episode, config.action_key)
        known, represent = self._known.get(name), self._represent.get(name)
        state = None
        if known is None or known.relative or represent is not None:
            wanted = config.state_key or (known.state_key if known else "")
            state = state_of(episode, wanted, known is None and _may_be_relative(name, episode, config), known)
        proprio = None if state is None or state.is_reference else state.values
        if name not in self.groups:
            embodiment = self._embodiment(name, episode, action, proprio, config)
            if represent is not None:
                embodiment = replace(
                    embodiment, action_dim=represent.dim, action_encoding=represent.encoding, form=represent.name
                )
            self.groups[name] = EmbodimentActions(embodiment, represent)
        group = self.groups[name]
        dim = group.embodiment.action_dim if represent is None else sum(piece.width for piece in represent.pieces)
        if action.shape[1] != dim:
            raise InputError(f"{episode.where}: action has {action.shape[1]} dims, embodiment {name!r} has {dim}")
        if self.apart and self._folders.setdefault(name, episode.folder) != episode.folder:
            raise InputError(f"{self._folders[name]} and {episode.folder} are both called {name!r}; {RENAME}")
        self._record(
            name,
            Recording.of(episode, action, None if proprio is None else proprio.shape[1], config.control_hz),
            config,
        )
        self._recordings[name][source_of(episode)].sizes.append(np.abs(action).max(0))
        lot = _lot(episode, number, "held out")
        subset: Subset = "held_out" if self._every or lot < HELD_OUT else "train"
        name_of_episode = f"{episode.where.file}: {episode_of(episode)}".lstrip(": ")
        dataset = episode.folder, str(episode.metadata.get("dataset") or "")  # two folders may have one name
        place = EpisodePlace(dataset, lot, name_of_episode, len(action), _run_ends(episode))
        group.places[subset].append(place)
        group.actions[subset].add(action)
        if proprio is not None:
            group.proprio.add(proprio)
            group.proprio_places.append(place.name)
        if represent is not None:
            states = np.zeros((len(action), 0)) if proprio is None else proprio
            group.references[subset].add(represent.reference(action, states, place.ends).astype(np.float32))
        elif group.embodiment.relative and state is not None:
            if known is None:
                self._same_state(name, episode)
            group.add_reference(subset, state, len(action), name)

    def _record(self, name: str, recording: Recording, config: ChunkConfig) -> None:
        """Refuses a recording whose metadata says that it is another embodiment than the recordings before it."""
        every = self._recordings.setdefault(name, {})
        if name in self._known:
            known = self._known[name].control_hz
            if recording.source not in every and frequencies_differ(recording.control_hz, known):
                logger.warning(
                    "%s has %g Hz, the tokenizer's %r has %g Hz: its chunks last another time than those it was fitted on",
                    recording.source, recording.control_hz, name, known,
                )  # fmt: skip
            every.setdefault(recording.source, recording)
            return
        same = every.setdefault(recording.source, recording)
        trusted, steps = config.embodiments == "together", config.horizon is not None
        for other in (same, next(iter(every.values()))):
            why = shape_difference(other, recording, trusted, steps)
            if why:
                raise _not_one(name, other, recording, why)

    def _same_state(self, name: str, episode: Episode) -> None:
        """Refuses a source whose state columns differ from those of the source that decided what dims are relative to."""
        names = tuple((episode.metadata.get("columns") or {}).get("state", ()))
        first, known = self._states.setdefault(name, (source_of(episode), names))
        if names and known and names != known:
            column = next(i for i, (a, b) in enumerate(itertools.zip_longest(names, known)) if a != b)
            raise InputError(
                f"{first} and {source_of(episode)} are both called {name!r}, but column {column} of the state is "
                f"{known[column : column + 1]} and {names[column : column + 1]}, and dims are relative to columns by number; use "
                "--embodiments apart"
            )

    def _size_differences(self) -> Iterator[InputError]:
        """Yields an error for each two recordings of one embodiment whose units seem to differ."""
        for name, every in self._recordings.items():
            for one, other in itertools.combinations(every.values(), 2):
                why = "" if name in self._known else size_difference(one, other)
                if why:
                    yield _not_one(name, one, other, f"{why} (if they do not, use --embodiments together)")


def _not_one(name: str, one: Recording, other: Recording, why: str) -> InputError:
    advice = RENAME if one.dataset and one.dataset == other.dataset else ADVICE
    return InputError(f"{one.source} and {other.source} are both called {name!r}, but {why}; {advice}")


def embodiment_name(episode: Episode, apart: bool = False) -> str:
    """Returns the name of an episode's embodiment. Halves of characters, which no file can have, become question marks.

    Args:
        episode: the episode.
        apart: whether each dataset is an embodiment of its own.

    >>> embodiment_name(Episode({}, {"dataset": "bridge"}))
    'bridge'
    """
    keys = ("dataset", "embodiment") if apart else ("embodiment", "dataset")
    name = next((episode.metadata[key] for key in keys if episode.metadata.get(key)), "robot")
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name).encode(errors="replace").decode()


def _new_embodiment(
    name: str, episode: Episode, action: NDArray[Any], state: NDArray[Any] | None, config: ChunkConfig
) -> Embodiment:
    hz = frequency_of(episode, config.control_hz)
    if config.horizon is not None:
        horizon = config.horizon
    elif hz is not None:
        horizon = horizon_steps(config.seconds, hz)
    else:
        raise InputError(
            f"{name}: the data has no control frequency, so a chunk of {config.seconds:g} s cannot be converted to steps; pass "
            "--control-hz, or the chunk length in steps with --horizon"
        )
    encoding = tuple(episode.metadata.get("action_encoding") or ())
    if config.gripper != "keep" and "gripper" not in encoding:
        raise InputError(
            f"{name}: --gripper {config.gripper}, but the data does not say which dim is the gripper; use an INDEX"
        )
    plain = Embodiment(horizon, action.shape[1], hz, encoding, config.gripper, gain=config.gain)
    return plain if state is None or not config.relative else _relative(name, plain, episode, state.shape[1], config)


def _run_ends(episode: Episode) -> NDArray[np.int64] | None:
    """Returns where the chunks of an episode end if some of its steps are left out, else None."""
    numbers = episode.metadata.get(NUMBERED)
    return run_ends(numbers) if isinstance(numbers, np.ndarray) else None


def _may_be_relative(name: str, episode: Episode, config: ChunkConfig) -> bool:
    """Whether dims of an embodiment should be relative, so that its state is needed."""
    if config.relative_to:
        return bool(pairs_of(config.relative_to, name))
    return config.relative and "absolute" in (episode.metadata.get("action_encoding") or ("absolute",))


def _relative(name: str, what: Embodiment, episode: Episode, state_dim: int, config: ChunkConfig) -> Embodiment:
    """Returns the embodiment with the dims that are relative to the state."""
    names = episode.metadata.get("columns") or {}
    action, state = (
        SideColumns(side, dim, tuple(names.get(side, ())) if len(names.get(side, ())) == dim else ())
        for side, dim in (("action", what.action_dim), ("state", state_dim))
    )
    if config.relative_to:
        pairs = pairs_given(pairs_of(config.relative_to, name), action, state, what.action_encoding)
    else:
        encoding = what.action_encoding or ("absolute",) * what.action_dim
        pairs = pairs_found(name, [d for d, e in enumerate(encoding) if e == "absolute"], action, state)
    relative, relative_to = tuple(pairs), tuple(pairs.values())
    return replace(
        what,
        relative=relative,
        relative_to=() if relative_to == relative else relative_to,
        state_key=config.state_key if relative else "",
    )


def _lot(episode: Episode, number: int, purpose: str) -> float:
    """Returns a number in [0, 1) that depends on the episode's place in its dataset and the purpose.

    It depends neither on the order of reading nor on where the dataset's folder is.
    """
    where = episode.where
    place = f"{below(episode.folder, where.file)}:{where.number}" if where.file else str(number)
    digest = hashlib.sha256((purpose + place).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
