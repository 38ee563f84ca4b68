"""Reads WebDataset tar files. Neighbouring members with the same path up to the first dot of the name are a record.

    000123.jpg  000123.json  000123.txt      ->  key 000123; "json" is read by its keys, "txt" and other texts by their extension

`tarfile` reads only headers; members are read by their place. A record is rejected if a member is a link, a device, a sparse
file or anything else that is not a plain file, or has an absolute name or one with `..`. Compressed tar files are refused as a
whole, as their members cannot be read by offset. A job is a tar file.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.common.names import is_beside
from fasttok.episodes import BadRecord, Where
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError
from pipelines.common.files import filesystem
from pipelines.common.image_headers import CLAIMS, FORMATS, MAX_BYTES
from pipelines.vlm.confined_folder import ConfinedFolder, check_name
from pipelines.vlm.image_files import ReadImage, check_image, unchanged
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
)
from pipelines.vlm.values import FieldValue

MAX_HEADER = 1 << 20
IMAGES = (*FORMATS["JPEG"], *FORMATS["PNG"])
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class TarMember:
    """A tar member.

    Attributes:
        name: name, with its folders.
        header: first byte of its header.
        start: first byte of its data.
        size: bytes of its data.
        problem: why it is refused, "" if it is not.
    """

    name: str
    header: int
    start: int
    size: int
    problem: str = ""


@dataclass
class MemberGroup:
    """The members with the same key, which are one record.

    Attributes:
        key: their name without extension, with its folders.
        members: extension -> member.
        problem: why the record is refused, "" if it is not.
    """

    key: str
    members: dict[str, TarMember] = field(default_factory=dict)
    problem: str = ""

    def add(self, extension: str, member: TarMember) -> None:
        """Adds a member. If two members have the same extension, the record is refused."""
        if extension in self.members:
            self.problem = self.problem or f"two members {shown(member.name)}"
        self.members[extension] = member
        self.problem = self.problem or member.problem


class HeaderStream:
    """A stream for `tarfile`, which refuses to read more than a header's bytes at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        """Reads at most `MAX_HEADER` bytes."""
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)


def ranges(source: SourceFile) -> list[Range]:
    """Returns the whole file as one range.

    Raises:
        InputError: the file is compressed.
    """
    if source.file.endswith((".tgz", ".gz", ".bz2", ".xz", ".zst")):
        raise InputError(
            f"{source.file} is compressed, so its members cannot be read by offset; decompress it to a .tar"
        )
    return [(0, None, 0)]


def members(stream: BinaryIO, size: int) -> Iterator[TarMember]:
    """Yields the members of a tar file of `size` bytes, without folders.

    Raises:
        tarfile.TarError: it is not a tar file, or is damaged from some place on.
    """
    start = stream.read(8)
    for magic, name in COMPRESSED.items():
        if start.startswith(magic):
            raise tarfile.ReadError(f"compressed ({name}): unpack it to a plain .tar")
    stream.seek(0)
    try:
        with tarfile.open(fileobj=HeaderStream(stream), mode="r:") as tar:  # type: ignore[call-overload]
            while (info := tar.next()) is not None:
                tar.members.clear()  # otherwise it would keep every header
                if info.isdir():
                    continue
                problem = (
                    ""
                    if info.isreg() and not info.issparse()
                    else "a sparse file"
                    if info.issparse()
                    else "no plain file"
                )
                if info.size < 0 or tar.offset <= info.offset:
                    raise tarfile.ReadError(f"member {shown(info.name)} has {info.size} bytes")
                if info.isreg() and info.offset_data + info.size > size:
                    raise tarfile.ReadError(f"member {shown(info.name)} goes past the end of the file")
                yield TarMember(info.name, info.offset, info.offset_data, info.size, problem)
            stream.seek(tar.offset)
            end = stream.read(tarfile.BLOCKSIZE)
    except (RecursionError, ValueError, OverflowError) as error:
        raise tarfile.ReadError(str(error)) from None
    if end.strip(b"\0") or len(end) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"damaged or cut off at byte {tar.offset}")


