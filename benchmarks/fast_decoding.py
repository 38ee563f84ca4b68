"""`python -m benchmarks.fast_decoding RUN SHARDS --lerobot PYTHON`: pi0-FAST in lerobot with and without the mask.

A run of preset pi0_fast is exported to lerobot's layout, once for each robot; there lerobot's own policy samples chunks for rows
of the shards at temperature 1. Both ways take turns on the same batches with the same seeds.
"""

import io
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks import about
from fasttok.common.console import log, run, table
from fasttok.errors import InputError
from pipelines.shards import ShardReader
from train.export import ExportConfig, export
from train.exports.pi0_fast import SKIP
from train.player import Player

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class FastDecodingBenchmark:
    """Counts malformed chunks and times decoding; writes benchmarks/results/fast_decoding.json and .md.

    Example: python -m benchmarks.fast_decoding RUN SHARDS --lerobot PYTHON
    """

    run: Annotated[Path, tyro.conf.Positional]
    """A run of preset pi0_fast."""
    shards: Annotated[Path, tyro.conf.Positional]
    """Shards whose robot rows are the prompts."""
    lerobot: Path
    """Python of an environment with lerobot, such as that of `make interop`."""
    embodiment: str = ""
    """Robot whose rows are the prompts; all by default."""
    prompts: int = 500
    """Prompts, evenly over the robots; rows are taken again, with other draws, where a robot has fewer."""
    batch: int = 50
    """Prompts at a time."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""


def cases(config: FastDecodingBenchmark, player: Player, embodiment: str, count: int) -> dict[str, Any]:
    """What the robot saw in `count` rows, as lerobot names it."""
    from PIL import Image

    robot, reader = player.robot(embodiment), ShardReader(str(config.shards))
    sources = {name for name, one in player.encoder.robots.robots.items() if one.embodiment == embodiment}
    rows = [row for row in map(reader.row, range(reader.num_rows)) if row["source"] in sources]
    if not rows:
        raise InputError(
            f"{config.shards} has no rows of {embodiment}; pass the run's own shards, or another --embodiment"
        )
    log(f"{embodiment}: {len(rows)} rows")
    side = player.config.image_size
    chosen = [rows[i % len(rows)] for i in range(count)]
    images = {
        f"observation.images.{slot}": np.stack(
            [
                np.asarray(Image.open(io.BytesIO(row[f"image/{slot}"])).convert("RGB").resize((side, side)))
                for row in chosen
            ]
        )
        for slot in robot.cameras
        if all(row[f"image/{slot}"] for row in chosen)
    }
    states = np.stack([np.asarray(row["state"], np.float32) for row in chosen])
    return {
        **images,
        "state": states,
        "task": np.array([row["prompt"] for row in chosen]),
        "batch": np.array(config.batch),
    }


def measure(config: FastDecodingBenchmark) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """Both tables, and the versions of lerobot's environment."""
    player = Player.load(config.run)
    malformed, times = [], []
    versions: dict[str, str] = {}
    chosen = [config.embodiment] if config.embodiment else player.embodiments
    for embodiment in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows = (
                player.encoder.placement.size + SKIP
            )  # as few as hold the run's tokens, so that sampling is no slower than it is
            export(ExportConfig(config.run, Path(folder) / "out", "lerobot", vocab_size=rows, embodiment=embodiment))
            np.savez(
                Path(folder) / "cases.npz",
                **cases(config, player, embodiment, config.prompts // len(chosen)),
            )
            clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
            script = Path(__file__).with_name("lerobot_writes_fast.py")
            done = subprocess.run(
                [str(config.lerobot), str(script), f"{folder}/out", f"{folder}/cases.npz", str(ROOT)],
                env=clean | {"HF_HUB_OFFLINE": "1"}, check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        versions = found["versions"]
        chunk = f"{embodiment}, {player.horizon(embodiment)} x {player.robot(embodiment).action_dim}"
        for how in ("without", "with"):
            one = found[how]
            whole, wrong = one.get("whole", 0), {k: one.get(k, 0) for k in ("too few", "too many", "other tokens")}
            malformed.append(
                {
                    "chunk": chunk,
                    "mask": how,
                    "prompts": whole + sum(wrong.values()),
                    "malformed": sum(wrong.values()),
                    **wrong,
                }
            )
        for what in ("alone", "batched"):
            (wall, cpu), (masked_wall, masked_cpu) = found["without"][what], found["with"][what]
            times.append(
                {
                    "chunk": chunk, "prompts at a time": 1 if what == "alone" else config.batch, "tokens": found["steps"],
                    "ms without": wall, "ms with": masked_wall, "CPU ms without": cpu, "CPU ms with": masked_cpu,
                    "CPU ratio": masked_cpu / cpu,
                }
            )  # fmt: skip
    tables = {"Malformed chunks, sampled at temperature 1": malformed, "Time per chunk, medians": times}
    return tables, ", ".join(f"{name} {version}" for name, version in versions.items())


def main() -> None:
    """Runs the benchmark."""
    config = tyro.cli(FastDecodingBenchmark)
    tables, versions = measure(config)
    for title, rows in tables.items():
        table(title, list(rows[0]), [list(map(about.cell, line.values())) for line in rows])
    only = f" --embodiment {config.embodiment}" if config.embodiment else ""
    flags = f"--prompts {config.prompts} --batch {config.batch}{only}"
    command = f"python -m benchmarks.fast_decoding RUN SHARDS --lerobot PYTHON {flags}"
    title, note = "FAST tokens in lerobot's pi0-FAST, with and without the mask", f"The policies ran in {versions}."
    about.write(config.out, "fast_decoding", title, command, tables, note=note)


if __name__ == "__main__":
    run(main)
