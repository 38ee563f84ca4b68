"""VQA and caption sources: JSON lines beside a folder of images, one record a line.

Image paths come from files other people wrote: absolute paths, `..` and links that lead out of the folder are rejected.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import fsspec

from fasttok.episodes import BadRecord, Where
from pipelines.entries import DatasetEntry
from pipelines.images import check_header

MAX_LINE = 1 << 20
LINES_PER_JOB = 10_000
BLOCK = 1 << 22
Range = tuple[int, int | None, int]


@dataclass(frozen=True)
class VlmRecord:
    """One question or caption. `image` is the path below the images folder, `data` the encoded image."""

    where: Where
    id: str
    image: str
    data: bytes
    prompt: str
    target: str


def line_ranges(file: str, lines: int = LINES_PER_JOB) -> list[Range]:
    """A JSONL file cut into ranges of so many lines: (first byte, byte past the last, number of the first line)."""
    ranges: list[Range] = []
    start = first = seen = at = 0
    with fsspec.open(file, "rb") as stream:
        while block := stream.read(BLOCK):
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


def read_file(
    entry: DatasetEntry, directory: str, file: str, start: int = 0, stop: int | None = None, first: int = 0
) -> Iterator[VlmRecord | BadRecord]:
    """The lines of a JSONL file between two bytes, in order; `where.number` is the line's number, blank ones are no records."""
    offset, number = start, first
    with fsspec.open(file, "rb") as stream:
        stream.seek(start)
        while (stop is None or offset < stop) and (line := stream.readline(MAX_LINE + 1)):
            length = len(line)
            while len(line) > MAX_LINE and not line.endswith(b"\n") and (more := stream.readline(MAX_LINE)):
                length += len(more)
                if more.endswith(b"\n"):
                    break
            where = Where(file, offset, length, number)
            offset, number = offset + length, number + 1
            if length > MAX_LINE + 1:
                yield BadRecord(where, "json", f"a line of {length} bytes, more than {MAX_LINE}")
            elif line.strip():
                yield parse(entry, directory, where, line)


def read_at(entry: DatasetEntry, directory: str, where: Where) -> VlmRecord | BadRecord:
    """The record at a byte range, as an index recorded it."""
    filesystem, path = fsspec.core.url_to_fs(where.file)
    return parse(
        entry, directory, where, filesystem.cat_file(path, start=where.offset, end=where.offset + where.length)
    )


def parse(entry: DatasetEntry, directory: str, where: Where, line: bytes) -> VlmRecord | BadRecord:
    """One line."""
    try:
        data = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadRecord(where, "json", str(error))
    if not isinstance(data, dict):
        return BadRecord(where, "json", f"a {type(data).__name__}, expected an object")
    texts = {}
    for name, key in (("image", entry.image), ("target", entry.target), ("prompt", entry.prompt)):
        value = entry.fixed_prompt if key is None else data.get(key)
        if not isinstance(value, str) or not value.strip():
            return BadRecord(where, "language" if name != "image" else "image", f"key {key!r} is missing or not a text")
        texts[name] = value
    image, problem = read_image(f"{directory}/{entry.images}", texts["image"])
    if problem:
        return BadRecord(where, "image", f"{texts['image']!r}: {problem}")
    number = str(data.get(entry.id, where.number))
    return VlmRecord(where, number, texts["image"], image, texts["prompt"].strip(), texts["target"].strip())


def read_image(folder: str, name: str) -> tuple[bytes, str]:
    """(encoded bytes, "") of an image inside the folder, or (b"", what is wrong)."""
    if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
        return b"", "leads out of the images folder"
    filesystem, root = fsspec.core.url_to_fs(folder)
    path = f"{root}/{name}"
    if "file" in (filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,)):
        from pathlib import Path

        if not Path(path).resolve().is_relative_to(Path(root).resolve()):
            return b"", "a link that leads out of the images folder"
    try:
        data = filesystem.cat_file(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return b"", "no such image"
    return data, check_header(data)
