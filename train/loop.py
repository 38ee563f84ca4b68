"""The training loop: checks, setup, steps, log and checkpoints, in the order in which they happen."""

import dataclasses
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from fasttok.common.console import progress
from fasttok.common.next_command import command
from fasttok.common.output_folder import check_output
from pipelines.shards import ReadState
from train.config import TrainConfig
from train.costs.dry_run import abstract_state, print_memory, print_plan
from train.devices import sharding
from train.devices.multi_host import all_or_none, join_processes, together
from train.devices.packing import pack
from train.devices.packing_plan import plan
from train.initial_params import initial_params
from train.judging.held_out import HeldOutNumbers
from train.learning.rates import check_rates
from train.prefetch import prefetch
from train.runs.checkpoint import Checkpoints
from train.runs.disk_room import check_room, full_disk_said
from train.runs.finite_losses import FiniteLosses
from train.runs.resume import check_shards, go_on, restore
from train.runs.run_folder import RUN, check_resumed
from train.runs.speed import Clock
from train.runs.stopping import Stopping
from train.runs.tracker import check_trackers, line, open_trackers
from train.setup import Setup, prepare
from train.step import State, begin, probe, train_step

logger = logging.getLogger(__name__)


def run(config: TrainConfig) -> None:
    """Trains a run, with log and checkpoints. A resumed run continues bit for bit.

    Raises:
        InputError: as in `prepare`; or settings do not fit together, OUT may not be written, or a loss is not finite.
    """
    check_rates(config)
    join_processes(config.distributed)
    first = jax.process_index() == 0
    out = None
    with all_or_none():
        if first and not config.dry_run:
            reads = [
                path for path in (config.shards, config.held_out, config.init_from, config.weights) if path is not None
            ]
            out = check_output(config.out, RUN, overwrite=config.overwrite, resume=config.resume, reads=reads)
        if first:
            check_trackers(config.trackers)
        config = go_on(config)
    with all_or_none():
        check_shards(config)
        setup = prepare(config)
        if config.resume:
            check_resumed(config.out, setup.encoder.tok, config.data.tokenizer)
        mesh = sharding.make_mesh(config.fsdp, config.batch_size, config.accumulate)
        held_out = HeldOutNumbers(setup, mesh) if config.held_out else None
        if first:
            print_plan(setup, mesh)
        if first and not config.dry_run:
            check_room(config, abstract_state(setup, config, mesh))
    if config.dry_run:
        print_memory(setup, for_step(config), mesh)
        return
    # Nothing on disk changes until the run has what it starts from, so that an error leaves an earlier run as it was.
    start, state, position = restore(setup, mesh) or (0, begin(initial_params(setup), config, mesh), None)
    together("every process has read what it starts from")
    if config.resume and start == config.steps:
        logger.info(f"{config.out} has all of its {start} steps; for more, raise --steps")
        return
    with all_or_none():
        if out is not None:
            out.begin()
            setup.saved.save(config.out)
    _steps(setup, mesh, start, state, position, held_out)


def _steps(
    setup: Setup, mesh: Mesh, start: int, state: State, position: ReadState | None, held_out: HeldOutNumbers | None
) -> None:
    """Takes all steps after `start`, or until somebody stops the run.

    Args:
        setup: setup of the run, whose folder exists.
        mesh: the devices.
        start: number of steps that are done already.
        state: state after these steps.
        position: position in the shards after the rows of these steps; None: the beginning.
        held_out: measures the state on held-out rows at intervals; None: no such measurements.
    """
    # Paths and bookkeeping do not change the compiled step. `for_step` drops them, so a resumed run finds the step in the cache.
    config, step_config = setup.config, for_step(setup.config)
    checkpoints = Checkpoints(config.out, config.keep)
    tracker = open_trackers(config.trackers, config.out, start, setup.resolved) if jax.process_index() == 0 else None
    batches = prefetch(
        setup.reader, setup.encoder, setup.batcher, config.batch_size,
        threads=config.data.threads, state=position, weights=setup.weights, seed=config.seed,
        rank=jax.process_index(), world=jax.process_count(),
    )  # fmt: skip
    clock, finite, seed, packing = Clock(setup), FiniteLosses(config.out), jnp.int32(config.seed), plan(setup)
    with full_disk_said(config.out), Stopping(mesh) as stopping:
        with progress("training", config.steps, "steps", already=start, lines=True) as advance:
            for step in range(start + 1, config.steps + 1):
                with clock.waiting():
                    prefetched = next(batches)
                rows, number = sharding.put_rows(pack(setup.for_step(prefetched.batch), packing), mesh), jnp.int32(step)
                program = {  # what the step is compiled for; each other value needs another program, compiled once
                    "config": step_config,
                    "model_config": dataclasses.replace(setup.model, insulation=config.insulation_at(step)),
                    "wrist": setup.wrist,
                }
                probed = {}
                if config.probe_every and step % config.probe_every == 0:
                    with clock.compiling("the probe of each loss", program, rows):
                        probed = probe(state.params, rows, number, seed, **program)

                with clock.compiling("the training step", program, rows):
                    state, metrics = train_step(state, rows, number, seed, mesh=mesh, **program)
                finite.check(step, metrics, prefetched)
                last = step == config.steps
                measured = held_out.after(step, state, clock) if held_out else {}
                said = None
                if step % config.log_every == 0 or last or measured or step == start + 1:
                    finite.check_now()
                    numbers = {**metrics, **probed, **measured, **config.said_of(step)}
                    row = {"step": step, **{name: float(value) for name, value in numbers.items()}, **clock.lap(step)}
                    said = line(row)
                    if tracker is not None:
                        tracker.log(row)
                advance(1, said)
                last = stopping.after_step() or last
                if step % config.checkpoint_every == 0 or last:
                    finite.check_now()
                    checkpoints.save(step, state, prefetched.state, setup.resolved)
                if last:
                    break
        batches.close()
        checkpoints.close()
        if held_out:
            held_out.close()
        if tracker is not None:
            tracker.close()
    if step < config.steps:
        stopping.end(
            f"stopped after step {step}, of which there is a checkpoint; the same command with --resume goes on"
        )
    logger.info(last_line(config, flow=setup.model.flow))


def last_line(config: TrainConfig, *, flow: bool) -> str:
    """Returns the last line of a training, with the commands to run next."""
    how = () if flow else ("--decode", "tokens")
    measure = command("fasttok-evaluate", "--run", config.out, "--held-out", config.held_out or config.shards, *how)
    return (
        f"trained {config.steps} steps -> {config.out}; next: {measure} (shards of episodes that it has not seen say more; "
        f"--env MODULE:FACTORY acts in a world), or its curves as a page: {command('fasttok-train', 'report', config.out)}"
    )


def for_step(config: TrainConfig) -> TrainConfig:
    """Returns the configuration with fixed values for all settings that do not change the compiled step."""
    return dataclasses.replace(
        config, out=Path("RUN"), shards=Path("SHARDS"), preset="", size="", seed=0, resume=False, resume_with=(),
        overwrite=False, dry_run=False, insulation_schedule=(), init_from=None, init_from_expert=False, weights=None,
        trackers=(), log_every=1, checkpoint_every=1, probe_every=0, keep=1, distributed="",
        held_out=None, held_out_every=0, held_out_rows=1, keep_best=False,
    )  # fmt: skip
