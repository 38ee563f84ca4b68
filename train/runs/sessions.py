"""RUN/sessions.jsonl: which commands trained a run, when, with which versions and on what; one line per start. For people."""

import json
import logging
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fasttok._version import DISTRIBUTION
from fasttok.common import json_files
from fasttok.errors import InputError
from train.runs.run_folder import SESSIONS

logger = logging.getLogger(__name__)
PACKAGES = (DISTRIBUTION, "jax", "jaxlib", "optax", "orbax-checkpoint", "numpy")
MOST_BYTES = 1 << 24  # more is no file of ours


@dataclass(frozen=True)
class Session:
    """A start of a run.

    Attributes:
        date: when, ISO 8601 in UTC.
        from_step: after which it went on; 0 for a new run.
        command: as it was typed.
        devices: what it computed on.
        versions: of Python and of packages.
    """

    date: str
    from_step: int
    command: str
    devices: str
    versions: Mapping[str, str] = field(default_factory=dict)


def add_session(run: Path, from_step: int) -> None:
    """Writes what this process is into RUN; an error is a warning, as no run should end for it.

    Args:
        run: folder of the run.
        from_step: after which it goes on; 0 for a new one, whose file begins anew.
    """
    import jax  # has been imported by whoever trains

    versions = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    devices = jax.devices()
    many = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
    session = Session(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        from_step=from_step,
        command=shlex.join([*_program(Path(sys.argv[0])), *sys.argv[1:]]),
        devices=f"{len(devices)} x {devices[0].device_kind}{many}",
        versions=versions,
    )
    try:
        with (run / SESSIONS).open("a" if from_step else "w", encoding="utf-8") as file:
            file.write(json.dumps(json_files.encode(session)) + "\n")
    except OSError as error:
        logger.warning(f"{run / SESSIONS} cannot be written ({error}); training goes on without it")


def _program(file: Path) -> list[str]:
    """How the program of a command line is called, without where it is installed.

    >>> _program(Path("/venv/bin/fasttok-train")), _program(Path("/src/train/__main__.py"))
    (['fasttok-train'], ['python', '-m', 'train'])
    """
    return ["python", "-m", file.parent.name] if file.name == "__main__.py" else [file.name]


def sessions_of(run: Path) -> list[Session]:
    """The starts of a run, in their order; lines that are none are left out. Runs of earlier versions have none."""
    file, out = run / SESSIONS, []
    if not file.is_file() or file.is_symlink() or file.stat().st_size > MOST_BYTES:
        return []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            out.append(json_files.read(Session, line, str(file)))
        except InputError:
            continue
    return out
