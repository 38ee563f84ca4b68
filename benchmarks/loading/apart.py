"""Runs a reader's script in a process group of its own, and watches the memory of all its processes."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

READERS = Path(__file__).parent / "readers"
EVERY = 0.25  # seconds between two looks at the memory
LIMIT = 1800.0  # seconds a task may take; encoding video is the longest


class ReaderError(Exception):
    """A script failed; with the end of what it printed."""


def task(python: str, script: str, name: str, options: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """Runs one task of a script.

    Args:
        python: interpreter of the reader's environment.
        script: file name in `readers/`.
        name: one of `readers.stage.TASKS`.
        options: what the task wants.
        paths: environment variables to set.

    Returns:
        What the script printed; also "peak" and "peak_private", MB: the largest sum over its processes of their proportional
        share of memory, and of its part that no file backs.

    Raises:
        ReaderError: it failed or took longer than LIMIT.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "options.json"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_"))}
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": folder, "TF_CPP_MIN_LOG_LEVEL": "3"}
        with (Path(folder) / "out").open("w+") as out, (Path(folder) / "err").open("w+") as err:
            place.write_text(json.dumps({**options, "started": time.time()}))
            process = subprocess.Popen(
                [python, READERS / script, name, place], stdout=out, stderr=err, cwd=folder, start_new_session=True,
                env={**kept, **offline, **paths},
            )  # fmt: skip
            memory = Memory(process.pid)
            try:
                code: int | None = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # workers that outlived it
                memory.stop()
            text, said = ((stream.seek(0), stream.read())[1] for stream in (out, err))
        lines = text.strip().splitlines()
        if code != 0 or not lines:
            raise ReaderError(f"{script} {name}: {'took too long' if code is None else code}\n{said[-3000:]}")
        return {**json.loads(lines[-1]), "peak": memory.peak, "peak_private": memory.private}


class Memory:
    """Looks at a session's processes until it is stopped.

    Attributes:
        peak: MB, the largest sum of proportional shares.
        private: MB, the largest sum of their parts that no file backs.
    """

    def __init__(self, session: int) -> None:
        self.peak = self.private = 0.0
        self._session = session
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(EVERY):
            shares = [share(pid) for pid in members(self._session)]
            self.peak = max(self.peak, sum(one[0] for one in shares))
            self.private = max(self.private, sum(one[1] for one in shares))


def members(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(place.read_text().rpartition(")")[2].split()[3]) == session:
                found.append(int(place.parent.name))
    return found


def share(pid: int) -> tuple[float, float]:
    """MB of a process: its proportional share, and that of memory without files."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        values = {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines if line.startswith("Pss")}
        return values.get("Pss", 0.0), values.get("Pss_Anon", 0.0) + values.get("Pss_Shmem", 0.0)
    return 0.0, 0.0
