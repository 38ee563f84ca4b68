"""Decoding a video once and forwards, strictly: a frame that is not surely right is not given.

Decoders conceal damage: they go on with what they have, and show pictures that were never recorded. Here an error ends the
frames until the next key frame, as all frames in between may be made of the damaged one.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fasttok.common.images import MAX_PIXELS
from pipelines.recordings.video_file import lag, open_video, reason

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

BLOCK = 1 << 22  # bytes that are fetched at a time from a remote file
# Damage is an error, never concealed. One thread: a worker has one core.
STRICT = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(MAX_PIXELS), "threads": "1"}
ORDERED = {"h264": {"strict": "strict"}}  # a decoder that is not told the order of frames must not guess it
SEEK_BACK = (
    0.0,
    2.0,
    30.0,
    None,
)  # seconds: containers seek by the time of decoding, which comes before that of showing


@dataclass(frozen=True)
class Picture:
    """A decoded frame.

    Attributes:
        time: at which it is shown, in seconds of the container's clock.
        frame: PyAV's.
    """

    time: float
    frame: "VideoFrame"


def pictures(url: str, start: float) -> Generator[Picture | str, None, None]:
    """Frames in the order in which they are shown, and where some are missing: what went wrong.

    Args:
        url: path or URL.
        start: seconds; the first frame given is the one at this time or one before, if there is any.

    Raises:
        UnreadableVideoError: the file is not a video that can be read.
    """
    for back in SEEK_BACK:
        with open_video(url, BLOCK) as (container, stream):
            decoded = _decoded(container, stream, None if back is None else start - back)
            first = next(decoded, None)
            if back is None or isinstance(first, str) or (first is not None and first.time <= start):
                if first is not None:
                    yield first
                yield from decoded
                return


def _decoded(container: "InputContainer", stream: "VideoStream", start: float | None) -> Iterator[Picture | str]:
    """Frames from the key frame at or before `start`, or from the first frame, and what went wrong in between.

    Each frame is held until the next one is decoded: if their times do not rise, an index is damaged, and neither is sure.
    """
    held: Picture | None = None
    last = float("-inf")
    for found, wrong in _steps(container, stream, start):
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
    container: "InputContainer", stream: "VideoStream", start: float | None
) -> Iterator[tuple[list[Picture], str]]:
    """What each packet brings: frames, and what went wrong after them. After an error, decoding goes on with a key frame."""
    from av.error import FFmpegError

    codec, late = stream.codec_context, lag(stream)
    codec.options = {**STRICT, **ORDERED.get(codec.name, {})}
    codec.thread_count = 1
    key: float | None = None  # time of the key frame that decoding began with; None while none was met
    try:
        if start is not None and stream.time_base:
            container.seek(int((start + late) / float(stream.time_base)), stream=stream)
        for packet in container.demux(stream):
            if key is None:
                if packet.size and not packet.is_keyframe:
                    continue
                key = _time(packet, float("-inf")) - late
            frames, wrong = _step(packet)
            timed = [Picture(_time(frame, float("nan")) - late, frame) for frame in frames]
            yield [picture for picture in timed if picture.time >= key], wrong
            if wrong:
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
        try:
            frames = [f for f in codec.decode(None) if not f.is_corrupt and f.pts != packet.pts]
        except FFmpegError:
            frames = []
    return frames, wrong


def _time(timed: "Packet[VideoStream] | VideoFrame", default: float) -> float:
    """Time of showing in seconds; that of decoding where the container has no other."""
    stamp = timed.pts if timed.pts is not None else timed.dts
    return default if stamp is None or timed.time_base is None else float(stamp * timed.time_base)
