"""Decoding a video once and forwards, strictly: a frame that is not surely right is not given.

Decoders conceal damage: they go on with what they have, and show pictures that were never recorded. Here an error ends the
frames until the next key frame, as all frames in between may be made of the damaged one.
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

BLOCK = 1 << 22  # bytes that are fetched at a time from a remote file
# Damage is an error, never concealed. One thread: a worker has one core.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MAX_PIXELS), "threads": "1"}
ORDERED = {"h264": {"strict": "strict"}}  # a decoder that is not told the order of frames must not guess it
# Seconds: containers seek by the time of decoding, which comes before that of showing.
SEEK_BACK = (0.0, 2.0, 30.0, None)
ROUNDING = 1e-6  # seconds


@dataclass(frozen=True)
class Picture:
    """A decoded frame.

    Attributes:
        time: at which it is shown, in seconds of the container's clock.
        frame: PyAV's.
    """

    time: float
    frame: "VideoFrame"


@dataclass(frozen=True)
class Needed:
    """What is needed next, so that whole groups of frames before it are not decoded.

    Attributes:
        keys: times of all key frames, ascending; none if they are not known.
        time: tells the time from which on frames are needed; it may rise while frames are read.
    """

    keys: NDArray[np.float64]
    time: Callable[[], float]

    def since(self) -> float:
        """Time of the last key frame from which decoding may begin."""
        at = int(np.searchsorted(self.keys, self.time() + ROUNDING, "right"))
        return float(self.keys[at - 1]) - ROUNDING if at else float("-inf")


def pictures(url: str, needed: Needed) -> Generator[Picture | str, None, None]:
    """Frames in the order in which they are shown, and where some are missing: what went wrong.

    Args:
        url: path or URL.
        needed: the first frame given is the one at its time or one before, if there is any.

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
    """Frames, and what went wrong in between.

    Each frame is held until the next one is decoded: if their times do not rise, an index is damaged, and neither is sure.
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
    """What each packet brings: frames, and what went wrong after them. After an error, decoding goes on with a key frame.

    It begins with the key frame at or before `start`, or with the first frame.
    """
    from av.error import FFmpegError

    codec, late = stream.codec_context, lag(stream)
    codec.options = {**STRICT, **ORDERED.get(codec.name, {})}
    codec.thread_count = 1
    key: float | None = None  # time of the key frame that decoding began with; None while none was met
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
    """Frames that a packet brings, and what is wrong with it; then the frames are those that came before it."""
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
    """Frames that the decoder still has; it must be flushed then."""
    from av.error import FFmpegError

    try:
        return [frame for frame in codec.decode(None) if not frame.is_corrupt]
    except FFmpegError:
        return []


def _time(timed: "Packet[VideoStream] | VideoFrame", default: float) -> float:
    """Time of showing in seconds; that of decoding where the container has no other."""
    stamp = timed.pts if timed.pts is not None else timed.dts
    return default if stamp is None or timed.time_base is None else float(stamp * timed.time_base)
