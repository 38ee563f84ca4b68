"""Reads COCO instances as PaliGemma's detection text (`pipelines/vlm/boxes.py`). A record is an image with its boxes.

`detect: all` (the default) asks for all classes of an image at once. `detect: each` makes a record of every class; the k-th
record of image n has the number n * PARTS + k. Boxes keep the order of the file, classes the order of their first boxes.

These boxes are left out and counted: crowd boxes, which are not single objects; boxes outside the image; boxes without area;
boxes smaller than a location bin after clipping to the image; boxes whose values are not numbers; boxes of an unknown class.
Images without boxes, or only with crowd boxes, are filtered. Images with other boxes of which none is sound are rejected.

A process parses the file once for all of its jobs, and keeps 49 bytes per box.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fasttok.common.images import UndecodableError, opened, shown_size
from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import require
from pipelines.common.files import file_version
from pipelines.vlm import boxes, coco, json_stream
from pipelines.vlm.image_files import ImageFiles
from pipelines.vlm.record import (
    PARTS,
    ImagePlace,
    Range,
    RecordError,
    SourceFile,
    Unwanted,
    VlmRecord,
    id_of,
    rejected,
    shown,
)
from pipelines.vlm.values import JsonObject

IMAGES_PER_JOB = 10_000
CROWD = "crowd boxes"
MORE_CLASSES = f"boxes of more than {PARTS} classes in an image"


@dataclass(frozen=True, eq=False)
class Instances:
    """The boxes of a file, by image.

    Attributes:
        names: category id -> class name, if it has only one.
        images: (n,) int64 image ids, ascending; the other columns are in their order.
        categories: (n,) int64 category ids, -1 if none is given.
        crowd: (n,) bool, whether a box stands for several objects.
        corners: (n, 4) float64 x, y, width, height in pixels, NaN if the file has no numbers.
        unclear: ids that several different images have, as in files that were joined without new ids.
    """

    names: dict[int, str]
    images: NDArray[np.int64]
    categories: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    corners: NDArray[np.float64]
    unclear: frozenset[int]

    def of(self, image: int) -> slice:
        """Returns the rows of an image's boxes."""
        return slice(*(int(np.searchsorted(self.images, image, side)) for side in ("left", "right")))


def ranges(source: SourceFile) -> list[Range]:
    """Cuts the file into ranges of images.

    Raises:
        InputError: the file has no images, or is broken anywhere: images would lose boxes without a message.
    """
    return json_stream.cut(source.file, "images", IMAGES_PER_JOB, strict=True)


@lru_cache(maxsize=1)
def instances(file: str, _version: str) -> Instances:
    """Reads a file's boxes and classes."""
    classes: dict[int, set[str]] = {}
    images, categories, crowd, corners = array("q"), array("q"), array("b"), array("d")
    pictures = array("q")  # id and hash of each image's name
    for element in json_stream.walk(file):
        row = element.value
        if not isinstance(row, dict):
            continue
        number, name, image, category = (row.get(key) for key in ("id", "name", "image_id", "category_id"))
        if element.key == "categories" and coco.is_id(number) and boxes.is_name(name):
            classes.setdefault(number, set()).add(name.strip())
        elif element.key == "images" and coco.is_id(number):
            pictures.extend((number, hash(str(row.get("file_name")))))
        elif element.key == "annotations" and coco.is_id(image):
            images.append(image)
            categories.append(category if coco.is_id(category) else -1)
            crowd.append(bool(row.get("iscrowd")))
            corners.extend(_numbers(row.get("bbox")))
    ids, kinds = np.frombuffer(images, np.int64), np.frombuffer(categories, np.int64)
    crowds = np.frombuffer(crowd, np.bool_)
    places = np.frombuffer(corners, np.float64).reshape(-1, 4)
    order = np.argsort(ids, kind="stable")
    names = {number: own.pop() for number, own in classes.items() if len(own) == 1}
    different, counts = np.unique(np.unique(np.array(pictures).reshape(-1, 2), axis=0)[:, 0], return_counts=True)
    unclear = frozenset(different[counts > 1].tolist())
    return Instances(names, ids[order], kinds[order], crowds[order], places[order], unclear)


