"""Decodes a few frames of each camera and makes them small."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import UndecodableError, decoded, opened
from fasttok.episodes import Episode
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.frames import BadFrame, Frame, Frames
from fasttok.errors import require
from pipelines.check.sampled import CameraLook
from pipelines.common.image_headers import check_header

ABSENT = ("does not exist", "not there", "No such file")
NOT_CAMERAS = ("depth", "mask", "segment", "next_obs", "next.", "next/")
CAMERA_WORDS = ("image", "cam", "rgb", "view")
FRAMES = 5  # per episode
SMALL = 24  # height and width of a thumbnail in pixels
WIDE = 200  # width in pixels of a picture on the page


@dataclass(frozen=True)
class FewFrames:
    """A few frames of a camera, as the reader gave them. Only one of `encoded`, `pixels` and `frames` has them.

    Attributes:
        encoded: bytes of each frame.
        pixels: decoded frames, (height, width, 3) uint8.
        frames: frames of all steps, in a video or an array that is not read yet; else None.
        steps: the steps of `frames` to look at.
    """

    encoded: tuple[bytes, ...] = ()
    pixels: tuple[NDArray[np.uint8], ...] = ()
    frames: Frames | None = None
    steps: tuple[int, ...] = ()

    @property
    def held(self) -> bool:
        """Whether the frames are in memory."""
        return self.frames is None

    def problem(self) -> str:
        """Returns what is wrong according to the headers, "" if nothing is."""
        return self.frames.check() if self.frames is not None else ""


def few_frames(episode: Episode, entry: DatasetEntry | None) -> dict[str, FewFrames]:
    """Returns feature -> frames, spread over an episode: of the entry's cameras, or without an entry of all cameras."""
    chosen = set(entry.cameras.values()) if entry is not None else None
    steps = np.unique(np.linspace(0, episode.length - 1, FRAMES).round().astype(int))
    found: dict[str, FewFrames] = {}
    for name, frames in episode.frames.items():
        if name in chosen if chosen is not None else _may_be_camera(name, frames):
            found[name] = FewFrames(frames=frames, steps=tuple(step for step in steps.tolist() if step < len(frames)))
    for name, values in episode.steps.items():
        if name in found or (chosen is not None and name not in chosen) or len(values) != episode.length:
            continue
        if isinstance(values, list):
            some = [values[step] for step in steps]
            if chosen is not None or all(isinstance(v, bytes) and not check_header(v) for v in some[:1]):
                found[name] = FewFrames(encoded=tuple(v if isinstance(v, bytes) else b"" for v in some))
        elif values.ndim == 4 and values.dtype == np.uint8 and values.shape[-1] == 3:
            found[name] = FewFrames(pixels=tuple(values[step] for step in steps))
    return found


def _may_be_camera(name: str, frames: Frames) -> bool:
    """Guesses whether a feature is a camera if no entry says so. Depth, masks and pictures of the next step are not."""
    words = name.lower()
    if any(word in words for word in NOT_CAMERAS):
        return False
    problem = frames.check()
    return "contains" not in problem and ("rows" not in problem or any(word in words for word in CAMERA_WORDS))


def look(frames: FewFrames, bgr: bool = False) -> CameraLook:
    """Decodes the frames.

    Args:
        frames: the frames to decode.
        bgr: whether red and blue are exchanged in them.

    Raises:
        InputError: Pillow is not installed.
    """
    images: list[NDArray[np.uint8]] = []
    problem = ""
    if frames.frames is not None:
        problem = frames.problem()
        given: list[Frame] = [] if problem else list(frames.frames.take(np.array(frames.steps, np.int64)).read())
    else:
        given = [*frames.encoded, *frames.pixels]
    for frame in given:
        found = _decoded(frame)
        if isinstance(found, str):
            problem = problem or found
        else:
            images.append(found[..., ::-1] if bgr else found)
    if not images:
        return only_problem(problem or "no frames")
    small = np.stack([_resized(image, SMALL, SMALL) for image in images]).astype(np.float32)
    shown = images if len(images) == 1 else [images[0], images[-1]]
    pictures = tuple(_resized(i, WIDE, max(1, round(WIDE * i.shape[0] / i.shape[1]))) for i in shown)
    return CameraLook(small, pictures, problem)


def only_problem(problem: str) -> CameraLook:
    """Returns the look at a camera that is not decoded, because of the problem that its headers show."""
    return CameraLook(np.zeros((0, SMALL, SMALL, 3), np.float32), (), problem, any(word in problem for word in ABSENT))


def _decoded(frame: Frame) -> NDArray[np.uint8] | str:
    """Returns the pixels, or why there are none."""
    if isinstance(frame, BadFrame):
        return frame.detail
    if not isinstance(frame, bytes):
        return np.ascontiguousarray(frame[..., :3])
    wrong = check_header(frame)
    if wrong:
        return wrong
    require("PIL", "pipelines", "looking at cameras")
    try:
        return np.asarray(decoded(opened(frame)))
    except UndecodableError as error:
        return f"cannot be decoded: {error}"


def _resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
