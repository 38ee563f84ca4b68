"""RUN/sessions.jsonl: the commands that trained a run, with their dates, versions and devices, one line per start. For people."""

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
MOST_BYTES = 1 << 24  # a larger file was not written by us


@dataclass(frozen=True)
class Session:
    """One start of a run.

    Attributes:
        date: date and time, ISO 8601 in UTC.
        from_step: the step after which the run resumed; 0 for a new run.
        command: the command line, without the folder of the program.
        devices: number and kind of the devices, and the number of processes if there are several.
        versions: versions of Python and of packages, by name.
    """

    date: str
    from_step: int
    command: str
    devices: str
    versions: Mapping[str, str] = field(default_factory=dict)


def add_session(run: Path, from_step: int) -> None:
    """Adds this process to RUN/sessions.jsonl. A file that cannot be written is only a warning, as no run should end for it.

    Args:
        run: folder of the run.
        from_step: the step after which the run resumes; 0 for a new run, whose file begins anew.
    """
    import jax  # a process that trains has imported it already

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
    """Returns the words that call a program, without the folder where it is installed.

    >>> _program(Path("/venv/bin/fasttok-train")), _program(Path("/src/train/__main__.py"))
    (['fasttok-train'], ['python', '-m', 'train'])
    """
    return ["python", "-m", file.parent.name] if file.name == "__main__.py" else [file.name]


def sessions_of(run: Path) -> list[Session]:
    """Returns the starts of a run, in order. Lines that cannot be read are left out. Runs of earlier versions have no starts."""
    file, out = run / SESSIONS, []
    if not file.is_file() or file.is_symlink() or file.stat().st_size > MOST_BYTES:
        return []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            out.append(json_files.read(Session, line, str(file)))
        except InputError:
            continue
    return out