def _numbers(value: object) -> list[float]:
    """Returns the four numbers of a box, four NaN for any other value."""
    if isinstance(value, list) and len(value) == 4 and all(type(v) in (int, float) and abs(v) < 1e9 for v in value):
        return [float(v) for v in value]
    return [np.nan] * 4


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range of images."""
    found = instances(source.file, file_version(source.file))
    images = ImageFiles(source.directory, source.entry.images.format(split=source.split))
    for where, row in coco.objects(source, span):
        start = replace(where, number=where.number * PARTS)
        try:
            if isinstance(row, RecordError):
                raise row
            yield from _records(source.entry, found, images, start, row)
        except RecordError as error:
            yield rejected(start, error)


def _records(
    entry: DatasetEntry, found: Instances, images: ImageFiles, where: Where, row: JsonObject
) -> Iterator[VlmRecord | BadRecord]:
    number = row.get("id")
    if not coco.is_id(number):
        raise RecordError("json", f"the image's id is {shown(number)}, expected an integer")
    if number in found.unclear:
        raise RecordError("id", f"several different images have the id {number}")
    places, names, left_out = usable(found, number, row)
    if not names:
        detail = ", ".join(f"{n} {what}" for what, n in left_out.items()) or "none"
        if set(left_out) <= {CROWD}:
            yield Unwanted(where, "no boxes", detail)
            return
        raise RecordError("boxes", f"none is sound: {detail}")
    path, data = images.read(coco.file_name(row, number))
    _check_turn(data, row)
    place, name = ImagePlace(path, 0, len(data)), id_of(row, "id", where.number)
    classes = list(dict.fromkeys(names))
    if entry.detect == "each" and len(classes) > PARTS:
        left_out[MORE_CLASSES] = sum(other in classes[PARTS:] for other in names)
    if entry.detect == "all":
        text = boxes.to_text(places, names)
        yield VlmRecord(where, name, place, data, f"detect {' ; '.join(classes)}", text, (), tuple(left_out.items()))
        return
    for k, one in enumerate(classes[:PARTS]):
        chosen = [i for i, other in enumerate(names) if other == one]
        text = boxes.to_text(places[chosen], [one] * len(chosen))
        counts = tuple(left_out.items()) if k == 0 else ()
        at = replace(where, number=where.number + k)
        yield VlmRecord(at, f"{name}/{k}", place, data, f"detect {one}", text, (), counts)


def _check_turn(data: bytes, row: JsonObject) -> None:
    """Raises RecordError if the boxes are those of the same image on its side: phones store some pictures turned."""
    require("PIL.Image", "pipelines", "looking how images are turned")
    try:
        width, height = shown_size(opened(data))
    except UndecodableError as error:
        raise RecordError("image", str(error)) from None
    if width != height and (height, width) == (row.get("width"), row.get("height")):
        said = f"its boxes are those of {height} x {width}"
        raise RecordError("boxes", f"the image has {width} x {height} pixels, and {said}")


def usable(found: Instances, image: int, row: JsonObject) -> tuple[NDArray[np.float64], list[str], dict[str, int]]:
    """Finds an image's sound boxes.

    Returns:
        (n, 4) ymin, xmin, ymax, xmax in [0, 1], clipped to the image; their n names; what was left out -> how often.

    Raises:
        RecordError: the image's size is not known.
    """
    size = row.get("height"), row.get("width")
    if not all(isinstance(side, int | float) and not isinstance(side, bool) and side > 0 for side in size):
        raise RecordError("boxes", f"the image's height and width are {shown(size)}, expected pixels")
    rows = found.of(image)
    x, y, width, height = found.corners[rows].T
    places = np.stack([y / size[0], x / size[1], (y + height) / size[0], (x + width) / size[1]], 1)
    outside = (places[:, 2] <= 0) | (places[:, 3] <= 0) | (places[:, 0] >= 1) | (places[:, 1] >= 1)
    places = np.clip(places, 0, 1)
    known = np.array([int(c) in found.names for c in found.categories[rows]], bool)
    bad = np.isnan(places).any(1)
    small = ~boxes.is_box(boxes.to_bins(np.nan_to_num(places)))
    conditions = [found.crowd[rows], ~known, bad, (width <= 0) | (height <= 0), outside, small]
    words = [CROWD, "boxes of no known class", "boxes of no numbers", "boxes without area", "boxes outside the image",
             "boxes smaller than a bin"]  # fmt: skip
    why = np.select(conditions, np.arange(1, 7), 0)
    left_out = Counter(words[k - 1] for k in why.tolist() if k)
    names = [found.names[int(c)] for c in found.categories[rows][why == 0]]
    return places[why == 0], names, dict(left_out)
