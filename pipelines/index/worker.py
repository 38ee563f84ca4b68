"""The work of stage 1: one source file, or a range of one, -> three Parquet files and a summary (docs/design.md "INDEX").

Each appears under its name only when it is whole, the summary last. Rows are written in groups as they are read, so memory
depends on the largest record, not on the file; nothing depends on the runner or the clock, so a job run again writes the same.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.episodes import BadRecord, Episode, rlds
from pipelines import vlm
from pipelines.common.files import atomic_write, join, read_json, write_json
from pipelines.common.live_counts import JOBS, LIVE, WORK, Counts, Reporter
from pipelines.datasets import entries
from pipelines.datasets.filters import Reject
from pipelines.datasets.standardize import Standard, standardize

ROWS = 1 << 14  # steps that are waited for before they are written
GROUP = 1 << 10  # rows of a row group of episodes or rejects: whoever wants single episodes reads one

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
        ("answers", pa.list_(pa.string())),
        ("image", pa.string()),
        ("image_offset", pa.int64()),
        ("image_length", pa.int64()),
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
        ("records", pa.int64()),
        ("filtered", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Job:
    """One source file, or a range [start, stop) of one, in bytes or row groups, whose first record has the number `first`.

    `stem` names the outputs, `stamp` what they are made from: if source, entry or settings change, they are made again.
    """

    out: str
    dataset: str
    split: str
    file: str
    stem: str
    stamp: str
    start: int = 0
    stop: int | None = None
    first: int = 0

    @property
    def base(self) -> str:
        """Path of the outputs without their suffixes."""
        return join(self.out, self.dataset, self.split, self.stem)


@dataclass(frozen=True)
class Source:
    """A dataset directory as the jobs need to know it. `through`: "" or why it is read through TFDS."""

    directory: str
    dataset: str
    entry: dict[str, Any]
    verify: bool
    through: str


@lru_cache(maxsize=256)
def load_source(out: str, dataset: str) -> tuple[Source, entries.DatasetEntry]:
    """What the driver left for the workers."""
    source = Source(**read_json(join(out, WORK, f"{dataset}.json"), "a dataset of an INDEX in the making"))
    return source, entries.from_json(source.entry)


def list_jobs(out: str) -> Iterator[Job]:
    """The jobs that are to be done."""
    for row in read_json(join(out, WORK, JOBS), "the jobs of an INDEX in the making"):
        yield Job(out, *row)


def index_file(job: Job) -> Counts:
    """Indexes one source file: the body of the Beam graph."""
    source, entry = load_source(job.out, job.dataset)
    with Reporter(join(job.out, WORK, LIVE)) as live:
        with Writer(job) as out:
            for record in records(job, source, entry):
                if isinstance(record, Episode):
                    try:
                        out.episode(record, standardize(entry, record))
                    except Reject as error:
                        out.reject(BadRecord(record.where, error.reason, str(error)), error.filtered)
                elif isinstance(record, BadRecord):
                    unwanted = isinstance(record, vlm.Unwanted)
                    out.reject(record, unwanted)
                    live.add(rejected=0 if unwanted else record.records)
                else:
                    out.vlm(record)
                    live.add(bytes=len(record.data))
                live.add(records=1, bytes=max(record.where.length, 0))
        write_json(f"{job.base}.summary.json", out.summary())
        live.add(files=1)
    return live.total


def records(job: Job, source: Source, entry: entries.DatasetEntry) -> Iterator[Episode | vlm.VlmRecord | BadRecord]:
    """What a job reads."""
    if entry.kind == "robot":
        return open_directory(source.directory, source.through).read_file(job.file, source.verify)
    return vlm.read(vlm.SourceFile(entry, source.directory, job.split, job.file), (job.start, job.stop, job.first))


@lru_cache(maxsize=64)
def open_directory(directory: str, through: str) -> rlds.Directory:
    """A dataset's directory, read as the driver decided."""
    if not through:
        return rlds.open_raw(directory)
    from fasttok.episodes.tfds import open_through_tfds

    return open_through_tfds(directory, through)


