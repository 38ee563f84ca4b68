"""Runs of a few steps on the chain's shards, what they logged, and a world that is easy to act in."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.chain import Chain
from train.config import DataConfig, ModelConfig, TrainConfig
from train.judging.measurements import Decoding
from train.presets import ModelSize

TINY: ModelSize = {
    "vision_width": 32, "vision_depth": 1, "vision_heads": 2, "vision_mlp": 48, "width": 32, "depth": 2, "heads": 2,
    "head_dim": 16, "mlp": 48, "expert_width": 24, "expert_mlp": 32,
}  # fmt: skip


FLAGS = [f"--model.{name.replace('_', '-')}={value}" for name, value in TINY.items()]


def command(chain: Chain, out: Path, *more: str) -> list[str]:
    """A small run, as typed."""
    return [sys.executable, "-P", "-m", "train", "--shards", str(chain.shards), "--out", str(out), "--batch-size=8",
            "--log-every=1", "--data.text-vocab=600", *FLAGS, *more]  # fmt: skip


def two_processes(chain: Chain, out: Path, *more: str) -> "list[subprocess.Popen[str]]":
    """A small run of two processes, which JAX joins; `ended` waits for them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            command(chain, out, *more, f"--distributed=localhost:{port},2,{rank}"),
            env=os.environ | {"JAX_PLATFORMS": "cpu"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip


def ended(processes: "list[subprocess.Popen[str]]", status: int = 0) -> list[str]:
    """What processes have said at their end, which each reaches with this status."""
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [status] * len(processes), said
    return said


def until_logged(process: "subprocess.Popen[Any]", out: Path, rows: int) -> None:
    """Waits until a run has logged so many rows, or its process has ended."""
    log = out / "metrics.jsonl"
    while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < rows):
        time.sleep(0.01)


def config(chain: Chain, out: Path, **more: Any) -> TrainConfig:
    model = ModelConfig(**TINY | more.pop("model", {}))
    data = DataConfig(**{"text_vocab": 600, **more.pop("data", {})})
    return TrainConfig(
        chain.shards, out, model=model, data=data, **{"steps": 4, "batch_size": 8, "log_every": 1, **more}
    )


def rows_of(out: Path) -> list[dict[str, Any]]:
    """What a run has logged."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[float, ...]]:
    return [
        tuple(row[k] for k in ("step", "loss", "loss_vlm", "loss_fast", "loss_flow", "grad_norm_backbone"))
        for row in rows_of(out)
    ]


def digests(folder: Path) -> dict[str, str]:
    """Every file and folder below, with what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


class FakeEnv:
    """One step is enough when the action is near the state; remembers what it was given."""

    control_hz, action_dim, max_steps, instruction = 10.0, 3, 6, "reach the red circle"

    def __init__(self, split: str) -> None:
        self.split, self.steps = split, 0

    def reset(self, seed: int) -> dict[str, np.ndarray]:
        self.seed = seed
        return {"image/primary": np.full((64, 64, 3), seed % 255, np.uint8), "state": np.zeros(3, np.float32)}

    def step(self, action: np.ndarray) -> dict[str, np.ndarray]:
        assert action.shape == (3,)
        assert np.isfinite(action).all()
        self.steps += 1
        return self.reset(self.seed)

    def success(self) -> bool:
        return self.seed % 2 == 0 and self.steps >= 3

    def followed(self) -> bool:
        return self.split == "seen"


class FakePlayer:
    """Chunks count on from what is being executed, or from 0; says how often it was asked, and remembers what it was given."""

    usual_decode: Decoding = "flow"

    def __init__(self, horizon: int) -> None:
        self.steps, self.asked = horizon, 0
        self.given: list[tuple[Any, int]] = []
        self.acted: list[Any] = []

    def horizon(self, embodiment: str) -> int:
        return self.steps

    def say(self, embodiment: str, tasks: list[str], observations: list[Any]) -> list[str]:
        self.asked += 1
        return [f"{task} {self.asked}" for task in tasks]

    def act(
        self,
        embodiment: str,
        tasks: list[str],
        observations: list[Any],
        decode: Any = "flow",
        *,
        prefix: Any = None,
        delay: int = 0,
        subtasks: Any = None,
    ) -> Any:
        self.given.append((prefix, delay))
        self.acted.append(subtasks)
        first = [0.0] * len(tasks) if prefix is None else [rest[0, 0] for rest in prefix]
        return np.array([[[start + k] * 3 for k in range(self.steps)] for start in first], np.float32)
