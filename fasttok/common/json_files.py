"""Reads and writes JSON files whose keys are the fields of a frozen dataclass.

msgspec checks types, closed sets of strings (`Literal`), nested dataclasses and unions in one call, and says at which path
something is wrong. It accepts plain frozen dataclasses, so artefacts need no base class. It does not refuse unknown keys of
dataclasses, so this module does. The standard library reads and writes the text: it keeps NaN, and the layout of today's files.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

from fasttok._version import __version__
from fasttok.errors import InputError

if (
    TYPE_CHECKING
):  # only reading needs msgspec; code that writes, or only declares what is written, needs the standard library alone
    from msgspec import inspect

T = TypeVar("T")
VERSION_KEY = "format_version"
LEFT_OUT = {"left_out_if_none": True}
"""Metadata of a field whose key is not written when its value is None: `field(default=None, metadata=LEFT_OUT)`."""
IF_NOT_DEFAULT = {"left_out_if_default": True}
"""Metadata of a field whose key is written only if its value is not the default, so that older files keep their bytes."""
WRITTEN_IF = "written_if"
"""Metadata of a field whose key only some dataclasses write: `metadata={WRITTEN_IF: has_it}`; `has_it` gets the dataclass."""


def decode(kind: type[T], raw: object, where: str, version: int | None = None) -> T:
    """Converts plain JSON values to a `kind`.

    Args:
        kind: a frozen dataclass; its fields are the keys, and those with a default may be missing.
        raw: what `json.loads` returned.
        where: path or URL of the file, for messages.
        version: the newest format version that this code can read, for files that have a `format_version`; None to check none.
            That key belongs to the file, so `kind` need not have it.

    Raises:
        InputError: there are unknown or missing keys or values of another type, or the file has a newer format.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    ...     y: float = 0.0
    >>> decode(Point, {"x": 1}, "point.json")
    Point(x=1.0, y=0.0)
    >>> decode(Point, {"x": 1, "z": 2}, "point.json")
    Traceback (most recent call last):
    fasttok.errors.InputError: point.json: unknown key $.z; known there: x, y
    """
    import msgspec
    from msgspec import inspect

    if version is not None and isinstance(raw, Mapping):
        found = raw.get(VERSION_KEY)
        if isinstance(found, int) and found > version:
            raise InputError(
                f"{where}: written by a newer fasttok (format {found}; fasttok {__version__} reads up to {version}); "
                "upgrade fasttok-vla, or make the file again with this one"
            )
        if VERSION_KEY not in getattr(kind, "__dataclass_fields__", (VERSION_KEY,)):
            raw = {key: value for key, value in raw.items() if key != VERSION_KEY}
    if unknown := next(_unknown(inspect.type_info(kind), raw, "$"), None):
        path, known = unknown
        raise InputError(f"{where}: unknown key {path}; known there: {', '.join(known)}")
    try:
        return msgspec.convert(raw, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from None


def read(kind: type[T], text: str | bytes, where: str, version: int | None = None) -> T:
    """Reads a JSON document as a `kind`, as `decode` does; raises InputError if it is not JSON.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    ...     y: float = 0.0
    >>> read(Point, '{"x": 1}', "point.json")
    Point(x=1.0, y=0.0)
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        from fasttok.common.lfs_pointer import refuse_pointer

        refuse_pointer(text, where)
        raise InputError(f"{where}: not JSON ({error}); it is damaged, so make it again") from None
    return decode(kind, raw, where, version)


def encode(value: object) -> Any:
    """Converts a dataclass to plain JSON values, in the order of its fields.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    ...     names: tuple[str, ...] = ("a", "b")
    >>> encode(Point(1.0))
    {'x': 1.0, 'names': ['a', 'b']}
    """
    return json.loads(json.dumps(_plain(value)))


def write(value: object) -> str:
    r"""Returns a dataclass as the text of a JSON file that people can read too: indented, with a newline at the end.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    ...     y: float = 0.0
    >>> write(Point(1.0))
    '{\n  "x": 1.0,\n  "y": 0.0\n}\n'
    """
    return json.dumps(_plain(value), indent=2) + "\n"


def _plain(value: object) -> object:
    """Converts dataclasses within a value to dicts of all their fields, and paths to text.

    `msgspec.to_builtins` reads an instance's own `__dict__`, so it would leave out each field that `decode` set to its default.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: float
    ...     y: float = 0.0
    >>> _plain({"a": (decode(Point, {"x": 1}, "point.json"),)})
    {'a': [{'x': 1.0, 'y': 0.0}]}
    >>> from dataclasses import field
    >>> @dataclass(frozen=True)
    ... class Sparse:
    ...     x: float
    ...     y: float | None = field(default=None, metadata=LEFT_OUT)
    >>> _plain([Sparse(1.0), Sparse(1.0, 2.0)])
    [{'x': 1.0}, {'x': 1.0, 'y': 2.0}]
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if _is_written(f, value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, PurePath) else value


def _is_written(what: Field[Any], owner: object) -> bool:
    if WRITTEN_IF in what.metadata:
        return bool(what.metadata[WRITTEN_IF](owner))
    if what.metadata == IF_NOT_DEFAULT:
        default = what.default if what.default_factory is MISSING else what.default_factory()
        return bool(getattr(owner, what.name) != default)
    return what.metadata != LEFT_OUT or getattr(owner, what.name) is not None


def _path(kind: type, value: object) -> object:
    """Converts text to a path, the only type of artefacts that msgspec does not know."""
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    raise NotImplementedError(f"{kind.__name__} is not read from JSON")


def _unknown(kind: "inspect.Type", raw: object, path: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the path of each key that its dataclass does not have, with the keys that the dataclass has."""
    from msgspec import inspect

    match kind:
        case inspect.DataclassType(fields=fields) if isinstance(raw, Mapping):
            known = {field.encode_name: field.type for field in fields}
            for key, value in raw.items():
                if key in known:
                    yield from _unknown(known[key], value, f"{path}.{key}")
                else:
                    yield f"{path}.{key}", list(known)
        case inspect.DictType(value_type=inner) if isinstance(raw, Mapping):
            for key, value in raw.items():
                yield from _unknown(inner, value, f"{path}.{key}")
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner) if isinstance(raw, list):
            for i, value in enumerate(raw):
                yield from _unknown(inner, value, f"{path}[{i}]")
        case inspect.TupleType(item_types=inners) if isinstance(raw, list):
            for i, (inner, value) in enumerate(zip(inners, raw, strict=False)):
                yield from _unknown(inner, value, f"{path}[{i}]")
        case inspect.UnionType(types=types):
            # A JSON object is one of a union's dataclasses. The error is about the one with the fewest unknown keys.
            found = [list(_unknown(t, raw, path)) for t in types if not isinstance(t, inspect.NoneType)]
            yield from min(found, key=len, default=[])


def digest(value: Any) -> str:
    """Returns the first 16 hex digits of the SHA-256 of plain values. The order of keys does not count.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
