"""INDEX/sources.arrow: the source files of an INDEX, with their stamps (`source_stamp.py`)."""

from dataclasses import dataclass

import pyarrow as pa

from fasttok.episodes.index_tables import SOURCES, SourceRow
from fasttok.errors import InputError
from pipelines.common.files import atomic_write, filesystem, join
from pipelines.common.source_stamp import SourceStamp

FILE = "sources.arrow"


@dataclass(frozen=True)
class StampedFile:
    """A file that an INDEX was made from.

    Attributes:
        dataset: name of the dataset.
        split: split of the dataset; "" for a file that describes all splits.
        file: path or URL.
        stamp: stamp of the file when it was indexed.
    """

    dataset: str
    split: str
    file: str
    stamp: SourceStamp


def write_table(index: str, files: list[StampedFile]) -> None:
    """Writes the table of an INDEX."""
    rows: list[SourceRow] = [
        {
            "dataset": one.dataset,
            "split": one.split,
            "file": one.file,
            "size": one.stamp.size,
            "version": one.stamp.version,
            "time": one.stamp.time,
            "contents": one.stamp.contents,
        }
        for one in files
    ]
    table = pa.Table.from_pylist(rows, SOURCES)
    with (
        atomic_write(join(index, FILE)) as stream,
        pa.ipc.new_file(stream, SOURCES, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer,
    ):
        writer.write_table(table)


def read_table(index: str) -> list[StampedFile] | None:
    """Reads the table of an INDEX; returns None if the INDEX has none, as in version 0.1.0.

    Raises:
        InputError: the table cannot be read.
    """
    fs, path = filesystem(join(index, FILE))
    try:
        rows: list[SourceRow] = pa.ipc.open_file(fs.cat_file(path)).read_all().select(SOURCES.names).to_pylist()
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{index}/{FILE} is damaged ({error}); run the index job again") from None
    return [
        StampedFile(
            row["dataset"],
            row["split"],
            row["file"],
            SourceStamp(row["size"], row["version"], row["time"], row["contents"]),
        )
        for row in rows
    ]
