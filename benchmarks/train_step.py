"""`python -m benchmarks.train_step --seconds 420`: what a training step costs, and what knowledge insulation adds to it.

The step is `train.step.train_step` itself on random rows of the shape asked for: losses, gradient, AdamW. On a GPU that is the
full model with three cameras, 200 tokens and 50 actions; elsewhere `small`. It needs jax, optax, numpy, scipy and rich alone.

Each variant is compiled once. Those that share ki's batch and parameters take turns with it, so that a ratio compares two of one
round. A row is printed and written as soon as it is measured; a variant that would not be done in time is not begun.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")  # of a GPU; jax's own 0.75 would leave a quarter unused

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import about, joint_attention
from fasttok.common.console import log, progress, run, table
from train import losses, model
from train.config import LoraConfig, ModelConfig, OptimConfig, Remat, TrainConfig
from train.costs import flops, memory
from train.devices import sharding
from train.learning import lora
from train.presets import SIZES
from train.step import begin, train_step

VOCAB = {"paligemma_3b_300m": 257_152}
SAFETY = 1.3  # a variant may take this much longer than the slowest before it
CPU_LIMIT = 2.0  # GiB that "the largest batch that fits" may take where no device says what it has
MOST = 512  # rows
STATE_DIM = 32
PLAIN, STEPS, COST = "-", "Training steps", "What insulation costs over joint, in pairs"


@dataclass(frozen=True)
class Bench:
    """What is asked for; 0 and "" are filled by the device. The flags have the same names."""

    size: str = ""
    batch: int = 0
    cameras: int = 3
    text: int = 200
    suffix: int = 50
    horizon: int = 50
    rounds: int = 5
    steps: int = 1
    seconds: float = 420.0
    memory: float = 0.0
    only: tuple[str, ...] = ()
    all: bool = False
    two_calls: bool = False
    note: str = ""
    out: Path | None = Path("benchmarks/results")


def arguments(words: Sequence[str] | None = None) -> Bench:
    """The command line. argparse, as what this needs must be there beside JAX."""
    parser = argparse.ArgumentParser("python -m benchmarks.train_step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="", help="of the model; paligemma_3b_300m on a GPU, small elsewhere")
    parser.add_argument("--batch", type=int, default=0, help="rows of a step; 32 on a GPU, 4 elsewhere")
    parser.add_argument("--cameras", type=int, default=3, help="images of a row (%(default)s)")
    parser.add_argument("--text", type=int, default=200, help="text tokens of a row (%(default)s)")
    parser.add_argument("--suffix", type=int, default=50, help="of these, tokens that are predicted (%(default)s)")
    parser.add_argument("--horizon", type=int, default=50, help="action steps (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="turns that each variant gets; medians count (%(default)s)"
    )
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=420.0, help="for all of it; 0: as long as it takes (%(default)s)"
    )
    parser.add_argument("--memory", type=float, default=0.0, help="GiB for the largest batch; 0: what the device has")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="variants to measure; all by default")
    parser.add_argument("--all", action="store_true", help="more variants: draws, kernels, tokens or flow alone")
    parser.add_argument("--two-calls", action="store_true", help="also time our two attention calls against one")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), help="folder of the results (%(default)s)"
    )
    parser.add_argument("--note", default="", help="what else one should know, for the title of the results")
    given = vars(parser.parse_args(words))
    return Bench(**given | {"only": tuple(given["only"])})


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: in the table.
        config: of the run.
        targets: False: rows have no tokens to predict.
        largest: its batch is the largest that fits.
        lacks: why it cannot be measured here; "" if it can.
    """

    name: str
    config: TrainConfig
    targets: bool = True
    largest: bool = False
    lacks: str = ""

    @property
    def kind(self) -> tuple[Any, ...]:
        """Variants of one kind have the same arrays."""
        return self.config.still, self.config.lora, self.config.model.state, self.config.model.flow

    def with_batch(self, rows: int) -> "Variant":
        """With so many rows."""
        return replace(self, config=replace(self.config, batch_size=rows))


