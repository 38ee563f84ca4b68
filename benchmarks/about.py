"""What a result needs beside it: command, date, hardware, versions; and the files it goes to."""

import json
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fasttok._version import DISTRIBUTION
from fasttok.common.console import log
from fasttok.common.machine import hardware

VERSIONS = (
    DISTRIBUTION,
    "numpy",
    "scipy",
    "numba",
    "tokenizers",
    "pyarrow",
    "apache-beam",
    "tensorflow",
    "tensorflow-datasets",
    "jax",
    "av",
    "Pillow",
)


def versions(more: tuple[str, ...] = ()) -> dict[str, str]:
    """Of what is installed; `more` packages are named where a benchmark uses them."""
    found = {}
    for name in (*VERSIONS, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write(
    out: Path,
    name: str,
    title: str,
    command: str,
    tables: dict[str, list[dict[str, Any]]],
    quiet: bool = False,
    note: str = "",
    more: tuple[str, ...] = (),
) -> None:
    """OUT/name.json and OUT/name.md; `quiet` says nothing of it, a note stands below the facts, `more` are packages to name."""
    facts = {
        "command": command,
        "date": date.today().isoformat(),
        "hardware": hardware(),
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "versions": versions(more),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps({**facts, "tables": tables}, indent=2) + "\n")
    text = [f"# {title}", "", f"`{command}`, {facts['date']}, {facts['hardware']}, {facts['system']}.  "]
    text.append(", ".join(f"{k} {v}" for k, v in versions(more).items()))
    if note:
        text += ["", note]
    for heading, rows in tables.items():
        text += ["", f"## {heading}", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        text += ["| " + " | ".join(cell(value) for value in row.values()) + " |" for row in rows]
    (out / f"{name}.md").write_text("\n".join(text) + "\n")
    if not quiet:
        log(f"wrote {out}/{name}.json and {name}.md")


def cell(value: Any) -> str:
    """A table's cell."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 2 else f"{value:.3g}"
    return str(value)
