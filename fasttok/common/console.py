"""What every command line here shares: errors without tracebacks, progress with ETA, tables, JSON on stdout.

Results go to stdout, everything else to stderr. On a terminal progress is a bar; elsewhere a plain line now and then.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from fasttok._version import __version__
from fasttok.errors import InputError

T = TypeVar("T")
err = Console(stderr=True, highlight=False, soft_wrap=True)
PLAIN_LINE_SECONDS = 5.0


def log(message: str) -> None:
    """One plain line on stderr."""
    err.print(message, markup=False)


def run(command: Callable[[], Any]) -> int:
    """Runs a command: 0 on success, 1 and a one-paragraph message on bad input, 130 on Ctrl-C.

    Use as `sys.exit(run(lambda: main(argv)))`. Only `InputError` is reworded; a bug keeps its traceback.
    """
    try:
        command()
        return 0
    except InputError as error:
        err.print("[bold red]error:[/] ", end="")
        log(str(error))
        for note in getattr(error, "__notes__", []):
            log(f"  {note}")
        return 1
    except KeyboardInterrupt:
        log("interrupted")
        return 130
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.close()
        return 0


def script(name: str, main: Callable[[list[str]], Any], argv: list[str] | None = None) -> NoReturn:
    """A console script: runs `main` on the words after the command's name, and exits with the code of `run`.

    `--version` is answered here, so that every command has it and none imports anything for it.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--version"]:
        print(f"{name} {__version__}")
        sys.exit(0)
    sys.exit(run(lambda: main(argv)))


@contextlib.contextmanager
def progress(description: str, total: int | None = None, unit: str = "items") -> Iterator[Callable[..., None]]:
    """A progress display; yields `advance(n=1, note="")`.

    >>> with progress("reading", total=3, unit="episodes") as advance:
    ...     for _ in range(3):
    ...         advance()
    """
    if err.is_terminal:
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)]
        columns += [
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        ]
        with Progress(*columns, console=err) as bar:
            task = bar.add_task(description, total=total, note="")

            def advance_bar(n: int = 1, note: str = "") -> None:
                bar.update(task, advance=n, note=note)

            yield advance_bar
        return
    start = last = time.monotonic()
    done = 0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= PLAIN_LINE_SECONDS:
            last = now
            eta = f", eta {(now - start) / done * (total - done):.0f} s" if total and done else ""
            of = f"/{total}" if total else ""
            log(f"{description}: {done}{of} {unit}, {now - start:.0f} s{eta}{f', {note}' if note else ''}")

    yield advance


def track(items: Iterable[T], description: str, total: int | None = None, unit: str = "items") -> Iterator[T]:
    """Iterates with a progress display; `total` defaults to `len(items)` where there is one."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with progress(description, total, unit) as advance:
        for item in items:
            yield item
            advance()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], file: Any = None) -> None:
    """Prints an aligned table to stdout; numbers are right-aligned, None is shown as a dash."""
    out = Console(file=file or sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 160)
    rows = [list(row) for row in rows]
    if title:
        out.print(title, style="bold", markup=False)
    grid = Table(box=None, pad_edge=False)
    for i, name in enumerate(columns):
        numeric = all(isinstance(row[i], int | float | np.number) or row[i] is None for row in rows)
        grid.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*[_cell(value) for value in row])
    out.print(grid)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float | np.floating):
        real = float(value)
        if np.isnan(real):
            return "-"
        return f"{real:.4g}" if abs(real) < 1000 else f"{real:,.0f}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("[", "\\[")


def write_text(path: Path, text: str) -> None:
    """A text file that is whole or not there."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def emit_json(value: Any) -> None:
    """Writes one JSON document to stdout; numpy scalars and arrays become plain numbers and lists."""
    json.dump(value, sys.stdout, indent=2, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"not JSON: {type(value).__name__}")
