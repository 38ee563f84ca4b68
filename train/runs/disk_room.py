"""Checks that the disk has room, before a run and before each checkpoint. A disk that is full anyway ends the run with one line.

Orbax writes in threads of its own. When one of them fails, orbax and the packages that it uses print dozens of tracebacks, and
the error is raised in the training later. This module hides the tracebacks, and turns the error into one that says what to do.
"""

import contextlib
import gc
import logging
import os
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from fasttok.common.console import NO_ROOM
from fasttok.errors import InputError
from train.config import TrainConfig
from train.runs.run_folder import CHECKPOINTS
from train.step import State

NOISY = ("orbax", "tensorstore", "asyncio")  # packages whose threads print their errors


def checkpoint_bytes(state: State) -> int:
    """Returns the most bytes that a checkpoint can have; orbax compresses it a little. `state`: arrays, or their shapes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def check_room(config: TrainConfig, state: State) -> None:
    """Checks that the disk has room for all checkpoints that a run has at one time: those that it keeps, and one being written.

    Args:
        config: configuration of the run.
        state: shapes of the arrays in a checkpoint.

    Raises:
        InputError: the disk has too little room.
    """
    each, there = checkpoint_bytes(state), _whole(config.out)
    new = -(-(config.steps - (max(there) if there and config.resume else 0)) // config.checkpoint_every)
    held = len(there) if config.resume else 0
    at_once = max(held, min(config.keep + 1, held + new))
    best = 2 * checkpoint_bytes(State(state.params, None, state.ema)) if config.keep_best else 0
    needed, free = (at_once - held) * each + best, _free(config.out)
    if config.overwrite:
        free += sum(file.stat().st_size for file in (config.out / CHECKPOINTS).rglob("*") if file.is_file())
    if free < needed:
        raise InputError(
            f"{config.out} needs {_size(needed)} for its checkpoints ({at_once - held} new ones at once of {_size(each)}: --keep "
            f"{config.keep}, and the one being written), and its disk has {_size(free)} free: make room, lower --keep, or choose "
            "an --out on another disk"
        )


def check_room_for_one(run: Path, step: int, state: State) -> None:
    """Checks that the disk has room for the next checkpoint. Call it when the checkpoints before it are complete.

    Raises:
        InputError: the disk has too little room.
    """
    each, free = checkpoint_bytes(state), _free(run)
    if free < each:
        raise _full(run, f"the checkpoint of step {step} needs {_size(each)}, and the disk has {_size(free)} free")


@contextlib.contextmanager
def full_disk_said(run: Path) -> Iterator[None]:
    """A context in which a run is written. If the disk is full, the run ends with one error, and nothing else is printed.

    Raises:
        InputError: the disk is full, the quota is used up, or a file would be larger than is allowed.
    """
    why = ""
    shown_again = _hide_writers()
    try:
        yield
    except (Exception, ExceptionGroup) as error:
        why = _why(error)
        if not why:
            raise
    finally:
        if not why:
            shown_again()
    if why:
        # What the writers left unfinished prints warnings when it is freed. And a thread that is still writing may print more
        # until the process ends. So what it says stays hidden.
        gc.collect()
        logging.getLogger("asyncio").addFilter(_not_of_writers)
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    if why:
        if jax.process_index() == 0:
            for half in (run / CHECKPOINTS).glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(half, ignore_errors=True)
        raise _full(run, why)


def _full(run: Path, why: str) -> InputError:
    whole = _whole(run)
    left = f"its newest whole checkpoint, of step {max(whole)}, is untouched" if whole else "it has no checkpoint yet"
    return InputError(
        f"{run} cannot be written: {why}; {left}. Make room, and go on with --resume (--keep says how many checkpoints stay)"
    )


def _why(error: BaseException | None) -> str:
    """Returns the system's message if a full disk is behind an error (or behind its causes), else ""."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):
            return next(filter(None, map(_why, error.exceptions)), "")
        # TensorStore's errors have the system's message, but not its number.
        number = error.errno if isinstance(error, OSError) else None
        if found := [n for n in NO_ROOM if n == number or os.strerror(n) in str(error)]:
            return os.strerror(min(found))
        error = error.__cause__ or error.__context__
    return ""


def _whole(run: Path) -> list[int]:
    folder = run / CHECKPOINTS
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _free(path: Path) -> int:
    """Returns the free bytes of the disk on which a folder is, or would be created."""
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def _hide_writers() -> Callable[[], None]:
    """Hides what orbax's threads print about their errors: each error is raised in the training anyway.

    Returns:
        A function that shows it again.
    """
    hook, ignored, in_thread = sys.excepthook, sys.unraisablehook, threading.excepthook
    levels = {log: log.level for log in map(logging.getLogger, ("absl", "asyncio"))}

    def quiet(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        if threading.current_thread() is threading.main_thread() or not _of_writers(error, at):
            hook(kind, error, at)

    def quiet_ignored(what: Any) -> None:
        code = getattr(what.object, "cr_code", None)
        if not (code is not None and any(name in code.co_filename for name in NOISY)) and not _of_writers(
            what.exc_value, what.exc_traceback
        ):
            ignored(what)

    def quiet_in_thread(what: Any) -> None:
        if not _of_writers(what.exc_value, what.exc_traceback):
            in_thread(what)

    for log in levels:
        log.setLevel(logging.CRITICAL)
    sys.excepthook, sys.unraisablehook, threading.excepthook = quiet, quiet_ignored, quiet_in_thread

    def shown_again() -> None:
        for log, level in levels.items():
            log.setLevel(level)
        sys.excepthook, sys.unraisablehook, threading.excepthook = hook, ignored, in_thread

    return shown_again


def _not_of_writers(record: logging.LogRecord) -> bool:
    """Returns whether a log record is about anything but the threads that write checkpoints."""
    return not (record.exc_info and _of_writers(record.exc_info[1], record.exc_info[2]))


def _of_writers(error: BaseException | None, at: TracebackType | None) -> bool:
    """Returns whether an error passed through the packages that write checkpoints, or comes from a full disk."""
    while at is not None:
        if any(f"/{name}/" in at.tb_frame.f_code.co_filename.replace(os.sep, "/") for name in NOISY):
            return True
        at = at.tb_next
    return bool(_why(error))
