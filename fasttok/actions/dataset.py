"""A data set's actions by embodiment: spooled to temporary files once, then read as chunks as often as needed.

Memory does not grow with the data. Which episodes are held out depends on their places, not on the order of
reading: one in ten, and from two episodes on at least one of each dataset.
"""

import hashlib
import itertools
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.chunks import chunks_at, horizon_steps, run_ends
from fasttok.actions.embodiment import Embodiment, Gripper
from fasttok.actions.left_out import LeftOut
from fasttok.actions.recordings import (
    ADVICE,
    Embodiments,
    Recording,
    frequencies_differ,
    shape_difference,
    size_difference,
    source_of,
)
from fasttok.actions.state_map import SideColumns, named, pairs_found, pairs_given, pairs_of
from fasttok.actions.step_values import EpisodeState, action_of, state_of
from fasttok.common.temporary import unnamed_file
from fasttok.episodes import BadEpisodeError, Episode, episode_of
from fasttok.episodes.index import NUMBERED
from fasttok.errors import InputError, unknown_name

if TYPE_CHECKING:
    from fasttok.actions.representation import Representation  # brings scipy's rotations, a third of a second

logger = logging.getLogger(__name__)
HELD_OUT = 0.1  # share of the episodes that is held out
BATCH = 1024
Subset = Literal["train", "held_out"]
SUBSETS: tuple[Subset, ...] = ("train", "held_out")


@dataclass(frozen=True)
class ChunkConfig:
    """How episodes become chunks.

    Attributes:
        horizon: steps per chunk, or None: `seconds` times each embodiment's control frequency.
        seconds: length of a chunk in seconds, if there is no horizon.
        control_hz: control frequency in Hz, for data that does not record one.
        action_key: step feature that holds the actions, or several of them, whose columns stand side by side.
        gripper: how gripper dims are tokenised, see `Embodiment`.
        relative: whether every absolute dim is tokenised relative to the state at the chunk's first step.
        relative_to: dims that are, and the state's column of each, `ACTION=STATE` by number or name, see `state_map`; () for
            every absolute dim if `relative`.
        state_key: step feature that holds the state, "" for `proprio`.
        gain: factor on the scale for each dim, see `Embodiment`.
        episode_share: share of the episodes to read, chosen by their place, so that any order of reading gives the same ones.
        embodiments: whether recordings that name the same robot are one embodiment, see `recordings`.
        skip_bad: whether episodes that hold NaN or inf, or lack the action, are left out and counted; otherwise the first ends
            the reading.
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
        if not self.action_key:
            raise InputError("no action key: name the step feature that holds the actions, or several of them")
        if self.relative_to and not self.relative:
            object.__setattr__(self, "relative", True)
        if not (np.isfinite(self.seconds) and self.seconds > 0):
            raise InputError(f"seconds is {self.seconds}, expected a positive number")


class Spool:
    """Matrices (n_i, D) of float32, one after the other in a temporary file."""

    def __init__(self) -> None:
        self._file = unnamed_file()
        self.lengths: list[int] = []
        self.dim = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Appends a matrix; all have the same D."""
        self.dim = rows.shape[1]
        self.lengths.append(len(rows))
        self._file.write(np.ascontiguousarray(rows, np.float32).data)

    @property
    def rows(self) -> int:
        """Of all matrices."""
        return sum(self.lengths)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        self._file.flush()
        self._file.seek(0)
        for length in self.lengths:
            raw = self._file.read(4 * length * self.dim)
            yield np.frombuffer(raw, np.float32).reshape(length, self.dim)

    def close(self) -> None:
        """Deletes the file."""
        self._file.close()


@dataclass(frozen=True)
class EpisodePlace:
    """Where an episode is.

    Attributes:
        dataset: its dataset.
        lot: a number in [0, 1) that its place in the files decides.
        name: file and episode, for people.
        steps: number of steps.
        ends: (T,) where a chunk that begins at a step ends, None for the end of the episode.
    """

    dataset: str
    lot: float
    name: str
    steps: int
    ends: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class LocatedChunks:
    """Chunks of one episode.

    Attributes:
        name: file and episode, for people.
        length: number of steps of the episode; what is beyond is padding.
        steps: (n,) step at which each chunk begins.
        values: (n, T, D) the chunks.
    """

    name: str
    length: int
    steps: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass
