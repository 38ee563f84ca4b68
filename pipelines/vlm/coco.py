"""Helpers for the readers of COCO's annotation files: they find "images" by their id, and read a range of an array."""

from collections.abc import Iterator
from functools import lru_cache
from typing import TypeGuard

from fasttok.episodes import Where
from pipelines.vlm.json_stream import BrokenJsonError, elements, walk
from pipelines.vlm.object_table import ObjectTable, object_table
from pipelines.vlm.record import Range, RecordError, SourceFile, shown
from pipelines.vlm.values import JsonObject


@lru_cache(maxsize=2)
def image_table(file: str, _version: str) -> ObjectTable:
    """Returns a table of the "images" of a file, by their id."""
    rows = []
    try:
        for element in walk(file):
            number = element.value.get("id") if isinstance(element.value, dict) else None
            if element.key == "images" and is_id(number):
                rows.append((number, element.where.offset, element.where.length))
    except BrokenJsonError:  # images after the fault are missing, and their records are rejected one by one
        pass
    return object_table(file, rows)


def is_id(value: object) -> TypeGuard[int]:
    """Whether a value can be an id: an integer of 64 bits."""
    return type(value) is int and -(2**63) <= value < 2**63


def file_name(image: JsonObject | None, number: object) -> str:
    """Returns the name of an image's file.

    Raises:
        RecordError: the id is not an integer, there is no such image, or it has no file name.
    """
    if not is_id(number):
        raise RecordError("image", f"image_id is {shown(number)}, expected an integer")
    name = (image or {}).get("file_name")
    if not isinstance(name, str) or not name:
        raise RecordError("image", f"image {shown(number)} is not in 'images', or has no file_name")
    return name


def objects(source: SourceFile, span: Range) -> Iterator[tuple[Where, JsonObject | RecordError]]:
    """Yields the objects of a range of an array, each with its place."""
    where = Where(source.file, span[0], 0, span[2] - 1)
    try:
        for element in elements(source.file, *span):
            where = element.where
            yield where, element.object()
    except BrokenJsonError as error:
        yield Where(source.file, error.place, 0, where.number + 1), RecordError("json", str(error))
