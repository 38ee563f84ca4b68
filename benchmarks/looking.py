"""`python -m benchmarks.looking SHARDS`: rows a second and memory of `stats` and `lint`, and whether memory grows with the rows.

    python -m benchmarks.looking shards --times 1 10

More rows are the same shards again under other names (hard links); so `lint` must find every sample_id of the repeats, and does.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks import about
from fasttok.common.console import run, table
from fasttok.errors import InputError

CHILD = """
import resource, sys
from fasttok.common.console import run
from pipelines.__main__ import main
code = run(lambda: main(sys.argv[1:]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class LookingConfig:
    """Times `stats` and `lint` and writes benchmarks/results/looking.json and .md.

    Example: python -m benchmarks.looking demo/shards --times 1 10
    """

    shards: Annotated[Path, tyro.conf.Positional]
    """Local SHARDS folder of `fasttok-pipelines build`."""
    times: tuple[int, ...] = (1, 10)
    """How often the shards stand in the folder that is read."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def repeated(shards: Path, out: Path, times: int) -> dict[str, int]:
    """SHARDS that hold the given ones several times; rows and bytes of them.

    Raises:
        InputError: these shards cannot be linked from where temporary files are.
    """
    manifest = json.loads((shards / "manifest.json").read_text())
    shutil.copytree(shards / "tokenizer", out / "tokenizer")
    listed = []
    for number in range(times):
        for shard in manifest["shards"]:
            name = f"{number}-{shard['name']}"
            try:
                os.link(shards / shard["name"], out / name)
            except OSError as error:
                raise InputError(
                    f"{shards}: cannot be linked from {out}: {error}; set TMPDIR to the same disk"
                ) from None
            listed.append({**shard, "name": name})
    manifest["shards"] = listed
    for counts in (*manifest["sources"].values(), manifest["counts"]):
        for key in ("planned", "written", "rejected"):
            counts[key] *= times
    (out / "manifest.json").write_text(json.dumps(manifest))
    return {"rows": manifest["counts"]["written"], "bytes": sum(shard["bytes"] for shard in listed)}


def measure(verb: str, folder: Path, size: dict[str, int], times: int) -> dict[str, Any]:
    """One line of the table; the start of the process counts."""
    began = time.perf_counter()
    command = [sys.executable, "-c", CHILD, verb, str(folder), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    expected = 1 if verb == "lint" and times > 1 else 0  # the repeated ids
    if result.returncode != expected:
        raise InputError(f"{verb} ended with {result.returncode}: {result.stderr[-500:]}")
    peak = int(result.stderr.split()[-1]) / 1024
    rates = {"rows/s": round(size["rows"] / seconds), "MB/s": round(size["bytes"] / 1e6 / seconds)}
    done = {"verb": verb, "rows": f"{size['rows']:,}", "MB": round(size["bytes"] / 1e6), "seconds": round(seconds, 1)}
    return done | rates | {"peak MB": round(peak)}


def main(config: LookingConfig) -> None:
    """Measures, prints and writes.

    Raises:
        InputError: no such shards, or a verb failed.
    """
    if not (config.shards / "manifest.json").is_file():
        raise InputError(f"{config.shards} holds no finished shards; make some: fasttok-pipelines build demo ...")
    rows = []
    for times in config.times:
        with tempfile.TemporaryDirectory() as folder:
            size = repeated(config.shards, Path(folder), times)
            rows += [measure(verb, Path(folder), size, times) for verb in ("stats", "lint")]
    table("looking at shards", list(rows[0]), [list(row.values()) for row in rows])
    command = f"python -m benchmarks.looking SHARDS --times {' '.join(map(str, config.times))}"
    about.write(config.out, "looking", "Looking at shards", command, {"stats and lint, files in the page cache": rows})


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(LookingConfig))))
