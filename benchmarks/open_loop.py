"""`python -m benchmarks.open_loop DATA...`: a small KI model on real and simulated robots, held-out action errors.

    python -m benchmarks.open_loop bridge_dataset/1.0.0 metaworld_mt50/1.0.0 tabletop_vqa tabletop_captions

Whole episodes are held out, a fifth of each robot dataset by the hash of their ids (`filters: {part: ...}`). MetaWorld has one
episode per task here, so its held-out episodes are tasks that were never seen. Every stage is the public command.
"""

import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import tyro
from tyro.conf import Positional

from benchmarks import about
from examples.commands import call
from fasttok.common.console import log, run, table

MIXTURE = """name: {name}
description: two robots{beside}, {part}
tokenizer: fit
chunk: {{seconds: 1.0}}
unit: samples
seed: 0
sources:
  - {{dataset: bridge_dataset, weight: 3{epochs}, cameras: [primary], filters: {{part: {part}}}}}
  - {{dataset: metaworld_mt50, weight: 4{epochs}, cameras: [primary], chunk: {{seconds: 0.25}}, filters: {{part: {part}}}}}
"""
WEB = "  - {{dataset: {vqa}, weight: 2}}\n  - {{dataset: {captions}, weight: 1}}\n"
HELD_OUT = 700  # of 36 and 697 held-out steps: each at most once
LABELS = {"bridge_dataset": "25 ten-step episodes of BridgeV2", "metaworld_mt50": "50 episodes of 50 tasks"}


@dataclass(frozen=True)
class BenchConfig:
    """Trains for a fixed budget and measures flow and tokens on held-out episodes.

    Example: python -m benchmarks.open_loop bridge_dataset/1.0.0 metaworld_mt50/1.0.0 tabletop_vqa tabletop_captions
    """

    data: Positional[tuple[str, str, str, str]]
    """bridge_dataset, metaworld_mt50, a VQA and a caption dataset."""
    size: str = "small"
    """Shapes of the model."""
    preset: str = "ki"
    """What is trained."""
    steps: int = 800
    """Optimiser steps."""
    batch: int = 16
    """Rows of a step."""
    learning_rate: float = 5e-4
    """Peak."""
    expert_learning_rate: float | None = None
    """The expert's own peak; the same by default."""
    name: str = "open_loop"
    """Of the results' files."""
    rows: int = 256
    """Most held-out chunks of a robot."""
    work: Path | None = None
    """Folder of the stages, kept, and gone on from; a temporary one by default."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def main(config: BenchConfig) -> None:
    """Index, shards, training, errors.

    Raises:
        InputError: a stage failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        work = (config.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        rows = measure(config, work)
    columns = list(rows[0])
    table("held-out actions", columns, [list(row.values()) for row in rows])
    budget = f"{config.steps} steps of {config.batch} rows, {config.size}, {config.preset}"
    names = ["/".join(Path(d).parts[-2:]) if Path(d).name[0].isdigit() else Path(d).name for d in config.data]
    flags = {"size": config.size, "preset": config.preset, "steps": config.steps, "batch": config.batch}
    flags |= {"learning-rate": f"{config.learning_rate:g}"}
    if config.expert_learning_rate:
        budget += f", expert rate {config.expert_learning_rate:g}"
        flags |= {"expert-learning-rate": f"{config.expert_learning_rate:g}", "name": config.name}
    command = f"python -m benchmarks.open_loop {shlex.join(names)} " + " ".join(f"--{k} {v}" for k, v in flags.items())
    title = f"Held-out action error, open loop: {budget}; no GPU was available"
    about.write(config.out, config.name, title, command, {"Root mean square error per dimension": rows})


def measure(config: BenchConfig, work: Path) -> list[dict[str, Any]]:
    """A row per robot and dimension."""
    bridge, metaworld, vqa, captions = (str(Path(d).resolve()) for d in config.data)
    web = WEB.format(vqa=Path(vqa).name, captions=Path(captions).name)
    (work / "train.yaml").write_text(
        MIXTURE.format(name="train", part="[0, 0.8]", beside=", questions and captions", epochs="") + web
    )
    (work / "held_out.yaml").write_text(
        MIXTURE.format(name="held_out", part="[0.8, 1]", beside="", epochs=", max_epochs: 1")
    )
    samples = config.steps * config.batch
    stages = {
        "index": f"fasttok-pipelines index {shlex.join([bridge, metaworld, vqa, captions])} --out index",
        "shards": f"fasttok-pipelines build train.yaml --index index --out shards --samples {samples}",
        "held_out": f"fasttok-pipelines build held_out.yaml --index index --tokenizer shards/tokenizer "
        f"--out held_out --samples {HELD_OUT}",
        "run": f"fasttok-train --preset {config.preset} --size {config.size} --shards {shlex.quote(str(work / 'shards'))} "
        f"--out run --steps {config.steps} "
        f"--batch-size {config.batch} --optim.learning-rate {config.learning_rate} --optim.warmup 50"
        + (f" --optim.expert-learning-rate {config.expert_learning_rate}" if config.expert_learning_rate else ""),
    }
    for made, command in stages.items():
        if not (work / made).exists():
            log(f"$ {command}")
            call(command, work)
    from train.judging.measurements import Decoding
    from train.judging.open_loop import action_errors
    from train.player import Player

    player = Player.load(work / "run", batch=32)
    found = {
        (where, decode): {e.embodiment: e for e in action_errors(player, work / folder, config.rows, decode)}
        for where, folder in (("held out", "held_out"), ("trained on", "shards"))
        for decode in get_args(Decoding)
    }
    rows = []
    for embodiment, held in found["held out", "flow"].items():
        source = player.robot(embodiment)
        robot = {"data": LABELS.get(source.dataset, source.dataset), "held-out chunks": held.rows}
        robot |= {"chunk": f"{source.horizon} steps at {source.control_hz:g} Hz"}
        for i, name in enumerate(held.names):
            errors = {"dimension": name, "always the mean": held.spread[i]}
            errors |= {f"{decode}, {where}": of[embodiment].rmse[i] for (where, decode), of in found.items()}
            rows.append(robot | errors)
        ms = {decode: found["held out", decode][embodiment].ms_per_chunk for decode in ("flow", "tokens")}
        log(f"{robot['data']}: {ms['flow']:.1f} ms per chunk by flow, {ms['tokens']:.1f} by tokens")
    return rows


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.open_loop"))))
