"""Videos made in a test: each frame shows its own number, in blocks that survive coding."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fasttok.episodes.frames import BadFrame
from pipelines.recordings.video import VideoFrames

BITS = 12
FPS = 30
STEADY = np.arange(60) / FPS
CODECS = {  # name here -> the encoder, and options that make it quick
    "h264": ("libx264", {"preset": "ultrafast", "crf": "23"}),
    "h264_b": ("libx264", {"preset": "veryfast", "bf": "3", "b-adapt": "0"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    "hevc_b": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=3:b-adapt=0"}),
    "av1": ("libsvtav1", {"preset": "12", "crf": "30"}),
    "mpeg4": ("mpeg4", {"qscale": "3"}),
    "mpeg4_b": ("mpeg4", {"bf": "2"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "ffv1": ("ffv1", {}),
    "mjpeg": ("mjpeg", {}),
}


def drawn(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A frame that shows a number: 3 rows of 4 bits, white for 1, on a moving gradient."""
    bits = [(number >> i) & 1 for i in range(BITS)]
    blocks = np.array(bits, np.uint8).reshape(3, 4) * 170 + 40
    rows, columns = np.arange(height) * 3 // height, np.arange(width) * 4 // width
    picture = blocks[rows[:, None], columns[None, :]].astype(np.int16)
    picture = picture + (np.arange(width)[None, :] + 3 * number) % 16
    return np.repeat(np.clip(picture, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def shown(pixels: np.ndarray) -> int:
    """The number that a frame shows."""
    height, width = pixels.shape[:2]
    number = 0
    for i in range(BITS):
        row, column = divmod(i, 4)
        y, x = (2 * row + 1) * height // 6, (2 * column + 1) * width // 8
        number |= int(pixels[y - 3 : y + 4, x - 3 : x + 4].mean() > 132) << i
    return number


def write_video(
    path: Path,
    times: Sequence[float] | np.ndarray,
    codec: str = "h264",
    *,
    size: tuple[int, int] = (64, 96),
    gop: int = 10,
    pixel_format: str = "yuv420p",
    first: int = 0,
    container_options: dict[str, str] | None = None,
    **more: str,
) -> Path:
    """A video whose frames lie at `times` (seconds) and show first, first + 1, ...

    Args:
        path: the suffix decides the container.
        times: ascending.
        codec: of `CODECS`.
        size: (height, width).
        gop: frames from key frame to key frame.
        pixel_format: FFmpeg's name.
        first: number of the first frame.
        container_options: of the muxer.
        more: options of the encoder.
    """
    name, options = CODECS[codec]
    height, width = size
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(name, rate=30, options={**options, **more})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = Fraction(1, 15360)
        stream.time_base = Fraction(1, 15360)
        stream.gop_size = gop
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(drawn(first + i, height, width), format="rgb24")
            frame.pts, frame.time_base = round(time * 15360), Fraction(1, 15360)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def frames_of(path: Path, times: Any, tolerance: float = 0.5 / FPS) -> VideoFrames:
    return VideoFrames(str(path), np.asarray(times, np.float64), tolerance, "observation.images.top")


def numbers(frames: VideoFrames) -> list[Any]:
    """What each step shows; of a step without a frame, why."""
    return [frame.detail if isinstance(frame, BadFrame) else shown(np.asarray(frame)) for frame in frames.read()]
