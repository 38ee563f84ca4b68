"""Decides whether a command may write to OUT, by one rule for all commands.

A command looks into the folder first, and touches only files that it wrote:

    missing, or empty          it may write
    an earlier output          it may write with --overwrite, or with --resume if it has that flag; otherwise an error names them
    anything else              it may never write, not even with --overwrite; an error says what was expected

An earlier output is recognised by one of its files (a `Mark`): JSON with the keys and the format version that this command
writes. The name of the file alone is not enough, because many programs write a `config.json`. To replace an output, the command
deletes the files whose names it writes, one by one: a note that somebody put there stays. Nothing is deleted before `begin`,
`replacing` or `install`, which a command calls after it has checked all of its inputs. `install` deletes nothing before the new
output is there: until then, the old files have the names of half-written ones, also if the process is killed. OUT may be an
fsspec URL.
"""

import contextlib
import fnmatch
import json
import os
import posixpath
import re
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fasttok.common import stores
from fasttok.common.names import is_unicode
from fasttok.common.output_file import check_writable
from fasttok.common.urls import as_typed, is_url
from fasttok.errors import InputError

try:
    import fcntl
except ImportError:  # not POSIX: two processes can then write one OUT at once
    fcntl = None  # type: ignore[assignment]

BEGUN = ".begun.json"
ASIDE = "replaced"  # folder for an earlier output until the new one is under way
TREE = "/**"  # end of a pattern that means all files below a folder, if a library wrote them
HALF_WRITTEN = re.compile(r"^\.(.+)\.(?:[0-9a-f]{32}\.tmp|part)$")  # what a killed process leaves beside a file
State = Literal["new", "unfinished", "finished"]


class _HeldFolder:
    """A folder that is open and locked. The system unlocks it if the process dies."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


_HELD: "weakref.WeakValueDictionary[tuple[int, int], _HeldFolder]" = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Mark:
    """A file by which a folder is recognised.

    Attributes:
        file: path of the file in the folder.
        keys: keys of its JSON object, or of each object of its list; "a/b" is the key b of the object at a.
        version: newest format version that this code knows, for files that store one at `version_key`; None to check none.
        version_key: key of the format version.
        text: the whole text of a file that is not JSON; "" for a JSON file.
    """

    file: str
    keys: tuple[str, ...] = ()
    version: int | None = None
    version_key: str = "format_version"
    text: str = ""


@dataclass(frozen=True)
class OutputKind:
    """What a command writes into a folder.

    Attributes:
        name: name of such a folder in messages, such as "INDEX".
        marks: files by which a folder of this kind is recognised; one of them is enough. If `begun` is given, the first one is
            there only when the output is finished. Without marks, a folder is recognised if it contains only `files`.
        files: patterns of all files that the command writes: `*` stays within a name, and a `/**` at the end means the whole
            tree below, for folders that a library fills.
        begun: folder, relative to OUT, for a file that marks an output as unfinished; "" if the marks are there from the start.
            The command deletes this folder when it is done.
        resume: whether an unfinished output is continued with --resume ("flag"), always, or never.
        inner: folder in OUT that is an output of its own -> its kind.
        alone: whether only one process at a time may write it from `begin` on; always so if `begun` is given.
    """

    name: str
    marks: tuple[Mark, ...]
    files: tuple[str, ...]
    begun: str = ""
    resume: Literal["flag", "always", "never"] = "never"
    inner: Mapping[str, "OutputKind"] = field(default_factory=dict)
    alone: bool = False

    @property
    def a_name(self) -> str:
        """The name with its article.

        >>> OutputKind("export", (), ()).a_name, OutputKind("run", (), ()).a_name
        ('an export', 'a run')
        """
        return f"an {self.name}" if self.name[0] in "aeioAEIO" else f"a {self.name}"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of all files, including those of inner outputs."""
        below = (f"{folder}/{pattern}" for folder, kind in self.inner.items() for pattern in kind.patterns)
        return (*self.files, *((f"{self.begun}{TREE}",) if self.begun else ()), *below)

    def wrote(self, path: str) -> bool:
        """Returns whether a file, relative to OUT, has a name that the command writes; half-written files count too.

        >>> kind = OutputKind("letters", (), ("*.txt", "state/*.json", "logs/**"))
        >>> [kind.wrote(name) for name in ("a.txt", ".a.txt.part", "state/1.json", "state/a/1.json", "logs/a/b", "b.md")]
        [True, True, True, False, True, False]
        """
        folder, _, name = path.rpartition("/")
        half = HALF_WRITTEN.match(name)
        names = [path] + ([posixpath.join(folder, half[1])] if half else [])
        return any(_fits(name, pattern) for name in names for pattern in self.patterns)


