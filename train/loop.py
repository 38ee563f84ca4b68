"""Training: the loop, in the order things happen."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from fasttok.common.console import log, progress
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from pipelines.shards import ReadState
from train import flops, sharding
from train.checkpoint import Checkpoints
from train.config import TrainConfig
from train.data import Loaded, prefetch
from train.dry_run import per_sample, print_memory, print_plan
from train.run_folder import RUN
from train.setup import Setup, initial_params, prepare
from train.step import begin, probe, train_step
from train.tracker import open_trackers

SLOW_LOADER = 0.2  # share of the time spent waiting for data that deserves a word


def run(config: TrainConfig) -> None:
    """Trains, logs, saves; resumes bit for bit.

    Raises:
        InputError: as `prepare`; OUT is in the way; a loss is not finite.
    """
    join_processes(config.distributed)
    first = jax.process_index() == 0
    out = None
    if first and not config.dry_run:
        out = check_output(config.out, RUN, overwrite=config.overwrite, resume=config.resume)
    setup = prepare(config)
    mesh = sharding.make_mesh(config.fsdp, config.batch_size, config.accumulate)
    if first:
        print_plan(setup, mesh)
    # Paths and bookkeeping do not change the compiled step; without them a resumed run finds it in the cache.
    step_config = for_step(config)
    if config.dry_run:
        print_memory(setup, step_config, mesh)
        return
    if out is not None:
        out.begin()
        setup.saved.save(config.out)
    together("the run's folder is ready")
    state = begin(initial_params(setup), config, mesh)
    checkpoints = Checkpoints(config.out, config.keep)
    start, position = 0, None
    if config.resume and checkpoints.last_step is not None:
        start, state, saved = checkpoints.restore(state)
        position = ReadState.from_json(saved)
        log(f"resuming after step {start}")
    tracker = open_trackers(config.trackers, config.out, start, setup.resolved.to_json()) if first else None
    batches = prefetch(
        setup.reader, setup.encoder, setup.batcher, config.batch_size, held_steps=config.data.held_steps,
        threads=config.data.threads, state=position, weights=setup.weights, seed=config.seed,
        rank=jax.process_index(), world=jax.process_count(),
    )  # fmt: skip
    clock, watch, seed = Clock(setup), Watch(config.out), jnp.int32(config.seed)
    with progress("training", config.steps, "steps") as advance:
        advance(start)
        for step in range(start + 1, config.steps + 1):
            with clock.waiting():
                loaded = next(batches)
            rows, number = sharding.put_rows(loaded.batch, mesh), jnp.int32(step)
            probed = {}
            if config.probe_every and step % config.probe_every == 0:
                probed = probe(
                    state.params, rows, number, seed, config=step_config, model_config=setup.model, wrist=setup.wrist
                )
            state, metrics = train_step(
                state, rows, number, seed, config=step_config, model_config=setup.model, mesh=mesh, wrist=setup.wrist
            )
            watch.check(step, metrics, loaded)
            last = step == config.steps
            if step % config.log_every == 0 or last or step == start + 1:
                values = {name: float(value) for name, value in (metrics | probed).items()}
                watch.check_now()
                row = {"step": step, **values, **clock.lap(step)}
                advance(0, line(row))
                if tracker is not None:
                    tracker.log(row)
            if step % config.checkpoint_every == 0 or last:
                watch.check_now()
                checkpoints.save(step, state, loaded.state.to_json(), setup.resolved.to_json())
            advance()
    batches.close()
    checkpoints.close()
    if tracker is not None:
        tracker.close()
    log(f"trained {config.steps} steps -> {config.out}; next: fasttok-evaluate --run {config.out} --env MODULE:FACTORY")


def for_step(config: TrainConfig) -> TrainConfig:
    """The configuration without what does not change the compiled step."""
    return dataclasses.replace(
        config, out=Path("RUN"), shards=Path("SHARDS"), preset="", size="", seed=0, resume=False, overwrite=False, dry_run=False,
        init_from=None, weights=None, trackers=(), log_every=1, checkpoint_every=1, probe_every=0, keep=1, distributed="",
    )  # fmt: skip


def join_processes(how: str) -> None:
    """Makes this process one of several, before any device is touched.

    Raises:
        InputError: not "auto" or ADDRESS:PORT,PROCESSES,ID.
    """
    if not how or jax.distributed.is_initialized():
        return
    if how == "auto":
        jax.distributed.initialize()
        return
    address, *numbers = how.split(",")
    if len(numbers) != 2 or not all(n.isdigit() for n in numbers) or ":" not in address:
        raise InputError(
            f"--distributed is {how!r}, expected auto or ADDRESS:PORT,PROCESSES,ID such as 10.0.0.1:1234,2,0"
        )
    jax.distributed.initialize(address, int(numbers[0]), int(numbers[1]))


def together(what: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


class Watch:
    """Stops a run whose loss is not finite, and keeps the batch. Looks one step late, so that the device never waits for it."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.pending: tuple[int, dict[str, jax.Array], Loaded] | None = None

    def check(self, step: int, metrics: dict[str, jax.Array], loaded: Loaded) -> None:
        """Checks the step before, remembers this one."""
        self.check_now()
        self.pending = step, metrics, loaded

    def check_now(self) -> None:
        """Checks the step that is remembered.

        Raises:
            InputError: naming what is not finite, the step and the saved batch.
        """
        if self.pending is None:
            return
        step, metrics, loaded = self.pending
        self.pending = None
        names = [name for name in metrics if name.startswith(("loss", "grad_norm"))]
        bad = [name for name in names if not np.isfinite(float(metrics[name]))]
        if bad:
            file = self.run / f"not_finite_step_{step}.npz"
            np.savez_compressed(file, sample_ids=np.array(loaded.sample_ids), **loaded.batch)  # type: ignore[arg-type]
            raise InputError(
                f"{', '.join(bad)} is not finite at step {step}; its batch and sample ids are in {file}. Lower "
                "--optim.learning-rate or --optim.clip, and check the shards with: fasttok-pipelines lint"
            )


