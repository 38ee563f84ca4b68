"""Reads the arrays of a large JSON file (COCO, VQAv2, LLaVA) one element at a time, each with its byte range.

Memory is one block and the largest element. The bytes are first parsed as Latin-1, which makes one character of each byte and
leaves JSON's own characters alone. So places in the text are places in the file. Elements that are not ASCII are parsed again.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from fasttok.common.console import progress
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes import Where
from fasttok.errors import InputError
from pipelines.common.files import filesystem
from pipelines.vlm.record import Range, RecordError
from pipelines.vlm.values import JsonObject, JsonValue

BLOCK = 1 << 22
MAX_ELEMENT = 1 << 24
SPACE = " \t\r\n"
BOM = "\xef\xbb\xbf"

SIGNS = re.compile(r'["\\{}\[\]]')

_decode = json.JSONDecoder().raw_decode


class BrokenJsonError(ValueError):
    """Says that a file is not JSON from some byte on; nothing after it can be read."""

    def __init__(self, place: int, detail: str) -> None:
        super().__init__(f"byte {place}: {detail}; the rest of the file is lost")
        self.place = place


@dataclass(frozen=True)
class JsonElement:
    """An element of a top-level array.

    Attributes:
        key: the array's name, "" if the whole file is an array.
        where: its place in the file.
        value: the element; None if it is too large.
        problem: why its text cannot be read, "" if it can.
    """

    key: str
    where: Where
    value: JsonValue
    problem: str = ""

    def object(self) -> JsonObject | RecordError:
        """Returns its value if that is an object, else what is wrong."""
        if self.problem or not isinstance(self.value, dict):
            return RecordError("json", self.problem or "not an object")
        return self.value


class JsonScanner:
    """Reads values from a file one after the other, from a place on."""

    def __init__(self, stream: BinaryIO, start: int = 0) -> None:
        stream.seek(start)
        self._stream, self._base, self._text, self._at = stream, start, "", 0

    @property
    def place(self) -> int:
        """Byte of the file that is read next."""
        return self._base + self._at

    def peek(self) -> str:
        """Returns the next character that is not white space, "" at the end. Does not go past it."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Goes past the next character, which must be one of the expected, and returns it.

        Raises:
            BrokenJsonError: it is not.
        """
        found = self.peek()
        if not found or found not in expected:
            self.fail(f"found {found or 'the end'!r}, expected {' or '.join(expected)}")
        self._at += 1
        return found

    def skip_bom(self) -> None:
        """Skips a byte order mark."""
        self.peek()
        if self._text.startswith(BOM, self._at):
            self._at += len(BOM)

    def value(self) -> tuple[int, int, JsonValue, str]:
        """Reads the next value: (first byte, number of bytes, value, what is wrong with this value alone).

        A value larger than `MAX_ELEMENT` is skipped: it is None, with a message.

        Raises:
            BrokenJsonError: the file is not JSON from here on.
        """
        self.peek()
        while True:
            try:
                value, end = _decode(self._text, self._at)
                if end < len(self._text) or not self._more():  # a number may go on in the next block
                    break
            except RecursionError:
                self.fail("values too deep within each other")
            except ValueError as error:
                if len(self._text) - self._at > MAX_ELEMENT:
                    start, length = self._pass_over(str(error))
                    return start, length, None, _too_large(length) or f"not JSON ({error})"
                if not self._more():
                    self.fail(f"not JSON ({error})")
        start, text, problem = self.place, self._text[self._at : end], ""
        if not text.isascii():
            try:
                value = json.loads(text.encode("latin-1").decode())
            except UnicodeDecodeError as error:
                problem = f"not UTF-8 ({error})"
        self._at = end
        if _too_large(len(text)):
            value, problem = None, _too_large(len(text))
        return start, len(text), value, problem

    def _pass_over(self, error: str) -> tuple[int, int]:
        """Skips the next object, array or text with one block in memory at a time. Returns (first byte, number of bytes)."""
        start, depth, inside = self.place, 0, False
        if self.peek() not in ("{", "[", '"'):
            self.fail(f"not JSON ({error})")
        while True:
            found = SIGNS.search(self._text, self._at)
            self._at = found.end() if found else len(self._text)
            if (found is None or (found[0] == "\\" and self._at == len(self._text))) and not self._more():
                raise BrokenJsonError(start, f"a value that does not end, or not JSON ({error})")
            if found is None:
                continue
            if found[0] == "\\":
                self._at += inside  # skip the escaped character
            elif found[0] == '"':
                inside = not inside
            elif not inside:
                depth += 1 if found[0] in "{[" else -1
            if depth == 0 and not inside:
                return start, self.place - start

    def fail(self, detail: str) -> NoReturn:
        """Raises an error that says what is wrong at this place.

        Raises:
            BrokenJsonError: always.
        """
        raise BrokenJsonError(self.place, detail)

    def _more(self) -> bool:
        """Reads the next block, a larger one for a long value. At the end of the file it returns False and changes nothing."""
        block = self._stream.read(max(BLOCK, len(self._text) - self._at))
        if block:
            self._base, self._text, self._at = self.place, self._text[self._at :] + block.decode("latin-1"), 0
        return bool(block)


def _too_large(length: int) -> str:
    return f"{length:,} bytes, more than {MAX_ELEMENT:,}" if length > MAX_ELEMENT else ""


def walk(file: str) -> Iterator[JsonElement]:
    """Yields every element of the array that a JSON file is, or of the arrays at its top level.

    Raises:
        BrokenJsonError: the file is not JSON from some place on; the elements before were yielded.
    """
    fs, path = filesystem(file)
    with fs.open(path, "rb") as stream:
        scanner = JsonScanner(stream)
        scanner.skip_bom()
        if scanner.peek() == "[":
            yield from _array(scanner, file, "")
            return
        if scanner.peek() == "v":
            refuse_pointer_at(file)
        scanner.take("{")
        while scanner.peek() != "}":
            key = scanner.value()[2]
            scanner.take(":")
            if scanner.peek() == "[":
                yield from _array(scanner, file, str(key))
            else:
                scanner.value()
            if scanner.peek() != "}":
                scanner.take(",")


def _array(scanner: JsonScanner, file: str, key: str) -> Iterator[JsonElement]:
    scanner.take("[")
    number = 0
    while scanner.peek() != "]":
        start, length, value, problem = scanner.value()
        yield JsonElement(key, Where(file, start, length, number), value, problem)
        number += 1
        if scanner.peek() != "]":
            scanner.take(",")
    scanner.take("]")


def elements(file: str, start: int, stop: int | None, first: int) -> Iterator[JsonElement]:
    """Yields the elements of an array between two bytes (`stop` None: to its end). The first one has the number `first`.

    Raises:
        BrokenJsonError: as `walk`.
    """
    fs, path = filesystem(file)
    with fs.open(path, "rb") as stream:
        scanner = JsonScanner(stream, start)
        number = first
        while scanner.peek() not in ("]", "") and (stop is None or scanner.place < stop):
            place, length, value, problem = scanner.value()
            yield JsonElement("", Where(file, place, length, number), value, problem)
            number += 1
            if scanner.peek() not in ("]", ""):
                scanner.take(",")
        if stop is None and scanner.peek() != "]":
            scanner.fail("the array does not end")


def cut(file: str, key: str, count: int, strict: bool = False) -> list[Range]:
    """Cuts an array into ranges of `count` elements: (first byte, byte past the last, number of the first element).

    Args:
        file: path or URL.
        key: the array's name, "" if the whole file is an array.
        count: elements per range.
        strict: whether any fault is an error; otherwise the last range may contain a fault.

    Raises:
        InputError: the file has no such array, the array is empty, or the file is broken before it (anywhere if `strict`).
    """
    starts: list[tuple[int, int]] = []
    broken = ""
    try:
        for element in followed(file, walk(file)):
            if element.key == key and element.where.number % count == 0:
                starts.append((element.where.offset, element.where.number))
    except BrokenJsonError as error:
        broken = str(error)
    if not starts or (broken and strict):
        what = f"the array {key!r}" if key else "an array"
        raise InputError(f"{file}: expected a JSON file with {what}, got {broken or 'none, or an empty one'}")
    ends = [*(start for start, _ in starts[1:]), None]
    return [(start, end, number) for (start, number), end in zip(starts, ends, strict=True)]


def followed(file: str, every: Iterator[JsonElement]) -> Iterator[JsonElement]:
    """Yields the elements, with a progress display in MB."""
    fs, path = filesystem(file)
    done = 0
    with progress(f"reading {path.rsplit('/', 1)[-1]}", max(fs.size(path) // 1_000_000, 1), "MB") as advance:
        for element in every:
            new = element.where.offset // 1_000_000 - done
            if new > 0:
                advance(new)
                done += new
            yield element