class OutputFolder:
    """An OUT that the command may write to; `check_output` makes it.

    Attributes:
        fs: OUT's file system.
        path: path of OUT on `fs`, with links followed.
        kind: what the command writes.
        state: what was there: nothing ("new"), or an earlier output ("unfinished" or "finished").
        replaces: whether `begin` deletes the earlier output.
    """

    def __init__(
        self, fs: fsspec.AbstractFileSystem, path: str, kind: OutputKind, state: State, replaces: bool
    ) -> None:
        self.fs, self.path, self.kind, self.state, self.replaces = fs, path, kind, state, replaces

    @contextlib.contextmanager
    def replacing(self) -> Iterator[Callable[[], None]]:
        """Does what `begin` does, but only sets an earlier output on a disk aside until the new one is under way.

        Yields the function to call when the new output is under way. If an error comes before that, the earlier output is put
        back. On an object store, where moving a file means copying it, the earlier output is deleted at once.
        """
        aside = None
        if self.kind.begun and isinstance(self.fs, LocalFileSystem):
            self._lock()
            aside = Path(self.path, self.kind.begun, ASIDE)
            if (
                self.replaces and not aside.exists()
            ):  # if it exists, a killed process left it, whose own output was not under way
                self._move(Path(self.path), aside)
        self.begin()
        waiting = [aside] if aside is not None and aside.exists() else []

        def under_way() -> None:
            while waiting:
                gone = waiting.pop()
                shutil.rmtree(gone.replace(gone.with_name(f"{ASIDE}-gone")), ignore_errors=True)

        try:
            yield under_way
        except BaseException:
            for kept in waiting:
                self._delete(keep=f"{self.kind.begun}/{ASIDE}/")
                self._move(kept, Path(self.path))
                shutil.rmtree(kept, ignore_errors=True)
                with contextlib.suppress(OSError):
                    kept.parent.rmdir()
            raise
        under_way()

    def _move(self, source: Path, target: Path) -> None:
        """Moves the files that the command writes from one folder to another."""
        inside = target.is_relative_to(source)
        for file in _local_files(str(source)):
            if self.kind.wrote(file) and not (inside and Path(source, file).is_relative_to(target)):
                Path(target, file).parent.mkdir(parents=True, exist_ok=True)
                Path(source, file).replace(Path(target, file))

    def begin(self) -> None:
        """Deletes the earlier output if the command replaces it, makes the folder, and marks it as unfinished.

        Raises:
            InputError: another process is writing OUT, or the store refuses.
        """
        self._lock()
        self._clear(keep=f"{self.kind.begun}/{ASIDE}/")
        with stores.writing(str(self.fs.unstrip_protocol(self.path))):
            stores.make_folder(self.fs, self.path)
            self._mark()

    def share(self) -> None:
        """Makes the folder and marks it as unfinished; other processes may write other files of it. Deletes nothing.

        Raises:
            InputError: another process has the folder for itself, or the store refuses.
        """
        self._lock(shared=True)
        with stores.writing(str(self.fs.unstrip_protocol(self.path))):
            stores.make_folder(self.fs, self.path)
            self._mark()

    def _mark(self) -> None:
        if self.kind.begun:
            stores.make_folder(self.fs, f"{self.path}/{self.kind.begun}")
            said = json.dumps({"writes": self.kind.name, "format_version": self.kind.marks[0].version})
            target, temporary = (
                f"{self.path}/{self.kind.begun}/{name}" for name in (BEGUN, f".{BEGUN}.{uuid.uuid4().hex}.tmp")
            )
            if isinstance(self.fs, LocalFileSystem):
                Path(temporary).write_text(said + "\n", encoding="utf-8")
                Path(temporary).replace(target)
            else:
                self.fs.pipe_file(target, said.encode() + b"\n")

    def _lock(self, shared: bool = False) -> None:
        """Keeps other processes of this machine out of OUT as long as this object exists.

        With `shared`, other processes may write there too, if they share as well.
        """
        alone = self.kind.alone or bool(self.kind.begun)
        if fcntl is None or not alone or not isinstance(self.fs, LocalFileSystem):
            return
        self.fs.makedirs(self.path, exist_ok=True)
        known = Path(self.path).stat()
        self._held = _HELD.get((known.st_dev, known.st_ino))
        if self._held is not None:
            return  # this process has it already
        held = _HeldFolder(os.open(self.path, os.O_RDONLY))
        try:
            fcntl.flock(held.number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is writing {self.path}; wait until it ends, or choose another --out"
            ) from None
        except OSError:
            return  # a file system without locks
        self._held = _HELD[known.st_dev, known.st_ino] = held

    def aside(self) -> Path:
        """Makes a folder on OUT's disk, which the caller fills and passes to `install`.

        It is beside OUT, or in OUT if nothing can be made beside it.
        """
        out = Path(self.path)
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = not out.exists() or (out.stat().st_dev == out.parent.stat().st_dev and os.access(out.parent, os.W_OK))
        temporary = Path(tempfile.mkdtemp(dir=out.parent if beside else out, prefix=f".{out.name}."))
        temporary.chmod(0o755)
        return temporary

    def install(self, temporary: Path, last: str) -> None:
        """Moves a finished local folder to OUT: by one rename if OUT contains nothing, else file by file.

        Before that, each file of an earlier output gets the name of a half-written one, and at the end these are deleted. If the
        process is killed, OUT is the old output, or the new one, or lacks its mark and is still recognised by the renamed mark.

        Args:
            temporary: the folder, on the same disk; it is gone afterwards.
            last: the file in it without which OUT is not valid; it is moved last.

        Raises:
            InputError: OUT was empty, and another process has written it since.
        """
        out = Path(self.path)
        if self.state == "new" and any(
            self.kind.wrote(file) and not _is_half(file) for file in _local_files(self.path)
        ):
            raise InputError(f"another process has written {self.path} since this one began; choose another --out")
        if self.replaces:
            self._set_aside()
        with contextlib.suppress(OSError):
            out.rmdir()  # not every system can rename a folder over an empty one
        if not out.exists():
            temporary.replace(out)
            return
        files = sorted(_local_files(str(temporary)), key=lambda file: (file == last, file))
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (temporary / file).replace(out / file)
        if self.replaces:
            self._delete(half=True)
        shutil.rmtree(temporary)

    def _set_aside(self) -> None:
        """Gives each file of an earlier local output the name of a half-written one, the marks first."""
        marks = [mark.file for mark in self.kind.marks]
        ours = [file for file in _local_files(self.path) if self.kind.wrote(file) and not _is_half(file)]
        for file in sorted(ours, key=lambda file: file not in marks):
            Path(self.path, file).replace(Path(self.path, _half_name(file)))

    def _clear(self, keep: str = "//") -> None:
        if self.replaces:
            self._delete(keep)

    def _delete(self, keep: str = "//", half: bool = False) -> None:
        """Deletes the files that the command writes, except paths that begin with `keep`; with `half`, only half-written ones."""
        for file in _files(self.fs, self.path):
            if self.kind.wrote(file) and not file.startswith(keep) and (_is_half(file) or not half):
                with contextlib.suppress(FileNotFoundError):  # a request is repeated if the store's answer was lost
                    self.fs.rm_file(f"{self.path}/{file}")
        if isinstance(self.fs, LocalFileSystem):
            for folder, _, _ in os.walk(self.path, topdown=False):
                with contextlib.suppress(OSError):
                    if folder != self.path:
                        Path(folder).rmdir()  # fails if something is left in it
        self.fs.invalidate_cache()


