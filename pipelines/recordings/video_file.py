"""Opens video files with FFmpeg (PyAV), from any file system, and only if they are MP4 or Matroska (WebM).

FFmpeg guesses a file's format from its bytes, and some formats (playlists, lists of files) make it open other files and URLs.
Robot recordings are MP4 or Matroska, so nothing else is tried, and no other file is opened. AVI says when frames are decoded, not
when they are shown: with B-frames, and with any H.264, FFmpeg guesses times that are off by some frames.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from fasttok.common.lfs_pointer import POINTER, is_pointer
from fasttok.errors import require
from pipelines.common.files import filesystem, is_local

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"
HEAD = 64  # bytes at the beginning of a file that show what it is


class UnreadableVideoError(ValueError):
    """Raised for a video file that cannot be read. The message says what is wrong, to be put after the file's name."""


def pyav() -> ModuleType:
    """Returns the module of PyAV.

    Raises:
        InputError: PyAV is not installed.
    """
    return require("av", "pipelines", "reading video")


@contextmanager
def open_video(url: str, block: int) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """Opens a video file; yields its container and its only video stream.

    Args:
        url: path or URL of the file.
        block: number of bytes to fetch at a time from a remote file.

    Raises:
        UnreadableVideoError: there is no such file, or it is not a video that can be read.
        InputError: PyAV is not installed.
    """
    av = pyav()
    fs, path = filesystem(url)
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    with ExitStack() as stack:
        try:
            if is_local(fs):
                container = av.open(f"file:{path}", options=options, metadata_errors="replace")
            else:
                remote = stack.enter_context(fs.open(path, "rb", block_size=block))
                container = av.open(remote, options=options, metadata_errors="replace")
        except FileNotFoundError:
            raise UnreadableVideoError("does not exist") from None
        except av.error.FFmpegError as error:
            raise UnreadableVideoError(_unopened(url, error)) from None
        stack.callback(container.close)
        yield container, _stream(container)


def depth(stream: "VideoStream") -> int:
    """Returns by how many frames display is later than decoding: B-frames are decoded after frames that are shown later."""
    return int(stream.codec_context.reorder_depth)


def lag(stream: "VideoStream") -> float:
    """Returns the seconds by which all times of an MP4 are late: B-frames delay display, and no edit list corrects that delay.

    Decoding of such a file begins at 0, and its first frame is shown later. For any other file the result is 0: its first frame
    is where the writer put it.
    """
    entries, first = stream.index_entries, stream.start_time
    late = depth(stream) and first is not None and first > 0 and len(entries) and entries[0].timestamp == 0
    return float(first * stream.time_base) if late and first is not None and stream.time_base is not None else 0.0


def _stream(container: "InputContainer") -> "VideoStream":
    """Returns the only video stream; cover pictures do not count."""
    av = pyav()
    cover = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if len(streams) != 1:
        raise UnreadableVideoError(
            f"contains {len(streams)} video streams; expected one: split it, one camera per file"
            if streams
            else "contains no video stream"
        )
    if streams[0].codec_context is None:
        raise UnreadableVideoError("is encoded by a codec that this FFmpeg cannot decode; encode it again as H.264")
    return streams[0]


def _unopened(url: str, error: Exception) -> str:
    """Returns why a file could not be opened, in words that help the user."""
    fs, path = filesystem(url)
    if fs.isdir(path):
        return "is a folder, expected a video file"
    try:
        with fs.open(path, "rb") as stream:
            head = stream.read(HEAD)
    except PermissionError as denied:
        return f"cannot be read: {denied.strerror}"
    if not head:
        return "is empty"
    if is_pointer(head):
        return f"cannot be read: {POINTER}"
    if head[4:8] == b"ftyp":
        return "is an MP4 without its index (moov): its recording or its copy was cut off"
    if head.startswith(b"RIFF") and head[8:11] == b"AVI":
        return "is an AVI, which does not say when its frames are shown; convert it to MP4"
    if b"\0" not in head or head.startswith((b"\x89PNG", b"\xff\xd8")):
        return f"is not a video (starts with {head[:12]!r}); expected MP4 or Matroska"
    return f"is not a video that can be read (MP4 or Matroska): {reason(error)}"


def reason(error: Exception) -> str:
    """Returns FFmpeg's message for an error, without its number and file."""
    return str(getattr(error, "strerror", None) or error)
