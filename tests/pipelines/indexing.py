"""Helpers for tests of stage 1: damage a record, and ask an INDEX whether its counts add up."""

import struct
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fasttok.episodes.index_file import IndexFile
from fasttok.episodes.tfrecord import HEADER, masked_crc

PLANAR = "tabletop_planar/1.0.0"


def rewrite(file: Path, change: Any) -> None:
    """Rewrites the first record of a TFRecord file with valid checksums; `change` gets a tf.train.Example."""
    import tensorflow as tf

    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    example = tf.train.Example.FromString(data[HEADER : HEADER + length])
    change(example.features.feature)
    body = example.SerializeToString()
    head = struct.pack("<Q", len(body))
    record = head + struct.pack("<I", masked_crc(head)) + body + struct.pack("<I", masked_crc(body))
    file.write_bytes(record + data[HEADER + length + 4 :])


def first_file(data: Path) -> Path:
    return sorted((data / PLANAR).glob("*train*tfrecord*"))[0]


def rejected(index: Path) -> list[dict[str, Any]]:
    return [row for file in sorted(index.glob("*/*/*.rejected.parquet")) for row in pq.read_table(file).to_pylist()]


def balanced(result: IndexFile) -> None:
    for dataset in result.datasets.values():
        for counts in dataset.splits.values():
            assert counts.read == counts.indexed + sum(counts.filtered.values()) + sum(counts.rejected.values())
