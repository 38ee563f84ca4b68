"""Stage 1: source files -> a row per episode or VLM record, standardised columns, dead letters, statistics.

The driver lists the jobs, one a source file, runs them as one linear Beam graph (`index_file.py`), and puts index.json together
when all are there. A killed run leaves only whole files behind, and the next one redoes only what is missing; the digest depends
on content alone.
"""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import tyro

from fasttok.common.console import emit_json, log, table
from fasttok.episodes.index import FILE, FORMAT_VERSION
from fasttok.errors import InputError
from pipelines.common.beam import Stage, finish, live_file, run_stage
from pipelines.common.files import absolute, filesystem, join, read_json, write_json
from pipelines.common.live_counts import JOBS, WORK
from pipelines.datasets import entries
from pipelines.datasets.standardize import dim_names, encodings
from pipelines.index import statistics
from pipelines.index.job_list import plan_jobs
from pipelines.index.worker import Job, Source, index_file, list_jobs, load_source, open_directory


@dataclass(frozen=True)
class IndexConfig:
    """Indexes RLDS data, questions and captions: a row per episode or record, standardised actions, dead letters, statistics.

    Example: fasttok-pipelines index bridge_dataset/1.0.0 my_vqa --out INDEX --max-bad 0.1%

    Unknown flags go to Beam, such as --direct_num_workers=2 --direct_running_mode=multi_processing.
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Dataset directories: TFDS version folders, or folders with a dataset.yaml that says what is in them; any fsspec URL."""
    out: str
    """The INDEX folder; any fsspec URL. An unfinished one is continued."""
    entries: tuple[str, ...] = ()
    """Entry YAML files, or folders of them, that come before the packaged ones."""
    splits: tuple[str, ...] = ()
    """Only these splits; all by default."""
    control_hz: tuple[str, ...] = ()
    """NAME=HZ: steps a second of datasets whose entry does not know it."""
    max_bad: str = "100%"
    """Error budget: the job fails where a dataset has more bad records, as a share (0.1%) or a number. Filters do not count."""
    overwrite: bool = False
    """Replace a finished INDEX."""
    verify: bool = True
    """Check the checksum of every record."""
    json: bool = False
    """Print the summary as JSON on stdout."""


def run_index(config: IndexConfig, beam_args: list[str]) -> dict[str, Any]:
    """Runs stage 1 and prints its summary.

    Returns:
        What index.json holds.

    Raises:
        InputError: a directory, entry or split is not usable; OUT is in the way; counts do not balance; too many bad records.
    """
    if not config.datasets:
        raise InputError("nothing to index: give at least one dataset directory")
    budget = parse_budget(config.max_bad)
    out = absolute(config.out)
    prepare(out, config)
    sources, jobs = {}, []
    for directory in config.datasets:
        source, found = plan_jobs(absolute(directory), config, out)
        if source.dataset in sources:
            raise InputError(f"dataset {source.dataset!r} is given twice; its name must be unique in an INDEX")
        sources[source.dataset] = source
        jobs += found
    done = finished(out, jobs)
    for name, source in sources.items():
        write_json(join(out, WORK, f"{name}.json"), asdict(source))
    waiting = [list(asdict(job).values())[1:] for job in jobs if job.base not in done]
    write_json(join(out, WORK, JOBS), waiting)
    load_source.cache_clear()
    open_directory.cache_clear()
    stage = Stage("indexing", out, list_jobs, index_file, "files", "records")
    run_stage(stage, beam_args, len(waiting), len(done), live_file(out))
    result = assemble(jobs, sources, finished(out, jobs))
    report(result, config.json)
    check_budget(result, budget, config.out)
    write_json(join(out, statistics.FILE), statistics.of_index(out, result))
    write_json(join(out, FILE), result)
    finish(out)
    log(f"INDEX {config.out} (digest {result['digest']}); next: fasttok fit {config.out} --out TOKENIZER")
    return result


def prepare(out: str, config: IndexConfig) -> None:
    """Makes sure that OUT may be written.

    Raises:
        InputError: it holds a finished INDEX and --overwrite was not given, or something else.
    """
    fs, path = filesystem(out)
    if fs.exists(join(path, FILE)):
        if not config.overwrite:
            raise InputError(f"{config.out} is a finished INDEX; pass --overwrite to replace it, or another --out")
        fs.rm(path, recursive=True)
    elif fs.exists(path) and (not fs.isdir(path) or fs.ls(path, detail=False)) and not fs.exists(join(path, WORK)):
        raise InputError(f"{config.out} exists and is not an INDEX; pass another --out")
    fs.makedirs(join(path, WORK), exist_ok=True)


def finished(out: str, jobs: list[Job]) -> dict[str, dict[str, Any]]:
    """Summaries, by their jobs' bases, of what was finished from the sources as they are now."""
    fs, root = filesystem(out)
    fs.invalidate_cache()
    present = {path for path in fs.find(root) if path.endswith(".summary.json")}
    found = {}
    for job in jobs:
        path = filesystem(f"{job.base}.summary.json")[1]
        if path in present:
            summary = read_json(f"{job.base}.summary.json", "a summary of an INDEX")
            if summary["stamp"] == job.stamp:
                found[job.base] = summary
    return found


