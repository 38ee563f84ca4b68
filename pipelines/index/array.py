"""Runs `index --array I/N`, which writes the parts of one task's share of the jobs.

`run_index` runs `--array finish`, which makes the INDEX from the parts.
"""

from dataclasses import replace
from functools import partial

from fasttok.common.console import emit_json, log
from fasttok.episodes.index_file import open_index
from pipelines.common.array_task import ArrayTask, join_output, preparing
from pipelines.common.beam import Stage, run_stage
from pipelines.common.files import absolute
from pipelines.index.already_finished import check_same
from pipelines.index.config import IndexConfig
from pipelines.index.job import list_jobs, save_jobs, save_source
from pipelines.index.job_list import plan_all
from pipelines.index.job_part import finished, is_finished
from pipelines.index.output_kind import INDEX
from pipelines.index.worker import index_file


def run_index_task(config: IndexConfig, task: ArrayTask, beam_args: list[str]) -> None:
    """Does a task's share of the jobs.

    Args:
        config: configuration of the command.
        task: number of this task, and of all tasks.
        beam_args: flags for Beam.

    Raises:
        InputError: as for `run_index`, or another task got other arguments or sources.
    """
    out = absolute(config.out)
    sources, jobs = plan_all(config, out)
    place = join_output(config.out, INDEX, config.datasets)
    if place.state == "finished":
        check_same(open_index(out), out, sources, jobs)
        if config.json:
            share = len(list(task.take(jobs)))
            emit_json({"array": str(task), "jobs": share, "of": len(jobs), "already": share})
        log(f"INDEX {config.out} is finished, nothing to do for task {task}")
        return
    place.share()
    with preparing(out, [[job.dataset, job.split, job.stem, job.stamp, job.source] for job in jobs]) as first:
        for source in sources.values() if first else ():
            save_source(out, source)
    present = finished(out)
    mine = [replace(job, done=is_finished(job, present)) for job in task.take(jobs)]
    done = sum(job.done for job in mine)
    save_jobs(out, mine, task.jobs_file)
    expand = partial(list_jobs, name=task.jobs_file)
    run_stage(Stage("indexing", out, expand, index_file, "files", "records"), beam_args, len(mine) - done, done)
    if config.json:
        emit_json({"array": str(task), "jobs": len(mine), "of": len(jobs), "already": done})
    log(
        f"task {task} is done: {len(mine)} of {len(jobs)} jobs ({done} were there already); when all tasks are, put them "
        f"together: the same command with --array finish"
    )
