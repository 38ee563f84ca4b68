"""Sets JAX up for every command that computes: keeps compiled programs in a folder, and hides the compiler's own log.

`train`, `evaluate`, `export`, the runs of a study and the benchmarks call `set_up_jax` before they import JAX. It only sets
environment variables that the user has not set.

    JAX_COMPILATION_CACHE_DIR      folder of compiled programs; by default below XDG_CACHE_HOME (~/.cache) / fasttok / compiled
    JAX_COMPILATION_CACHE_MAX_SIZE largest size of this folder in bytes; the programs that were used longest ago are removed first
    TF_CPP_MIN_LOG_LEVEL           3 hides XLA's log ("Very slow compile?"); errors still come as exceptions
"""

import hashlib
import os
import platform
from collections.abc import MutableMapping
from importlib.util import find_spec
from pathlib import Path

FOLDER, SIZE, SECONDS = (
    "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
)  # fmt: skip
LARGEST = 4 << 30  # bytes; a program of the full model has some 20 MB
SHORTEST = "0.3"  # seconds: programs that compile faster are not kept
ENTRY, USED = "-cache", "-atime"  # how JAX's files end: a program, and when it was last used


def set_up_jax(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets the variables that the user has not set. If the folder cannot be written, nothing is kept, without an error.

    Args:
        environment: environment of this process; its children inherit it.
    """
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    environment.setdefault(SECONDS, SHORTEST)
    if FOLDER in environment:
        return
    folder = _ours(environment)
    if folder is not None:
        environment[FOLDER] = str(folder)
        if find_spec("filelock") is not None:  # without it JAX cannot bound the size
            environment.setdefault(SIZE, str(LARGEST))


def _ours(environment: MutableMapping[str, str]) -> Path | None:
    """Returns the folder for this kind of machine, and makes it if necessary; None if it cannot be written.

    Machines with different processors may share a home folder, and a program for one processor kills a process on another.
    """
    try:
        cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "fasttok" / "compiled" / f"{platform.machine()}-{_processor()}"
        if not cache.is_absolute():
            return None  # the specification of XDG_CACHE_HOME says to ignore relative paths
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # JAX runs the programs in this folder without further checks, so the folder must belong to this user.
        if not os.access(folder, os.W_OK | os.X_OK) or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
            return None
        for entry in folder.glob(f"*{ENTRY}"):
            if not entry.with_name(
                entry.name.removesuffix(ENTRY) + USED
            ).exists():  # left by a killed process; JAX would fail on it
                entry.unlink(missing_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return folder


def _processor() -> str:
    """Returns a digest of what this processor can do, 8 hex digits."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    able = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.sha256(able.encode()).hexdigest()[:8]