class Writer:
    """A job's three Parquet files, its counts and the digest of what they hold."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._stack = ExitStack()
        self._rows: dict[str, list[dict[str, Any]]] = {"episodes": [], "rejected": []}
        self._pending: list[tuple[int, Standard]] = []
        self._waiting = 0
        self._sha = hashlib.sha256()
        self._schemas = {"episodes": EPISODES, "steps": STEPS, "rejected": REJECTED}
        self.read = self.indexed = self.steps = self.bytes = 0
        self.widths: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
        self.rejected: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def __enter__(self) -> "Writer":
        self._writers = {
            name: self._stack.enter_context(
                pq.ParquetWriter(
                    self._stack.enter_context(atomic_write(f"{self.job.base}.{name}.parquet")),
                    schema,
                    compression="zstd",
                )
            )
            for name, schema in self._schemas.items()
        }
        return self

    def __exit__(self, *error: Any) -> bool | None:
        if error[0] is not None:
            return self._stack.__exit__(*error)
        with self._stack:
            self._flush()
        return None

    def episode(self, record: Episode, standard: Standard) -> None:
        """Adds a robot episode."""
        length, action_dim = standard.action.shape
        images = sum(len(image) for images in standard.cameras.values() for image in images)
        row = self._row(record.where, length, standard.language, sorted(standard.cameras), images)
        proprio_dim = standard.proprio.shape[1]
        self._add("episodes", row | {"action_dim": action_dim, "proprio_dim": proprio_dim})
        for values in (standard.steps, standard.action, standard.proprio):
            self._sha.update(np.ascontiguousarray(values).tobytes())
        self.widths.add(standard.widths)
        self.left_out.update(standard.left_out)
        self.steps += length
        self._pending.append((record.where.number, standard))
        self._waiting += length
        if self._waiting >= ROWS:
            self._write_steps()

    def vlm(self, record: vlm.VlmRecord) -> None:
        """Adds a question or caption."""
        row = self._row(record.where, 1, record.prompt, ["primary"], len(record.data))
        more = {"id": record.id, "target": record.target, "answers": list(record.answers), "image": record.image.path}
        place = {"image_offset": record.image.offset, "image_length": record.image.length}
        self._add("episodes", row | more | place)
        inside = record.where.length > 0 and record.where.file.endswith("/" + record.image.path)
        self.bytes += 0 if inside else len(record.data)  # of an archive, the record's bytes are its image's too
        self.left_out.update(dict(record.left_out))
        self.steps += 1

    def reject(self, record: BadRecord, filtered: bool) -> None:
        """Adds a dead letter, or a record that the dataset's filters do not want."""
        where, counter = record.where, self.filtered if filtered else self.rejected
        counter[record.reason] += record.records
        self.read += record.records
        self.bytes += max(where.length, 0)
        row = {
            "file": where.file,
            "offset": where.offset,
            "length": where.length,
            "episode": where.number,
            "reason": record.reason,
            "detail": record.detail.encode(errors="backslashreplace").decode(),  # it may quote what is no text
            "records": record.records,
            "filtered": filtered,
        }
        self._append("rejected", row)
        self._digest(row | {"detail": ""})

    def summary(self) -> dict[str, Any]:
        """What the file came to."""
        return {
            "stamp": self.job.stamp,
            "read": self.read,
            "indexed": self.indexed,
            "filtered": dict(sorted(self.filtered.items())),
            "rejected": dict(sorted(self.rejected.items())),
            "steps": self.steps,
            "left_out": dict(sorted(self.left_out.items())),
            "bytes": self.bytes,
            "widths": sorted(self.widths),
            "digest": self._sha.hexdigest(),
        }

    def _row(self, where: Any, steps: int, language: str, cameras: list[str], images: int) -> dict[str, Any]:
        return {
            "dataset": self.job.dataset,
            "split": self.job.split,
            "file": where.file,
            "offset": where.offset,
            "length": where.length,
            "episode": where.number,
            "steps": steps,
            "language": language,
            "cameras": cameras,
            "action_dim": 0,
            "proprio_dim": 0,
            "image_bytes": images,
            "id": str(where.number),
            "target": "",
            "answers": [],
            "image": "",
            "image_offset": 0,
            "image_length": 0,
        }

    def _append(self, name: str, row: dict[str, Any]) -> None:
        self._rows[name].append(row)
        if len(self._rows[name]) >= GROUP:
            self._write(name)

    def _write(self, name: str) -> None:
        self._writers[name].write_table(pa.Table.from_pylist(self._rows[name], self._schemas[name]))
        self._rows[name].clear()

    def _add(self, name: str, row: dict[str, Any]) -> None:
        self._append(name, row)
        self.read += 1
        self.indexed += 1
        self.bytes += max(row["length"], 0)
        self._digest(row)

    def _digest(self, row: dict[str, Any]) -> None:
        """Content counts, and of a path only its last part: a moved dataset keeps its digest."""
        short = row | {"file": row["file"].rsplit("/", 1)[-1]}
        self._sha.update(json.dumps(short, sort_keys=True).encode())

    def _flush(self) -> None:
        for name, rows in self._rows.items():
            if rows:
                self._write(name)
        self._write_steps()

    def _write_steps(self) -> None:
        if self._pending:
            self._writers["steps"].write_table(_step_table(self._pending), row_group_size=1 << 20)
            self._pending, self._waiting = [], 0


def _step_table(pending: list[tuple[int, Standard]]) -> pa.Table:
    """Episodes' columns as rows of `STEPS`."""
    lengths = [len(standard.steps) for _, standard in pending]
    columns = {
        "episode": pa.array(np.repeat([number for number, _ in pending], lengths), pa.int64()),
        "step": pa.array(np.concatenate([standard.steps for _, standard in pending]), pa.int32()),
        "action": _lists([standard.action for _, standard in pending]),
        "proprio": _lists([standard.proprio for _, standard in pending]),
    }
    return pa.table(columns, STEPS)


def _lists(parts: list[NDArray[np.float32]]) -> pa.ListArray:
    """(n_i, D_i) matrices as one list column with a list a row."""
    widths = np.repeat([part.shape[1] for part in parts], [len(part) for part in parts])
    ends = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    flat = np.concatenate([part.ravel() for part in parts])
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat, pa.float32()))
