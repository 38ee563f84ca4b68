"""Asks a policy along a recorded episode: every few steps, with the images and the state that were recorded at that step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fasttok.common.console import progress
from fasttok.common.images import UndecodableError, decoded, opened
from fasttok.episodes.frames import BadFrame, Frame
from fasttok.errors import InputError
from pipelines.stored_episode import StoredEpisode
from train.acting.subtasks import Seen

Ask = Callable[[list[str], list[Seen]], NDArray[Any]]
"""Instructions and observations -> chunks (n, horizon, D) in raw units."""
MOST_PICTURES = 48  # steps of an episode for which the page has pictures
MOST_PIXELS = 160  # of the longer side of these pictures


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a policy would have done along an episode of T steps.

    Attributes:
        steps: (n,) steps at which the policy was asked.
        chunks: (n, horizon, D) its chunks in raw units.
        pictures: camera -> step -> small picture (h, w, 3), for some of these steps.
    """

    steps: NDArray[np.int64]
    chunks: NDArray[np.float64]
    pictures: dict[str, dict[int, NDArray[np.uint8]]]


def predict(
    ask: Ask, episode: StoredEpisode, cameras: tuple[str, ...], prompt: str, every: int, batch: int
) -> Predicted:
    """Asks a policy along the whole episode; at most `batch` observations are in memory.

    Args:
        ask: the policy.
        episode: recorded episode.
        cameras: camera slots that the policy sees; cameras that the episode lacks are left out.
        prompt: instruction.
        every: steps between two predictions.
        batch: number of predictions at once.

    Raises:
        InputError: an image cannot be read, the policy refuses an observation, or its chunks have another shape or numbers that
            are not finite.
    """
    steps = np.arange(0, len(episode.action), every)
    shown = set(steps[np.unique(np.linspace(0, len(steps) - 1, MOST_PICTURES).round().astype(int))].tolist())
    there = [slot for slot in cameras if slot in episode.cameras]
    pictures: dict[str, dict[int, NDArray[np.uint8]]] = {slot: {} for slot in there}
    chunks: list[NDArray[np.float64]] = []
    with progress("asking the policy", len(steps), "times") as advance:
        asked = _observations(episode, there, steps)
        while group := list(islice(asked, batch)):
            seen: list[Seen] = []
            for step, observation in group:
                seen.append(observation)
                if step in shown:
                    for slot in there:
                        pictures[slot][step] = _small(observation[f"image/{slot}"])
            given = np.asarray(ask([prompt] * len(seen), seen), np.float64)
            if given.ndim != 3 or len(given) != len(seen) or given.shape[2] != episode.action.shape[1]:
                raise InputError(
                    f"the policy gave an array of shape {given.shape} for {len(seen)} observations; expected ({len(seen)}, "
                    f"horizon, {episode.action.shape[1]})"
                )
            if not np.isfinite(given).all():
                raise InputError(
                    f"the policy predicts NaN or infinity around step {group[0][0]}; its training diverged"
                )
            chunks.append(given)
            advance(len(seen))
    return Predicted(steps, np.concatenate(chunks), pictures)


def _observations(episode: StoredEpisode, slots: list[str], steps: NDArray[np.int64]) -> Iterator[tuple[int, Seen]]:
    """Yields each step and its observation in order, so that videos are decoded forwards."""
    readers = [episode.cameras[slot].take(steps).read() for slot in slots]
    for step in steps.tolist():
        seen: dict[str, NDArray[Any] | bytes] = {"state": episode.state[step]}
        for slot, reader in zip(slots, readers, strict=True):
            frame = next(reader, BadFrame("there are fewer images than steps"))
            seen[f"image/{slot}"] = _usable(
                frame, slot in episode.bgr, f"{episode.where.file}: camera {slot}, step {step}"
            )
        yield step, seen


def _usable(frame: Frame, bgr: bool, where: str) -> bytes | NDArray[np.uint8]:
    """Returns an image as a policy takes it; an encoded image does not change, unless its channels are reversed.

    Raises:
        InputError: the image is missing or damaged.
    """
    if isinstance(frame, BadFrame):
        raise InputError(f"{where}: {frame.detail}")
    if not bgr:
        return frame
    try:
        pixels = frame if isinstance(frame, np.ndarray) else np.asarray(decoded(opened(frame)))
    except UndecodableError as error:
        raise InputError(f"{where}: {error}") from None
    return np.ascontiguousarray(pixels[..., ::-1])


def _small(frame: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a small picture for the page. A damaged image becomes grey here; the policy will say what is wrong with it."""
    try:
        picture = Image.fromarray(frame) if isinstance(frame, np.ndarray) else decoded(opened(frame))
    except UndecodableError:
        picture = Image.new("RGB", (8, 8), "grey")
    picture.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.BOX)
    return np.asarray(picture)
