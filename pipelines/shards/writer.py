"""Names and writes shards, and exports the classes that read them. It needs neither TensorFlow nor Beam.

SHARDS is a folder of Arrow IPC files with a manifest; see docs/design.md. The bytes of a shard depend only on its rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipelines.common.files import HashingWriter, atomic_write
from pipelines.shards.batch import Batch, ReadState
from pipelines.shards.manifest import Manifest, Shard
from pipelines.shards.reader import ShardReader
from pipelines.shards.records import SCHEMA
from pipelines.shards.schedule import Phase

__all__ = ["Batch", "Manifest", "Phase", "ReadState", "Shard", "ShardReader", "Written", "shard_name", "write_shard"]


def shard_name(number: int, total: int) -> str:
    """Returns the file name of a shard.

    >>> shard_name(3, 8)
    'shard-00003-of-00008.arrow'
    """
    return f"shard-{number:05d}-of-{total:05d}.arrow"


@dataclass(frozen=True)
class Written:
    """Number of rows, bytes and sha256 (hex) of the file that `write_shard` wrote."""

    rows: int
    bytes: int
    sha256: str


def write_shard(url: str, batches: Iterable[pa.RecordBatch]) -> Written:
    """Writes batches of `pipelines.shards.records.SCHEMA` as one Arrow IPC file; the name appears when the file is complete.

    Args:
        url: path of the file, or any fsspec URL.
        batches: record batches of 256 rows each, except the last; readers compute the places of rows from that.

    Returns:
        Rows, bytes and sha256, computed while writing.
    """
    count = 0
    with atomic_write(url) as stream:
        hashing = HashingWriter(stream)
        with pa.PythonFile(hashing, mode="w") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in batches:
                writer.write_batch(batch)
                count += batch.num_rows
    return Written(count, hashing.size, hashing.hexdigest())
