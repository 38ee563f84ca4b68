"""`python -m benchmarks.train_step`: what a training step costs, and what knowledge insulation adds to it.

The step is `train.step.train_step` itself on random rows of the shape asked for: losses, gradient, AdamW. On a GPU that is
the full model with three cameras, 200 tokens and 50 actions; elsewhere `small`. Variants take turns on one state, and a ratio
compares two of the same round. Then the gradient alone, against the same model as openpi shapes it (`joint_attention.py`).
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks import about, joint_attention
from fasttok.common.console import log, progress, run, table
from train import flops, losses, model, sharding
from train.config import ModelConfig, OptimConfig, TrainConfig
from train.presets import SIZES
from train.step import begin, train_step

GIB = 1 << 30
VOCAB = {"paligemma_3b_300m": 257_152}


@dataclass(frozen=True)
class BenchConfig:
    """Measures training steps; writes benchmarks/results/train_step.json and .md.

    Example: python -m benchmarks.train_step --size small --batch 4
    """

    size: str = ""
    """Size of the model; paligemma_3b_300m on a GPU, small elsewhere."""
    batch: int = 0
    """Rows of a step; 32 on a GPU, 4 elsewhere."""
    cameras: int = 3
    """Images of a row."""
    text: int = 200
    """Text tokens of a row."""
    suffix: int = 50
    """Of these, tokens that are predicted."""
    horizon: int = 50
    """Action steps."""
    rounds: int = 5
    """Turns that each variant gets; medians count."""
    steps: int = 2
    """Steps of a turn."""
    only: tuple[str, ...] = ()
    """Variants to measure, all by default; the first is what ratios compare with."""
    out: Path = Path("benchmarks/results")
    """Folder of the results."""
    smoke: bool = False
    """A tiny model and one round, to see that all of it runs."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    config: TrainConfig
    targets: bool = True


def variants(base: ModelConfig, batch: int, gpu: bool) -> list[Variant]:
    """What is compared: recipes, flow draws, what is made again, attention kernels."""

    def row(name: str, *, targets: bool = True, draws: int = 1, freeze: tuple[str, ...] = (), **shapes: Any) -> Variant:
        config = TrainConfig(
            Path("SHARDS"), Path("RUN"), model=replace(base, **shapes), batch_size=batch, flow_draws=draws,
            optim=OptimConfig(freeze=freeze),
        )  # fmt: skip
        return Variant(name, config, targets)

    whole: dict[str, Any] = {"insulation": (1.0,)}
    rows = [
        row("ki"),
        row("joint", **whole),
        row("flow only, insulated", targets=False),
        row("flow only, end to end (pi0)", targets=False, **whole),
        row("tokens only (pi0_fast)", flow=False),
        row("frozen backbone, flow only", targets=False, freeze=("vision", "backbone")),
        row("ki, 2 draws", draws=2),
        row("ki, 4 draws", draws=4),
        row("joint, 4 draws", draws=4, **whole),
    ]
    rows += [row(f"ki, remat {remat}", remat=remat) for remat in ("none", "dots", "layer") if remat != base.remat]
    kernels = ("einsum", "xla", "cudnn") if gpu else ("einsum", "xla")
    rows += [row(f"ki, attention {kernel}", attention=kernel) for kernel in kernels if kernel != base.attention]
    return rows


def random_batch(shapes: ModelConfig, rows: int, text: int, suffix: int, targets: bool) -> dict[str, np.ndarray]:
    """Robot rows with all cameras and no padding; without `targets` the suffix is not there."""
    rng = np.random.default_rng(0)
    length = text if targets else text - suffix
    predicted = np.arange(length)[None] >= (text - suffix)
    chunk = (rows, shapes.horizon, shapes.action_dim)
    return {
        "images": rng.integers(0, 256, (rows, shapes.cameras, shapes.image_size, shapes.image_size, 3), np.uint8),
        "image_mask": np.ones((rows, shapes.cameras), bool),
        "tokens": rng.integers(0, shapes.vocab_size, (rows, length)).astype(np.int32),
        "token_mask": np.ones((rows, length), bool),
        "token_ar": np.broadcast_to(predicted, (rows, length)).copy(),
        "loss_mask": np.broadcast_to(predicted, (rows, length)).copy(),
        "is_action": np.ones(rows, bool),
        "actions": rng.normal(size=chunk).astype(np.float32),
        "action_mask": np.ones(chunk, bool),
        "embodiment_mask": np.ones(chunk, bool),
    }


