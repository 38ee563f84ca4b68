"""Reads what a container says about its video, without decoding: times and size of its frames, and whether the file is whole."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import MAX_PIXELS
from pipelines.common.files import filesystem
from pipelines.recordings.video_file import UnreadableVideoError, depth, lag, open_video, pyav, reason

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

BLOCK = 1 << 18  # bytes fetched at a time: the index is at one end of the file, and is small
KEPT = 64  # headers kept in memory: enough for all cameras of some episodes


@dataclass(frozen=True, eq=False)
class VideoHeader:
    """A video's header.

    Attributes:
        problem: why no frame of it can be used, to be put after the file's name; "" if frames can be used. If there is a problem,
            nothing else is set.
        width: width of its frames in pixels.
        height: height of its frames in pixels.
        first: time of its first frame, in seconds of the container's clock; None if the header does not say.
        last: time of its last frame, or a later time, in seconds; None if the header does not say.
        times: times of all frames in seconds, ascending; None if the header does not say them.
        keys: times of all key frames in seconds, ascending; empty if the header does not say them, or if there are B-frames.
        cut: time in seconds from which on the data of frames is missing in the file; None for a whole file.
        bytes: size of the file.
    """

    problem: str = ""
    width: int = 0
    height: int = 0
    first: float | None = None
    last: float | None = None
    times: NDArray[np.float64] | None = field(default=None, repr=False)
    keys: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)
    cut: float | None = None
    bytes: int = 0


@lru_cache(maxsize=KEPT)
def read_header(url: str, version: str) -> VideoHeader:
    """Reads the header of a video.

    Args:
        url: path or URL of the video.
        version: version of the file, from `file_version`; if it changes, the file is read again.
    """
    del version  # only a part of the cache's key
    failed = pyav().error.FFmpegError
    try:
        with open_video(url, BLOCK) as (container, stream):
            fs, path = filesystem(url)
            return _header(container, stream, int(fs.size(path)))
    except UnreadableVideoError as error:
        return VideoHeader(problem=str(error))
    except failed as error:
        return VideoHeader(problem=f"cannot be read: {reason(error)}")


def depth_format(name: str | None) -> str:
    """Returns why a pixel format is not that of camera pictures, "" if it is.

    >>> depth_format("gray16le")
    'contains depth (pixel format gray16le), which is not a picture; leave this camera out of the entry'
    >>> depth_format("gray"), depth_format("yuv420p10le")
    ('', '')
    """
    if not name or not name.startswith(("gray1", "gray9", "grayf", "ya16", "yaf")):
        return ""
    return f"contains depth (pixel format {name}), which is not a picture; leave this camera out of the entry"


def _header(container: "InputContainer", stream: "VideoStream", size: int) -> VideoHeader:
    codec = stream.codec_context
    if problem := depth_format(codec.pix_fmt):
        return VideoHeader(problem=problem)
    if not 0 < codec.width * codec.height <= MAX_PIXELS:
        return VideoHeader(problem=f"says {codec.width} x {codec.height} pixels; expected 1 to {MAX_PIXELS:,} pixels")
    found = VideoHeader(width=codec.width, height=codec.height, bytes=size)
    tick, late = float(stream.time_base or 0), lag(stream)
    first = None if stream.start_time is None else stream.start_time * tick - late
    if "mp4" not in container.format.name or not stream.frames:  # index: only key frames, or the first fragment
        return replace(found, first=first, last=_end(container, stream, first or 0.0, tick))
    entries = list(stream.index_entries)
    if not entries:
        return VideoHeader(problem="contains no frames")
    decoded: NDArray[np.float64] = np.array([entry.timestamp for entry in entries], np.float64) * tick - late
    outside = np.array([entry.pos + entry.size for entry in entries], np.int64) > size
    cut = float(decoded[outside].min()) if outside.any() else None
    hidden = np.array([entry.is_discard for entry in entries], bool)
    times = _shown(decoded, hidden, depth(stream), first, tick)
    if times is not None:
        keyed = np.array([entry.is_keyframe for entry in entries], bool) & (depth(stream) == 0)
        return replace(found, first=float(times[0]), last=float(times[-1]), times=times, keys=decoded[keyed], cut=cut)
    last = float(decoded.max() + (1 + depth(stream)) * np.diff(decoded).max(initial=0.0))
    return replace(found, first=first, last=last, cut=cut)


def _shown(
    decoded: NDArray[np.float64], hidden: NDArray[np.bool_], reordered: int, first: float | None, tick: float
) -> NDArray[np.float64] | None:
    """Returns the times at which frames are shown, from the times at which they are decoded; None if that is not possible."""
    gaps: NDArray[np.float64] = np.diff(decoded)
    if not reordered:  # frames are shown when they are decoded
        shown: NDArray[np.float64] = decoded[~hidden]
        return shown if len(shown) and (gaps > 0).all() else None
    if first is None or hidden.any() or (len(gaps) and gaps.max() - gaps.min() > 1.5 * tick):
        return None
    later = first - float(decoded[0])  # at a steady rate, display is later than decoding by a constant
    return np.add(decoded, later)


def _end(container: "InputContainer", stream: "VideoStream", first: float, tick: float) -> float | None:
    """Returns the time at which the last frame ends, or a later time; None if the header does not say."""
    if stream.duration:
        return first + stream.duration * tick
    return first + container.duration / 1e6 if container.duration else None
