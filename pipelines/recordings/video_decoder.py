"""Decodes a video once, from start to end, and strictly: only frames that are certainly right are returned.

Decoders conceal damage: they go on with what they have, and show pictures that were never recorded. Here no frames are returned
from an error to the next key frame, because all of them may be computed from the damaged one.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import MAX_PIXELS
from pipelines.recordings.video_file import lag, open_video, reason

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

BLOCK = 1 << 22  # bytes fetched at a time from a remote file
# Damage is an error, never concealed. One thread: a worker has one core.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MAX_PIXELS), "threads": "1"}
ORDERED = {"h264": {"strict": "strict"}}  # a decoder must not guess the order of frames if the video does not state it
# Seconds to seek back: containers seek by decoding time, which is before display time. None: read from the beginning.
SEEK_BACK = (0.0, 2.0, 30.0, None)
ROUNDING = 1e-6  # seconds


@dataclass(frozen=True)
class Picture:
    """A decoded frame.

    Attributes:
        time: time at which it is shown, in seconds of the container's clock.
        frame: the frame of PyAV.
    """

    time: float
    frame: "VideoFrame"


@dataclass(frozen=True)
class Needed:
    """The frames that are needed next, so that whole groups of frames before them are not decoded.

    Attributes:
        keys: (k,) times of all key frames in seconds, ascending; empty if they are not known.
        time: returns the time in seconds from which on frames are needed; it may rise while frames are read.
    """

    keys: NDArray[np.float64]
    time: Callable[[], float]

    def since(self) -> float:
        """Returns the time of the last key frame at or before `time()`, where decoding may begin; -inf if none is known."""
        at = int(np.searchsorted(self.keys, self.time() + ROUNDING, "right"))
        return float(self.keys[at - 1]) - ROUNDING if at else float("-inf")


def pictures(url: str, needed: Needed) -> Generator[Picture | str, None, None]:
    """Yields frames in the order in which they are shown; where frames are missing, it yields what went wrong.

    Args:
        url: path or URL of the video.
        needed: what is needed; the first frame is the one at its time or an earlier one, if there is any.

    Raises:
        UnreadableVideoError: the file is not a video that can be read.
    """
    start = needed.time()
    for back in SEEK_BACK:
        with open_video(url, BLOCK) as (container, stream):
            decoded = _decoded(_steps(container, stream, None if back is None else start - back, needed))
            first = next(decoded, None)
            if back is None or isinstance(first, str) or (first is not None and first.time <= start):
                if first is not None:
                    yield first
                yield from decoded
                return


def _decoded(steps: Iterator[tuple[list[Picture], str]]) -> Iterator[Picture | str]:
    """Yields frames, and what went wrong between them.

    Each frame waits until the next one is decoded: if their times do not rise, the index is damaged, and both may be wrong.
    """
    held: Picture | None = None
    last = float("-inf")
    for found, wrong in steps:
        for picture in found:
            if not picture.time > last:
                yield "the times of its frames do not rise, so its index is damaged"
                return
            if held is not None:
                yield held
            held, last = picture, picture.time
        if wrong and held is not None:
            yield held
            held = None
        if wrong:
            yield wrong
    if held is not None:
        yield held


def _steps(
    container: "InputContainer", stream: "VideoStream", start: float | None, needed: Needed
) -> Iterator[tuple[list[Picture], str]]:
    """Yields what each packet gives: its frames, and what went wrong after them ("" for nothing).

    Decoding begins with the key frame at or before `start`, or with the first frame if `start` is None. After an error it goes on
    with the next key frame.
    """
    from av.error import FFmpegError

    codec, late = stream.codec_context, lag(stream)
    codec.options = {**STRICT, **ORDERED.get(codec.name, {})}
    codec.thread_count = 1
    key: float | None = None  # time of the key frame with which decoding began; None before there is one
    try:
        if start is not None and stream.time_base:
            container.seek(int((start + late) / float(stream.time_base)), stream=stream)
        for packet in container.demux(stream):
            time = _time(packet, float("-inf")) - late
            leap = bool(packet.size) and time < needed.since()
            if key is None:
                if packet.size and (leap or not packet.is_keyframe):
                    continue
                key = time
            frames, wrong = (_drained(codec), "") if leap else _step(packet)
            timed = [Picture(_time(frame, float("nan")) - late, frame) for frame in frames]
            yield [picture for picture in timed if picture.time >= key], wrong
            if wrong or leap:
                codec.flush_buffers()
                key = None
    except FFmpegError as error:
        yield [], f"reading it fails: {reason(error)}"


def _step(packet: "Packet[VideoStream]") -> tuple[list["VideoFrame"], str]:
    """Decodes a packet: returns (frames, what is wrong with it).

    If something is wrong, the frames are only those from before the damage.
    """
    from av.error import FFmpegError

    codec = packet.stream.codec_context
    frames: list[VideoFrame] = []
    wrong = ""
    try:
        if packet.is_corrupt:
            wrong = "its data is cut off"
        else:
            frames = packet.decode()
    except FFmpegError as error:
        wrong = f"damaged data: {reason(error)}"
    sound = next((i for i, frame in enumerate(frames) if frame.is_corrupt), len(frames))
    if sound < len(frames):
        return frames[:sound], "damaged data"
    if wrong:
        frames = [frame for frame in _drained(codec) if frame.pts != packet.pts]
    return frames, wrong


def _drained(codec: "VideoCodecContext") -> list["VideoFrame"]:
    """Returns the frames that the decoder still has. It must be flushed afterwards."""
    from av.error import FFmpegError

    try:
        return [frame for frame in codec.decode(None) if not frame.is_corrupt]
    except FFmpegError:
        return []


def _time(timed: "Packet[VideoStream] | VideoFrame", default: float) -> float:
    """Returns the display time in seconds, or the decoding time if the container has no other, or `default` if it has none."""
    stamp = timed.pts if timed.pts is not None else timed.dts
    return default if stamp is None or timed.time_base is None else float(stamp * timed.time_base)
