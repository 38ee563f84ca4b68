"""Stage 1: source files -> a row per episode or VLM record, standardised columns, dead letters (docs/design.md "INDEX").

One linear Beam graph whose elements are source files. Each file's three Parquet files appear by atomic rename, its summary
last, so a killed job leaves only whole files behind and a second run redoes only what is missing. index.json is written by
the driver when all are there; its digest depends on content alone.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import tyro

from fasttok.console import emit_json, log, table
from fasttok.episodes import BadRecord, Episode, Where, rlds
from fasttok.episodes.features import Unsupported
from fasttok.episodes.index import FILE, FORMAT_VERSION
from fasttok.errors import InputError
from pipelines import entries, vlm
from pipelines.beam import run_files
from pipelines.entries import DatasetEntry
from pipelines.standardize import Reject, action_encoding, action_names, standardize

EPISODES = pa.schema(
    [
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("episode", pa.int64()),
        ("steps", pa.int32()),
        ("language", pa.string()),
        ("cameras", pa.list_(pa.string())),
        ("action_dim", pa.int32()),
        ("proprio_dim", pa.int32()),
        ("image_bytes", pa.int64()),
        ("id", pa.string()),
        ("target", pa.string()),
    ]
)
STEPS = pa.schema(
    [
        ("episode", pa.int64()),
        ("step", pa.int32()),
        ("action", pa.list_(pa.float32())),
        ("proprio", pa.list_(pa.float32())),
    ]
)
REJECTED = pa.schema(
    [
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("episode", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True)
class IndexConfig:
    """Indexes RLDS directories and JSONL VQA/caption folders: a row per episode, standardised actions, dead letters.

    Example: python -m pipelines index bridge_dataset/1.0.0 my_vqa --out INDEX

    Unknown flags go to Beam, such as --direct_num_workers=2 --direct_running_mode=multi_processing.
    """

    datasets: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Dataset directories: TFDS version folders, or folders with a dataset.yaml and JSONL files."""
    out: Path
    """The INDEX folder. An unfinished one is continued."""
    entries: tuple[str, ...] = ()
    """Entry YAML files, or folders of them, that come before the packaged ones."""
    splits: tuple[str, ...] = ()
    """Only these splits; all by default."""
    overwrite: bool = False
    """Replace a finished INDEX."""
    verify: bool = True
    """Check the checksum of every record."""
    json: bool = False
    """Print the summary as JSON on stdout."""


@dataclass(frozen=True)
class Job:
    """One source file. `fallback`: records [start, stop) of a split through TFDS instead of a file."""

    directory: str
    dataset: str
    split: str
    file: str
    stem: str
    out: str
    entry: dict[str, Any] = field(hash=False)
    verify: bool = True
    fallback: bool = False

    @property
    def base(self) -> Path:
        """Path of the outputs without their suffixes."""
        return Path(self.out) / self.dataset / self.split / self.stem


def run_index(config: IndexConfig, beam_args: list[str]) -> dict[str, Any]:
    """Runs stage 1 and prints its summary.

    Returns:
        What index.json holds.

    Raises:
        InputError: a directory, entry or split is not usable; OUT is in the way; counts do not balance.
    """
    if not config.datasets:
        raise InputError("nothing to index: give at least one dataset directory")
    out = config.out.resolve()
    if (out / FILE).is_file():
        if not config.overwrite:
            raise InputError(f"{config.out} is a finished INDEX; pass --overwrite to replace it, or another --out")
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()) and not (out / ".unfinished").is_file():
        raise InputError(f"{config.out} exists and is not an INDEX; pass another --out")
    jobs = [job for directory in config.datasets for job in plan_jobs(directory, config, str(out))]
    by_name = Counter((job.dataset, job.split, job.stem) for job in jobs)
    doubled = [name for name, n in by_name.items() if n > 1]
    if doubled:
        raise InputError(f"dataset {doubled[0][0]!r} is given twice; its name must be unique in an INDEX")
    out.mkdir(parents=True, exist_ok=True)
    (out / ".unfinished").touch()
    run_files(
        [job for job in jobs if finished(job) is None],
        index_file,
        beam_args,
        title="indexing",
        unit="files",
        already=sum(finished(job) is not None for job in jobs),
        done=lambda: sum(1 for _ in out.glob("*/*/*.summary.json")),
    )
    result = assemble(jobs)
    report(result, config.json)
    write_json(out / FILE, result)
    (out / ".unfinished").unlink()
    log(f"INDEX {config.out} (digest {result['digest']}); next: fasttok fit {config.out} --out TOKENIZER")
    return result


