"""Which episodes are filmed: the first ones, the first failures and successes, or those of some seeds; in bounded memory.

Whether an episode fails is known when it is over. So every episode is filmed, small and with few frames, as long as a failure or
a success is still wanted, and what is not wanted is forgotten at once.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from train.acting.subtasks import Seen
from train.judging.film_recorder import FRAME_EVERY, Film, FilmRecorder, first_camera

MOST_FRAMES = 48  # of a film that is chosen later; from there on every second frame is forgotten
MOST_PIXELS = 144  # of its longer side


class EpisodeFilms(Protocol):
    """Watches episodes that are played side by side, group after group.

    Attributes:
        films: what has been filmed, in the order of the episodes.
    """

    films: list[Film]

    def begin(self, seeds: Sequence[int]) -> None:
        """A group of episodes begins."""
        ...

    def record(self, step: int, seen: Seen, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """What is seen after a step: of episodes that go on, and of those that ended with it."""
        ...

    def end(self, tasks: Sequence[str], success: NDArray[np.bool_]) -> None:
        """The group is over."""
        ...


class FirstFilms:
    """Films the first episodes, frames as they are."""

    def __init__(self, count: int) -> None:
        self.films: list[Film] = []
        self._count, self._seeds, self._recorder = count, list[int](), FilmRecorder(0)

    def begin(self, seeds: Sequence[int]) -> None:
        """A group of episodes begins."""
        self._seeds, self._recorder = list(seeds), FilmRecorder(min(len(seeds), max(0, self._count - len(self.films))))

    def record(self, step: int, seen: Seen, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """Takes the frames that are due."""
        self._recorder.record(step, seen, active, ended)

    def end(self, tasks: Sequence[str], success: NDArray[np.bool_]) -> None:
        """The group is over."""
        self.films += self._recorder.finished(tasks, success, self._seeds)


class _SmallFilm:
    """The frames of an episode: small, and evenly spaced ones if it is long."""

    def __init__(self) -> None:
        self.frames: list[NDArray[np.uint8]] = []
        self.steps: list[int] = []
        self.every = FRAME_EVERY

    def add(self, step: int, frame: NDArray[np.uint8]) -> None:
        self.frames.append(_small(frame))
        self.steps.append(step)
        if len(self.frames) > MOST_FRAMES:
            self.every *= 2
            kept = [i for i, at in enumerate(self.steps) if at % self.every == 0 or i == len(self.steps) - 1]
            self.frames, self.steps = [self.frames[i] for i in kept], [self.steps[i] for i in kept]


class SmallFilms:
    """Films some episodes, small.

    While they are played, at most `MOST_FRAMES` frames of `MOST_PIXELS` are in memory for each of those side by side: 3 MB.

    Args:
        seeds: of the episodes to film; None: of any seed.
        each: the first so many failures are kept, and as many successes; None: all.
    """

    def __init__(self, seeds: Collection[int] | None = None, each: int | None = None) -> None:
        self.films: list[Film] = []
        self._wanted = None if seeds is None else frozenset(seeds)
        self._each = each
        self._seeds: list[int] = []
        self._filming: dict[int, _SmallFilm] = {}

    def begin(self, seeds: Sequence[int]) -> None:
        """A group of episodes begins."""
        wanted = self._lacks(True) or self._lacks(False)
        self._seeds = list(seeds)
        self._filming = {
            row: _SmallFilm()
            for row, seed in enumerate(seeds)
            if wanted and (self._wanted is None or seed in self._wanted)
        }

    def record(self, step: int, seen: Seen, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """Takes the frames that are due."""
        due = [(i, film) for i, film in self._filming.items() if (active[i] and step % film.every == 0) or ended[i]]
        if due:
            pictures = seen[first_camera(seen)]
            for i, film in due:
                film.add(step, np.asarray(pictures[i]))

    def end(self, tasks: Sequence[str], success: NDArray[np.bool_]) -> None:
        """The group is over: the films that are wanted are kept."""
        for i, film in self._filming.items():
            if self._lacks(done := bool(success[i])):
                frames, steps = np.stack(film.frames), np.array(film.steps)
                self.films.append(Film(tasks[i], done, self._seeds[i], frames, steps))
        self._filming = {}

    def _lacks(self, success: bool) -> bool:
        """Whether another film with this outcome is wanted."""
        return self._each is None or sum(film.success == success for film in self.films) < self._each


class BothFilms:
    """Two that watch the same episodes; the films are those of the first."""

    def __init__(self, first: EpisodeFilms, second: EpisodeFilms) -> None:
        self.films, self._both = first.films, (first, second)

    def begin(self, seeds: Sequence[int]) -> None:
        """A group of episodes begins."""
        for one in self._both:
            one.begin(seeds)

    def record(self, step: int, seen: Seen, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """What is seen after a step."""
        for one in self._both:
            one.record(step, seen, active, ended)

    def end(self, tasks: Sequence[str], success: NDArray[np.bool_]) -> None:
        """The group is over."""
        for one in self._both:
            one.end(tasks, success)


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of a frame whose longer side has at most `MOST_PIXELS`."""
    if max(frame.shape[:2]) <= MOST_PIXELS:
        return np.array(frame)
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.BOX)
    return np.asarray(picture)
