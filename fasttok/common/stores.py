"""Opens paths and URLs, on a disk or in a store that fsspec has a driver for. No other module asks fsspec for a file system.

What begins with `scheme://` is a URL. Everything else is a local path, whatever characters its name has: `::`, `#`, `?`, `*`,
`[`, or a `://` further on. fsspec itself takes `::` for a chain of file systems and `://` anywhere for a scheme.
"""

import io
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations
from fsspec.spec import AbstractBufferedFile

from fasttok.common.urls import URL, is_url
from fasttok.errors import InputError

CHAIN = re.compile(r"[A-Za-z][\w+.-]*::[A-Za-z][\w+.:-]*://|[A-Za-z][\w+.-]+://.*::[A-Za-z][\w+.-]*://", re.DOTALL)
# What to write after `pip install` for a scheme's driver. For other schemes, errors repeat what fsspec says.
PACKAGES = {
    "gs": "'fasttok-vla[gcp]'",
    "gcs": "'fasttok-vla[gcp]'",
    "s3": "'fasttok-vla[s3]'",
    "s3a": "'fasttok-vla[s3]'",
    "hf": "huggingface_hub",
    "http": "aiohttp requests",
    "https": "aiohttp requests",
}
# An error of these packages is about the network, the store or its credentials, never about our code.
DRIVERS = (
    "aiobotocore",
    "aiohttp",
    "azure",
    "botocore",
    "gcsfs",
    "google",
    "httpx",
    "httpx2",
    "huggingface_hub",
    "requests",
)
FLAT = frozenset(("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "hf"))  # stores that have no folders
Kind = Literal["file", "directory", ""]


def join_scheme(url: str, path: str) -> str:
    """Returns a path on the file system of `url`; as a URL if `url` is one.

    >>> join_scheme("gs://bucket/data", "bucket/data/a.npz"), join_scheme("data", "/home/data/a.npz")
    ('gs://bucket/data/a.npz', '/home/data/a.npz')
    """
    scheme = URL.match(url)
    return f"{scheme[0]}{path}" if scheme and not is_url(path) else path


def own_path(path: str) -> str:
    """Returns a path or URL without `/`, `.` or `..` at its end. A local path becomes absolute, but a link keeps its own name.

    A cache of the Hugging Face hub links names such as lift.hdf5 to files that are named by their digest.
    """
    path = str(path).rstrip("/") or "/"
    if is_url(path):
        return path
    while path.endswith("/."):
        path = path[:-2].rstrip("/")
    folder, name = os.path.split(path)
    return os.path.realpath(path) if name in ("", ".", "..") else f"{os.path.realpath(folder).rstrip('/')}/{name}"


def below(folder: str, file: str) -> str:
    """Returns a file's path below a dataset's folder, which is the same wherever that folder is. Both are paths or URLs.

    If the dataset is the file itself, if the folder is unknown (""), or if the file is elsewhere, it returns the file's name.

    >>> below("memory://set", "memory:///set/a/b.h5"), below("/data/a.h5", "/data/a.h5"), below("/data/set", "/data/set2/a.h5")
    ('a/b.h5', 'a.h5', 'a.h5')
    """
    root, path = (
        (name.partition("://")[2] if is_url(name) else LocalFileSystem._strip_protocol(name)).strip("/")
        for name in (folder, file)
    )
    return path[len(root) + 1 :] if folder and path.startswith(f"{root}/") else path.rsplit("/", 1)[-1]


def filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Returns the file system of a path or URL, and the path on it.

    Raises:
        InputError: the scheme is unknown, its package is not installed, the URL is a chain of file systems, or it cannot be
            opened.
    """
    url = os.fspath(url)
    if CHAIN.match(url):
        raise InputError(
            f"{url} is a chain of file systems (fsspec's `::`), which fasttok does not take; give the URL of the store "
            f"itself, or a local folder of that name as ./{url}"
        )
    found = URL.match(url)
    scheme = found[1].lower() if found else "file"
    try:
        kind = fsspec.get_filesystem_class(scheme)
        fs = fsspec.filesystem(scheme, **kind._get_kwargs_from_urls(url))
        return cast(tuple[fsspec.AbstractFileSystem, str], (fs, kind._strip_protocol(url)))
    except ImportError as error:
        words = f"run: pip install {PACKAGES[scheme]}" if scheme in PACKAGES else error
        raise InputError(f"{url}: {scheme}:// needs a package that is not installed; {words}") from None
    except ValueError as error:
        if scheme in known_implementations:
            raise InputError(f"{url} cannot be opened: {error}") from None
        raise InputError(
            f"{url}: no file system is known for {scheme}://; for a local folder of that name give ./{url}"
        ) from None
    except Exception as error:
        if unreachable(error) is None and isinstance(
            error, TypeError | OSError
        ):  # a file system that reads from another one, such as zip://
            raise InputError(f"{url} cannot be opened by its URL alone: {error}; unpack or copy it") from None
        raise _reworded(error, url) from None


def fresh(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Returns what `filesystem` does, but forgets earlier listings. Use it to open what another process wrote."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    return fs, path


def kind_at(fs: fsspec.AbstractFileSystem, path: str) -> Kind:
    """Returns what is at a path, "" for nothing. Unlike fsspec's `exists`, it raises an error if the store cannot be reached.

    Raises:
        InputError: the store cannot be reached, or refuses.
    """
    if isinstance(fs, LocalFileSystem):
        return "directory" if fs.isdir(path) else "file" if fs.exists(path) else ""
    try:
        return "directory" if fs.info(path)["type"] == "directory" else "file"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except Exception as error:
        raise _reworded(error, str(fs.unstrip_protocol(path))) from None


@contextmanager
def open_file(url: str) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes, and closes it at the end of the block."""
    with opened(url) as stream:
        yield stream


def opened(url: str) -> BinaryIO:
    """Opens a file for reading bytes; the caller closes it."""
    fs, path = filesystem(url)
    stream = fs.open(path, "rb")
    # A driver's own stream cannot limit the length of a line that it reads; BufferedReader can.
    return cast(BinaryIO, io.BufferedReader(stream) if isinstance(stream, AbstractBufferedFile) else stream)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Raises an error in plain words if the block reads or writes a store and the store fails.

    Raises:
        InputError: the store cannot be reached, or refuses.
    """
    try:
        yield
    except Exception as error:
        if unreachable(error) is None:
            raise
        raise _reworded(error, url) from error


@contextmanager
def writing(url: str) -> Iterator[None]:
    """Raises an error in plain words if a store refuses what the block writes to it.

    Raises:
        InputError: the bucket does not exist, the user may not write there, or the store cannot be reached.
    """
    try:
        with reaching(url):
            yield
    except OSError as error:
        if not is_url(url) or url.startswith("file://"):
            raise
        raise InputError(
            f"{url} cannot be written ({type(error).__name__}: {_first_line(error)}); check the URL and your credentials"
        ) from None


def make_folder(fs: fsspec.AbstractFileSystem, path: str) -> None:
    """Makes a folder, if the file system has folders: on an object store it would make a bucket with a mistyped name."""
    if not FLAT.intersection([fs.protocol] if isinstance(fs.protocol, str) else fs.protocol):
        fs.makedirs(path, exist_ok=True)


def unreachable(error: BaseException) -> str | None:
    """Returns what an error says about a store, in one line; None if the error is about something else.

    >>> unreachable(ValueError("x")), unreachable(ConnectionResetError("reset by peer"))
    (None, 'ConnectionResetError: reset by peer')
    """
    kind = type(error)
    package = kind.__module__.partition(".")[0]
    network = isinstance(error, ConnectionError | TimeoutError | socket.gaierror) and not isinstance(
        error, BrokenPipeError
    )
    if isinstance(error, FileNotFoundError | InputError) or not (network or package in DRIVERS):
        return None
    return f"{kind.__name__}: {_first_line(error)}"


def tells_of_store(error: BaseException) -> bool:
    """Returns whether an error is about a failing disk or network, not a damaged file; Arrow raises OSErrors for both."""
    return isinstance(error, OSError) and (error.errno is not None or unreachable(error) is not None)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")


def _reworded(error: Exception, url: str) -> Exception:
    """Returns an error of a store in plain words, and any other error unchanged."""
    text = unreachable(error)
    if text is None and not isinstance(error, OSError):
        return error
    said = text or f"{type(error).__name__}: {_first_line(error)}"
    offline = os.environ.get("HF_HUB_OFFLINE", os.environ.get("TRANSFORMERS_OFFLINE", "")).lower()
    if url.startswith("hf://") and offline in ("1", "true", "yes", "on"):
        return InputError(
            f"{url} cannot be reached, as HF_HUB_OFFLINE is set; unset it, or download the data and give the local folder"
        )
    return InputError(
        f"{url} cannot be reached ({said.rstrip('.')}); check the URL, the network and your credentials, then run the same "
        "command again, or copy the data and give the local folder (docs/scale.md)"
    )
