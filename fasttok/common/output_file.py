"""Decides whether a command may write a file, by one rule for all commands. `output_folder` does this for folders.

    missing                    it may; missing folders are made
    one of its own inputs      never, nor a file of a folder that is an input, unless it is a page
    another file               only with --overwrite
    a folder, a device         never

The check comes before the work. It also tries whether the file can be written at all, so that no work is lost.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from fasttok.common.names import is_unicode
from fasttok.common.urls import is_url
from fasttok.errors import InputError

try:
    import fcntl
except ImportError:  # not POSIX: two processes can then write one file at once
    fcntl = None  # type: ignore[assignment]

STDOUT, PAGE = "-", ".html"  # nobody's data is a page; an earlier report beside the data may be replaced


def check_output_file(
    path: str | Path, reads: Iterable[str | Path] = (), *, overwrite: bool = False, flag: str = "--out"
) -> None:
    """Refuses a file that may not be written. Changes nothing.

    Args:
        path: the file; "-" is stdout, which may be written.
        reads: files that the command reads; `path` must not be one of them.
        overwrite: whether to replace an existing file.
        flag: the option that named the file, for messages.

    Raises:
        InputError: the path is not UTF-8, or the file is an input, exists already, is not a plain local file, or cannot be
            written.
    """
    if str(path) == STDOUT:
        return
    if not is_unicode(str(path)):
        raise InputError(f"{flag} {str(path)!r}: this path is not UTF-8; choose another {flag}")
    if is_url(str(path)):
        raise InputError(f"{flag} {path}: expected a local file; copy it there afterwards")
    file = Path(path)
    for given in reads:
        if _same(file, Path(given)):
            raise InputError(
                f"{flag} {path} is also what the command reads, so it will not be overwritten; choose another {flag}"
            )
        if file.suffix != PAGE and _contains(Path(given), file):
            raise InputError(
                f"{flag} {path} is a file in {given}, which the command reads, so it will not be overwritten; choose another "
                f"{flag}"
            )
    try:
        if file.is_dir():
            raise InputError(f"{flag} {path} is a folder; give it a file's name")
        if file.exists() and not file.is_file():
            raise InputError(f"{flag} {path} is not a plain file; choose another {flag}")
        if file.is_symlink() and not file.exists():
            raise InputError(f"{flag} {path} is a link to nothing; choose another {flag}")
        if file.exists() and not overwrite:
            raise InputError(f"{flag} {path} exists; pass --overwrite to replace it, or choose another {flag}")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{flag} {path} cannot be written: {_reason(error)}; choose another {flag}") from None
    check_writable(file.parent, f"{flag} {path}", f"another {flag}", file.name)


def check_writable(folder: Path, what: str, other: str, name: str = "") -> None:
    """Tries whether files can be made in a folder, or, if it is missing, where it will be made. Leaves nothing behind.

    Args:
        folder: the folder, which may be missing.
        what: the path as it was given, for messages.
        other: what the user can choose instead, for messages.
        name: name of a file that must be possible there; "" for none.

    Raises:
        InputError: no file can be made there; the error says why.
    """
    try:
        missing = [name]
        while not folder.exists():
            missing.append(folder.name)
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"{what} cannot be written: {folder} is not a folder; choose {other}")
        longest = max(missing, key=lambda piece: len(piece.encode(errors="replace")))
        tried = Path(tempfile.mkdtemp(dir=folder, prefix=f".{longest}."))
        with contextlib.suppress(OSError):
            tried.rmdir()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} cannot be written: {_reason(error)} ({folder}); choose {other}") from None


def make_folder(path: str | Path) -> None:
    """Makes the folder of a file that a command will write."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def in_one_step(path: Path) -> Iterator[Path]:
    """Yields another path to write to, which becomes `path` at the end: `path` is either whole or as it was.

    Raises:
        InputError: another process is writing `path`.
    """
    with half_written(path) as temporary:
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def half_written(path: Path) -> Iterator[Path]:
    """Yields the name of a file while it is half-written. In the block, no other process of this machine gets this name.

    Raises:
        InputError: another process is writing `path`.
    """
    temporary = path.with_name(f".{path.name}.part")
    held = _locked(temporary, path)
    try:
        yield temporary
    finally:
        if held is not None:
            os.close(held)


def _locked(temporary: Path, path: Path) -> int | None:
    """Makes an empty file and locks it. Returns its open descriptor; None on a system without such locks."""
    if fcntl is None:
        return None
    while True:
        held = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise InputError(f"another process is writing {path}; wait until it ends, or choose another file") from None
        except OSError:
            pass  # a file system without locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), temporary.stat()):
                return held
        os.close(held)  # meanwhile, another process gave the file its final name


def _contains(folder: Path, file: Path) -> bool:
    """Returns whether a path is that of a file in a folder or in one below it, wherever links lead."""
    try:
        return file.is_file() and folder.is_dir() and file.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def _same(one: Path, other: Path) -> bool:
    """Returns whether two paths lead to the same file."""
    try:
        return one.resolve() == other.resolve() or (one.exists() and other.exists() and one.samefile(other))
    except (OSError, ValueError, RuntimeError):
        return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