class EmbodimentActions:
    """One embodiment's episodes, spooled.

    Attributes:
        embodiment: what its actions are, and how they are cut into chunks.
        represent: the form that its actions take first, None for as stored.
        actions: (T, D) of each episode, to learn from or held out.
        references: (T, D) what each chunk's relative dims refer to, for each episode of `actions`.
        proprio: (T, S) of each episode that has it.
        places: of each episode of `actions`; the lowest lots are held out.
        proprio_places: name of each episode of `proprio`.
        firsts: whether only the first step of each episode has a reference, so that only the chunk that begins there is used.
    """

    embodiment: Embodiment
    represent: "Representation | None" = None
    actions: dict[Subset, Spool] = field(default_factory=lambda: {"train": Spool(), "held_out": Spool()})
    references: dict[Subset, Spool] = field(default_factory=lambda: {"train": Spool(), "held_out": Spool()})
    proprio: Spool = field(default_factory=Spool)
    places: dict[Subset, list[EpisodePlace]] = field(default_factory=lambda: {"train": [], "held_out": []})
    proprio_places: list[str] = field(default_factory=list)
    firsts: bool = False

    def add_reference(self, subset: Subset, state: EpisodeState, length: int, name: str) -> None:
        """What the chunks of an episode of so many steps are relative to.

        Raises:
            InputError: some episodes have a state for every step, others only for the first.
        """
        if self.references[subset].lengths and self.firsts != state.first_only:
            raise InputError(
                f"{name}: some episodes have a state for each step, others only for the first; write it for all"
            )
        values = state.values if state.is_reference else self.embodiment.reference(state.values)
        rows = np.full((length, self.embodiment.action_dim), np.nan, np.float32)
        rows[: len(values)] = values
        self.firsts = state.first_only
        self.references[subset].add(rows)

    def hold_out(self) -> None:
        """Moves episodes so that of two or more, of each dataset and of all, at least one is held out and one is not."""
        lots = [place for subset in SUBSETS for place in self.places[subset]]
        before = [subset for subset in SUBSETS for _ in self.places[subset]]
        subsets = list(before)
        everyone = list(range(len(lots)))
        strata = [
            [i for i in everyone if lots[i].dataset == name] for name in dict.fromkeys(lot.dataset for lot in lots)
        ]
        for members in (*strata, everyone):
            if len(members) < 2:
                continue
            members = sorted(members, key=lambda i: lots[i].lot)
            if all(subsets[i] == "train" for i in members):
                subsets[members[0]] = "held_out"
            elif all(subsets[i] == "held_out" for i in members):
                subsets[members[-1]] = "train"
        if len(lots) == 1:
            subsets = ["train"]
        if subsets == before:
            return
        self.actions, self.references = _dealt(self.actions, subsets), _dealt(self.references, subsets)
        self.places = {
            subset: [lot for lot, now in zip(lots, subsets, strict=True) if now == subset] for subset in SUBSETS
        }

    def count(self, subset: Subset) -> int:
        """Chunks there are: one begins at each step that has a reference, if it needs one."""
        actions = self.actions[self._or_other(subset)]
        return len(actions.lengths) if self.firsts else actions.rows

    def chunks(self, subset: Subset, most: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """Batches of (chunks (n, T, D), reference (n, D) or None), at most `most` chunks, evenly spread over all."""
        waiting: list[NDArray[Any]] = []
        near: list[NDArray[Any]] = []
        for _, _, chunks, reference in self._stored_chunks(subset, most):
            waiting.append(chunks)
            if reference is not None:
                near.append(reference)
            if sum(map(len, waiting)) >= BATCH:
                yield self._batch(waiting, near)
                waiting, near = [], []
        if waiting:
            yield self._batch(waiting, near)

    def located(self, subset: Subset, most: int) -> "Iterator[LocatedChunks]":
        """As `relative_chunks`, by episode."""
        for episode, steps, stored, near in self._stored_chunks(subset, most):
            chunks, reference = self._batch([stored], [] if near is None else [near])
            yield LocatedChunks(episode.name, episode.steps, steps, self._moved(chunks, reference))

    def _stored_chunks(
        self, subset: Subset, most: int
    ) -> Iterator[tuple["EpisodePlace", NDArray[np.int64], NDArray[Any], NDArray[Any] | None]]:
        """Of each episode: its place, the first steps of its chunks, the chunks as stored, and what they refer to."""
        subset = self._or_other(subset)
        actions, what = self.actions[subset], self.embodiment
        total = self.count(subset)
        wanted = np.unique(np.linspace(0, total - 1, min(most, total)).astype(np.int64))
        if self.firsts:
            wanted = np.cumsum([0, *actions.lengths])[wanted]
        encoding = what.action_encoding or ("absolute",) * what.action_dim
        if self.represent is not None:
            encoding = tuple(piece.encoding for piece in self.represent.pieces for _ in range(piece.width))
        references = iter(self.references[subset]) if what.relative or self.represent is not None else None
        start = 0
        for place, episode in zip(self.places[subset], actions, strict=True):
            reference = next(references) if references is not None else None
            steps = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, start + len(episode))] - start
            start += len(episode)
            if not len(steps):
                continue
            near = None if reference is None else reference[steps]
            yield place, steps, chunks_at(episode, steps, what.horizon, encoding, place.ends), near

    def _batch(
        self, chunks: list[NDArray[Any]], references: list[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        if self.represent is not None:
            return self.represent(np.concatenate(chunks), np.concatenate(references)), None
        return np.concatenate(chunks), np.concatenate(references) if references else None

    def sample(self, subset: Subset, most: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """As `chunks`, in one piece."""
        chunks, references = zip(*self.chunks(subset, most), strict=True)
        return np.concatenate(chunks), np.concatenate(references) if self.embodiment.relative else None

    def relative_chunks(self, subset: Subset, most: int) -> Iterator[NDArray[np.float32]]:
        """As `chunks`, with the reference taken off."""
        for chunks, reference in self.chunks(subset, most):
            yield self._moved(chunks, reference)

    def _moved(self, chunks: NDArray[np.float32], reference: NDArray[np.float32] | None) -> NDArray[np.float32]:
        dims = list(self.embodiment.relative)
        if reference is not None:
            chunks[..., dims] -= reference[:, None, dims]
        return chunks

    def _or_other(self, subset: Subset) -> Subset:
        """A single episode is learned from and measured on, and where `every` one is held out, none is left to learn from."""
        other: Subset = "held_out" if subset == "train" else "train"
        return subset if self.actions[subset].lengths else other


def _run_ends(episode: Episode) -> NDArray[np.int64] | None:
    """Where chunks end, if some of the episode's steps are left out."""
    numbers = episode.metadata.get(NUMBERED)
    return run_ends(numbers) if isinstance(numbers, np.ndarray) else None


def _dealt(spools: "dict[Subset, Spool]", subsets: "list[Subset]") -> "dict[Subset, Spool]":
    """The spools' matrices, in new ones: each in the subset that is given for it, those to learn from first."""
    new: dict[Subset, Spool] = {subset: Spool() for subset in SUBSETS}
    waiting = iter(subsets)
    for subset in SUBSETS:
        for rows in spools[subset]:
            new[next(waiting)].add(rows)
        spools[subset].close()
    return new


class Dataset:
    """Groups by embodiment; a context manager whose files are gone at its end."""

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
            episodes: to read.
            config: how they become chunks.
            known: embodiments that are cut as they say themselves; only a horizon asked for in `config` counts more.
            represent: the form that the actions of some embodiments take first.
            horizons: steps per chunk of some embodiments, whatever `config` says.
            every: whether all episodes are held out, for data that no fit has seen.

        Raises:
            InputError: no episodes, an action that is missing, not finite or of another size than its embodiment's others, or
                no control frequency to turn seconds into steps, or recordings of one name that are not one embodiment.
        """
        self.groups: dict[str, EmbodimentActions] = {}
        self.left_out = LeftOut()
        self._recordings: dict[str, dict[str, Recording]] = {}
        self._states: dict[str, tuple[str, tuple[str, ...]]] = {}  # the first source of each, and its state's columns
        self._every = every
        self._known, self._represent, self._horizons = known or {}, represent or {}, horizons or {}
        self._read(episodes, config)
        if not self.groups:
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
                    continue
                try:
                    self._add(episode, number, config)
                except BadEpisodeError as error:
                    if not config.skip_bad:
                        raise
                    self.left_out.add([error.bad])
        finally:  # an error keeps its frames, and with them a reader whose files are open
            if isinstance(reader, Generator):
                reader.close()

    @property
    def held_out(self) -> dict[str, int]:
        """Episodes of each embodiment that are held out."""
        return {name: len(group.actions["held_out"].lengths) for name, group in self.groups.items()}

    @property
    def total(self) -> dict[str, int]:
        """Episodes of each embodiment."""
        return {name: sum(len(spool.lengths) for spool in g.actions.values()) for name, g in self.groups.items()}

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
        self._record(
            name,
            Recording.of(episode, action, None if proprio is None else proprio.shape[1], config.control_hz),
            config,
        )
        self._recordings[name][source_of(episode)].sizes.append(np.abs(action).max(0))
        lot = _lot(episode, number, "held out")
        subset: Subset = "held_out" if self._every or lot < HELD_OUT else "train"
        name_of_episode = f"{episode.where.file}: {episode_of(episode)}".lstrip(": ")
        place = EpisodePlace(
            str(episode.metadata.get("dataset") or ""), lot, name_of_episode, len(action), _run_ends(episode)
        )
        group.places[subset].append(place)
        group.actions[subset].add(action)
        if proprio is not None:
            group.proprio.add(proprio)
            group.proprio_places.append(place.name)
        if represent is not None:
            states = np.zeros((len(action), 0)) if proprio is None else proprio
            group.references[subset].add(represent.reference(action, states).astype(np.float32))
        elif group.embodiment.relative and state is not None:
            if known is None:
                self._same_state(name, episode)
            group.add_reference(subset, state, len(action), name)

    def _record(self, name: str, recording: Recording, config: ChunkConfig) -> None:
        """Refuses a recording that says of itself that it is another embodiment than those before it."""
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
        """Refuses a source whose state has its columns in another order than the one that decided what dims are relative to."""
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
        """What is wrong with embodiments whose recordings have other units."""
        for name, every in self._recordings.items():
            for one, other in itertools.combinations(every.values(), 2):
                why = "" if name in self._known else size_difference(one, other)
                if why:
                    yield _not_one(name, one, other, f"{why} (if they do not, use --embodiments together)")


def _not_one(name: str, one: Recording, other: Recording, why: str) -> InputError:
    return InputError(f"{one.source} and {other.source} are both called {name!r}, but {why}; {ADVICE}")


def embodiment_name(episode: Episode, apart: bool = False) -> str:
    """What the episode calls its robot.

    Args:
        episode: of which dataset.
        apart: whether each dataset is an embodiment of its own.

    >>> embodiment_name(Episode({}, {"dataset": "bridge"}))
    'bridge'
    """
    keys = ("dataset", "embodiment") if apart else ("embodiment", "dataset")
    return str(next((episode.metadata[key] for key in keys if episode.metadata.get(key)), "robot"))


def _new_embodiment(
    name: str, episode: Episode, action: NDArray[Any], state: NDArray[Any] | None, config: ChunkConfig
) -> Embodiment:
    hz = episode.metadata.get("control_hz") or config.control_hz
    if config.horizon is not None:
        horizon = config.horizon
    elif hz is not None:
        horizon = horizon_steps(config.seconds, float(hz))
    else:
        raise InputError(
            f"{name}: the data has no control frequency, so a chunk of {config.seconds:g} s cannot be converted to steps; pass "
            "--control-hz, or the chunk length in steps with --horizon"
        )
    encoding = tuple(episode.metadata.get("action_encoding") or ())
    if config.gripper != "keep" and "gripper" not in encoding:
        raise InputError(
            f"{name}: --gripper {config.gripper}, but the data do not say which dim is the gripper; use an INDEX"
        )
    plain = Embodiment(
        horizon, action.shape[1], None if hz is None else float(hz), encoding, config.gripper, gain=config.gain
    )
    return plain if state is None or not config.relative else _relative(name, plain, episode, state.shape[1], config)


def _may_be_relative(name: str, episode: Episode, config: ChunkConfig) -> bool:
    """Whether dims of an embodiment are to be relative, so that its state is needed."""
    if config.relative_to:
        return bool(pairs_of(config.relative_to, name))
    return config.relative and "absolute" in (episode.metadata.get("action_encoding") or ("absolute",))


def _relative(name: str, what: Embodiment, episode: Episode, state_dim: int, config: ChunkConfig) -> Embodiment:
    """With the dims that are relative to the state."""
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
    """A number in [0, 1) that depends on the episode's place and the purpose, not on the order of reading."""
    where = episode.where
    place = f"{where.file.rsplit('/', 1)[-1]}:{where.number}" if where.file else str(number)
    digest = hashlib.sha256((purpose + place).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