def check_output(
    out: str | Path,
    kind: OutputKind,
    *,
    overwrite: bool = False,
    resume: bool = False,
    how: str = "--overwrite",
    other: str = "another --out",
    reads: Iterable[str | Path] = (),
) -> OutputFolder:
    """Checks that a command may write to OUT, and that it can. Changes nothing.

    Args:
        out: folder or URL.
        kind: what the command writes.
        overwrite: whether to replace an earlier output.
        resume: whether to continue an earlier output.
        how: how a user asks to replace an earlier output, for messages.
        other: what the user can choose instead, for messages.
        reads: files and folders that the command reads: an output that contains them is not replaced.

    Raises:
        InputError: OUT is not UTF-8, is not a folder, is not of this kind, is of a newer format, contains an earlier output and
            neither flag is given, contains what the command reads, has a link where the earlier output had a folder, or cannot be
            written.
    """
    if not is_unicode(str(out)):
        raise InputError(f"{str(out)!r}: this path is not UTF-8, so files of the output cannot name it; choose {other}")
    if isinstance(out, Path) and is_url(as_typed(out)) and not out.parent.exists():
        raise InputError(f"{as_typed(out)} is a URL, expected a local folder; copy it there afterwards")
    try:
        place = _allowed(out, kind, overwrite, resume, how, other)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}; choose {other}") from None
    except RuntimeError as error:
        if "loop" not in str(error):
            raise
        raise InputError(f"{out} cannot be written: a link in it leads to itself; choose {other}") from None
    if isinstance(place.fs, LocalFileSystem):
        check_writable(Path(place.path), str(out), other)
    if place.replaces:
        for given in reads:
            _check_not_deleted(place, given, f"{out}", other)
    return place


