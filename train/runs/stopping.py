"""Ends a run on Ctrl-C or SIGTERM (Slurm, preemptible machines): after the current step, with a checkpoint.

A second signal ends the process at once. So does the first one while there is nothing to save, that is, until the first step is
done, which may take minutes of compiling. A thread handles the signals, because Python's own handlers wait for the compiler. A
signal that the shell has switched off (`nohup`) stays off.
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
# Two signals within this time, in seconds, count as one: a launcher often passes on a signal that the terminal sent to both.
ONE_SIGNAL = 0.3
SHOW_CURSOR = b"\x1b[?25h"


class Stopping:
    """A context that remembers the two signals. Outside the main thread it does nothing.

    Args:
        mesh: all devices of all processes; it lets the processes agree on the last step.
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
                signal.signal(number, signal.SIG_DFL if before is None else before)  # None: not set from Python

    def _watch(self, reading: int) -> None:
        while word := os.read(reading, 1):
            if word[0] in self.before:
                self._take(word[0])
        os.close(reading)

    def _take(self, number: int) -> None:
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
            if not self.begun and jax.process_count() == 1:  # several processes end together, after the first step
                end_at_once("interrupted: no new step was done, so there is nothing to save", number)
            logger.info("stopping after this step, with a checkpoint; once more stops at once, without")
        elif time.monotonic() - self.since > ONE_SIGNAL:
            end_at_once("interrupted: what was not saved is lost", number)

    def after_step(self) -> bool:
        """Returns whether the step that has just been started is the last one. All processes get the same answer.

        With several processes, each one sends its answer without waiting, and reads those of the others one step later.
        """
        self.begun = True
        if jax.process_count() == 1:
            self.agreed = self.signal is not None
        else:
            self.agreed = self.asked is not None and bool(self.asked)
            self.asked = anywhere(self.signal is not None, self.mesh)
        return self.agreed

    def end(self, saved: str) -> None:
        """Ends the command with the exit status that is usual for the signal. Returns if no signal asked for an end.

        Args:
            saved: message that says what was saved.

        Raises:
            KeyboardInterrupt: this process got Ctrl-C.
            SystemExit: this process got SIGTERM, or only another process got a signal.
        """
        if not self.agreed:
            return
        logger.info(saved)
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)


def end_at_once(why: str, number: int) -> NoReturn:
    """Ends the process from any thread, whatever the other threads are doing.

    Args:
        why: line to print.
        number: number of the signal; the exit status is 128 + number.
    """
    os.write(2, (SHOW_CURSOR if sys.stderr.isatty() else b"") + f"{why}\n".encode())
    os._exit(128 + number)
