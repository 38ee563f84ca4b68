"""Shared by all command lines: errors without tracebacks, progress with ETA, tables, JSON on stdout.

Results go to stdout, everything else to stderr. Progress is a bar on a terminal, and a plain line every few seconds elsewhere.
"""

import contextlib
import errno
import io
import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral, Real  # numpy's scalars are registered as such
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fasttok._version import __version__
from fasttok.common.lasting_stdout import lasting_stdout
from fasttok.common.narrow_table import GAP, bands, measure, repeated, said, shares
from fasttok.common.output_file import in_one_step, make_folder
from fasttok.common.pace import Pace
from fasttok.errors import InputError, refused

T = TypeVar("T")


class _Stderr(Console):
    """Prints on stderr. If nobody reads it any more, it prints nothing; rich would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


err = _Stderr(stderr=True, highlight=False, soft_wrap=True, emoji=False)
INTERRUPTED = 130  # exit status of shells for SIGINT
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # a full disk, a used-up quota, a file that is too large
PLAIN_LINE_SECONDS = 5.0
SILENT_SECONDS = 60.0  # if every note is a line: a line without a note follows after so long
LIBRARIES = ("fasttok", "mixtures", "pipelines", "train")  # packages whose log messages a command prints
UNFOLDED = 100_000  # characters: wider than any table
NUMBERS = re.compile(r"[-+~(\[]?\.?\d[^A-Za-wyz]*[A-Za-z%]{0,3}|-")  # begins like a number; no letters but x and a unit


def log(message: str) -> None:
    """Prints one plain line on stderr."""
    err.print(message, markup=False, emoji=False)


class _LogPrinter(logging.Handler):
    """Prints a record as `log` does."""

    def emit(self, record: logging.LogRecord) -> None:
        log(record.getMessage())


@contextlib.contextmanager
def _printed_logs() -> Iterator[None]:
    """Prints what our own packages log, from level INFO up: libraries log, and a command shows it.

    The records do not reach the root logger: some packages give it a handler, which would print each record a second time.
    """
    printer = _LogPrinter()
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(printer)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(printer)
            logger.setLevel(level)
            logger.propagate = propagate


def run(command: Callable[[], Any]) -> int:
    """Runs a command and returns its exit status.

    The status is 0 on success, 1 with a one-paragraph message on bad input, and 130 on Ctrl-C. Use as
    `sys.exit(run(lambda: main(argv)))`. Only three kinds of errors become messages: an `InputError`, an error of the system about
    a file (no permission, a folder in its place, a full disk), and too little memory. A bug keeps its traceback. While the
    command runs, log messages of our packages are printed. If a pipe closes early (`| head`), the command does its work anyway;
    only rows that are written to stdout (`fasttok encode --out -`) end there.
    """
    _take_any_name()
    try:
        with _printed_logs(), lasting_stdout():
            command()
        return 0
    except KeyboardInterrupt:
        log("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()
        return 0
    except Exception as error:
        if _interrupted(error):
            log("interrupted")
            return INTERRUPTED
        if isinstance(error, OSError) and error.filename is not None and not isinstance(error, InputError):
            _say(refused(error))
            return 1
        if isinstance(error, OSError) and error.errno in NO_ROOM:  # a failed write, whose error names no file
            _say(InputError(f"nothing more can be written: {error.strerror}; make room on the disk, and start again"))
            return 1
        if isinstance(error, MemoryError):
            said = str(error).rstrip(".") or "this machine has no more"
            _say(InputError(f"not enough memory: {said}; look for a number that is too large, or give less data"))
            return 1
        if not isinstance(error, InputError):
            raise
        _say(error)
        return 1


def _take_any_name() -> None:
    """Lets stdout print names of data with letters that its encoding does not have, as stderr does: with escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _say(error: InputError) -> None:
    err.print("[bold red]error:[/] ", end="")
    log(str(error))
    for note in getattr(error, "__notes__", []):
        log(f"  {note}")


def _interrupted(error: BaseException | None) -> bool:
    """Returns whether Ctrl-C caused an error: a module may raise an ImportError if Ctrl-C stops its import."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def script(name: str, main: Callable[[list[str]], Any], argv: list[str] | None = None) -> NoReturn:
    """Runs a console script: passes the words after the command's name to `main`, and exits with the status of `run`.

    It answers `--version` itself, so that every command has that flag and none imports anything for it.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--version"]:
        sys.exit(run(lambda: print(f"{name} {__version__}")))
    sys.exit(run(lambda: main(argv)))


