"""Reads the images of a camera from a video: finds frames by timestamps, and decodes each once, in order, a few at a time."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.episodes.frames import BadFrame, Frame
from pipelines.common.decode_ahead import ahead
from pipelines.common.files import file_version
from pipelines.recordings.video_decoder import Needed, Picture, pictures
from pipelines.recordings.video_file import UnreadableVideoError, pyav
from pipelines.recordings.video_header import VideoHeader, read_header
from pipelines.recordings.video_pixels import rgb

JPEG_BYTES = 0.204  # per pixel at quality 95: the mean over the 14 videos of a real humanoid, 0.199 to 0.211
CLOSE = 0.01  # share of the tolerance: two times that are so near count as one
WAITING = 3  # frames that are decoded while earlier ones are encoded
ROUNDING = 1e-6  # seconds: rounding of timestamps in float64, and of float32 within an episode


@dataclass(frozen=True)
class EpisodePart:
    """The part of a video that is an episode's own, in seconds of the container's clock.

    Attributes:
        start: when the part begins.
        stop: when it ends, None for the end of the video.
        steps: number of steps of the whole episode.
        last: when the frame of its last step is shown, according to the time stamps.
    """

    start: float
    stop: float | None
    steps: int
    last: float


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """Frames of a video (`fasttok.episodes.frames.Frames`).

    Attributes:
        url: path or URL of the video.
        times: (T,) ascending: when each step's frame is shown, in seconds of the container's clock.
        tolerance: seconds by which a frame may be off: half of the time between two frames.
        camera: name of the camera, for messages.
        part: the episode's part of the video, None if it is not known.
    """

    url: str
    times: NDArray[np.float64]
    tolerance: float
    camera: str
    part: EpisodePart | None = None

    def __len__(self) -> int:
        """Returns the number of steps."""
        return len(self.times)

    def check(self) -> str:
        """Returns what is wrong with the video according to its header, "" for nothing. Nothing is decoded."""
        if not len(self.times):
            return ""
        if not np.isfinite(self.times).all() or (np.diff(self.times) < 0).any():
            return f"{self.camera}: the timestamps of the episode's steps do not ascend, so its frames cannot be found"
        header = self._header()
        problem = header.problem or self._uncovered(header) or self._drifted(header)
        return f"{self._name} {problem}" if problem else ""

    def take(self, steps: NDArray[np.integer[Any]]) -> "VideoFrames":
        """Returns the frames of some steps, (k,) ascending."""
        return replace(self, times=self.times[steps])

    def size(self) -> int:
        """Estimates the bytes of all frames as JPEGs of quality 95, at 0.2 bytes per pixel."""
        header = self._header()
        return round(len(self.times) * header.width * header.height * JPEG_BYTES)

    def read(self) -> Iterator[Frame]:
        """Yields the frames of all steps in order, as pixels; a BadFrame says why there is none. A thread decodes ahead."""
        try:
            yield from ahead(self._read(), WAITING)
        except UnreadableVideoError as error:  # raised on opening, so before any frame
            yield from [BadFrame(f"{self._name} {error}")] * len(self.times)

    @property
    def _name(self) -> str:
        return f"{self.camera}: {self.url}"

    def _header(self) -> VideoHeader:
        return read_header(self.url, file_version(self.url))

    def _uncovered(self, header: VideoHeader) -> str:
        """Returns why a sound video does not cover the episode, "" if it does."""
        start, stop = float(self.times[0]), float(self.times[-1])
        slack = self.tolerance + ROUNDING
        if header.cut is not None and stop + slack >= header.cut:
            return f"is cut off: it contains no data from {header.cut:.2f} s on, the episode needs {stop:.2f} s"
        if header.last is not None and header.last + slack < stop:
            return f"ends at {header.last:.2f} s, the episode needs {stop:.2f} s"
        if header.first is not None and header.first - slack > start:
            return f"starts at {header.first:.2f} s, the episode needs {start:.2f} s"
        if header.times is not None:
            missed = _distances(header.times, self.times) > slack
            if 2 * missed.sum() > len(missed):
                return (
                    f"has no frame within {self.tolerance:.3f} s of {int(missed.sum())} of the episode's {len(missed)} steps, "
                    f"the first at {self.times[missed.argmax()]:.2f} s: video and table do not fit together"
                )
        return ""

    def _drifted(self, header: VideoHeader) -> str:
        """Returns why time stamps find the frames of other steps, "" if they do not.

        If the part has as many frames as the episode has steps, its last frame is that of the last step.
        """
        if self.part is None or header.times is None:
            return ""
        stop = np.inf if self.part.stop is None else self.part.stop
        near = self.tolerance / 2  # ends of parts are rounded
        own = header.times[(header.times > self.part.start - near) & (header.times < stop - near)]
        if len(own) != self.part.steps or abs(own[-1] - self.part.last) <= 2 * self.tolerance:
            return ""
        return (
            f"has a frame for each of the episode's {len(own)} steps, the last at {own[-1]:.2f} s, but the time stamp of the "
            f"last step means {self.part.last:.2f} s: correct timestamp or fps"
        )

    def _read(self) -> Generator[Frame, None, None]:
        if not len(self.times):
            return
        reformatter = pyav().video.reformatter.VideoReformatter()
        known: tuple[Picture | None, Frame] = (None, b"")
        near = CLOSE * self.tolerance
        with closing(_Around(self.url, self._header().keys, float(self.times[0]), near)) as around:
            for time in self.times.tolist():
                picture = around.nearest(time)
                if picture is None or not abs(picture.time - time) <= self.tolerance + ROUNDING:
                    yield BadFrame(f"{self._name} {around.missing(time)}")
                    continue
                if known[0] is not picture:
                    pixels = rgb(picture.frame, reformatter)
                    known = (picture, BadFrame(f"{self._name} {pixels}") if isinstance(pixels, str) else pixels)
                yield known[1]


def _distances(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the distance of each wanted time from the nearest of some ascending times."""
    edges = np.concatenate([[-np.inf], times, [np.inf]])
    right = np.searchsorted(edges, wanted)
    before: NDArray[np.float64] = wanted - edges[right - 1]
    return np.minimum(before, edges[right] - wanted)


