"""Reads JSON lines, or one JSON array of objects, and a folder of images. A range of records is read without the others."""

import json
import re
from collections.abc import Iterator
from functools import partial

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer
from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.vlm import json_stream
from pipelines.vlm.image_files import ImageFiles
from pipelines.vlm.json_stream import BrokenJsonError, JsonScanner
from pipelines.vlm.record import (
    MAX_TEXT,
    ImagePlace,
    Range,
    RecordError,
    SourceFile,
    VlmRecord,
    id_of,
    rejected,
    shown,
    texts,
    topic_of,
)
from pipelines.vlm.values import JsonObject

PER_JOB = 10_000  # records
ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*[{\]]")  # how an array of objects begins, or an empty one
BLOCK = 1 << 22


def ranges(source: SourceFile) -> list[Range]:
    """Cuts the file into ranges of lines, or of elements of its array.

    Raises:
        InputError: the array is empty, or broken before its first object; for lines, as `refuse_values_over_lines`.
    """
    if is_array(source.file):
        return json_stream.cut(source.file, "", PER_JOB)
    refuse_values_over_lines(source.file)
    return line_ranges(source.file)


def is_array(file: str) -> bool:
    """Whether a file is one JSON array of objects, and not JSON lines."""
    with stores.open_file(file) as stream:
        return ARRAY.match(stream.read(1 << 16)) is not None


def refuse_values_over_lines(file: str) -> None:
    """Refuses a file whose first object or array has several lines: each of its lines would be a dead letter.

    Raises:
        InputError: it has.
    """
    with stores.open_file(file) as stream:
        first = next((line for line in iter(partial(stream.readline, MAX_TEXT), b"") if line.strip()), b"")
        if not first.endswith(b"\n") or is_object(first):
            return
        scanner = JsonScanner(stream)
        scanner.skip_bom()
        opens = scanner.peek()
        try:
            start, length, _, _ = scanner.value()
        except BrokenJsonError:
            return
        stream.seek(start)
        several = b"\n" in stream.read(min(length, MAX_TEXT))
    if several:
        what, way = "an array", "jq -c '.[]'"
        if opens == "{":
            what, way = "an object", "jq -c . (or jq -c '.KEY[]', if the records are a list under KEY)"
        raise InputError(
            f"{file}: expected JSON lines, one object per line, got {what} over several lines; write a line per record, "
            f"for example with {way}"
        )


def line_ranges(file: str, lines: int = PER_JOB) -> list[Range]:
    """Cuts a JSONL file into ranges of `lines` lines: (first byte, byte past the last, number of the first line)."""
    ranges: list[Range] = []
    start = first = seen = at = 0
    with stores.open_file(file) as stream:
        while block := stream.read(BLOCK):
            refuse_pointer(block, file)
            place = -1
            while (place := block.find(b"\n", place + 1)) >= 0:
                seen += 1
                if seen - first == lines:
                    ranges.append((start, at + place + 1, first))
                    start, first = at + place + 1, seen
            at += len(block)
    if at > start or not ranges:
        ranges.append((start, at, first))
    return ranges


def lines(file: str, span: Range) -> Iterator[tuple[Where, bytes] | BadRecord]:
    """Yields the lines between two bytes, in order. `where.number` is the number of the line; blank lines are skipped."""
    offset, stop, number = span
    with stores.open_file(file) as stream:
        stream.seek(offset)
        while (stop is None or offset < stop) and (line := stream.readline(MAX_TEXT + 1)):
            length = len(line)
            while len(line) > MAX_TEXT and not line.endswith(b"\n") and (more := stream.readline(MAX_TEXT)):
                length += len(more)
                if more.endswith(b"\n"):
                    break
            where = Where(file, offset, length, number)
            offset, number = offset + length, number + 1
            if length > MAX_TEXT + 1:
                yield BadRecord(where, "json", f"a line of {length} bytes, more than {MAX_TEXT}")
            elif line.strip():
                yield where, line


def parse(line: bytes) -> JsonObject:
    """Returns the JSON object of a line.

    Raises:
        RecordError: the line is not a JSON object.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError("json", str(error)) from None
    if not isinstance(data, dict):
        raise RecordError("json", f"a {type(data).__name__}, expected an object")
    return data


def is_object(line: bytes) -> bool:
    """Whether a line is a JSON object."""
    try:
        parse(line)
    except RecordError:
        return False
    return True


def rows(file: str, span: Range) -> Iterator[tuple[Where, JsonObject | RecordError]]:
    """Yields the objects of a range of JSON lines or of a JSON array, or what is wrong in their place."""
    start, stop, first = span
    if not is_array(file):
        for found in lines(file, span):
            if isinstance(found, BadRecord):
                yield found.where, RecordError(found.reason, found.detail)
                continue
            try:
                yield found[0], parse(found[1])
            except RecordError as error:
                yield found[0], error
        return
    number, place = first - 1, start
    try:
        for element in json_stream.elements(file, start, stop, first):
            number, place = element.where.number, element.where.offset
            yield element.where, element.object()
    except BrokenJsonError as error:
        yield Where(file, max(error.place, place), 0, number + 1), RecordError("json", str(error))


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range of lines, or of an array."""
    images = ImageFiles(source.directory, source.entry.images.format(split=source.split))
    for where, row in rows(source.file, span):
        yield rejected(where, row) if isinstance(row, RecordError) else _record(source.entry, images, where, row)


def _record(entry: DatasetEntry, images: ImageFiles, where: Where, row: JsonObject) -> VlmRecord | BadRecord:
    try:
        path, data = images.read(image_name(row, entry.image))
        name, place = id_of(row, entry.id, where.number), ImagePlace(path, 0, len(data))
        return VlmRecord(where, name, place, data, *texts(entry, row), topic=topic_of(row.get("kind")))
    except RecordError as error:
        return rejected(where, error)


def image_name(row: JsonObject, key: str) -> str:
    """Returns the name of a record's image; a list of one name is that name.

    Raises:
        RecordError: it has none, or several.
    """
    name = row.get(key)
    if isinstance(name, list):
        if len(name) != 1:
            raise RecordError("image", f"{len(name)} images, a row has one")
        name = name[0]
    if not isinstance(name, str) or not name.strip():
        raise RecordError("image", f"key {key!r} is {shown(name)}, expected an image's name")
    return name