@contextlib.contextmanager
def progress(
    description: str,
    total: int | None = None,
    unit: str = "items",
    *,
    already: int = 0,
    lines: bool = False,
    side_by_side: bool = False,
) -> Iterator[Callable[..., None]]:
    """Shows progress; yields `advance(n=1, note=None)`, whose note is shown until the next one.

    `Pace` estimates the time that is left: from the time since the first new item was done, and only after a warm-up.

    Args:
        description: what is being done.
        total: number of items; None if it is not known.
        unit: what is counted, such as "episodes".
        already: number of items that were done before.
        lines: only for stderr that is no terminal. True prints every note once, on a line of its own. False prints a line every
            few seconds, which ends with the latest note.
        side_by_side: whether the items are long and run side by side. The time until the first one is done then counts, too.

    >>> with progress("reading", total=3, unit="episodes") as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    pace = Pace(already, time.monotonic() if side_by_side else None)
    if err.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        def words(text: str) -> TextColumn:
            return TextColumn(text, markup=False)  # names of data and of files may have brackets

        columns = [words("{task.description}"), BarColumn(), MofNCompleteColumn(), words(unit)]
        columns += [TimeElapsedColumn(), words("{task.fields[eta]}"), words("{task.fields[note]}")]
        with Progress(*columns, console=err) as bar:
            task = bar.add_task(description, total=total, completed=already, note="", eta="")

            def advance_bar(n: int = 1, note: str | None = None) -> None:
                pace.add(n)
                left = pace.left(total)
                bar.update(task, advance=n, eta="" if left is None else f"eta {left:.0f} s")
                if note is not None:
                    bar.update(task, note=note)

            yield advance_bar
        return
    start = last = time.monotonic()
    latest = ""

    def advance(n: int = 1, note: str | None = None) -> None:
        nonlocal last, latest
        now = time.monotonic()
        pace.add(n, now)
        latest = note or "" if lines or note is not None else latest
        if now - last >= (SILENT_SECONDS if lines else PLAIN_LINE_SECONDS) or (lines and note):
            last = now
            left = pace.left(total, now)
            eta = "" if left is None else f", eta {left:.0f} s"
            of = f"/{total}" if total else ""
            log(f"{description}: {pace.done}{of} {unit}, {now - start:.0f} s{eta}{f', {latest}' if latest else ''}")

    yield advance


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "items") -> Iterator[T]:
    """Yields the items and shows progress. `total` is `len(items)` by default, if the items have a length.

    >>> list(track("ab", "reading"))
    ['a', 'b']
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with progress(description, total, unit) as advance:
        for item in items:
            yield item
            advance()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], file: TextIO | None = None) -> None:
    """Prints an aligned table; numbers are right-aligned, None is shown as a dash.

    If the terminal is too narrow, texts and headers fold, but numbers never do. If that is not enough, the columns are stacked,
    and a line says which ones are below. In a file or a pipe nothing folds.

    Args:
        title: a line above the table, "" for none.
        columns: headers of the columns.
        rows: rows with one cell per column.
        file: where to print; None for stdout.

    >>> table("", ["source", "rows"], [["planar", 9600], ["arm", None]])
    source   rows
    planar  9,600
    arm         -
    """
    stream = file or sys.stdout
    values = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in values]
    right = [all(isinstance(row[i], Real) or row[i] is None for row in values) for i in range(len(columns))]
    measured = [
        measure(name, [row[i] for row in cells], number=all(NUMBERS.fullmatch(row[i]) for row in cells))
        for i, name in enumerate(columns)
    ]
    width = Console(file=stream).width if stream.isatty() else UNFOLDED
    stacked = bands(measured, width)
    out = Console(file=stream, highlight=False, width=width, emoji=False)
    if title:
        out.print(title, style="bold", markup=False, soft_wrap=True)
    if note := said(measured, stacked, width):
        out.print(f"({note})", style="dim", markup=False)
    key = measured[:1] if len(stacked) == 1 else [repeated(measured[0], width)]
    for number, band in enumerate(stacked):
        shown = [*key, *(measured[i] for i in band[1:])]
        grid = Table(box=None, pad_edge=False)
        for i, column, share in zip(band, shown, shares(shown, width), strict=True):
            grid.add_column(column.header, justify="right" if right[i] else "left", overflow="fold", width=share)
        for row in cells:
            grid.add_row(*[escape(row[i]) for i in band])
        if number:
            out.print()
        out.width = max(width, sum(column.width or 0 for column in grid.columns) + GAP * (len(band) - 1))
        out.print(grid)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, Integral):
        return f"{int(value):,}"
    real = float(value)
    if math.isnan(real):
        return "-"
    return f"{real:,.0f}" if 1000 <= abs(real) < 1e15 else f"{real:.4g}"


def write_text(path: Path, text: str) -> None:
    """Writes a text file in one step, so that it is either whole or not there. Halves of characters become question marks."""
    make_folder(path)
    with in_one_step(path) as file:
        file.write_bytes(text.encode(errors="replace"))


def emit_json(value: Any) -> None:
    """Writes one JSON document to stdout; numpy scalars and arrays become plain numbers and lists.

    Numbers that are not finite become null: JSON has no words for them, and other programs refuse those that Python writes.

    >>> import numpy as np
    >>> emit_json({"rows": np.int64(3)})
    {
      "rows": 3
    }
    """
    finite = json.loads(json.dumps(value, default=_plain), parse_constant=lambda _: None)
    json.dump(finite, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # a numpy array or scalar; this module does not import numpy
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"not JSON: {type(value).__name__}")
