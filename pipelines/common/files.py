"""Reads and writes files through fsspec. A written file gets its final name only when it is complete."""

import errno
import hashlib
import json
import os
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.stores import filesystem as filesystem
from fasttok.common.stores import kind_at, writing
from fasttok.common.stores import reaching as reaching
from fasttok.common.urls import is_url
from fasttok.errors import InputError

BLOCK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_local(fs: fsspec.AbstractFileSystem) -> bool:
    """Returns whether files of `fs` are local, and so can be mapped into memory."""
    return isinstance(fs, LocalFileSystem)


def join(folder: str, *parts: str) -> str:
    """Joins the parts of a path below `folder`, a URL or a local path.

    >>> join("gs://bucket/shards/", "state", "a.json")
    'gs://bucket/shards/state/a.json'
    """
    return posixpath.join(folder.rstrip("/") or "/", *parts)


@contextmanager
def atomic_write(url: str) -> Iterator[BinaryIO]:
    """Opens `url` for writing bytes; the final name appears only when the block ends without an error.

    Local files go through a temporary file in the same folder, flushed to disk and renamed. Object stores put the whole
    object under its name on close, which is as atomic.
    """
    fs, path = filesystem(url)
    if not is_local(fs):
        with writing(url):
            stream = fs.open(path, "wb")
        try:
            yield cast(BinaryIO, stream)
            with writing(url):
                stream.close()
        except BaseException:
            _discard(stream)
            raise
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno in FULL:
            raise InputError(
                f"{path}: cannot be written: {error.strerror}. Nothing half-written is left; make room, then run the same "
                "command again (`index` and `build` go on with --resume)"
            ) from None
        raise


def _discard(stream: Any) -> None:
    """Discards a half-written object, so that its destructor does not put it under its final name, as `close` would."""
    with suppress(Exception):
        stream.discard()
    if isinstance(stream, AbstractBufferedFile):
        stream.closed = True


def write_json(url: str, value: Any) -> None:
    """Writes JSON with sorted keys, atomically; the same value gives the same bytes."""
    with atomic_write(url) as stream:
        stream.write((json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def read_json(url: str, what: str) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing or is not JSON; `what` says what it should have been.
    """
    fs, path = filesystem(url)
    try:
        with reaching(url):
            return json.loads(fs.cat_file(path))
    except FileNotFoundError:
        raise InputError(f"{url} does not exist: expected {what}") from None
    except InputError:
        raise
    except (ValueError, OSError, RecursionError) as error:
        refuse_pointer_at(url)
        raise InputError(f"{url}: expected {what}, but it cannot be read: {error}") from None


def absolute(path: str) -> str:
    """Returns a path or URL without `/` at its end; a local path becomes absolute, for workers in another working folder."""
    path = str(path).rstrip("/")
    return path if is_url(path) else os.path.realpath(path)


def exists(url: str) -> bool:
    """Returns whether the file or folder exists."""
    fs, path = filesystem(url)
    return bool(kind_at(fs, path))


def remove(url: str) -> None:
    """Deletes a file if it exists."""
    fs, path = filesystem(url)
    with suppress(FileNotFoundError):
        fs.rm_file(path)


class HashingWriter:
    """A write-only file object that computes the sha256 and the size of all bytes written."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Writes bytes to the stream, and counts them."""
        self._hash.update(data)
        self._stream.write(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        """Returns the number of bytes written so far."""
        return self.size

    def flush(self) -> None:
        """Flushes the stream."""
        self._stream.flush()

    def close(self) -> None:
        """Does nothing: the code that opened the stream closes it."""

    def readable(self) -> bool:
        """Returns False."""
        return False

    def writable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns False."""
        return False

    def hexdigest(self) -> str:
        """Returns the sha256 (hex) of what was written."""
        return self._hash.hexdigest()


def sha256_file(url: str) -> tuple[str, int]:
    """Returns (sha256 in hex, size in bytes) of a file.

    Raises:
        FileNotFoundError: no such file.
    """
    fs, path = filesystem(url)
    digest, size = hashlib.sha256(), 0
    with fs.open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def file_version(url: str) -> str:
    """Returns text that changes whenever the file does, "" if there is no file; a cache key for results made from the file."""
    fs, path = filesystem(url)
    try:
        return str(fs.ukey(path))
    except FileNotFoundError:
        return ""