def variants(base: ModelConfig, batch: int, gpu: bool, more: bool) -> list[Variant]:
    """What is measured, in this order."""

    def row(name: str, *, draws: int = 1, freeze: tuple[str, ...] = (), rank: int = 0, **shapes: Any) -> Variant:
        rest = {key: shapes.pop(key) for key in ("targets", "largest", "lacks") if key in shapes}
        config = TrainConfig(
            Path("SHARDS"), Path("RUN"), model=replace(base, **shapes), batch_size=batch, flow_draws=draws,
            optim=OptimConfig(freeze=freeze), lora=LoraConfig(rank),
        )  # fmt: skip
        return Variant(name, config, **rest)

    joint: dict[str, Any] = {"insulation": (1.0,)}
    remats: tuple[Remat, ...] = ("dots", "layer", "none")
    cudnn: dict[str, Any] = {"attention": "cudnn"} if gpu else {"lacks": "needs an NVIDIA GPU"}
    rows = [
        row("ki"),
        row("joint", **joint),
        row("ki, attention cudnn", **cudnn),
        *(row(f"ki, remat {remat}, largest batch", remat=remat, largest=True) for remat in remats),
        row("lora", rank=16),
        row("frozen", targets=False, freeze=("vision", "backbone")),
        row("pi0", targets=False, state="continuous", state_dim=STATE_DIM, **joint),
    ]
    if more:
        rows += [row(f"ki, remat {remat}", remat=remat) for remat in remats if remat != base.remat]
        rows += [row("ki, attention xla", attention="xla"), row("ki, 2 draws", draws=2), row("ki, 4 draws", draws=4)]
        rows += [row("joint, 4 draws", draws=4, **joint), row("flow only, insulated", targets=False)]
        rows += [row("tokens only (pi0_fast)", flow=False)]
    return rows


def random_batch(shapes: ModelConfig, rows: int, text: int, suffix: int, targets: bool) -> dict[str, np.ndarray]:
    """Robot rows with all cameras and no padding; without `targets` the suffix is not there."""
    rng = np.random.default_rng(0)
    length = text if targets else text - suffix
    predicted = np.arange(length)[None] >= (text - suffix)
    chunk = (rows, shapes.horizon, shapes.action_dim)
    state: dict[str, np.ndarray] = {}
    if shapes.state_token:
        state = {
            "state": rng.normal(size=(rows, shapes.state_dim)).astype(np.float32),
            "state_mask": np.ones(rows, bool),
        }
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
        **state,
    }


@dataclass
class Compiled:
    """A variant ready to run.

    Attributes:
        variant: which, with its batch.
        batch: on the device.
        step: the compiled program.
        argument: bytes that it takes.
        temporary: bytes that it needs besides; it updates its state in place.
        seconds: that compiling took.
    """

    variant: Variant
    batch: dict[str, Any]
    step: Any
    argument: int
    temporary: int
    seconds: float

    @property
    def peak(self) -> int:
        """Bytes on a device while it runs."""
        return self.argument + self.temporary


class DoesNotFitError(Exception):
    """A result, not an error."""


