"""`python -m benchmarks.reader`: rows a second of the two modes and of what else one would read such samples with.

Every stream runs in a process of its own; contenders take turns, and a ratio compares two of the same round. Images stay encoded,
files are in the page cache. Then decoding against Pillow alone, and how far windows of 1,000 samples are from their mixture.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks import about, samples
from benchmarks.decoding import DECODERS, decode
from benchmarks.deviation import deviations
from benchmarks.readers import BATCH, BUFFER, CONTENDERS, installed
from fasttok.common.console import log, run, table

RUNS = "Runs: load of the machine (1 minute) before and after each part"


@dataclass(frozen=True)
class BenchConfig:
    """Measures readers on the same samples; writes benchmarks/results/reader.json and .md.

    Example: python -m benchmarks.reader --rows 50000 --repeats 5 --rivals-python other-venv/bin/python
    """

    rows: int = 50_000
    """Samples: a JPEG of about 11 KB, a chunk of 50 x 7 actions, two texts."""
    repeats: int = 5
    """Rounds; medians count."""
    seconds: float = 4.0
    """That each stream is read for, in each round, after its first batch."""
    rivals_python: str = sys.executable
    """An interpreter that has webdataset and datasets; what it lacks is listed as not measured."""
    folder: Path | None = None
    """Where the samples are written, and kept; a temporary folder that is removed by default."""
    parts: tuple[str, ...] = ("streams", "decoding", "windows")
    """What is measured; tables of the others are kept as they are in OUT."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def stream(name: str, folder: str, seconds: str) -> dict[str, float]:
    """Rows a second after the first batch, seconds to the first batch with imports, and memory."""
    began = time.perf_counter()
    batches = CONTENDERS[name][1](Path(folder))
    next(batches)
    first = time.perf_counter() - began
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < float(seconds):
        count += len(next(batches)[0])
    return {"rate": count / spent, "first": first, "peak": memory("VmHWM"), "private": memory("RssAnon")}


def memory(field: str) -> float:
    """MB of this process, as the system counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def version_of(name: str) -> dict[str, str | None]:
    """Of a contender, in the interpreter that runs this."""
    return {"version": installed(name)}


def apart(python: str, part: str, *arguments: str) -> dict[str, Any]:
    """Runs one of the parts in a process of its own."""
    command = [python, "-m", "benchmarks.reader", "--part", part, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    return json.loads(result.stdout.strip().splitlines()[-1])


def make(folder: Path, rows: int) -> None:
    """The samples in every format, each once."""
    pool = samples.jpegs(512)
    files = max(2, rows // 6250)
    for name, write in (
        ("shards", samples.write_shards),
        ("tables", samples.write_tables),
        ("webdataset", samples.write_webdataset),
        ("rlds", samples.write_rlds),
    ):
        if not (folder / name).exists():
            write(folder / name, rows, files, pool)
            log(f"wrote {name}")


def main(config: BenchConfig) -> None:
    """Measures, prints and writes."""
    kept = config.out / "reader.json"
    sections: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text())["tables"] if kept.is_file() else {}
    runs = {row["part"]: row for row in sections.pop(RUNS, [])}
    with tempfile.TemporaryDirectory() as temporary:
        folder = config.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, config.rows)
        for part in config.parts:
            before = os.getloadavg()[0]
            found = {"streams": streams, "decoding": decoding, "windows": windows}[part](config, folder)
            for heading, rows in found.items():
                table(f"\n{heading}", list(rows[0]), [list(row.values()) for row in rows])
            runs[part] = {
                "part": part,
                "load before, after": f"{before:.1f}, {os.getloadavg()[0]:.1f}",
                "options": f"--rows {config.rows} --repeats {config.repeats} --seconds {config.seconds:g}",
            }
            sections |= found
    command = f"python -m benchmarks.reader --rows {config.rows} --repeats {config.repeats}"
    about.write(config.out, "reader", "Reading shards", command, {**sections, RUNS: list(runs.values())})


def streams(config: BenchConfig, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows a second of each contender."""
    pythons: dict[str, str] = {}
    used = []
    for name in CONTENDERS:
        choices = [sys.executable, config.rivals_python]
        versions = {python: apart(python, "version", name)["version"] for python in choices}
        python = next((p for p in choices if versions[p]), None)
        what = f"{CONTENDERS[name][0]} {versions[python]}" if python else "not measured: not installed"
        used.append({"reader": name, "package": what})
        if python:
            pythons[name] = python
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for number in range(config.repeats + 1):  # the first warms the page cache and compiles; it does not count
        for name, python in pythons.items():
            one = apart(python, "stream", name, str(folder), str(config.seconds if number else 0.1))
            if number:
                rounds[name].append(one)
        log(f"readers: round {number} of {config.repeats}, load {os.getloadavg()[0]:.1f}")
    title = f"Samples of about 11 KB, batches of {BATCH}, images left encoded; buffers of {BUFFER:,} samples"
    return {title: [reader_row(name, rounds) for name in rounds], "What was measured": used}


def decoding(config: BenchConfig, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Images a second, beside Pillow alone."""
    rounds = apart(sys.executable, "decode", str(folder), str(4 * config.repeats))
    return {"Decoded images a second, 224 x 224, all cores": [decoder_row(name, rounds) for name in rounds]}


def windows(_config: BenchConfig, _folder: Path) -> dict[str, list[dict[str, Any]]]:
    """How near windows are to their mixture."""
    return {"Largest difference of 1,000 samples from their mixture, in samples, over 200,000 positions": deviations()}


def reader_row(name: str, rounds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """A line of the first table; a ratio is the median over rounds of ours by theirs in the same round."""
    found = rounds[name]
    rates = [one["rate"] for one in found]
    row: dict[str, Any] = {
        "reader": name,
        "rows/s": round(statistics.median(rates)),
        "lowest..highest": f"{min(rates):,.0f}..{max(rates):,.0f}",
    }
    for mode in ("global", "block"):
        ratios = [ours["rate"] / one["rate"] for ours, one in zip(rounds[f"fasttok {mode}"], found, strict=True)]
        row[f"fasttok {mode} is"] = f"{statistics.median(ratios):.1f}x"
    return {
        **row,
        "first batch, s": round(statistics.median(one["first"] for one in found), 2),
        "peak MB": round(max(one["peak"] for one in found)),
        "private MB": round(max(one["private"] for one in found)),
    }


def decoder_row(name: str, rounds: dict[str, list[float]]) -> dict[str, Any]:
    """A line of the second table; a ratio is the median over rounds."""
    against = DECODERS[name]
    ratios = [one / base for one, base in zip(rounds[name], rounds[against], strict=True)]
    return {
        "what": name,
        "images/s": round(statistics.median(rounds[name])),
        "lowest..highest": f"{min(rounds[name]):,.0f}..{max(rounds[name]):,.0f}",
        "share, median of rounds": f"{statistics.median(ratios):.2f}",
        "of": against,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        parts: dict[str, Callable[..., dict[str, Any]]] = {"stream": stream, "version": version_of, "decode": decode}
        print(json.dumps(parts[sys.argv[2]](*sys.argv[3:])))
    else:
        sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.reader"))))