def assemble(jobs: list[Job], sources: dict[str, Source], summaries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """index.json out of the files' summaries, in the order of datasets, splits and files.

    Raises:
        InputError: a dataset has files of different dims, or nothing usable; counts do not balance.
    """
    datasets: dict[str, Any] = {}
    widths: dict[str, set[tuple[tuple[int, ...], ...]]] = {}
    sha = hashlib.sha256()
    for job in jobs:
        summary = summaries.get(job.base)
        if summary is None:
            raise InputError(f"{job.file} was not indexed; run the same command again to finish")
        left = sum(summary["rejected"].values()) + sum(summary["filtered"].values())
        if summary["read"] != summary["indexed"] + left:
            raise InputError(f"{job.file}: read {summary['read']} != indexed {summary['indexed']} + left out {left}")
        source = sources[job.dataset]
        new = {"directory": source.directory, "entry": dict(source.entry), "through": source.through, "splits": {}}
        split = datasets.setdefault(job.dataset, new)["splits"].setdefault(job.split, {"files": []})
        split["files"].append(job.stem)
        for name in ("read", "indexed", "steps", "bytes"):
            split[name] = split.get(name, 0) + summary[name]
        for name in ("filtered", "rejected", "left_out"):
            split[name] = dict(sorted((Counter(split.get(name, {})) + Counter(summary[name])).items()))
        found = {tuple(map(tuple, pair)) for pair in summary["widths"]}
        widths.setdefault(job.dataset, set()).update(found)
        sha.update(f"{job.dataset}/{job.split}/{job.stem}:{summary['digest']}\n".encode())
    for name, dataset in datasets.items():
        if dataset["entry"]["kind"] == "robot":
            dataset["entry"] |= _dims(name, dataset, widths[name])
    return {"format_version": FORMAT_VERSION, "digest": sha.hexdigest()[:16], "datasets": datasets}


def _dims(name: str, dataset: dict[str, Any], widths: set[tuple[tuple[int, ...], ...]]) -> dict[str, Any]:
    """What a robot dataset's entry says of its columns, now that they were seen."""
    if not widths:
        reasons = Counter[str]()
        for split in dataset["splits"].values():
            reasons += Counter(split["rejected"]) + Counter(split["filtered"])
        raise InputError(f"{name}: no usable episode; left out by reason: {dict(reasons) or 'the files are empty'}")
    if len(widths) > 1:
        raise InputError(f"{name}: dims of the parts of (action, proprio) differ between episodes: {sorted(widths)}")
    action, proprio = next(iter(widths))
    entry = entries.from_json(dataset["entry"])
    return {
        "action_dim": sum(action),
        "proprio_dim": sum(proprio),
        "action_widths": list(action),
        "proprio_widths": list(proprio),
        "action_encoding": encodings(entry.action, action),
        "action_names": dim_names(entry.action, action),
        "proprio_names": dim_names(entry.proprio, proprio),
    }


@dataclass(frozen=True)
class Budget:
    """Most bad records a dataset may have: a `share` of those read, or a `count`."""

    text: str
    share: float = 1.0
    count: int | None = None

    def spent(self, bad: int, read: int) -> bool:
        """Whether there are more."""
        return bad > (self.share * read if self.count is None else self.count)


def parse_budget(text: str) -> Budget:
    """A share such as 0.1%, or a number of records.

    Raises:
        InputError: neither.

    >>> parse_budget("0.1%").spent(2, 1000), parse_budget("3").spent(3, 10)
    (True, False)
    """
    try:
        budget = Budget(text, float(text[:-1]) / 100) if text.endswith("%") else Budget(text, count=int(text))
        if not 0 <= budget.share <= 1 or (budget.count or 0) < 0:
            raise ValueError
    except ValueError:
        raise InputError(f"--max-bad {text}: expected a share such as 0.1%, or a number of records") from None
    return budget


def check_budget(result: dict[str, Any], budget: Budget, out: str) -> None:
    """Holds every dataset to the error budget.

    Raises:
        InputError: one is past it; what was indexed stays, for another run with another budget.
    """
    for name, dataset in result["datasets"].items():
        read = sum(split["read"] for split in dataset["splits"].values())
        reasons = Counter[str]()
        for split in dataset["splits"].values():
            reasons += Counter(split["rejected"])
        if budget.spent(reasons.total(), read):
            listed = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
            raise InputError(
                f"{name}: {reasons.total()} of {read} records are bad ({listed}), more than --max-bad {budget.text}; each is in "
                f"{out}/{name}/*/*.rejected.parquet with file and offset. Mend the source, or run again with a larger budget"
            )


def report(result: dict[str, Any], as_json: bool) -> None:
    """The summary: a row per dataset and split, and why records were left out."""
    if as_json:
        emit_json(result)
        return
    rows = []
    for name, dataset in result["datasets"].items():
        for split, counts in dataset["splits"].items():
            entry = dataset["entry"]
            left = [sum(counts[name].values()) for name in ("filtered", "rejected")]
            rows.append([name, split, entry["kind"], len(counts["files"]), counts["bytes"] / 1e6, counts["read"],
                         counts["indexed"], *left, _reasons(entry["kind"], counts), counts["steps"], entry["control_hz"],
                         entry.get("action_dim")])  # fmt: skip
    columns = ["dataset", "split", "kind", "files", "MB", "read", "indexed", "filtered", "rejected", "reasons", "steps", "Hz",
               "action dim"]  # fmt: skip
    table("read = indexed + filtered + rejected", columns, rows)


def _reasons(kind: str, counts: dict[str, Any]) -> str:
    """Why records, and steps or parts of them, were left out, in words."""
    steps = " steps" if kind == "robot" else ""
    found = [f"{n} {reason}" for reason, n in (Counter(counts["filtered"]) + Counter(counts["rejected"])).items()]
    found += [f"{n} {reason}{steps}" for reason, n in counts["left_out"].items()]
    return ", ".join(found) or "-"