def _allowed(out: str | Path, kind: OutputKind, overwrite: bool, resume: bool, how: str, other: str) -> OutputFolder:
    """Does the checks of `check_output` on what OUT contains; not whether it is writable, nor what the command reads."""
    fs, path = _opened(str(out))
    there = stores.kind_at(fs, path)
    if not there:
        if isinstance(fs, LocalFileSystem) and Path(str(out)).is_symlink():
            raise InputError(f"{out} is a link to nothing; choose {other}")
        return OutputFolder(fs, path, kind, "new", replaces=False)
    if there != "directory":
        raise InputError(f"{out} exists and is not a folder; choose {other}")
    if _empty(fs, path, kind):
        return OutputFolder(fs, path, kind, "new", replaces=False)
    state = _state(fs, path, kind, f"{out}", other)
    if state == "unfinished" and kind.resume == "always":
        return OutputFolder(fs, path, kind, state, replaces=False)
    if not overwrite and not resume:
        flags = f"--resume to go on, {how} to replace it" if kind.resume == "flag" else f"{how} to replace it"
        known = {"finished": f"a finished {kind.name}", "unfinished": f"an unfinished {kind.name}"}
        ours = known[state] if kind.begun else kind.a_name
        raise InputError(f"{out} is {ours}; pass {flags}, or choose {other}")
    if overwrite and isinstance(fs, LocalFileSystem):
        for file in _local_files(path):
            if Path(path, file).is_symlink() and Path(path, file).is_dir() and _above(file, kind):
                raise InputError(
                    f"{out}/{file} is a link, so what it leads to will not be overwritten; remove it, or choose {other}"
                )
    return OutputFolder(fs, path, kind, state, replaces=overwrite)


def _check_not_deleted(place: OutputFolder, given: str | Path, out: str, other: str) -> None:
    """Refuses to replace an output whose files are read to make the new one."""
    try:
        fs, path = _opened(str(given))
    except InputError:
        return
    if type(fs) is not type(place.fs) or not (path == place.path or path.startswith(place.path + "/")):
        return
    inside = path[len(place.path) :].lstrip("/")
    for file in _files(place.fs, place.path):
        if place.kind.wrote(file) and (not inside or file == inside or file.startswith(inside + "/")):
            raise InputError(
                f"{given} is in {out}, and replacing that would delete it before it is read; choose {other}"
            )


def _opened(out: str) -> tuple[fsspec.AbstractFileSystem, str]:
    fs, path = stores.fresh(out)
    return fs, Path(path).resolve().as_posix() if isinstance(fs, LocalFileSystem) else path.rstrip("/")


def _empty(fs: fsspec.AbstractFileSystem, path: str, kind: OutputKind) -> bool:
    """Returns whether a folder is empty, or contains only what a process left that was killed before it marked the folder."""
    for entry in fs.ls(path, detail=True):
        name = entry["name"].rstrip("/").rsplit("/", 1)[-1]
        if entry["type"] == "directory" and name == kind.begun:
            if not _empty(fs, entry["name"], OutputKind("", (), (BEGUN,))):
                return False
        elif not (HALF_WRITTEN.match(name) and kind.wrote(name)):
            return False
    return True


