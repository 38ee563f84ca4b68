"""Defines the Parquet tables of an INDEX: episodes (or questions, captions), their steps, dead letters, and all source files."""

from typing import IO, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

EPISODES = pa.schema(
    [
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("checksum", pa.int64()),
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
SOURCES = pa.schema(
    [
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("file", pa.string()),
        ("size", pa.int64()),
        ("version", pa.string()),
        ("time", pa.string()),
        ("contents", pa.string()),
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


def table_writer(stream: IO[bytes], schema: pa.Schema) -> pq.ParquetWriter:
    """Returns a writer of a table. Each page has a checksum, because a flipped bit in a number would only be another number."""
    return pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True)


class EpisodeRow(TypedDict):
    """A row of `EPISODES`: a robot episode, a question or a caption.

    Attributes:
        dataset: name of the dataset.
        split: split of the dataset.
        file: path or URL of the source file.
        offset: number of bytes before the source record, or its row.
        length: bytes of the source record; -1 if not known.
        checksum: checksum of the source record in its TFRecord file, or crc32c of the encoded image; -1 if not known.
        episode: number of the record in its file.
        steps: number of steps of a robot episode; 1 for other records.
        language: instruction, question, or the prompt of a caption.
        cameras: slots that have images, sorted.
        action_dim: number of columns of the action; 0 if there is none.
        proprio_dim: number of columns of the proprio; 0 if there is none.
        image_bytes: bytes of all its encoded images.
        id: the record's own id, or its number.
        target: answer or caption; "" for robot episodes.
        answers: all answers that people gave, if several are known.
        image: path of the image, relative to the dataset's directory; "" for robot episodes.
        image_offset: offset of the image in that file, in bytes.
        image_length: bytes of the image.
    """

    dataset: str
    split: str
    file: str
    offset: int
    length: int
    checksum: int
    episode: int
    steps: int
    language: str
    cameras: list[str]
    action_dim: int
    proprio_dim: int
    image_bytes: int
    id: str
    target: str
    answers: list[str]
    image: str
    image_offset: int
    image_length: int


class SourceRow(TypedDict):
    """A row of `SOURCES`: a file that an INDEX was made from.

    Attributes:
        dataset: name of the dataset.
        split: split of the dataset; "" for a file that describes all splits, such as features.json.
        file: path or URL.
        size: size in bytes.
        version: "KEY=VALUE", such as a checksum, an ETag or a generation; "" if the store has none.
        time: when the file was changed, as its store writes it.
        contents: how the file's contents were read, and their digest; "" if they were not read.
    """

    dataset: str
    split: str
    file: str
    size: int
    version: str
    time: str
    contents: str


class RejectedRow(TypedDict):
    """A row of `REJECTED`: a record that was left out.

    Attributes:
        file: path or URL of the source file.
        offset: number of bytes before the source record, or its row.
        length: bytes of the source record; -1 if not known.
        episode: number of the record in its file.
        reason: a short phrase for counting.
        detail: what was found.
        records: number of records that the row stands for.
        filtered: whether the entry's filters do not want the record, which is sound then.
    """

    file: str
    offset: int
    length: int
    episode: int
    reason: str
    detail: str
    records: int
    filtered: bool
