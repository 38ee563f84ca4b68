"""Stage 1: reads source files and makes a row per episode or VLM record, standardised columns, dead letters and statistics.

The driver lists the jobs, one per source file, and runs them as one linear Beam graph. In it each job writes a part
(`worker.py`), the parts of neighbouring jobs become tables (`compact.py`), and the tables are read once more for exact quantiles
(`step_counts.py`). The driver then reads one small summary for every 128 jobs and makes index.json from them. A killed run leaves
only whole files behind, and the next run does only what is missing. The digest depends only on the contents.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from operator import attrgetter

from fasttok.common import json_files
from fasttok.common.console import log
from fasttok.common.next_command import beside, command
from fasttok.common.output_folder import check_output
from fasttok.episodes.index_file import FILE, IndexFile, open_index
from fasttok.errors import InputError
from pipelines.common.array_task import forget_array
from pipelines.common.beam import Gather, Stage, finish, live_file, run_stage
from pipelines.common.files import absolute, filesystem, join, write_json
from pipelines.common.live_counts import WORK
from pipelines.common.source_stamp import UNKNOWN
from pipelines.index.already_finished import check_same
from pipelines.index.assemble import assemble
from pipelines.index.compact import compact
from pipelines.index.config import IndexConfig
from pipelines.index.console_report import last_line, report, report_rejected
from pipelines.index.error_budget import check_budget, parse_budget
from pipelines.index.job import IndexJob, list_jobs, save_jobs, save_source
from pipelines.index.job_list import plan_all
from pipelines.index.job_part import finished, is_finished
from pipelines.index.output_kind import INDEX, TABLES
from pipelines.index.reject_reasons import frequent_reasons
from pipelines.index.run_summary import load_runs, run_key, runs_of
from pipelines.index.source_files import save_sources
from pipelines.index.statistics_file import FILE as STATISTICS
from pipelines.index.step_counts import IndexedRun, choose, count, of_runs
from pipelines.index.worker import index_file


def stage(out: str) -> Stage:
    """Returns the stage with everything that workers do for an INDEX."""
    then = (
        Gather("tables", run_key, compact),
        Gather("quantiles", one_for_all, choose),
        Gather("counts", attrgetter("key"), count),
    )
    return Stage("indexing", out, list_jobs, index_file, "files", "records", then)


def one_for_all(_: IndexedRun) -> str:
    """Returns the same key for all runs of jobs, so that the step gets all of them at once."""
    return ""


def remove_others(out: str, index: IndexFile) -> None:
    """Removes tables that an earlier, unfinished run left of other sources, and files that runs of 0.1.0 left."""
    fs, root = filesystem(out)
    fs.invalidate_cache()
    root = fs._strip_protocol(root).rstrip("/")
    tables = {
        f"{name}/{split}/{stem}"
        for name, dataset in index.datasets.items()
        for split, counts in dataset.splits.items()
        for stem in counts.files
    }
    found = [path[len(root) + 1 :] for path in fs.find(root)]
    for path in found:
        if path.count("/") == 2 and not path.startswith(f"{WORK}/") and INDEX.wrote(path):
            base = next((path.removesuffix(suffix) for suffix in TABLES if path.endswith(suffix)), "")
            if base not in tables:
                fs.rm_file(f"{root}/{path}")


def run_index(config: IndexConfig, beam_args: list[str]) -> IndexFile:
    """Runs stage 1 and prints its summary.

    Args:
        config: configuration of the command.
        beam_args: flags for Beam.

    Returns:
        The contents of index.json.

    Raises:
        InputError: a directory, entry or split is not usable, OUT may not be written, counts do not balance, or there are too
            many bad records.
    """
    if config.array:
        config = replace(config, resume=True)
    budget = parse_budget(config.max_bad)
    if config.resume and config.overwrite:
        raise InputError("--resume keeps what is there and --overwrite removes it; give one of them")
    out = absolute(config.out)
    place = check_output(config.out, INDEX, overwrite=config.overwrite, resume=config.resume, reads=config.datasets)
    sources, jobs = plan_all(config, out)
    if place.state == "finished" and config.resume:
        index = open_index(out)
        check_same(index, out, sources, jobs)
        if config.json:
            report(index, files_of(jobs), as_json=True)
        log(f"INDEX {config.out} is finished, nothing to do")
        log(last_line(index, config.out, next_command(index, config.out)))
        return index
    with place.replacing() as under_way:
        forget_array(out)
        present = finished(out)
        jobs = [replace(job, done=is_finished(job, present)) for job in jobs]
        for source in sources.values():
            save_source(out, source)
        save_jobs(out, jobs)
        done = sum(job.done for job in jobs)
        run_stage(stage(out), beam_args, len(jobs) - done, done, live_file(out), under_way)
    runs = runs_of(jobs)
    summaries = load_runs(runs)
    index = assemble(runs, sources, summaries)
    reasons = {
        name: frequent_reasons(name, summaries, robot=dataset.entry.kind == "robot")
        for name, dataset in index.datasets.items()
    }
    report(index, files_of(jobs), config.json)
    check_budget(index, budget, reasons, config.out)
    save_sources(out, sources.values(), runs, summaries)
    indexed = [IndexedRun.of(run, sources[run.dataset].entry, summary) for run, summary in summaries.items()]
    write_json(join(out, STATISTICS), json_files.encode(of_runs(out, index, indexed)))
    remove_others(out, index)
    write_json(join(out, FILE), json_files.encode(index))
    finish(out)
    report_rejected(reasons, config.out)
    log(last_line(index, config.out, next_command(index, config.out)))
    return index


def files_of(jobs: Iterable[IndexJob]) -> Counter[tuple[str, str]]:
    """Returns (dataset, split) -> number of source files, or of ranges of them, that exist and were read."""
    files = Counter[tuple[str, str]]()
    seen: set[tuple[str, str, str]] = set()
    for job in jobs:
        others = {(job.dataset, job.split, file) for file, stamp in job.others if stamp != UNKNOWN} - seen
        files[job.dataset, job.split] += 1 + len(others)
        seen |= others
    return files


def next_command(index: IndexFile, out: str) -> str:
    """Returns the next command for an INDEX: fit a tokenizer on its actions, or build shards if it has no actions."""
    if any(dataset.entry.kind == "robot" for dataset in index.datasets.values()):
        return command("fasttok", "fit", out, "--out", beside(out, "tokenizer", local=True), "--seconds", "1.0")
    return command(
        "fasttok-pipelines", "build", "all", "--index", out, "--out", beside(out, "shards"), "--samples", "20000"
    )
