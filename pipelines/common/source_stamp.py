"""Records what a source file was when it was indexed, and finds out whether it has changed since.

The size decides and, if the store has one, a checksum, an ETag or a generation. A file without these (a local one) that has
another time may be a copy, so its contents are compared, as cheaply as its kind allows:

    frames   TFRecord files: the lengths and checksums around the data of every record; the data is not read
    bytes    other local files: all bytes of up to 64 MiB, else 1024 pieces of 64 KiB, evenly spread, the first and last included
    ends     files of other stores, and videos: the first and the last 64 KiB
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from fasttok.episodes.lerobot_listing import MOVIES
from fasttok.episodes.tfrecord import frame_words
from pipelines.common.files import filesystem, is_local
from pipelines.common.side_by_side import side_by_side

CHECKSUMS = ("md5Hash", "crc32c", "content_md5", "blob_id")  # of the contents, so a copy has the same
VERSIONS = (*CHECKSUMS, "ETag", "etag", "generation")
TIMES = ("mtime", "updated", "LastModified", "last_modified", "modified", "created")
LISTED = 64  # from this number of files in one folder on, the folder is listed
PIECE, PIECES = 1 << 16, 1 << 10


@dataclass(frozen=True)
class SourceStamp:
    """What is known of a source file.

    Attributes:
        size: size in bytes; -1 for a file that is not there.
        version: "KEY=VALUE", the best that its store has of a checksum, an ETag and a generation; "" if it has none.
        time: when it was last changed, as its store writes it.
        contents: how its contents were read, and their digest; "" if they were not read.
    """

    size: int = -1
    version: str = ""
    time: str = ""
    contents: str = ""


UNKNOWN = SourceStamp()  # stamp of a file that is not there
GONE = "gone"  # `contents` of a file that was lost between planning and work


def stamp_file(file: str) -> SourceStamp:
    """Returns the stamp of a file, without its contents; takes one request.

    Raises:
        FileNotFoundError: no such file.
    """
    fs, path = filesystem(file)
    if is_local(fs):
        found = Path(path).stat()  # of the file that a link points to; a copy with the old mtime has a new ctime
        return SourceStamp(found.st_size, "", f"{found.st_mtime_ns} {found.st_ctime_ns}")
    return _of_info(fs.info(path))


def stamp_files(files: Iterable[str]) -> dict[str, SourceStamp]:
    """Returns file -> stamp, without the contents of the files; `UNKNOWN` for files that are not there.

    If a folder of a store contains many of the files, it is listed: one request returns a thousand files.
    """
    every = list(dict.fromkeys(files))
    folders: dict[str, list[str]] = {}
    for file in every:
        folders.setdefault(file.rpartition("/")[0], []).append(file)
    found: dict[str, SourceStamp] = {}
    for folder, own in folders.items():
        fs, path = filesystem(folder)
        if len(own) >= LISTED and not is_local(fs):
            fs.invalidate_cache(path)
            listed = fs.find(path, maxdepth=1, detail=True)
            paths = {file: filesystem(file)[1] for file in own}
            found |= {file: _of_info(listed[name]) for file, name in paths.items() if name in listed}
    rest = [file for file in every if file not in found]
    return found | dict(zip(rest, side_by_side(_stamp_or_unknown, rest), strict=True))


def _stamp_or_unknown(file: str) -> SourceStamp:
    try:
        return stamp_file(file)
    except FileNotFoundError:
        return UNKNOWN


def _of_info(info: Mapping[str, object]) -> SourceStamp:
    time = next((str(info[key]) for key in TIMES if info.get(key)), "")
    version = next((f"{key}={info[key]}" for key in VERSIONS if info.get(key)), "")
    return SourceStamp(int(str(info.get("size") or 0)), version, time)


def with_contents(stamp: SourceStamp, file: str, records: bool) -> SourceStamp:
    """Returns the stamp with the file's contents, if nothing else can show that they have changed.

    Args:
        stamp: stamp of the file.
        file: path or URL of the file.
        records: whether it is a TFRecord file.
    """
    if stamp.version or stamp == UNKNOWN:
        return stamp
    fs, _ = filesystem(file)
    kind = "ends" if not is_local(fs) or file.endswith(MOVIES) else "frames" if records else "bytes"
    return replace(stamp, contents=_contents(kind, file, stamp.size))


def difference(stamp: SourceStamp, file: str, now: SourceStamp) -> tuple[str, str] | None:
    """Returns how a file differs from its stamp: (what it was, what it is); None if no difference is found.

    Args:
        stamp: stamp of the file when it was indexed.
        file: path or URL of the file.
        now: present stamp of the file, from `stamp_files`.
    """
    if UNKNOWN in (stamp, now):
        told = ["none" if one == UNKNOWN else f"a file of {one.size:,} bytes" for one in (stamp, now)]
        return None if stamp == now else (told[0], told[1])
    if now.size != stamp.size:
        return f"{stamp.size:,} bytes", f"{now.size:,} bytes"
    if stamp.version and now.version and stamp.version.split("=")[0] == now.version.split("=")[0]:
        return None if stamp.version == now.version else (stamp.version, now.version)
    if now.time == stamp.time and not stamp.version:
        return None
    if not stamp.contents:
        return f"{stamp.version or stamp.time}", f"{now.version or now.time}"
    contents = _contents(stamp.contents.split()[0], file, now.size)
    return None if contents == stamp.contents else (f"contents {stamp.contents}", f"{contents}, of the same size")


def _contents(kind: str, file: str, size: int) -> str:
    digest = hashlib.sha256()
    for piece in {"frames": _frames, "bytes": _pieces, "ends": _ends}[kind](file, size):
        digest.update(piece)
    return f"{kind} {digest.hexdigest()[:16]}"


def _frames(file: str, _size: int) -> Iterator[bytes]:
    return frame_words(filesystem(file)[1])


def _pieces(file: str, size: int) -> Iterator[bytes]:
    with Path(filesystem(file)[1]).open("rb", buffering=0) as stream:
        if size <= PIECE * PIECES:
            while piece := stream.read(PIECE * 16):
                yield piece
            return
        for number in range(PIECES):
            stream.seek(number * (size - PIECE) // (PIECES - 1))
            yield stream.read(PIECE)


def _ends(file: str, size: int) -> Iterator[bytes]:
    fs, path = filesystem(file)
    if size <= 2 * PIECE:
        yield cast(bytes, fs.cat_file(path))
        return
    yield cast(bytes, fs.cat_file(path, start=0, end=PIECE))
    yield cast(bytes, fs.cat_file(path, start=size - PIECE, end=size))