def plan_jobs(directory: str, config: IndexConfig, out: str) -> list[Job]:
    """The source files of a dataset directory.

    Raises:
        InputError: not a dataset, no entry, or none of the asked splits.
    """
    directory = directory.rstrip("/")
    if "://" not in directory:
        directory = str(Path(directory).resolve())
    fallback = False
    if rlds.is_rlds(directory):
        try:
            opened = rlds.open_directory(directory)
            name, files = opened.name, opened.splits
        except Unsupported as error:
            from pipelines import tfds

            log(f"{directory}: the raw reader does not cover {error}; reading through TFDS")
            fallback, name = True, directory.rsplit("/", 2)[-2]
            files = {split: [f"{directory}#{split}"] for split in tfds.splits(directory)}
        entry = entries.find_entry(directory, name, config.entries)
    else:
        name = directory.rsplit("/", 1)[-1]
        if not Path(directory).exists() and "://" not in directory:
            raise InputError(
                f"{directory} does not exist; expected a TFDS version folder or a folder with a dataset.yaml"
            )
        entry = entries.find_entry(directory, name, config.entries)
        if entry.kind == "robot":
            raise InputError(f"{directory} has no features.json and dataset_info.json, which a robot dataset needs")
        name, files = entry.name, {split: [f"{directory}/{file}"] for split, file in entry.splits}
    chosen = [split for split in files if not config.splits or split in config.splits]
    if not chosen:
        raise InputError(f"{name} has none of the splits {', '.join(config.splits)}; it has {', '.join(files)}")
    return [
        Job(directory, name, split, file, _stem(file, i), out, entry.to_json(), config.verify, fallback)
        for split in chosen
        for i, file in enumerate(files[split])
    ]


def _stem(file: str, number: int) -> str:
    return f"{number:05d}-" + file.rsplit("/", 1)[-1].replace("#", "-").replace(".tfrecord", "").replace(".jsonl", "")


def index_file(job: Job) -> None:
    """Indexes one source file: the body of the Beam graph."""
    entry = entries.from_json(job.entry)
    rows: list[dict[str, Any]] = []
    steps: dict[str, list[Any]] = {name: [] for name in STEPS.names}
    rejected: list[dict[str, Any]] = []
    read = 0
    for record in _records(job, entry):
        read += 1
        if isinstance(record, Episode):
            try:
                rows.append(_robot_row(job, entry, record, steps))
                continue
            except Reject as error:
                record = BadRecord(record.where, error.reason, str(error))
        if isinstance(record, BadRecord):
            where = asdict(record.where)
            where["episode"] = where.pop("number")
            rejected.append(where | {"reason": record.reason, "detail": record.detail})
            continue
        rows.append(
            _row(job, record.where, 1, record.prompt, ["primary"])
            | {"id": record.id, "target": record.target, "image_bytes": len(record.data)}
        )
    job.base.parent.mkdir(parents=True, exist_ok=True)
    _write(job, "episodes", pa.Table.from_pylist(rows, EPISODES))
    _write(job, "steps", pa.table(steps, STEPS))
    _write(job, "rejected", pa.Table.from_pylist(rejected, REJECTED))
    robot = rows[0] if rows and entry.kind == "robot" else None
    summary = {
        "source": _stamp(job),
        "read": read,
        "indexed": len(rows),
        "rejected": dict(sorted(Counter(r["reason"] for r in rejected).items())),
        "steps": sum(row["steps"] for row in rows),
        "dims": [robot["action_dim"], robot["proprio_dim"]] if robot else None,
        "digest": _digest(rows, steps, rejected),
    }
    write_json(job.base.with_name(job.base.name + ".summary.json"), summary)


def _records(job: Job, entry: DatasetEntry) -> Iterator[Episode | vlm.VlmRecord | BadRecord]:
    if job.fallback:
        from pipelines import tfds

        return tfds.read_split(job.directory, job.split)
    if entry.kind == "robot":
        return rlds.open_directory(job.directory).read_file(job.file, job.verify)
    return vlm.read_file(entry, job.directory, job.file)


def _row(job: Job, where: Where, steps: int, language: str, cameras: list[str]) -> dict[str, Any]:
    return {
        "dataset": job.dataset,
        "split": job.split,
        "file": where.file,
        "offset": where.offset,
        "length": where.length,
        "episode": where.number,
        "steps": steps,
        "language": language,
        "cameras": cameras,
        "action_dim": 0,
        "proprio_dim": 0,
        "image_bytes": 0,
        "id": str(where.number),
        "target": "",
    }


def _robot_row(job: Job, entry: DatasetEntry, episode: Episode, steps: dict[str, list[Any]]) -> dict[str, Any]:
    standard = standardize(entry, episode)
    length, action_dim = standard.action.shape
    steps["episode"] += [episode.where.number] * length
    steps["step"] += range(entry.drop_first, entry.drop_first + length)
    steps["action"] += list(standard.action)
    steps["proprio"] += list(standard.proprio)
    row = _row(job, episode.where, length, standard.language, sorted(standard.cameras))
    images = sum(len(image) for images in standard.cameras.values() for image in images)
    return row | {"action_dim": action_dim, "proprio_dim": standard.proprio.shape[1], "image_bytes": images}