@dataclass
class Runner:
    """A compiled variant. `states`: shared among variants that freeze the same."""

    variant: Variant
    states: dict[tuple[str, ...], Any]
    batch: dict[str, Any]
    step: Any
    memory: float

    def turn(self, steps: int) -> float:
        """Seconds a step."""
        key = self.variant.config.optim.freeze
        state = self.states.pop(key)
        began = time.perf_counter()
        for number in range(1, steps + 1):
            state, metrics = self.step(state, self.batch, jnp.int32(number))
        jax.block_until_ready(metrics)
        self.states[key] = state
        return (time.perf_counter() - began) / steps


def compiled(variant: Variant, bench: BenchConfig, states: dict[tuple[str, ...], Any]) -> Runner:
    """A variant ready to run, and what the compiler says it needs."""
    config = variant.config
    mesh = sharding.make_mesh(1, config.batch_size)
    key = config.optim.freeze
    if key not in states:
        states[key] = begin(model.init(jax.random.key(0), replace(config.model, flow=True)), config, mesh)
    rows = random_batch(config.model, config.batch_size, bench.text, bench.suffix, variant.targets)
    batch = sharding.put_rows(rows, mesh)
    step = train_step.lower(
        states[key], batch, jnp.int32(1), config=config, model_config=config.model, mesh=mesh
    ).compile()
    found = step.memory_analysis()
    memory = (found.argument_size_in_bytes + found.temp_size_in_bytes) / GIB if found else float("nan")
    return Runner(variant, states, batch, step, memory)


def steps_table(bench: BenchConfig, base: ModelConfig, batch: int) -> list[dict[str, Any]]:
    """Samples a second of each variant, in turns."""
    gpu = jax.default_backend() == "gpu"
    chosen = [v for v in variants(base, batch, gpu) if not bench.only or v.name in bench.only]
    states: dict[tuple[str, ...], Any] = {}
    runners: list[Runner] = []
    failed: dict[str, str] = {}
    with progress("compiling", len(chosen), "variants") as advance:
        for variant in chosen:
            try:
                runner = compiled(variant, bench, states)
                runner.turn(1)
                runners.append(runner)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                failed[variant.name] = "out of memory"
            advance()
    seconds: dict[str, list[float]] = {r.variant.name: [] for r in runners}
    with progress("measuring", bench.rounds * len(runners), "turns") as advance:
        for _ in range(bench.rounds):
            for runner in runners:
                seconds[runner.variant.name].append(runner.turn(bench.steps))
                advance()
    device = jax.devices()[0]
    peak = flops.peak(device.device_kind)
    first = seconds[runners[0].variant.name]
    rows = []
    for runner in runners:
        name, config = runner.variant.name, runner.variant.config
        found = seconds[name]
        length, suffix = (bench.text, bench.suffix) if runner.variant.targets else (bench.text - bench.suffix, 0)
        cost = flops.train(config.model, length, suffix, config.flow_draws, config.optim.freeze).total
        rates = [config.batch_size / s for s in found]
        rate = statistics.median(rates)
        share = f"{100 * rate * cost / (peak * jax.device_count()):.1f} %" if peak else "-"
        rows.append(
            {
                "variant": name,
                "draws": config.flow_draws if config.model.flow else 0,
                "remat": config.model.remat,
                "attention": config.model.attention,
                "samples/s": rate,
                "lowest..highest": f"{min(rates):,.2f}..{max(rates):,.2f}",
                f"time, {runners[0].variant.name} = 1": statistics.median(
                    s / b for s, b in zip(found, first, strict=True)
                ),
                "GFLOP/sample": cost / 1e9,
                "GFLOP/s": rate * cost / 1e9,
                "MFU": share,
                "compiled GiB": runner.memory,
            }
        )
    for name, why in failed.items():
        rows.append({**dict.fromkeys(rows[0], "-"), "variant": name, "samples/s": why})
    if gpu:
        most = (device.memory_stats() or {}).get("peak_bytes_in_use", 0) / GIB
        log(f"peak memory in use over all variants: {most:.1f} GiB")
    return rows


