"""`python -m benchmarks`: what each part of the chain does a second, on data it generates; medians over repeats.

    python -m benchmarks --episodes 100 --repeats 5

Ratios compare two ways of doing one thing in one run on the same data; the machine's mood divides out.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import tyro

from benchmarks import about
from fasttok.common.console import run, table


@dataclass(frozen=True)
class BenchConfig:
    """Times every part of the chain and writes benchmarks/results/chain.json and .md.

    Example: python -m benchmarks --episodes 100
    """

    episodes: int = 100
    """Episodes per embodiment."""
    repeats: int = 5
    """Repeats; the median counts."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


@dataclass(frozen=True)
class Line:
    """One result: `median` of `unit`, `lowest` and `highest` over the repeats, and a ratio to a rival where there is one."""

    part: str
    unit: str
    median: float
    lowest: float
    highest: float
    ratio: str = ""


def rate(part: str, unit: str, work: Callable[[], int], repeats: int) -> Line:
    """Items a second of `work`, which returns how many it did."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        with redirect_stdout(StringIO()):
            count = work()
        found.append(count / (time.perf_counter() - began))
    return Line(part, unit, statistics.median(found), min(found), max(found))


def measure(config: BenchConfig, folder: Path) -> list[Line]:
    """The chain, part by part."""
    from examples.tabletop.generate import GenerateConfig, main
    from fasttok import ActionTokenizer
    from fasttok.actions.chunks import episode_chunks
    from fasttok.cli import Fit
    from fasttok.episodes import open_episodes
    from fasttok.episodes.tfds import tfds
    from pipelines.builder.config import BuildConfig
    from pipelines.builder.run import run_build
    from pipelines.index.config import IndexConfig
    from pipelines.index.run import run_index
    from pipelines.shards import ShardReader

    data, index, tokenizer, shards = (folder / name for name in ("data", "index", "tokenizer", "shards"))
    with redirect_stdout(StringIO()):
        main(GenerateConfig(data, episodes=config.episodes, vqa=500, captions=200))
    arm = str(data / "tabletop_arm" / "1.0.0")
    robots = [str(data / f"tabletop_{name}" / "1.0.0") for name in ("planar", "arm")]
    web = [str(data / f"tabletop_{name}") for name in ("vqa", "captions")]
    lines: list[Line] = []

    def raw() -> int:
        return sum(1 for _ in open_episodes(arm))

    def rival(skip_images: bool) -> Callable[[], int]:
        module = tfds()
        builder = module.builder_from_directory(arm)
        keep = {"steps": {"observation": {name: module.decode.SkipDecoding() for name in ("image", "wrist_image")}}}

        def read() -> int:
            rows = builder.as_dataset(split="train", decoders=keep if skip_images else None, shuffle_files=False)
            return sum(1 for episode in rows for steps in [list(module.as_numpy(episode["steps"]))] if steps)

        return read

    ours = rate("read RLDS, images left encoded", "episodes/s", raw, config.repeats)
    for what, skip in (("tf.data", False), ("tf.data with image SkipDecoding", True)):
        theirs = rate(f"  {what}", "episodes/s", rival(skip), config.repeats)
        lines.append(theirs)
        ours = Line(
            **{
                **asdict(ours),
                "ratio": f"{ours.ratio}{', ' if ours.ratio else ''}{ours.median / theirs.median:.1f}x {what}",
            }
        )
    lines.insert(0, ours)

    def do_index() -> int:
        result = run_index(IndexConfig((*robots, *web), str(index), overwrite=True), [])
        return sum(s.steps for d in result.datasets.values() for s in d.splits.values())

    lines.append(rate("pipelines index, all four datasets", "steps/s", do_index, config.repeats))
    with redirect_stdout(StringIO()):
        Fit((str(index),), tokenizer, vocab_size=512).run()

    def do_build() -> int:
        given = BuildConfig("demo", str(shards), 8000, str(index), str(tokenizer), shards=4, overwrite=shards.exists())
        return run_build(given, []).manifest.counts.written

    lines.append(rate("pipelines build, 8,000 samples", "samples/s", do_build, config.repeats))
    reader = ShardReader(str(shards))

    def read_all() -> int:
        return sum(len(batch) for batch in reader.batches(256, epochs=1))

    lines.append(rate("read shards, all columns", "samples/s", read_all, config.repeats))

    tok = ActionTokenizer.load(tokenizer)
    actions = [np.asarray(e.steps["action"]) for e in open_episodes(arm)]
    chunks = np.concatenate([episode_chunks(a, 20, ["absolute"] * 6 + ["gripper"]) for a in actions])[:4000]
    ids = tok.encode_report(chunks, embodiment="arm").ids
    lines.append(
        rate(
            "encode 20 x 7 chunks",
            "chunks/s",
            lambda: len(tok.encode_report(chunks, embodiment="arm").ids),
            config.repeats,
        )
    )

    def decode() -> int:
        return len(tok.decode(ids, horizon=20, action_dim=7, embodiment="arm").actions)

    lines.append(rate("decode 20 x 7 chunks", "chunks/s", decode, config.repeats))
    lines.append(train_rate(shards, folder / "run", config.repeats))
    return lines


def train_rate(shards: Path, out: Path, repeats: int) -> Line:
    """Samples a second of the debug model with all three losses, in a process of its own; compilation left out."""
    command = [sys.executable, "-m", "train", "--preset", "ki", "--shards", str(shards), "--out", str(out),
               "--steps", str(20 * (repeats + 1)), "--log-every", "20"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][2:]
    found = [row["samples_per_second"] for row in rows]
    return Line("train, debug preset, batch 32", "samples/s", statistics.median(found), min(found), max(found))


def main(config: BenchConfig) -> None:
    """Measures, prints and writes."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [asdict(line) | {"part": line.part.strip()} for line in measure(config, Path(folder))]
    table("medians", list(rows[0]), [list(row.values()) for row in rows])
    command = f"python -m benchmarks --episodes {config.episodes} --repeats {config.repeats}"
    about.write(config.out, "chain", "The chain, part by part", command, {"Medians": rows})


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks"))))