def _write(job: Job, name: str, data: pa.Table) -> None:
    final = job.base.with_name(f"{job.base.name}.{name}.parquet")
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    pq.write_table(data, temporary, compression="zstd")
    os.replace(temporary, final)


def write_json(path: Path, value: Any) -> None:
    """A JSON file that is whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def _digest(rows: list[dict[str, Any]], steps: dict[str, list[Any]], rejected: list[dict[str, Any]]) -> str:
    """sha256 of the rows' content; paths count by their last part, so a moved dataset keeps its digest."""
    sha = hashlib.sha256()
    for row in [*rows, *rejected]:
        short = row | {"file": row["file"].rsplit("/", 1)[-1], "detail": ""}
        sha.update(json.dumps(short, sort_keys=True).encode())
    for name in ("action", "proprio"):
        for values in steps[name]:
            sha.update(values.tobytes())
    return sha.hexdigest()


def _stamp(job: Job) -> list[Any]:
    """What a finished file was made from: if the source or the entry changes, it is made again."""
    path = Path(job.file)
    source = [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else [job.file]
    return [*source, hashlib.sha256(json.dumps(job.entry, sort_keys=True).encode()).hexdigest()[:16]]


def finished(job: Job) -> dict[str, Any] | None:
    """A file's summary if it was finished from the source as it is now."""
    path = job.base.with_name(job.base.name + ".summary.json")
    if not path.is_file():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    return summary if summary["source"] == _stamp(job) else None


def assemble(jobs: list[Job]) -> dict[str, Any]:
    """index.json out of the files' summaries, in the order of datasets, splits and files.

    Raises:
        InputError: a dataset has files of different dims, or nothing usable; counts do not balance.
    """
    datasets: dict[str, Any] = {}
    sha = hashlib.sha256()
    for job in jobs:
        summary = finished(job)
        if summary is None:
            raise InputError(f"{job.file} was not indexed; run the same command again to finish")
        rejected = sum(summary["rejected"].values())
        if summary["read"] != summary["indexed"] + rejected:
            raise InputError(
                f"{job.file}: read {summary['read']} != indexed {summary['indexed']} + rejected {rejected}"
            )
        dataset = datasets.setdefault(job.dataset, {"directory": job.directory, "entry": job.entry, "splits": {}})
        dataset["entry"] = dict(dataset["entry"])
        split = dataset["splits"].setdefault(
            job.split, {"files": [], "read": 0, "indexed": 0, "rejected": {}, "steps": 0, "fallback": job.fallback}
        )
        split["files"].append(job.stem)
        for name in ("read", "indexed", "steps"):
            split[name] += summary[name]
        split["rejected"] = dict(sorted((Counter(split["rejected"]) + Counter(summary["rejected"])).items()))
        if summary["dims"]:
            known = dataset.setdefault("dims", summary["dims"])
            if known != summary["dims"]:
                raise InputError(
                    f"{job.dataset}: action and proprio dims are {known} in one file, {summary['dims']} in {job.stem}"
                )
        sha.update(f"{job.dataset}/{job.split}/{job.stem}:{summary['digest']}\n".encode())
    for name, dataset in datasets.items():
        if dataset["entry"]["kind"] != "robot":
            continue
        if "dims" not in dataset:
            reasons = {r: n for s in dataset["splits"].values() for r, n in s["rejected"].items()}
            raise InputError(f"{name}: no usable episode; rejected by reason: {reasons or 'the files are empty'}")
        entry, (action_dim, proprio_dim) = entries.from_json(dataset["entry"]), dataset.pop("dims")
        dataset["entry"] |= {
            "action_dim": action_dim,
            "proprio_dim": proprio_dim,
            "action_encoding": action_encoding(entry, action_dim),
            "action_names": action_names(entry, action_dim),
        }
    return {"format_version": FORMAT_VERSION, "digest": sha.hexdigest()[:16], "datasets": datasets}


def report(result: dict[str, Any], as_json: bool) -> None:
    """The summary: a row per dataset and split, and where the dead letters are."""
    if as_json:
        emit_json(result)
        return
    rows = []
    for name, dataset in result["datasets"].items():
        for split, counts in dataset["splits"].items():
            reasons = ", ".join(f"{n} {reason}" for reason, n in counts["rejected"].items())
            entry = dataset["entry"]
            rows.append([name, split, entry["kind"], len(counts["files"]), counts["read"], counts["indexed"],
                         sum(counts["rejected"].values()), reasons or "-", counts["steps"],
                         entry["control_hz"], entry.get("action_dim")])  # fmt: skip
    columns = [
        "dataset",
        "split",
        "kind",
        "files",
        "read",
        "indexed",
        "rejected",
        "reasons",
        "steps",
        "Hz",
        "action dim",
    ]
    table("read = indexed + rejected", columns, rows)