def groups(every: Iterator[TarMember]) -> Iterator[MemberGroup]:
    """Yields neighbouring members with the same key as groups. Files that macOS puts before each member are left out."""
    group: MemberGroup | None = None
    for member in every:
        if is_beside(member.name):
            continue
        name = member.name[2:] if member.name.startswith("./") else member.name
        folder, slash, last = name.rpartition("/")
        stem, _, extension = last.partition(".")
        key = folder + slash + stem
        if group is None or key != group.key:
            if group is not None:
                yield group
            group = MemberGroup(key)
        problem = check_name(name).replace("images folder", "archive")
        group.add(
            extension.lower(), TarMember(name, member.header, member.start, member.size, problem or member.problem)
        )
    if group is not None:
        yield group


def read(source: SourceFile, _span: Range) -> Iterator[VlmRecord | BadRecord]:
    """Yields the records of a tar file."""
    path = ConfinedFolder(source.directory).relative(source.file)
    fs, name = filesystem(source.file)
    number = place = 0
    with fs.open(name, "rb") as opened:
        stream, size = cast(BinaryIO, opened), fs.size(name)
        try:
            for group in groups(members(stream, size)):
                first, last = next(iter(group.members.values())), list(group.members.values())[-1]
                place = last.start + last.size
                where = Where(source.file, first.header, place - first.header, number)
                try:
                    yield _record(source.entry, path, stream, where, group)
                except RecordError as error:
                    yield rejected(where, error)
                number += 1
        except tarfile.TarError as error:
            refuse_pointer_at(source.file)
            yield BadRecord(
                Where(source.file, place, max(size - place, 0), number), "tar", f"{error}; the rest is lost"
            )


def _record(entry: DatasetEntry, path: str, stream: BinaryIO, where: Where, group: MemberGroup) -> VlmRecord:
    if group.problem:
        raise RecordError("member", f"{shown(group.key)}: {group.problem}")
    extension = image_extension(entry, group)
    member = group.members[extension]
    named = ("json", entry.prompt, entry.target, entry.answers, entry.id)
    row = _texts(stream, {name: group.members[name] for name in named if name in group.members and name != extension})
    data = check_image(_bytes(stream, member, MAX_BYTES), member.name)
    name = id_of({"__key__": group.key, **row}, entry.id if entry.id in row else "__key__", where.number)
    return VlmRecord(where, name, ImagePlace(path, member.start, member.size), data, *texts(entry, row))


def image_extension(entry: DatasetEntry, group: MemberGroup) -> str:
    """Returns the extension of a group's image: the entry's `image`, or else the only one of an image format.

    Raises:
        RecordError: the group has no image, several, or one of a format that is not supported.
    """
    if entry.image in group.members:
        return entry.image
    found = [name for name in group.members if name.rpartition(".")[2] in IMAGES]
    if len(found) == 1 and entry.image == "image":
        return found[0]
    other = [name for name in group.members if name in CLAIMS]
    raise RecordError("image", f"{shown(group.key)}: {len(found)} images among .{', .'.join(group.members)}" if found or not other
                else f"{shown(group.key)}.{other[0]}: neither JPEG nor PNG")  # fmt: skip


def _texts(stream: BinaryIO, members: dict[str, TarMember]) -> dict[str, FieldValue]:
    """Returns the keys of the json member, and the bytes of other members under their extensions."""
    row: dict[str, FieldValue] = {}
    for extension, member in members.items():
        data = _bytes(stream, member, MAX_TEXT)
        if extension != "json":
            row[extension] = data
            continue
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise RecordError("json", f"{shown(member.name)}: {error}") from None
        row |= value if isinstance(value, dict) else {}
    return row


def _bytes(stream: BinaryIO, member: TarMember, most: int) -> bytes:
    if member.size > most:
        raise RecordError("size", f"{shown(member.name)}: {member.size:,} bytes, more than {most:,}")
    stream.seek(member.start)
    return stream.read(member.size)


def open_images(_entry: DatasetEntry, directory: str) -> ReadImage:
    """Returns a function (path, offset, length) -> (encoded bytes, "") or (b"", what is wrong). It keeps the last file open."""
    files = ConfinedFolder(directory)
    last: list[tuple[str, BinaryIO]] = []

    def read(path: str, offset: int, length: int) -> tuple[bytes, str]:
        try:
            if not last or last[0][0] != path:
                while last:
                    last.pop()[1].close()
                last.append((path, files.open(path)))
            stream = last[0][1]
            stream.seek(offset)
            return check_image(unchanged(stream.read(min(length, MAX_BYTES)), length), ""), ""
        except RecordError as error:
            return b"", str(error)

    return read
