"""`python -m benchmarks.open_loop DATA...`: a small KI model on real and simulated robots, held-out action errors.

    python -m benchmarks.open_loop bridge_dataset/1.0.0 metaworld_mt50/1.0.0 tabletop_vqa tabletop_captions

Whole episodes are held out, a fifth of each robot dataset by the hash of their ids (`filters: {part: ...}`). MetaWorld has one
episode per task here, so its held-out episodes are tasks that were never seen. Every stage is the public command.
"""

import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from benchmarks import about
from fasttok.console import log, run, table
from fasttok.errors import InputError

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
    command = f"python -m benchmarks.open_loop {shlex.join(names)} " + " ".join(f"--{k} {v}" for k, v in flags.items())
    title = f"Held-out action error, open loop: {budget}; no GPU was available"
    about.write(config.out, "open_loop", title, command, {"Per dimension": rows})


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
        "index": f"pipelines index {shlex.join([bridge, metaworld, vqa, captions])} --out index",
        "shards": f"pipelines build train.yaml --index index --out shards --samples {samples}",
        "held_out": f"pipelines build held_out.yaml --index index --tokenizer shards/tokenizer "
        f"--out held_out --samples {HELD_OUT}",
        "run": f"train --preset {config.preset} --size {config.size} --shards shards --out run --steps {config.steps} "
        f"--batch-size {config.batch} --optim.learning-rate {config.learning_rate} --optim.warmup 50",
    }
    for made, command in stages.items():
        if not (work / made).exists():
            log(f"$ python -m {command}")
            if subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=work, check=False).returncode:
                raise InputError(f"failed (in {work}): python -m {command}")
    from train.open_loop import action_errors
    from train.player import Player

    player = Player.load(work / "run", batch=32)
    sources = {s["embodiment"]: s for s in player.encoder.sources.values() if s["kind"] == "robot"}
    flow, tokens = (action_errors(player, work / "held_out", config.rows, decode) for decode in ("flow", "tokens"))
    rows = []
    for by_flow, by_tokens in zip(flow, tokens, strict=True):
        source = sources[by_flow["embodiment"]]
        robot = {"data": LABELS.get(source["dataset"], source["dataset"]), "held-out chunks": by_flow["rows"]}
        robot |= {"chunk": f"{source['horizon']} steps at {source['control_hz']:g} Hz"}
        for i, name in enumerate(by_flow["names"]):
            errors = {"dimension": name, "rmse of always the mean": by_flow["spread"][i]}
            for measure_name, key in (("rmse", "rmse"), ("mean absolute error", "mae")):
                errors |= {
                    f"{measure_name}, {by}": found[key][i] for by, found in (("flow", by_flow), ("tokens", by_tokens))
                }
            rows.append(robot | errors)
        log(
            f"{robot['data']}: {by_flow['ms_per_chunk']:.1f} ms per chunk by flow, {by_tokens['ms_per_chunk']:.1f} by tokens"
        )
    return rows


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.open_loop"))))
