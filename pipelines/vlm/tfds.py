"""Reads TFDS directories with an image and texts in each example, without TensorFlow (`fasttok/episodes/rlds.py`).

Keys of the entry are flat feature names, such as `objects/name`. A list of texts is a list of answers, and the most common one
is the target. Directories that the raw reader does not support (array_record files, features of other classes) are refused.
"""

from collections.abc import Iterator

import numpy as np

from fasttok.episodes import BadRecord, Where, tfrecord
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.episodes.decode import MismatchError, decode
from fasttok.episodes.features import Feature
from fasttok.errors import InputError, unknown_name
from pipelines.recordings.rlds import open_raw, ranges_of
from pipelines.vlm.confined_folder import ConfinedFolder
from pipelines.vlm.image_files import ReadImage, check_image
from pipelines.vlm.record import ImagePlace, Range, RecordError, SourceFile, VlmRecord, id_of, rejected, texts
from pipelines.vlm.values import FieldValue


def ranges(source: SourceFile) -> list[Range]:
    """Cuts a large file into ranges: (first byte, number after the last record, number of the first). A small one is one range.

    Raises:
        InputError: a key of the entry names no feature, or a feature of the wrong kind.
    """
    check_features(source.entry, open_raw(source.directory).features)
    return [(one.offset, one.stop, one.number) for one in ranges_of(source.file)]


def check_features(entry: DatasetEntry, features: dict[str, Feature]) -> None:
    """Compares the entry's keys with the features.

    Raises:
        InputError: a feature is missing or of the wrong kind.
    """
    for key, name in (
        ("image", entry.image),
        ("prompt", entry.prompt),
        ("target", entry.target),
        ("answers", entry.answers),
    ):
        if not name:
            continue
        if name not in features:
            raise unknown_name("feature", name, features, f"The entry of {entry.name} names it as {key!r}.")
        feature = features[name]
        fits = feature.kind == "image" and not feature.lengths if key == "image" else feature.dtype == "bytes"
        if not fits or len(feature.lengths) > 1 or (key == "prompt" and feature.lengths):
            expected = "one image" if key == "image" else "a text" + (" or a list of texts" if key != "prompt" else "")
            raise InputError(
                f"the entry of {entry.name} names the feature {name!r} as {key!r}, which is not {expected}"
            )


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range."""
    offset, stop, number = span
    directory = open_raw(source.directory)
    path = ConfinedFolder(source.directory).relative(source.file)
    for found in directory.read_examples(
        source.file, most=source.entry.max_record, part=tfrecord.RecordRange(offset, number, stop)
    ):
        if isinstance(found, BadRecord):
            yield found
            continue
        where, values = found
        try:
            yield _record(source.entry, path, where, values)
        except RecordError as error:
            yield rejected(where, error)


def _record(entry: DatasetEntry, path: str, where: Where, values: dict[str, FieldValue]) -> VlmRecord:
    image = values[entry.image]
    data = check_image(image if isinstance(image, bytes) else b"", entry.image)
    found = texts(entry, values)
    number = values.get(entry.id)
    name = id_of({"id": number.item() if isinstance(number, np.generic) else number}, "id", where.number)
    return VlmRecord(where, name, ImagePlace(path, where.offset, where.length), data, *found)


def open_images(entry: DatasetEntry, directory: str) -> ReadImage:
    """Returns a function (path, offset, length) -> (encoded bytes, "") or (b"", what is wrong), for records of TFRecord files."""
    files, features = ConfinedFolder(directory), {entry.image: open_raw(directory).features[entry.image]}
    root = directory.rstrip("/")

    def read(path: str, offset: int, length: int) -> tuple[bytes, str]:
        try:
            files.find(path)
            record = tfrecord.read_record(f"{root}/{path}", offset, length, most=entry.max_record)
            if isinstance(record, BadRecord):
                return b"", f"{record.reason}: {record.detail}"
            return check_image(decode(record, features)[entry.image], entry.image), ""
        except (RecordError, MismatchError) as error:
            return b"", str(error)

    return read
