"""`python -m benchmarks.compression DATA...`: tokens of a native fit against the published fit, same scale, held-out chunks.

    python -m benchmarks.compression metaworld_mt50/1.0.0 --control-hz 80 --seconds 0.5

The scale decides the error, so both have the same. Chunks that the published vocabulary cannot encode, because its fit never
saw one of their bytes (the published code would drop it silently), are counted and left out for both.
"""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tyro.conf import Positional

from benchmarks import about
from fasttok.actions.dataset import Dataset
from fasttok.common.console import log, run, table, track
from fasttok.episodes import open_episodes
from fasttok.errors import InputError
from fasttok.evaluation.metrics import measure
from fasttok.fitting.fit import MEASURED, FitConfig, fit_on


@dataclass(frozen=True)
class BenchConfig:
    """Fits both modes on 90 % of the episodes and counts tokens on the others.

    Example: python -m benchmarks.compression INDEX --seconds 1.0
    """

    data: Positional[tuple[str, ...]]
    """As for `fasttok fit`."""
    seconds: tuple[float, ...] = (0.5, 1.0)
    """Lengths of chunks."""
    control_hz: float | None = None
    """Control frequency of data that do not say theirs."""
    vocab_sizes: tuple[int, ...] = (512, 1024, 2048)
    """Numbers of ids."""
    scale: float = 10.0
    """Factor before rounding, for both."""
    name: str = "compression"
    """Of the results' files."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def main(config: BenchConfig) -> None:
    """Measures, prints and writes."""
    rows: list[dict[str, Any]] = []
    for path in config.data:
        source = open_episodes(path)
        for seconds in config.seconds:
            base = FitConfig(seconds=seconds, control_hz=config.control_hz, scale=config.scale, vocab_size=4096)
            with Dataset(track(source, f"reading {source.name}", source.count, "episodes"), base) as data:
                for size in config.vocab_sizes:
                    rows += compare(data, FitConfig(**{**vars(base), "vocab_size": size}), source.name)
    table("held-out tokens per chunk", list(rows[0]), [list(row.values()) for row in rows])
    command = "python -m benchmarks.compression " + " ".join(
        Path(p).parent.name if "." in p else Path(p).name for p in config.data
    )
    command += f" --seconds {' '.join(map(str, config.seconds))} --scale {config.scale:g}"
    if config.control_hz:
        command += f" --control-hz {config.control_hz:g}"
    about.write(
        config.out, config.name, "Tokens of native fits against published fits", command, {"Held-out chunks": rows}
    )


def compare(data: Dataset, config: FitConfig, name: str) -> list[dict[str, Any]]:
    """One row an embodiment."""
    try:
        native, published = (
            fit_on(data, FitConfig(**{**vars(config), "mode": mode})) for mode in ("native", "published")
        )
    except InputError as error:
        log(f"{name}, {config.vocab_size} ids: {error}")
        return []
    rows = []
    for embodiment, group in data.groups.items():
        chunks, _ = group.sample("held_out", MEASURED)
        ours = measure(native, chunks, embodiment)
        theirs = np.full(len(chunks), -1)
        for i, chunk in enumerate(chunks):
            with contextlib.suppress(InputError):
                theirs[i] = len(published.encode_report(chunk, embodiment=embodiment).ids[0])
        both = theirs >= 0
        tokens, theirs = float(ours.lengths[both].mean()), theirs[both]
        rows.append(
            {
                "data": embodiment,
                "Hz": group.embodiment.control_hz,
                "chunk": f"{group.embodiment.horizon} x {group.embodiment.action_dim}",
                "ids": config.vocab_size,
                "fitted on": group.actions["train"].rows,
                "measured": len(chunks),
                "lost by published": int((~both).sum()),
                "naive": group.embodiment.horizon * group.embodiment.action_dim,
                "published": float(theirs.mean()),
                "native": tokens,
                "native against published": f"{100 * (tokens / theirs.mean() - 1):+.1f} %",
                "rms error": ours.rms_normalized,
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.compression"))))