def gradients_table(bench: BenchConfig, base: ModelConfig, batch: int) -> list[dict[str, Any]]:
    """Loss and gradient in two attention calls (ours) and in one over all tokens; first that they are the same numbers."""
    work: dict[str, Callable[[], Any]] = {}
    params = model.init(jax.random.key(0), base)
    rows = {n: jnp.asarray(x) for n, x in random_batch(base, batch, bench.text, bench.suffix, True).items()}
    rows = losses.prepare(rows, jax.random.key(1), 1, "tokens")
    differ = {}
    for name, share in (("ki", 0.0), ("joint", 1.0)):
        shapes = replace(base, insulation=(share,))
        two = jax.jit(jax.value_and_grad(lambda p, s=shapes: losses.compute(p, s, rows)[0]))
        one = jax.jit(jax.value_and_grad(lambda p, s=shapes: joint_attention.loss(p, s, rows)))
        (a, ga), (b, gb) = two(params), one(params)
        apart = optax.global_norm(jax.tree.map(jnp.subtract, ga, gb)) / optax.global_norm(ga)
        differ[name] = abs(float(a - b)) / float(a), float(apart)
        work[f"{name}, two calls"] = partial(two, params)
        work[f"{name}, one call over all tokens"] = partial(one, params)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    with progress("measuring gradients", bench.rounds * len(work), "turns") as advance:
        for _ in range(bench.rounds):
            for name, call in work.items():
                began = time.perf_counter()
                for _ in range(bench.steps):
                    out = call()
                jax.block_until_ready(out)
                seconds[name].append((time.perf_counter() - began) / bench.steps)
                advance()
    out = []
    for name, found in seconds.items():
        kind = name.split(",")[0]
        ratios = [s / b for s, b in zip(found, seconds[f"{kind}, two calls"], strict=True)]
        to_joint = [s / b for s, b in zip(found, seconds["joint, one call over all tokens"], strict=True)]
        out.append(
            {
                "loss and gradient": name,
                "seconds": statistics.median(found),
                "lowest..highest": f"{min(found):.3f}..{max(found):.3f}",
                "time, two calls = 1": statistics.median(ratios),
                "time, openpi's joint = 1": statistics.median(to_joint),
                "loss differs by": f"{differ[kind][0]:.1e}",
                "gradients differ by": f"{differ[kind][1]:.1e}",
            }
        )
    return out


def main(bench: BenchConfig) -> dict[str, list[dict[str, Any]]]:
    """Measures, prints and writes."""
    gpu = jax.default_backend() == "gpu"
    size = bench.size or ("debug" if bench.smoke else "paligemma_3b_300m" if gpu else "small")
    batch = bench.batch or (2 * jax.device_count() if bench.smoke else 32 if gpu else 4)
    if bench.smoke:
        bench = replace(bench, cameras=1, text=24, suffix=8, horizon=6, rounds=1, steps=1)
    given: dict[str, Any] = {
        "cameras": bench.cameras,
        "horizon": bench.horizon,
        "action_dim": 32,
        "vocab_size": VOCAB.get(size, 2048),
    }
    base = ModelConfig(**{**SIZES[size], **given})
    tables = {"Training steps": steps_table(bench, base, batch)}
    if not gpu:  # two more gradients of a full model would not fit beside the states
        tables["Two attention calls against one, as openpi shapes it"] = gradients_table(bench, base, batch)
    for heading, rows in tables.items():
        table(f"\n{heading}", list(rows[0]), [list(row.values()) for row in rows])
    if not bench.smoke:
        shape = f"{size}, {bench.cameras} cameras, {bench.text} tokens of which {bench.suffix} predicted, {bench.horizon} actions"
        command = f"python -m benchmarks.train_step --size {size} --batch {batch} --rounds {bench.rounds} --steps {bench.steps}"
        where = jax.devices()[0].device_kind if gpu else "no GPU was available"
        about.write(bench.out, "train_step", f"A training step: {shape}, batch {batch}; {where}", command, tables)
    return tables


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(BenchConfig, prog="python -m benchmarks.train_step"))))
