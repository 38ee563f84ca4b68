"""Ctrl-C and SIGTERM (Slurm, machines that may be taken away) end a run after the step in work, with a checkpoint.

A second one ends the process at once, and so does the first while there is nothing to save: until the first step is done,
which may take minutes of compiling. A thread sees to both, as Python's own handlers wait for the compiler. A signal that the
shell has switched off (`nohup`) stays off.
"""

import logging
import os
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Any, NoReturn

import jax
from jax.sharding import Mesh

from train.devices.multi_host import anywhere

logger = logging.getLogger(__name__)
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_SIGNAL = (
    0.3  # seconds in which two are one: who starts a command often passes on what the terminal has sent to both
)
SHOW_CURSOR = b"\x1b[?25h"


class Stopping:
    """While it is entered, the two signals are remembered; elsewhere than in the main thread it does nothing.

    Args:
        mesh: all devices of all processes, which agree on the last step.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.signal: int | None = None
        self.since = 0.0
        self.begun = self.agreed = False
        self.asked: jax.Array | None = None
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self.before = {number: signal.signal(number, lambda *_: None) for number in heard}
            reading, self.writing = os.pipe()
            os.set_blocking(self.writing, False)
            self.waking = signal.set_wakeup_fd(self.writing, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.before:
            signal.set_wakeup_fd(self.waking)
            os.close(self.writing)
            for number, before in self.before.items():
                signal.signal(number, signal.SIG_DFL if before is None else before)  # None: not Python's

    def _watch(self, reading: int) -> None:
        while word := os.read(reading, 1):
            if word[0] in self.before:
                self._take(word[0])
        os.close(reading)

    def _take(self, number: int) -> None:
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
            if not self.begun and jax.process_count() == 1:  # several end together, after the first step
                end_at_once("interrupted: no new step was done, so there is nothing to save", number)
            logger.info("stopping after this step, with a checkpoint; once more stops at once, without")
        elif time.monotonic() - self.since > ONE_SIGNAL:
            end_at_once("interrupted: what was not saved is lost", number)

    def after_step(self) -> bool:
        """Whether the step that has just been started is the last; all processes say the same.

        Several processes tell each other without waiting, and read it one step late.
        """
        self.begun = True
        if jax.process_count() == 1:
            self.agreed = self.signal is not None
        else:
            self.agreed = self.asked is not None and bool(self.asked)
            self.asked = anywhere(self.signal is not None, self.mesh)
        return self.agreed

    def end(self, saved: str) -> None:
        """Ends the command with the status that shells give such an end; returns if nobody asked for one.

        Args:
            saved: what to say of what was saved.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            SystemExit: SIGTERM, here or in another process.
        """
        if not self.agreed:
            return
        logger.info(saved)
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)


def end_at_once(why: str, number: int) -> NoReturn:
    """Ends the process from any thread, whatever the others are at.

    Args:
        why: a line to say.
        number: of the signal, which makes the status.
    """
    os.write(2, (SHOW_CURSOR if sys.stderr.isatty() else b"") + f"{why}\n".encode())
    os._exit(128 + number)
