"""How every command that computes sets JAX up: what is compiled is kept, and the compiler's own log stays out of ours.

Called before JAX is imported, by `train`, `evaluate`, `export`, the runs of a study and the benchmarks. It only sets variables of
the environment that the user has not set, so that those of the user win.

    JAX_COMPILATION_CACHE_DIR      compiled programs; by default below XDG_CACHE_HOME (~/.cache) / fasttok / compiled
    JAX_COMPILATION_CACHE_MAX_SIZE its largest size in bytes; what was used longest ago goes first
    TF_CPP_MIN_LOG_LEVEL           3: XLA's log ("Very slow compile?") is not shown; what is wrong comes as an exception, too
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
SHORTEST = "0.3"  # seconds of compiling that are worth a file
ENTRY, USED = "-cache", "-atime"  # how JAX's files end: a program, and when it was last used


def set_up_jax(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets what the user has not set. A folder that cannot be written is no error: then nothing is kept.

    Args:
        environment: of this process, whose children inherit it.
    """
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    environment.setdefault(SECONDS, SHORTEST)
    if FOLDER in environment:
        return
    folder = _ours(environment)
    if folder is not None:
        environment[FOLDER] = str(folder)
        if find_spec("filelock") is not None:  # without it JAX keeps no bound
            environment.setdefault(SIZE, str(LARGEST))


def _ours(environment: MutableMapping[str, str]) -> Path | None:
    """The folder of this kind of machine, made if need be; None if it cannot be written.

    A home folder may be shared by machines whose processors differ, and a program for one of them ends another's process.
    """
    try:
        cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "fasttok" / "compiled" / f"{platform.machine()}-{_processor()}"
        if not cache.is_absolute():
            return None  # the specification of XDG_CACHE_HOME: to be ignored
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Programs are trusted, so they must be ours.
        if not os.access(folder, os.W_OK | os.X_OK) or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid()):
            return None
        for entry in folder.glob(f"*{ENTRY}"):
            if not entry.with_name(
                entry.name.removesuffix(ENTRY) + USED
            ).exists():  # of a killed process: JAX would stumble
                entry.unlink(missing_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    return folder


def _processor() -> str:
    """Digest of what this processor can do, 8 hex digits."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    able = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    return hashlib.sha256(able.encode()).hexdigest()[:8]
