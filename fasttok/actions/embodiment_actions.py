"""Spools one embodiment's actions to temporary files, and reads them as chunks as often as needed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.chunks import chunks_at
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.step_values import EpisodeState
from fasttok.common.evenly import evenly
from fasttok.common.temporary import unnamed_file
from fasttok.errors import InputError

if TYPE_CHECKING:
    from fasttok.actions.representation import Representation  # imports scipy's rotations, which takes 0.3 s

BATCH = 1024
Subset = Literal["train", "held_out"]
SUBSETS: tuple[Subset, ...] = ("train", "held_out")


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
        """Number of rows of all matrices."""
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
        dataset: folder and name of its dataset.
        lot: a number in [0, 1) that depends on its place in the files; the lowest are held out.
        name: file and episode, for people.
        steps: number of steps.
        ends: (T,) for each step, where a chunk that begins there ends; None for the end of the episode.
    """

    dataset: tuple[str, str]
    lot: float
    name: str
    steps: int
    ends: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class LocatedChunks:
    """Chunks of one episode.

    Attributes:
        name: file and episode, for people.
        steps: (n,) step at which each chunk begins.
        stops: (n,) step from which on each chunk is padding.
        values: (n, T, D) the chunks.
    """

    name: str
    steps: NDArray[np.int64]
    stops: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass
class EmbodimentActions:
    """One embodiment's episodes, spooled.

    Attributes:
        embodiment: what its actions are, and how they are cut into chunks.
        represent: form to which its actions are converted first; None for as stored.
        actions: (T, D) actions of each episode, to learn from or held out.
        references: (T, D) reference of the chunk that begins at each step, for each episode of `actions`.
        proprio: (T, S) proprio of each episode that has it.
        places: place of each episode of `actions`; the lowest lots are held out.
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
        """Adds what the chunks of an episode of `length` steps are relative to.

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
        """Moves episodes so that at least one is held out and at least one is not.

        This is done for each dataset that has two or more episodes, and for all episodes together.
        """
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

    @property
    def learned_apart(self) -> bool:
        """Whether chunks to learn from and held-out chunks come from different episodes."""
        return all(self.actions[subset].lengths for subset in SUBSETS)

    def count(self, subset: Subset) -> int:
        """Returns the number of chunks: one begins at each step that has a reference, or at each step if none is needed."""
        actions = self.actions[self._or_other(subset)]
        return len(actions.lengths) if self.firsts else actions.rows

    def chunks(self, subset: Subset, most: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """Yields batches (chunks (n, T, D), reference (n, D) or None) of at most `most` chunks, evenly spread over all."""
        waiting: list[NDArray[Any]] = []
        near: list[NDArray[Any]] = []
        for _, _, chunks, reference in self._stored_chunks(subset, self._spread(subset, most)):
            waiting.append(chunks)
            if reference is not None:
                near.append(reference)
            if sum(map(len, waiting)) >= BATCH:
                yield self._batch(waiting, near)
                waiting, near = [], []
        if waiting:
            yield self._batch(waiting, near)

    def located(self, subset: Subset, most: int) -> "Iterator[LocatedChunks]":
        """Yields the chunks of `relative_chunks`, episode by episode."""
        for episode, steps, stored, near in self._stored_chunks(subset, self._spread(subset, most)):
            chunks, reference = self._batch([stored], [] if near is None else [near])
            stops = np.full(len(steps), episode.steps) if episode.ends is None else episode.ends[steps]
            yield LocatedChunks(episode.name, steps, stops, self._moved(chunks, reference))

    def neighbours(self, subset: Subset, most: int) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """Returns chunks and those that begin one step later in the same episode: at most `most` pairs, evenly spread over all.

        Returns:
            Two of (chunks (n, T, D), reference (n, D) or None), pair by pair; [] if there are no such pairs.
        """
        subset = self._or_other(subset)
        candidates, start = [np.zeros(0, np.int64)], 0
        for place in self.places[subset]:
            steps = np.arange(place.steps - 1)
            if place.ends is not None:  # steps between two runs are left out, so they are no neighbours
                steps = steps[place.ends[steps] == place.ends[steps + 1]]
            candidates.append(start + steps)
            start += place.steps
        first = np.concatenate(candidates)
        if self.firsts or not len(first):
            return []
        first = first[evenly(len(first), most)]
        pairs = []
        for wanted in (first, first + 1):
            _, _, chunks, references = zip(*self._stored_chunks(subset, wanted), strict=True)
            pairs.append(self._batch([*chunks], [near for near in references if near is not None]))
        return pairs

    def _spread(self, subset: Subset, most: int) -> NDArray[np.int64]:
        """Returns at most `most` steps at which chunks begin, evenly spread over all episodes joined."""
        wanted = evenly(self.count(subset), most)
        lengths = self.actions[self._or_other(subset)].lengths
        return np.cumsum([0, *lengths])[wanted] if self.firsts else wanted

    def _stored_chunks(
        self, subset: Subset, wanted: NDArray[np.int64]
    ) -> Iterator[tuple["EpisodePlace", NDArray[np.int64], NDArray[Any], NDArray[Any] | None]]:
        """Yields for each episode: its place, the first steps of its chunks, the chunks as stored, and their references.

        Args:
            subset: which episodes.
            wanted: rising steps at which chunks begin, counted over all episodes joined.
        """
        subset = self._or_other(subset)
        actions, what = self.actions[subset], self.embodiment
        encoding = what.action_encoding or ("absolute",) * what.action_dim
        if self.represent is not None:
            encoding = self.represent.stored_encoding
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
        """Returns what `chunks` yields, in one piece."""
        chunks, references = zip(*self.chunks(subset, most), strict=True)
        return np.concatenate(chunks), np.concatenate(references) if self.embodiment.relative else None

    def relative_chunks(self, subset: Subset, most: int) -> Iterator[NDArray[np.float32]]:
        """Yields the batches of `chunks` with the reference subtracted."""
        for chunks, reference in self.chunks(subset, most):
            yield self._moved(chunks, reference)

    def _moved(self, chunks: NDArray[np.float32], reference: NDArray[np.float32] | None) -> NDArray[np.float32]:
        dims = list(self.embodiment.relative)
        if reference is not None:
            chunks[..., dims] -= reference[:, None, dims]
        return chunks

    def _or_other(self, subset: Subset) -> Subset:
        """Returns the subset, or the other one if it is empty.

        A single episode is both learned from and measured on; and if all episodes are held out, none is left to learn from.
        """
        other: Subset = "held_out" if subset == "train" else "train"
        return subset if self.actions[subset].lengths else other


def _dealt(spools: "dict[Subset, Spool]", subsets: "list[Subset]") -> "dict[Subset, Spool]":
    """Moves the spools' matrices to new spools; `subsets` gives the subset of each, for those to learn from first."""
    new: dict[Subset, Spool] = {subset: Spool() for subset in SUBSETS}
    waiting = iter(subsets)
    for subset in SUBSETS:
        for rows in spools[subset]:
            new[next(waiting)].add(rows)
        spools[subset].close()
    return new
