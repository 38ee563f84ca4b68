"""Writes the records of one job as three Parquet tables, which become one object when they are whole (`job_part.py`).

Rows are written in groups as they are read, so memory depends on the largest record, not on the file.
"""

import hashlib
import json
from collections import Counter
from contextlib import ExitStack, suppress
from tempfile import SpooledTemporaryFile, gettempdir
from types import TracebackType

import google_crc32c
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.episodes import BadRecord, Episode, Where
from fasttok.episodes.index_tables import EPISODES, REJECTED, STEPS, EpisodeRow, RejectedRow, table_writer
from fasttok.errors import InputError
from pipelines.common.files import FULL
from pipelines.datasets.standardize import StandardEpisode
from pipelines.index.file_summary import FileSummary, RecordCounts, Widths
from pipelines.index.job import IndexJob
from pipelines.index.job_part import write_part
from pipelines.vlm import VlmRecord

WAITING_STEPS = 1 << 14  # steps that are collected before they are written
SPOOLED = 1 << 24  # bytes of a table that stay in memory; a larger table goes to a temporary file
ROWS_PER_GROUP = 1 << 10  # of episodes or rejects: to get a single episode, a reader reads one group


class IndexWriter:
    """Writes a job's three Parquet tables, and keeps its counts and the digest of what the tables contain."""

    def __init__(self, job: IndexJob) -> None:
        self.job = job
        self._stack = ExitStack()
        self._rows: dict[str, list[EpisodeRow | RejectedRow]] = {"episodes": [], "rejected": []}
        self._pending: list[tuple[int, StandardEpisode]] = []
        self._waiting = 0
        self._sha = hashlib.sha256()
        self._schemas = {"episodes": EPISODES, "steps": STEPS, "rejected": REJECTED}
        self.read = self.indexed = self.steps = self.bytes = 0
        self.widths: set[Widths] = set()
        self.rejected: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def __enter__(self) -> "IndexWriter":
        self._tables = {}
        for name in self._schemas:
            self._tables[name] = self._stack.enter_context(SpooledTemporaryFile(SPOOLED))
        self._writers = {
            name: self._stack.enter_context(table_writer(self._tables[name], schema))
            for name, schema in self._schemas.items()
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # closing fails on a full disk, too; the first error is raised anyway
            self._stack.close()
        if isinstance(error, OSError) and error.errno in FULL:
            raise InputError(
                f"{gettempdir()} (the folder for temporary files): {error.strerror}; make room, or set TMPDIR to another folder, "
                "then run the same command again"
            ) from None

    def save(self, contents: str, others: tuple[str, ...]) -> None:
        """Writes the job's part. `contents` and `others`: see `FileSummary`."""
        self._flush()
        for writer in self._writers.values():
            writer.close()
        write_part(self.job, self._summary(contents, others), self._tables)

    def episode(self, record: Episode, standard: StandardEpisode) -> None:
        """Adds a robot episode."""
        length, action_dim = standard.action.shape
        row = self._row(record.where, length, standard.language)
        row["cameras"] = sorted(standard.cameras)
        row["image_bytes"] = sum(frames.size() for frames in standard.cameras.values())
        row["action_dim"], row["proprio_dim"] = action_dim, standard.proprio.shape[1]
        self._add(row)
        for values in (standard.steps, standard.action, standard.proprio):
            self._sha.update(np.ascontiguousarray(values).tobytes())
        self.widths.add(standard.widths)
        self.left_out.update(standard.left_out)
        self.steps += length
        self._pending.append((record.where.number, standard))
        self._waiting += length
        if self._waiting >= WAITING_STEPS:
            self._write_steps()

    def question(self, record: VlmRecord) -> None:
        """Adds a question or caption."""
        row = self._row(record.where, 1, record.prompt)
        row["cameras"], row["image_bytes"] = ["primary"], len(record.data)
        row["checksum"] = google_crc32c.value(record.data)
        row["id"], row["target"], row["answers"] = record.id, record.target, list(record.answers)
        place = record.image
        row["image"], row["image_offset"], row["image_length"] = place.path, place.offset, place.length
        self._add(row)
        inside = record.where.length > 0 and record.where.file.endswith("/" + record.image.path)
        self.bytes += 0 if inside else len(record.data)  # in an archive, the bytes of the record include its image
        self.left_out.update(dict(record.left_out))
        self.steps += 1

    def reject(self, record: BadRecord, filtered: bool) -> None:
        """Adds a dead letter, or a record that the dataset's filters do not want."""
        where, counter = record.where, self.filtered if filtered else self.rejected
        counter[record.reason] += record.records
        self.read += record.records
        self.bytes += max(where.length, 0)
        row: RejectedRow = {
            "file": where.file,
            "offset": where.offset,
            "length": where.length,
            "episode": where.number,
            "reason": record.reason,
            "detail": record.detail.encode(errors="backslashreplace").decode(),  # it may quote bytes that are no text
            "records": record.records,
            "filtered": filtered,
        }
        self._append("rejected", row)
        self._digest({**row, "detail": ""})

    def _summary(self, contents: str, others: tuple[str, ...]) -> FileSummary:
        counts = RecordCounts(
            read=self.read,
            indexed=self.indexed,
            filtered=dict(sorted(self.filtered.items())),
            rejected=dict(sorted(self.rejected.items())),
            steps=self.steps,
            left_out=dict(sorted(self.left_out.items())),
            bytes=self.bytes,
            widths=tuple(sorted(self.widths)),
        )
        return FileSummary(counts, self._sha.hexdigest(), contents, others)

    def _row(self, where: Where, steps: int, language: str) -> EpisodeRow:
        """Returns the row of a record, still without actions, cameras, target, answers and image."""
        return {
            "dataset": self.job.dataset,
            "split": self.job.split,
            "file": where.file,
            "offset": where.offset,
            "length": where.length,
            "checksum": where.checksum,
            "episode": where.number,
            "steps": steps,
            "language": language,
            "cameras": [],
            "action_dim": 0,
            "proprio_dim": 0,
            "image_bytes": 0,
            "id": str(where.number),
            "target": "",
            "answers": [],
            "image": "",
            "image_offset": 0,
            "image_length": 0,
        }

    def _append(self, name: str, row: EpisodeRow | RejectedRow) -> None:
        self._rows[name].append(row)
        if len(self._rows[name]) >= ROWS_PER_GROUP:
            self._write(name)

    def _write(self, name: str) -> None:
        self._writers[name].write_table(pa.Table.from_pylist(self._rows[name], self._schemas[name]))
        self._rows[name].clear()

    def _add(self, row: EpisodeRow) -> None:
        self._append("episodes", row)
        self.read += 1
        self.indexed += 1
        self.bytes += max(row["length"], 0)
        self._digest(row)

    def _digest(self, row: EpisodeRow | RejectedRow) -> None:
        """Adds a row to the digest, with only the file name of its path, so that a moved dataset keeps its digest."""
        short = {key: value for key, value in row.items() if key != "checksum"}  # as in 0.1.0: it adds nothing
        short["file"] = row["file"].rsplit("/", 1)[-1]
        self._sha.update(json.dumps(short, sort_keys=True).encode())

    def _flush(self) -> None:
        for name, rows in self._rows.items():
            if rows:
                self._write(name)
        self._write_steps()

    def _write_steps(self) -> None:
        if self._pending:
            self._writers["steps"].write_table(step_table(self._pending), row_group_size=1 << 20)
            self._pending, self._waiting = [], 0


def step_table(pending: list[tuple[int, StandardEpisode]]) -> pa.Table:
    """Returns the steps of (number, episode) pairs as a table of `STEPS`."""
    lengths = [len(standard.steps) for _, standard in pending]
    columns = {
        "episode": pa.array(np.repeat([number for number, _ in pending], lengths), pa.int64()),
        "step": pa.array(np.concatenate([standard.steps for _, standard in pending]), pa.int32()),
        "action": _lists([standard.action for _, standard in pending]),
        "proprio": _lists([standard.proprio for _, standard in pending]),
    }
    return pa.table(columns, STEPS)


def _lists(matrices: list[NDArray[np.float32]]) -> pa.ListArray:
    """Returns (n_i, D_i) matrices as one list column, with one list per row of a matrix."""
    widths = np.repeat([matrix.shape[1] for matrix in matrices], [len(matrix) for matrix in matrices])
    ends = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    flat = np.concatenate([matrix.ravel() for matrix in matrices])
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(flat, pa.float32()))
