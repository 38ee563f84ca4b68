"""Reads COCO captions: an annotations file and a folder of images. Each element of "annotations" is a record.

A process reads the file once for all of its jobs, to learn where the "images" are (24 bytes of memory each).
"""

from collections.abc import Iterator

from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from pipelines.common.files import file_version
from pipelines.vlm import coco, json_stream
from pipelines.vlm.image_files import ImageFiles
from pipelines.vlm.object_table import ObjectTable
from pipelines.vlm.record import ImagePlace, Range, RecordError, SourceFile, VlmRecord, id_of, rejected, text_of
from pipelines.vlm.values import JsonObject

CAPTIONS_PER_JOB = 50_000


def ranges(source: SourceFile) -> list[Range]:
    """Cuts the file into ranges of captions."""
    return json_stream.cut(source.file, "annotations", CAPTIONS_PER_JOB)


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range of captions."""
    table = coco.image_table(source.file, file_version(source.file))
    images = ImageFiles(source.directory, source.entry.images.format(split=source.split))
    for where, row in coco.objects(source, span):
        yield rejected(where, row) if isinstance(row, RecordError) else _record(source.entry, table, images, where, row)


def _record(
    entry: DatasetEntry, table: ObjectTable, images: ImageFiles, where: Where, row: JsonObject
) -> VlmRecord | BadRecord:
    try:
        target = text_of(row.get("caption"), "caption")
        number = row.get("image_id")
        path, data = images.read(coco.file_name(table.find(number, ("file_name",)), number))
    except RecordError as error:
        return rejected(where, error)
    place = ImagePlace(path, 0, len(data))
    return VlmRecord(where, id_of(row, "id", where.number), place, data, entry.fixed_prompt, target)
