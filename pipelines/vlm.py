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


@dataclass(frozen=True)
class VlmRecord:
    """One question or caption. `image` is the path below the images folder, `data` the encoded image."""

    where: Where
    id: str
    image: str
    data: bytes
    prompt: str
    target: str


def read_file(entry: DatasetEntry, directory: str, file: str) -> Iterator[VlmRecord | BadRecord]:
    """Every line of a JSONL file, in order; blank lines are no records."""
    offset = number = 0
    with fsspec.open(file, "rb") as stream:
        while line := stream.readline(MAX_LINE + 1):
            where = Where(file, offset, len(line), number)
            offset += len(line)
            if len(line) > MAX_LINE:
                yield BadRecord(where, "json", f"a line of more than {MAX_LINE} bytes; the rest of the file is lost")
                return
            if line.strip():
                yield parse(entry, directory, where, line)
                number += 1


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
