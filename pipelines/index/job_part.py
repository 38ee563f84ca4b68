"""Parts: one object per job of `index` with all that the job wrote, three Parquet tables and its summary.

A part is either whole or not there.

    8 bytes      length of the header
    header       JSON: {"summary": FileSummary, "tables": {name: length}}
    tables       one after the other, in the header's order

The name of a part contains the job's stamp, so a listing of names is enough to know which jobs are finished. `compact.py` joins
parts, and they are removed when the INDEX is finished.
"""

import json
import mmap
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from fasttok.common import json_files
from fasttok.episodes.index import open_table
from fasttok.errors import InputError
from pipelines.common.files import atomic_write, filesystem, is_local, join
from pipelines.common.live_counts import WORK
from pipelines.index.file_summary import FileSummary
from pipelines.index.job import IndexJob

FOLDER = "parts"  # in WORK
BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class JobPart:
    """What a job wrote.

    Attributes:
        summary: summary of the job.
        tables: name -> table.
        path: path or URL of the part.
    """

    summary: FileSummary
    tables: dict[str, pq.ParquetFile]
    path: str

    def groups(self, name: str) -> Iterator[pa.Table]:
        """Yields the row groups of a table.

        Raises:
            InputError: the part is damaged.
        """
        for group in range(self.tables[name].num_row_groups):
            with _reading(self.path):
                rows = self.tables[name].read_row_group(group)
            yield rows


def part_path(job: IndexJob) -> str:
    """Returns the path of a job's part."""
    return join(job.out, WORK, FOLDER, job.dataset, job.split, f"{job.stem}.{job.stamp}")


def finished(out: str) -> set[str]:
    """Lists the parts that exist, as paths relative to the INDEX's folder of parts."""
    fs, root = filesystem(join(out, WORK, FOLDER))
    fs.invalidate_cache()
    root = fs._strip_protocol(root).rstrip("/")
    return {path[len(root) + 1 :] for path in fs.find(root)}


def is_finished(job: IndexJob, present: set[str]) -> bool:
    """Returns whether a job's part is among those that `finished` found."""
    return f"{job.dataset}/{job.split}/{job.stem}.{job.stamp}" in present


def write_part(job: IndexJob, summary: FileSummary, tables: Mapping[str, IO[bytes]]) -> None:
    """Writes a part.

    Args:
        job: job that made the part.
        summary: summary of the job.
        tables: name -> whole Parquet file, positioned at its end.
    """
    header = {"summary": json_files.encode(summary), "tables": {name: table.tell() for name, table in tables.items()}}
    data = json.dumps(header).encode()
    with atomic_write(part_path(job)) as stream:
        stream.write(len(data).to_bytes(8, "little") + data)
        for table in tables.values():
            table.seek(0)
            shutil.copyfileobj(table, stream, BLOCK)


def read_part(job: IndexJob) -> JobPart:
    """Reads a part. A local part is mapped into memory and not copied.

    Raises:
        InputError: the part does not exist, or is damaged.
    """
    path = part_path(job)
    try:
        whole = _mapped(path)
    except FileNotFoundError:
        raise InputError(f"{job.file} was not indexed; run the same command again to finish") from None
    with _reading(path):
        at = 8 + int.from_bytes(whole[:8], "little")
        header = json.loads(bytes(whole[8:at]))
        tables = {}
        for name, length in header["tables"].items():
            tables[name] = open_table(pa.BufferReader(pa.py_buffer(whole[at : at + length])))
            at += length
        return JobPart(json_files.decode(FileSummary, header["summary"], path), tables, path)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Raises an error in plain words if the block reads a part that is damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        said = " ".join(str(error).split())  # some errors have several lines
        raise InputError(f"{path} is damaged ({said}); delete it, and run the same command again") from None


def _mapped(url: str) -> memoryview:
    """Returns all bytes of a part.

    A local file is mapped. A small file of a store is read by one request, a larger one is copied to a temporary file.
    """
    fs, path = filesystem(url)
    if is_local(fs):
        with Path(path).open("rb") as stream:
            if not Path(path).stat().st_size:
                return memoryview(b"")  # an empty file cannot be mapped
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    first = fs.cat_file(path, start=0, end=BLOCK)
    begins = 8 + int.from_bytes(first[:8], "little")
    size = begins + sum(json.loads(first[8:begins])["tables"].values())
    if size <= len(first):
        return memoryview(first)
    with tempfile.TemporaryFile() as copy:
        copy.write(first)
        for start in range(len(first), size, BLOCK):
            copy.write(fs.cat_file(path, start=start, end=min(start + BLOCK, size)))
        copy.flush()
        return memoryview(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ))
