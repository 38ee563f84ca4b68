"""Reads YAML and remembers line numbers, so that an error can name the line to change. Safe loading only."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fasttok.common.lfs_pointer import refuse_pointer
from fasttok.common.yaml_once import OnceLoader
from fasttok.errors import InputError

UNFIT = (
    ValueError,
    KeyError,
    AttributeError,
    TypeError,
    OverflowError,
    RecursionError,
)  # PyYAML raises these for some values, such as month 99


class Keys(dict[str, Any]):
    """A YAML mapping that knows its lines in the file.

    Attributes:
        line: line of the mapping, counted from 1; 0 if it does not come from a file.
        lines: line of each key, counted from 1.
    """

    line: int
    lines: dict[str, int]

    def __init__(
        self, values: Mapping[str, Any] | None = None, line: int = 0, lines: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(values or {})
        self.line, self.lines = line, dict(lines or {})


class _Loader(OnceLoader):
    """A SafeLoader whose mappings are `Keys`, and which refuses a key given twice."""


def _construct_keys(loader: _Loader, node: yaml.MappingNode) -> Keys:
    keys = Keys(line=node.start_mark.line + 1)
    loader.flatten_mapping(node)  # `<<: *other` becomes the other's keys, before the mapping's own, which override them
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise InputError(f"line {line}: keys must be words, got {key!r}")
        keys[key] = loader.construct_object(value_node, deep=True)
        keys.lines[key] = line
    return keys


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_keys)


def load(path: Path) -> Keys:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        InputError: the file cannot be read, is not YAML, or is not a mapping; names file and line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read as text: {error.strerror or error}") from None
    return loads(decoded(data, str(path)), str(path))


def decoded(data: bytes, where: str) -> str:
    r"""Decodes a file, which must be UTF-8.

    Args:
        data: what the file contains.
        where: its path, for messages.

    Raises:
        InputError: the bytes are not UTF-8; names the line of the first wrong byte.

    >>> decoded(b"name: caf\xc3\xa9", "mix.yaml")
    'name: café'
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where}: line {line}: cannot be read as text: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def loads(text: str, where: str = "text") -> Keys:
    r"""Parses YAML text whose top level is a mapping; `where` names it in errors.

    >>> keys = loads("name: demo\nseed: 3")
    >>> keys["seed"], keys.lines["seed"]
    (3, 2)
    """
    try:
        value = yaml.load(text, _Loader)  # a SafeLoader: plain data only, no object is built from a tag
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InputError(f"{where}: {line}not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {error}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except UNFIT as error:
        raise InputError(f"{where}: not valid YAML: a value cannot be read ({error}); put texts in quotes") from None
    if not isinstance(value, Keys):
        refuse_pointer(text, where)
        raise InputError(f"{where}: expected `key: value` lines at the top, got {type(value).__name__}")
    return value
