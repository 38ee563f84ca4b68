"""Readers of questions, captions and boxes about images, one file per format (docs/vlm.md).

Image bytes are passed on unchanged. Names come from files that other people wrote, so every name is checked before it is
opened. A record with a fault becomes a dead letter with a reason.
"""

from collections.abc import Iterator
from typing import Protocol

from fasttok.episodes import BadRecord
from fasttok.episodes.dataset_entry import DatasetEntry, VlmFormat
from fasttok.errors import unknown_name
from pipelines.vlm import coco_boxes, coco_captions, image_files, jsonl, llava, parquet, tfds, vqav2, webdataset
from pipelines.vlm.image_files import ReadImage
from pipelines.vlm.record import ImagePlace, Range, SourceFile, Unwanted, VlmRecord

__all__ = ["ImagePlace", "Range", "ReadImage", "SourceFile", "Unwanted", "VlmRecord", "open_images", "ranges", "read"]


class FormatReader(Protocol):
    """What the module of a format contains."""

    def ranges(self, source: SourceFile, /) -> list[Range]:
        """Cuts a file into jobs."""

    def read(self, source: SourceFile, span: Range, /) -> Iterator[VlmRecord | BadRecord]:
        """Yields the records of a job."""


class ImageReader(Protocol):
    """What a module contains that knows how images are stored."""

    def open_images(self, entry: DatasetEntry, directory: str, /) -> ReadImage:
        """Returns a function that reads an image at its place."""


READERS: dict[VlmFormat, FormatReader] = {
    "jsonl": jsonl,
    "llava": llava,
    "coco_captions": coco_captions,
    "coco_boxes": coco_boxes,
    "vqav2": vqav2,
    "parquet": parquet,
    "webdataset": webdataset,
    "tfds": tfds,
}
IN_ARCHIVES: dict[str, ImageReader] = {"parquet": parquet, "webdataset": webdataset, "tfds": tfds}


def reader(entry: DatasetEntry) -> FormatReader:
    """Returns the module of an entry's format.

    Raises:
        InputError: there is no such format.
    """
    if entry.format not in READERS:
        raise unknown_name("format", entry.format, READERS)
    return READERS[entry.format]


def ranges(source: SourceFile) -> list[Range]:
    """Cuts a source file into jobs: (start, stop, number of the first record), in bytes or row groups, as its reader takes them.

    Raises:
        InputError: the file is not of the entry's format.
    """
    return reader(source.entry).ranges(source)


def read(source: SourceFile, span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a range, in order: BadRecord for one that cannot be used, Unwanted for one that is not wanted."""
    yield from reader(source.entry).read(source, span)


def open_images(entry: DatasetEntry, directory: str) -> ReadImage:
    """Returns a function (path, offset, length) -> (encoded bytes, "") or (b"", what is wrong), for places of an INDEX.

    The function checks again that the path stays inside the directory, and that the image is sound and as long as it was.
    """
    images: ImageReader = image_files
    return IN_ARCHIVES.get(entry.format, images).open_images(entry, directory)