class _Around:
    """Keeps the last frame before a time and the first frame at or after it, while that time advances."""

    def __init__(self, url: str, keys: NDArray[np.float64], start: float, near: float) -> None:
        self._wanted = start
        self._pictures = pictures(url, Needed(keys, lambda: self._wanted + near))
        self._before: Picture | None = None
        self._after: Picture | None = None
        self._ended = False
        self._wrong = ""  # what happened between the two

    def nearest(self, time: float) -> Picture | None:
        """Returns the frame nearest to a time, None if there is none. Of two that are equally near it returns the earlier.

        The times must ascend from call to call.
        """
        self._wanted = time
        while not self._ended and (self._after is None or self._after.time < time):
            self._advance()
        before, after = self._before, self._after
        if before is None or after is None:
            return before or after
        return before if time - before.time <= after.time - time + ROUNDING else after

    def missing(self, time: float) -> str:
        """Returns why there is no frame at the time that `nearest` was called with."""
        if self._wrong:
            return f"cannot be decoded at {time:.2f} s: {self._wrong}"
        shown = [f"{p.time:.2f} s" for p in (self._before, self._after) if p is not None]
        if self._ended and shown:
            return f"ends at {shown[-1]}, the step needs {time:.2f} s"
        if not shown:
            return f"has no frame at {time:.2f} s, nor any after that"
        return f"has no frame at {time:.2f} s; the nearest are at {' and '.join(shown)}"

    def close(self) -> None:
        """Closes the file."""
        self._pictures.close()

    def _advance(self) -> None:
        wrong = ""
        item = next(self._pictures, None)
        while isinstance(item, str):
            wrong, item = item, next(self._pictures, None)
        if self._after is not None:
            self._before = self._after
        self._after, self._wrong, self._ended = item, wrong, item is None
