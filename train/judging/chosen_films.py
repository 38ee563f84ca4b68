"""Films the first episodes, the first failures and successes, or the episodes of some seeds, in bounded memory.

Only the end of an episode shows whether it fails. So while a failure or a success is still wanted, every episode is filmed, small
and with few frames. Films that are not wanted are dropped at once.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from train.acting.subtasks import Seen
from train.judging.film_recorder import FRAME_EVERY, Film, FilmRecorder, first_camera

MOST_FRAMES = 48  # of a `SmallFilms` film; if there are more, every second frame is dropped
MOST_PIXELS = 144  # of the longer side of its frames


class EpisodeFilms(Protocol):
    """Films episodes that are played in groups, those of a group side by side.

    Attributes:
        films: films so far, in the order of the episodes.
    """

    films: list[Film]

    def begin(self, seeds: Sequence[int]) -> None:
        """A group of episodes begins."""
        ...

    def record(self, step: int, seen: Seen, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """Takes the frames that are due after a step: of episodes that go on, and of those that ended with this step."""
        ...

    def end(self, tasks: Sequence[str], success: NDArray[np.bool_]) -> None:
        """The group is over."""
        ...


class FirstFilms:
    """Films the first episodes, with frames in their full size."""

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
    """The frames of an episode: small, and if it is long, only evenly spaced ones."""

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
    """Films some episodes with small frames.

    While episodes are played, each of those side by side needs memory for at most `MOST_FRAMES` frames of `MOST_PIXELS`: 3 MB.

    Args:
        seeds: seeds of the episodes to film; None: any seed.
        each: how many failures and how many successes to keep, the first ones of each; None: all.
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
        """The group is over: keeps the films that are wanted."""
        for i, film in self._filming.items():
            if self._lacks(done := bool(success[i])):
                frames, steps = np.stack(film.frames), np.array(film.steps)
                self.films.append(Film(tasks[i], done, self._seeds[i], frames, steps))
        self._filming = {}

    def _lacks(self, success: bool) -> bool:
        """Returns whether another film with this outcome is wanted."""
        return self._each is None or sum(film.success == success for film in self.films) < self._each


class BothFilms:
    """Films the same episodes in two ways; `films` are those of the first way."""

    def __init__(self, first: EpisodeFilms, second: EpisodeFilms) -> None:
        self.films, self._both = first.films, (first, second)

    def begin(self, seeds: Sequence[int]) -> None:
        """A group of episodes begins."""
        for one in self._both:
            one.begin(seeds)

    def record(self, step: int, seen: Seen, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """Takes the frames that are due after a step."""
        for one in self._both:
            one.record(step, seen, active, ended)

    def end(self, tasks: Sequence[str], success: NDArray[np.bool_]) -> None:
        """The group is over."""
        for one in self._both:
            one.end(tasks, success)


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a copy of a frame, whose longer side has at most `MOST_PIXELS` pixels."""
    if max(frame.shape[:2]) <= MOST_PIXELS:
        return np.array(frame)
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.BOX)
    return np.asarray(picture)