def line(row: dict[str, float]) -> str:
    """One aligned line of the log."""
    parts = [f"{name[5:]} {row[name]:.3f}" for name in ("loss_vlm", "loss_fast", "loss_flow") if name in row]
    norms = [f"{row[name]:.2f}" for name in row if name in ("grad_norm_backbone", "grad_norm_expert")]
    speed = [f"{row['samples_per_second']:.0f} samples/s", *([f"MFU {100 * row['mfu']:.0f} %"] if "mfu" in row else [])]
    return "  ".join([*parts, "|g| " + " ".join(norms), *speed, f"wait {100 * row['data_wait']:.0f} %"])


class Clock:
    """Samples per second, MFU and share of time spent waiting since the last lap; the first (compiling) step is left out."""

    def __init__(self, setup: Setup) -> None:
        self.begin, self.wait, self.step = time.monotonic(), 0.0, 0
        self.batch_size, self.slow = setup.config.batch_size, 0
        self.cost = per_sample(setup).total
        peak = flops.peak(jax.devices()[0].device_kind)
        self.peak = peak * jax.device_count() if peak else None

    def waiting(self) -> "Clock":
        """A context whose time counts as waiting."""
        return self

    def __enter__(self) -> None:
        self.entered = time.monotonic()

    def __exit__(self, *_: Any) -> None:
        self.wait += time.monotonic() - self.entered

    def lap(self, step: int) -> dict[str, float]:
        """Numbers since the last lap, and starts the next; says once when the loader is what the run waits for."""
        now = time.monotonic()
        seconds, steps = max(now - self.begin, 1e-9), step - self.step if self.step else 1
        rate, share = steps * self.batch_size / seconds, self.wait / seconds
        out = {"samples_per_second": rate, "data_wait": share}
        if self.peak:
            out["mfu"] = rate * self.cost / self.peak
        self.slow = self.slow + 1 if self.step and share > SLOW_LOADER else 0
        if self.slow == 2:
            log(
                f"the loader is the bottleneck: {100 * share:.0f} % of the time is waiting for batches. Give it more cores "
                "(--data.threads), or build the shards with images of the model's size (resize: in the mixture)"
            )
        self.begin, self.wait, self.step = now, 0.0, step
        return out
