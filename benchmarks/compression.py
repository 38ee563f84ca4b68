"""`python -m benchmarks.compression DATA...`: ids of each fit at the published fit's scale and error, on held-out chunks.

    python -m benchmarks.compression ../shared/data/lerobot/g1_bottle INDEX_metaworld INDEX_planar --seconds 0.5 1.0

The scale decides the error of a published and a native fit, so both have the same; `auto` learns a transform whose error is the
DCT's on held-out chunks. Chunks that the published vocabulary cannot encode, because its fit never saw one of their bytes (the
published code would drop it silently), are counted and left out for all. A second table has fixed splines of several sizes beside
the native fit: what the same number of tokens a chunk costs, until their error is as small.
"""

import contextlib
import sys
from dataclasses import dataclass, replace
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
from fasttok.fitting.transform_lines import in_words
from fasttok.tokenizer import ActionTokenizer

POINTS = (3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 30, 40, 60, 80)


@dataclass(frozen=True)
class BenchConfig:
    """Fits every kind on 90 % of the episodes and counts tokens on the others.

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
    """Factor before rounding, for all."""
    fixed: bool = True
    """Whether fixed splines are measured, too."""
    name: str = "compression"
    """Of the results' files."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def main(config: BenchConfig) -> None:
    """Measures, prints and writes."""
    rows: list[dict[str, Any]] = []
    splines: list[dict[str, Any]] = []
    for path in config.data:
        source = open_episodes(path)
        for seconds in config.seconds:
            base = FitConfig(seconds=seconds, control_hz=config.control_hz, scale=config.scale, vocab_size=4096)
            with Dataset(track(source, f"reading {source.name}", source.count, "episodes"), base) as data:
                for size in config.vocab_sizes:
                    rows += compare(data, replace(base, vocab_size=size), source.name)
                if config.fixed:
                    splines += compare_fixed(data, replace(base, vocab_size=1024), source.name)
    table("held-out tokens per chunk", list(rows[0]), [list(row.values()) for row in rows])
    command = "python -m benchmarks.compression " + " ".join(
        Path(p).parent.name if Path(p).suffix else Path(p).name for p in config.data
    )
    command += f" --seconds {' '.join(map(str, config.seconds))} --scale {config.scale:g}"
    if config.control_hz:
        command += f" --control-hz {config.control_hz:g}"
    tables = {"Held-out chunks": rows} | ({"Fixed splines beside the native fit": splines} if splines else {})
    about.write(config.out, config.name, "Tokens of native fits against published fits", command, tables)


def compare(data: Dataset, config: FitConfig, name: str) -> list[dict[str, Any]]:
    """One row an embodiment."""
    try:
        published = fit_on(data, replace(config, mode="published"))
        native, auto = fit_on(data, config), fit_on(data, replace(config, transform="auto"))
    except InputError as error:
        log(f"{name}, {config.vocab_size} ids: {error}")
        return []
    rows = []
    for embodiment, group in data.groups.items():
        chunks, reference = group.sample("held_out", MEASURED)
        ours, learned = (measure(tok, chunks, embodiment, reference) for tok in (native, auto))
        theirs = published_lengths(published, chunks, embodiment, reference)
        both = theirs >= 0
        tokens, fewest = (float(one.lengths[both].mean()) for one in (ours, learned))
        mean = float(theirs[both].mean())
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
                "published": mean,
                "native": tokens,
                "native against published": f"{100 * (tokens / mean - 1):+.1f} %",
                "rms error": ours.rms_normalized,
                "auto": fewest,
                "auto against published": f"{100 * (fewest / mean - 1):+.1f} %",
                "auto's error against native's": learned.rms_normalized / ours.rms_normalized,
                "auto took": in_words(auto.transforms.get(embodiment)).split(",")[0],
            }
        )
    return rows


def published_lengths(tok: ActionTokenizer, chunks: Any, embodiment: str, reference: Any) -> np.ndarray[Any, Any]:
    """Ids of each chunk; -1 where the vocabulary has no token for one of its bytes."""
    found = np.full(len(chunks), -1)
    for i, chunk in enumerate(chunks):
        near = None if reference is None else reference[i]
        with contextlib.suppress(InputError):
            found[i] = len(tok.encode_report(chunk, embodiment=embodiment, reference=near).ids[0])
    return found


def compare_fixed(data: Dataset, config: FitConfig, name: str) -> list[dict[str, Any]]:
    """For each embodiment, splines of more and more control points until their error is the native fit's, or they have all."""
    try:
        native = fit_on(data, config)
    except InputError as error:
        log(f"{name}: {error}")
        return []
    rows = []
    for embodiment, group in data.groups.items():
        chunks, reference = group.sample("held_out", MEASURED)
        ours = measure(native, chunks, embodiment, reference)
        horizon = group.embodiment.horizon
        for points in [n for n in POINTS if n < horizon] + [horizon]:
            try:
                fixed = fit_on(data, replace(config, mode="fixed", points=points, vocab_size=256))
            except InputError as error:
                log(f"{name}, {points} points: {error}")
                break
            found = measure(fixed, chunks, embodiment, reference)
            rows.append(
                {
                    "data": embodiment,
                    "chunk": f"{horizon} x {group.embodiment.action_dim}",
                    "points": points,
                    "fixed tokens": found.fast_tokens,
                    "rms error": found.rms_normalized,
                    "native tokens": ours.fast_tokens,
                    "native p99": ours.fast_tokens_p99,
                    "native's rms error": ours.rms_normalized,
                    "tokens against native": f"{found.fast_tokens / ours.fast_tokens:.2f}x",
                    "error against native's": f"{found.rms_normalized / ours.rms_normalized:.2f}x",
                }
            )
            if found.rms_normalized <= ours.rms_normalized:
                break
    return rows


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.compression"))))
