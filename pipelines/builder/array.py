"""Runs `build --array I/N`, which writes one task's share of the shards.

`run_build` runs `--array finish`, which checks all shards and writes the manifest.
"""

from functools import partial

from fasttok.common.console import emit_json, log
from pipelines.builder.config import BuildConfig
from pipelines.builder.output_kind import SHARDS
from pipelines.builder.plan import check_same_plan
from pipelines.builder.run import check_inputs, leave_inputs
from pipelines.builder.shard_job import PLAN, ShardJob, list_shards, save_jobs
from pipelines.builder.sidecar import left_sidecar
from pipelines.builder.worker import materialize_shard
from pipelines.common.array_task import ArrayTask, join_output, preparing
from pipelines.common.beam import Stage, run_stage
from pipelines.common.files import absolute, join


def run_build_task(config: BuildConfig, task: ArrayTask, beam_args: list[str]) -> None:
    """Writes a task's share of the shards.

    Args:
        config: configuration of the command.
        task: number of this task, and of all tasks.
        beam_args: flags for Beam.

    Raises:
        InputError: as for `run_build`, or another task got other arguments or sources.
    """
    inputs = check_inputs(config)
    plan, out = inputs.plan, absolute(config.out)
    place = join_output(config.out, SHARDS, [inputs.index, *inputs.given])
    check_same_plan(out, join(out, PLAN), plan)
    if place.state == "finished":
        if config.json:
            share = len(list(task.take(range(plan.shards))))
            emit_json({"array": str(task), "shards": share, "of": plan.shards, "already": share})
        log(f"{config.out} is finished, nothing to do for task {task}")
        return
    place.share()
    tokenizer = inputs.tok.fingerprint if inputs.tok else [config.fit_constants, config.fit_clip]
    with preparing(out, [plan.digest, tokenizer, inputs.index]) as first:
        if first:
            leave_inputs(inputs, config, out)
    fingerprint = inputs.tokenizer_in(out, config)
    mine = task.take(range(plan.shards))
    left = {k for k in mine if left_sidecar(out, k, plan, fingerprint) is not None}
    save_jobs(out, [ShardJob(out, k, check=k in left) for k in mine], task.jobs_file)
    expand = partial(list_shards, name=task.jobs_file)
    run_stage(Stage("writing shards", out, expand, materialize_shard, "shards", "rows"), beam_args, len(mine))
    if config.json:
        emit_json({"array": str(task), "shards": len(mine), "of": plan.shards, "already": len(left)})
    log(
        f"task {task} is done: {len(mine)} of {plan.shards} shards ({len(left)} were there already); when all tasks are, put "
        "them together: the same command with --array finish"
    )