@dataclass
class Session:
    """What variants share: the time, one state at a time, and ki, which others are compared with.

    Attributes:
        bench: what is asked for.
        limit: bytes of a device.
        begun: `time.monotonic()` when all of it began.
        kind: of the variant that the state belongs to.
        state: parameters and optimiser state; None before the first and after running out of memory.
        first: ki, compiled.
        compiling: seconds of the slowest compilation so far.
        making: seconds of the slowest making of a state so far.
        per_flop: seconds per FLOP of the slowest variant so far.
        attention: the fastest kernel so far.
    """

    bench: Bench
    limit: float
    begun: float = field(default_factory=lambda: time.monotonic())
    kind: tuple[Any, ...] | None = None
    state: Any = None
    first: Compiled | None = None
    compiling: float = 0.0
    making: float = 0.0
    per_flop: float = 0.0
    attention: str = ""

    def left(self) -> float:
        """Seconds that are left."""
        return self.begun + self.bench.seconds - time.monotonic() if self.bench.seconds else float("inf")

    def need(self, variant: Variant, turns: int) -> float:
        """Seconds that a variant will take, by those before it."""
        work = self.per_flop * self.cost(variant) * variant.config.batch_size * self.bench.steps * (turns + 1)
        return SAFETY * (self.compiling + work + (self.making if variant.kind != self.kind else 0.0))

    def text(self, variant: Variant) -> tuple[int, int]:
        """Text tokens of a row, and how many of them are predicted."""
        return (self.bench.text, self.bench.suffix) if variant.targets else (self.bench.text - self.bench.suffix, 0)

    def cost(self, variant: Variant) -> float:
        """FLOPs of a sample."""
        config = variant.config
        adapted = ("backbone", "expert") if config.lora.rank else ()
        return flops.train(config.model, *self.text(variant), config.flow_draws, config.optim.freeze, adapted).total

    def prepare(self, variant: Variant) -> None:
        """Makes the state of a variant's kind; the one before is let go of first, as two may not fit."""
        if variant.kind == self.kind and self.state is not None:
            return
        self.drop()
        began, config = time.monotonic(), variant.config

        def init(key: jax.Array) -> Any:
            return lora.add(model.init(key, config.model), config.lora, key)

        self.state = begin(jax.jit(init)(jax.random.key(0)), config, sharding.make_mesh(1, config.batch_size))
        jax.block_until_ready(self.state)
        self.kind = variant.kind
        self.making = max(self.making, time.monotonic() - began)

    def drop(self) -> None:
        """Lets go of the state."""
        self.state = self.kind = None
        gc.collect()

    def compile(self, variant: Variant) -> Compiled:
        """A variant ready to run."""
        config = variant.config
        mesh = sharding.make_mesh(1, config.batch_size)
        rows = random_batch(config.model, config.batch_size, self.bench.text, self.bench.suffix, variant.targets)
        batch = sharding.put_rows(rows, mesh)
        began = time.monotonic()
        lowered = train_step.lower(self.state, batch, jnp.int32(1), config=config, model_config=config.model, mesh=mesh)
        step = lowered.compile()
        seconds = time.monotonic() - began
        self.compiling = max(self.compiling, seconds)
        found = step.memory_analysis()
        argument, temporary = (found.argument_size_in_bytes, found.temp_size_in_bytes) if found else (0, 0)
        return Compiled(variant, batch, step, argument, temporary, seconds)

    def turn(self, ready: Compiled, steps: int) -> float:
        """Seconds a step."""
        state, self.state = self.state, None
        began = time.perf_counter()
        for number in range(1, steps + 1):
            state, metrics = ready.step(state, ready.batch, jnp.int32(number))
        jax.block_until_ready(metrics)
        self.state = state
        return (time.perf_counter() - began) / steps

    def largest(self, variant: Variant, tried: Compiled | None) -> int:
        """Rows that should fit, by an estimate that is scaled by what was compiled before: by itself, else by ki."""
        text = self.text(variant)[0]
        guess = memory.estimate(variant.config, variant.config.model, text)
        known = tried or self.first
        if known is not None and known.temporary:
            config = known.variant.config
            other = memory.estimate(config, config.model, self.text(known.variant)[0])
            guess = guess.scaled(known.temporary / (other.total(config.batch_size) - other.held))
        rows = min(MOST, guess.rows(self.limit))
        if tried is not None:
            failed = tried.variant.config.batch_size
            rows = min(rows, failed - 1 if tried.peak > self.limit else int(0.85 * failed))
        by = jax.device_count() * (8 if rows >= 16 * jax.device_count() else 1)
        return rows // by * by


def out_of_memory(error: Exception) -> bool:
    """Whether that is what a runtime's error says."""
    return any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory"))


