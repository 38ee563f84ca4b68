"""Array_record files out of TFRecord files: the container that the raw reader leaves to TFDS."""

from pathlib import Path

import pytest

from fasttok.episodes import BadRecord, rlds
from fasttok.episodes.tfrecord import read_records


def to_array_record(folder: Path) -> None:
    """Turns a directory's TFRecord files into array_record files, which the raw reader does not cover."""
    pytest.importorskip("array_record", reason="needs the package array_record to write such files")
    from array_record.python.array_record_module import ArrayRecordWriter

    for file in rlds.open_raw(str(folder)).declared:
        writer = ArrayRecordWriter(file.replace("tfrecord", "array_record"), "group_size:1")
        for record in read_records(file):
            assert not isinstance(record, BadRecord)
            writer.write(record[1])
        writer.close()
        Path(file).unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"tfrecord"', '"array_record"'))