def _state(fs: fsspec.AbstractFileSystem, path: str, kind: OutputKind, out: str, other: str) -> State:
    """Returns whether the output that an earlier run left in a folder is finished or unfinished.

    Raises:
        InputError: the folder is of another kind, or of a newer format.
    """
    if not kind.marks:
        strange = next((file for file in _files(fs, path) if not kind.wrote(file)), None)
        if strange is None:
            return "finished"
        raise _left_alone(out, kind, f"it contains {strange}", other)
    marks = kind.marks
    if kind.begun:
        marks = (*marks, Mark(f"{kind.begun}/{BEGUN}", ("writes", "format_version"), marks[0].version))
    why = []
    for number, mark in enumerate(marks):
        wrong = _wrong(fs, path, mark, kind)
        if wrong and not kind.begun:  # `install` was killed
            renamed = _wrong(fs, path, replace(mark, file=_half_name(mark.file)), kind)
            wrong = renamed if renamed in ("", "newer") else wrong
        if wrong == "newer":
            raise InputError(
                f"{out} was written by a newer fasttok ({mark.file}), so it will not be overwritten; choose {other}"
            )
        if not wrong:
            return "unfinished" if kind.begun and number else "finished"
        why.append(wrong)
    raise _left_alone(out, kind, next((reason for reason in why if not reason.startswith("it has no")), why[0]), other)


def _wrong(fs: fsspec.AbstractFileSystem, path: str, mark: Mark, kind: OutputKind) -> str:
    """Returns why a folder does not have this mark of a kind; "" if it has it, "newer" if its format is newer."""
    try:
        held = fs.cat_file(f"{path}/{mark.file}")
        if mark.text:
            return "" if held == mark.text.encode() else f"its {mark.file} is another one"
        value = json.loads(held)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return f"it has no {mark.file}"
    except OSError as error:
        return f"its {mark.file} cannot be read: {error.strerror or error}"
    except (ValueError, RecursionError):
        return f"its {mark.file} is not JSON"
    if mark.file.endswith(BEGUN) and kind.begun and (not isinstance(value, dict) or value.get("writes") != kind.name):
        return f"its {mark.file} is that of another command"
    if not isinstance(value, dict | list):
        return f"its {mark.file} has no keys"
    for item in value if isinstance(value, list) else [value]:
        lacking = [key for key in mark.keys if not _has(item, key)]
        if lacking:
            return f"its {mark.file} lacks {', '.join(lacking)}"
    if mark.version is not None and isinstance(value, dict):
        version = _get(value, mark.version_key)
        if isinstance(version, int) and version > mark.version:
            return "newer"
    return ""


def _is_half(file: str) -> bool:
    return HALF_WRITTEN.match(posixpath.basename(file)) is not None


def _half_name(file: str) -> str:
    """Returns the name of a file while it is half-written, or set aside.

    >>> _half_name("stamps/1.json")
    'stamps/.1.json.part'
    """
    folder, name = posixpath.split(file)
    return posixpath.join(folder, f".{name}.part")


def _left_alone(out: str, kind: OutputKind, why: str, other: str) -> InputError:
    return InputError(
        f"{out} exists and is not {kind.a_name} ({why}), so it will not be overwritten, not even with --overwrite; choose {other}"
    )


def _get(value: object, key: str) -> object:
    for name in key.split("/"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _has(value: object, key: str) -> bool:
    *above, last = key.split("/")
    holder = _get(value, "/".join(above)) if above else value
    return isinstance(holder, Mapping) and last in holder


def _fits(path: str, pattern: str) -> bool:
    """Returns whether a relative path matches a pattern; each `*` stays within one name."""
    whole = pattern.endswith(TREE)
    names, wanted = path.split("/"), pattern.removesuffix(TREE).split("/")
    if len(names) <= len(wanted) if whole else len(names) != len(wanted):
        return False
    return all(fnmatch.fnmatchcase(name, part) for name, part in zip(names, wanted, strict=False))


def _above(folder: str, kind: OutputKind) -> bool:
    """Returns whether a command writes files below a folder."""
    depth = folder.count("/") + 1
    return any(_fits(folder, "/".join(pattern.removesuffix(TREE).split("/")[:depth]))
               for pattern in kind.patterns if pattern.endswith(TREE) or pattern.count("/") >= depth)  # fmt: skip


def _files(fs: fsspec.AbstractFileSystem, path: str) -> Iterator[str]:
    """Yields all files below a folder, relative to it."""
    if isinstance(fs, LocalFileSystem):
        yield from _local_files(path)
        return
    for file in fs.find(path):
        yield file[len(path) :].lstrip("/")


def _local_files(path: str) -> list[str]:
    """Returns all files below a local folder, relative to it. A link counts as a file, whatever it leads to."""
    found = []
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        found += [Path(folder, name).relative_to(path).as_posix() for name in (*files, *links)]
    return found