def measure(session: Session, variant: Variant) -> tuple[dict[str, Any], list[float]]:
    """A row of the table, and the times of ki's turns that went with the variant's, as ratios.

    Raises:
        DoesNotFitError: it does not fit, or not one row of it.
    """
    tried: Compiled | None = None
    for attempt in range(2):
        if variant.largest:
            rows = session.largest(variant, tried)
            if not rows:
                raise DoesNotFitError("not one row fits")
            variant = variant.with_batch(rows)
        try:
            session.prepare(variant)
            tried = session.compile(variant)
            if tried.peak > session.limit and (variant.largest or jax.default_backend() != "cpu"):
                raise DoesNotFitError(
                    f"{tried.peak / memory.GIB:.1f} GiB as compiled, {session.limit / memory.GIB:.1f} are there"
                )
            session.turn(tried, 1)
            return _turns(session, tried)
        except DoesNotFitError as error:
            reason = error
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not out_of_memory(error) and not isinstance(error, MemoryError):
                raise
            reason = DoesNotFitError("out of memory")
            session.drop()
        again = variant.largest and attempt == 0 and tried is not None and session.left() > session.need(variant, 1)
        if not again:
            raise reason
    raise AssertionError


def _turns(session: Session, ready: Compiled) -> tuple[dict[str, Any], list[float]]:
    bench, variant = session.bench, ready.variant
    config, first = variant.config, session.first
    paired = first is not None and first.variant.kind == variant.kind and _rows(first) == _rows(ready)
    seconds, ratios = [], []
    for _ in range(bench.rounds):
        if paired and first is not None:
            ratios.append(1 / session.turn(first, bench.steps))
        seconds.append(session.turn(ready, bench.steps))
        if paired:
            ratios[-1] *= seconds[-1]
        if session.left() < 2 * bench.steps * seconds[-1]:
            break
    if first is None:
        session.first = ready
    cost, rate = session.cost(variant), config.batch_size / statistics.median(seconds)
    session.per_flop = max(session.per_flop, 1 / (rate * cost))
    peak = flops.peak(jax.devices()[0].device_kind)
    shapes = config.model
    tokens = shapes.cameras * shapes.image_tokens + session.text(variant)[0]
    acting = config.flow_draws * shapes.horizon if shapes.flow else 0
    row = {
        "variant": variant.name,
        "batch": config.batch_size,
        "remat": shapes.remat,
        "attention": shapes.attention,
        "tokens/sample": f"{tokens} + {acting}",
        "samples/s": rate,
        "lowest..highest": f"{config.batch_size / max(seconds):,.2f}..{config.batch_size / min(seconds):,.2f}",
        "time, ki = 1": statistics.median(ratios) if ratios else PLAIN,
        "GFLOP/sample": cost / 1e9,
        "TFLOP/s": rate * cost / 1e12,
        "MFU": f"{100 * rate * cost / (peak * jax.device_count()):.1f} %" if peak else PLAIN,
        "peak GiB": ready.peak / memory.GIB,
        "compiled in s": ready.seconds,
    }
    return row, ratios


def _rows(ready: Compiled) -> tuple[int, bool]:
    return ready.variant.config.batch_size, ready.variant.targets


COLUMNS = (
    "variant", "batch", "remat", "attention", "tokens/sample", "samples/s", "lowest..highest", "time, ki = 1", "GFLOP/sample",
    "TFLOP/s", "MFU", "peak GiB", "compiled in s",
)  # fmt: skip


