"""What the readers of COCO's annotation files share: "images" found by their id, and objects of a range of an array."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeGuard

from fasttok.episodes import Where
from pipelines.vlm.folder import shown
from pipelines.vlm.json_stream import Broken, Table, elements, table, walk
from pipelines.vlm.record import Range, SourceFile, Wrong


@lru_cache(maxsize=2)
def image_table(file: str, _version: str) -> Table:
    """The "images" of a file by their id."""
    rows = []
    try:
        for element in walk(file):
            if element.key == "images" and isinstance(element.value, dict) and is_id(element.value.get("id")):
                rows.append((element.value["id"], element.where.offset, element.where.length))
    except Broken:  # images that it hides are missed one by one
        pass
    return table(file, rows)


def is_id(value: Any) -> TypeGuard[int]:
    """Whether a value can be an id: an integer of 64 bits."""
    return type(value) is int and -(2**63) <= value < 2**63


def file_name(image: dict[str, Any] | None, number: Any) -> str:
    """The name of an image's file.

    Raises:
        Wrong: no such image, or it has none.
    """
    name = (image or {}).get("file_name")
    if not isinstance(name, str) or not name:
        raise Wrong("image", f"image {shown(number)} is not in 'images', or has no file_name")
    return name


def objects(source: SourceFile, part: Range) -> Iterator[tuple[Where, dict[str, Any] | Wrong]]:
    """The objects of a range of an array."""
    where = Where(source.file, part[0], 0, part[2] - 1)
    try:
        for element in elements(source.file, *part):
            where = element.where
            problem = element.problem or ("" if isinstance(element.value, dict) else "not an object")
            yield where, Wrong("json", problem) if problem else element.value
    except Broken as error:
        yield Where(source.file, error.place, 0, where.number + 1), Wrong("json", str(error))
