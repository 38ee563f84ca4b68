"""Stage 1: source files -> a row per episode or VLM record, standardised columns, dead letters, statistics.

The driver lists the jobs, one a source file, runs them as one linear Beam graph (`worker.py`), and puts index.json together
when all are there. A killed run leaves only whole files behind, and the next one redoes only what is missing; the digest depends
on content alone.
"""

from fasttok.common import json_files
from fasttok.common.console import log
from fasttok.common.output_folder import check_output
from fasttok.episodes.index_file import FILE, IndexFile, open_index
from fasttok.errors import InputError
from pipelines.common.beam import Stage, finish, live_file, run_stage
from pipelines.common.files import absolute, join, write_json
from pipelines.index.already_finished import check_same
from pipelines.index.assemble import assemble
from pipelines.index.config import IndexConfig
from pipelines.index.console_report import report, report_rejected
from pipelines.index.error_budget import check_budget, parse_budget
from pipelines.index.file_summary import finished
from pipelines.index.job import DatasetSource, IndexJob, list_jobs, save_jobs, save_source
from pipelines.index.job_list import plan_jobs
from pipelines.index.output_kind import INDEX
from pipelines.index.reject_reasons import frequent_reasons
from pipelines.index.source_files import save_sources
from pipelines.index.statistics import of_index
from pipelines.index.statistics_file import FILE as STATISTICS
from pipelines.index.worker import index_file


def run_index(config: IndexConfig, beam_args: list[str]) -> IndexFile:
    """Runs stage 1 and prints its summary.

    Args:
        config: of the command.
        beam_args: flags for Beam.

    Returns:
        index.json.

    Raises:
        InputError: a directory, entry or split is not usable; OUT is in the way; counts do not balance; too many bad records.
    """
    if not config.datasets:
        raise InputError("nothing to index: give at least one dataset directory")
    budget = parse_budget(config.max_bad)
    if config.resume and config.overwrite:
        raise InputError("--resume keeps what is there and --overwrite removes it; give one of them")
    out = absolute(config.out)
    place = check_output(config.out, INDEX, overwrite=config.overwrite, resume=config.resume, reads=config.datasets)
    sources: dict[str, DatasetSource] = {}
    jobs: list[IndexJob] = []
    for directory in config.datasets:
        source, more = plan_jobs(absolute(directory), config, out)
        if source.dataset in sources:
            raise InputError(f"dataset {source.dataset!r} is given twice; its name must be unique in an INDEX")
        sources[source.dataset] = source
        jobs += more
    if place.state == "finished" and config.resume:
        index = open_index(out)
        check_same(index, out, sources, jobs)
        log(f"INDEX {config.out} is finished (digest {index.digest}), nothing to do; next: {next_command(config.out)}")
        return index
    with place.replacing() as under_way:
        done = finished(out, jobs)
        for source in sources.values():
            save_source(out, source)
        waiting = [job for job in jobs if job.base not in done]
        save_jobs(out, waiting)
        stage = Stage("indexing", out, list_jobs, index_file, "files", "records")
        run_stage(stage, beam_args, len(waiting), len(done), live_file(out), under_way)
    summaries = finished(out, jobs)
    index = assemble(jobs, sources, summaries)
    reasons = {name: frequent_reasons(name, jobs, summaries) for name in index.datasets}
    report(index, config.json)
    check_budget(index, budget, reasons, config.out)
    save_sources(out, sources.values(), jobs, summaries)
    write_json(join(out, STATISTICS), json_files.encode(of_index(out, index)))
    write_json(join(out, FILE), json_files.encode(index))
    finish(out)
    report_rejected(reasons, config.out)
    log(f"INDEX {config.out} (digest {index.digest}); next: {next_command(config.out)}")
    return index


def next_command(out: str) -> str:
    """What to do with an INDEX."""
    return f"fasttok fit {out} --out TOKENIZER"