def steps_tables(
    bench: Bench, base: ModelConfig, batch: int, show: Callable[[dict[str, list[dict[str, Any]]]], None]
) -> dict[str, list[dict[str, Any]]]:
    """Measures the variants one after the other and hands the tables to `show` after each."""
    gpu = jax.default_backend() == "gpu"
    has = (
        (jax.devices()[0].memory_stats() or {}).get("bytes_limit", CPU_LIMIT * memory.GIB)
        if gpu
        else CPU_LIMIT * memory.GIB
    )
    session = Session(bench, bench.memory * memory.GIB or float(has))
    tables: dict[str, list[dict[str, Any]]] = {STEPS: []}
    rates: dict[str, float] = {}
    for variant in variants(base, batch, gpu, bench.all):
        if bench.only and variant.name not in bench.only:
            continue
        if rates.get("ki, attention cudnn", 0.0) > rates.get("ki", 0.0) and "attention" not in variant.name:
            faster = replace(variant.config.model, attention="cudnn")
            variant = replace(variant, config=replace(variant.config, model=faster))
        turns, left = bench.rounds * 2, session.left()
        expected = variant.with_batch(session.largest(variant, None)) if variant.largest else variant
        need = session.need(expected, turns)
        shapes = variant.config.model
        row: dict[str, Any] = dict.fromkeys(COLUMNS, PLAIN) | {
            "variant": variant.name, "remat": shapes.remat, "attention": shapes.attention,
        }  # fmt: skip
        if variant.lacks:
            row["samples/s"] = variant.lacks
        elif left < need:
            row["samples/s"] = f"not begun: about {need:.0f} s of work, {max(left, 0.0):.0f} s left"
        else:
            try:
                row, ratios = measure(session, variant)
                rates[variant.name] = row["samples/s"]
                if variant.name == "joint" and ratios:
                    tables[COST] = [_cost_of_insulation(ratios)]
            except DoesNotFitError as error:
                row["samples/s"] = "out of memory" if "out of memory" in str(error) else f"out of memory: {error}"
        tables[STEPS].append(row)
        log(_line(row))
        show(tables)
    if gpu:
        most = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / memory.GIB
        log(f"most memory in use over all variants: {most:.1f} GiB")
    return tables


def _cost_of_insulation(ratios: list[float]) -> dict[str, Any]:
    """From joint's times over ki's of the same round."""
    costs = sorted(100 * (1 / ratio - 1) for ratio in ratios)
    return {
        "time of ki over joint": f"{statistics.median(costs):+.1f} %",
        "lowest..highest": f"{costs[0]:+.1f}..{costs[-1]:+.1f} %",
        "pairs": len(costs),
    }


def _line(row: dict[str, Any]) -> str:
    """A row for eyes that wait."""
    if isinstance(row["samples/s"], str):
        return f"{row['variant']}: {row['samples/s']}"
    return (
        f"{row['variant']}: {row['samples/s']:.2f} samples/s ({row['lowest..highest']}), batch {row['batch']}, "
        f"{row['tokens/sample']} tokens, MFU {row['MFU']}, {row['peak GiB']:.2f} GiB, compiled in {row['compiled in s']:.0f} s"
    )


def gradients_table(bench: Bench, base: ModelConfig, batch: int) -> list[dict[str, Any]]:
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


def main(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    """Measures, prints and writes."""
    gpu = jax.default_backend() == "gpu"
    size = bench.size or ("paligemma_3b_300m" if gpu else "small")
    batch = bench.batch or (32 if gpu else 4)
    given: dict[str, Any] = {
        "cameras": bench.cameras,
        "horizon": bench.horizon,
        "action_dim": 32,
        "vocab_size": VOCAB.get(size, 2048),
    }
    base = ModelConfig(**{**SIZES[size], **given})
    shape = f"{size}, {bench.cameras} cameras, {bench.text} tokens of which {bench.suffix} predicted, {bench.horizon} actions"
    where = (jax.devices()[0].device_kind if gpu else "no GPU was available") + (
        f"; {bench.note}" if bench.note else ""
    )
    command = f"python -m benchmarks.train_step --size {size} --batch {batch} --rounds {bench.rounds} --seconds {bench.seconds:g}"
    command += (" --all" if bench.all else "") + (" --two-calls" if bench.two_calls else "")
    log(f"{shape}, batch {batch}, {jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}")

    def show(tables: dict[str, list[dict[str, Any]]]) -> None:
        if bench.out is not None:
            about.write(
                bench.out,
                "train_step",
                f"A training step: {shape}, batch {batch}; {where}",
                command,
                tables,
                quiet=True,
            )

    tables = {heading: rows for heading, rows in steps_tables(bench, base, batch, show).items() if rows}
    if bench.two_calls:
        tables["Two attention calls against one, as openpi shapes it"] = gradients_table(bench, base, batch)
        show(tables)
    for heading, rows in tables.items():
        table(f"\n{heading}", list(rows[0]), [list(row.values()) for row in rows])
    if bench.out is not None:
        log(f"wrote {bench.out / 'train_step'}.json and .md")
    return tables


if __name__ == "__main__":
    sys.exit(run(lambda: main(arguments())))
