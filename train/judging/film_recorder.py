"""The film of an episode, and a recorder that takes its frames while the episode is played."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError
from train.acting.subtasks import Seen

FRAME_EVERY = 3  # steps between the frames of a film


@dataclass(frozen=True, eq=False)
class Film:
    """The film of one episode.

    Attributes:
        instruction: instruction of the episode.
        success: whether the instruction was fulfilled.
        seed: seed of the episode.
        frames: (n, h, w, 3) uint8 frames of the first camera.
        steps: (n,) step at which each frame was taken.
    """

    instruction: str
    success: bool
    seed: int
    frames: NDArray[np.uint8]
    steps: NDArray[np.int64]


class FilmRecorder:
    """Takes the frames of some episodes while they are played: at every third step, and at the end."""

    def __init__(self, count: int) -> None:
        self.frames: list[list[NDArray[np.uint8]]] = [[] for _ in range(count)]
        self.steps: list[list[int]] = [[] for _ in range(count)]

    def record(self, step: int, seen: Seen, active: NDArray[np.bool_], ended: NDArray[np.bool_]) -> None:
        """Takes a frame of each episode that acts if a frame is due, and of each episode that ended with this step."""
        rows = [i for i in range(len(self.frames)) if (active[i] and step % FRAME_EVERY == 0) or ended[i]]
        if rows:
            pictures = seen[first_camera(seen)]
            for i in rows:
                # A copy, because a world may draw the next picture into the same array.
                self.frames[i].append(np.array(pictures[i]))
                self.steps[i].append(step)

    def finished(self, tasks: Sequence[str], success: NDArray[np.bool_], seeds: Sequence[int]) -> list[Film]:
        """Returns one film per episode."""
        return [
            Film(tasks[i], bool(success[i]), seeds[i], np.stack(frames), np.array(self.steps[i]))
            for i, frames in enumerate(self.frames)
        ]


def first_camera(seen: Seen) -> str:
    """Returns the name of the camera to film.

    >>> first_camera({"state": np.zeros(3), "image/primary": np.zeros((4, 4, 3)), "image/wrist": np.zeros((4, 4, 3))})
    'image/primary'

    Raises:
        InputError: the environment shows no images.
    """
    camera = next((name for name in seen if name.startswith("image/")), None)
    if camera is None:
        raise InputError(
            f"there is nothing to film: the environment shows {', '.join(seen) or 'nothing'}; expected image/<camera>. Leave out "
            "--films-page and --rollouts"
        )
    return camera
