"""YAML that remembers line numbers, so that an error can point at the line to change. Safe loading only."""

from pathlib import Path
from typing import Any

import yaml

from fasttok.errors import InputError


class Keys(dict[str, Any]):
    """A YAML mapping that knows where it stands.

    Attributes:
        line: line of the mapping, counted from 1.
        lines: line of each key, counted from 1.
    """

    line: int = 0
    lines: dict[str, int]


class _Loader(yaml.SafeLoader):
    """SafeLoader whose mappings are `Keys`; a key given twice is an error rather than a silent overwrite."""


def _construct_keys(loader: _Loader, node: yaml.MappingNode) -> Keys:
    keys = Keys()
    keys.line, keys.lines = node.start_mark.line + 1, {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise InputError(f"line {line}: keys must be words, got {key!r}")
        if key in keys:
            raise InputError(f"line {line}: {key!r} is given twice (first on line {keys.lines[key]}); keep one")
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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {getattr(error, 'strerror', None) or error}") from None
    return loads(text, str(path))


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
    if not isinstance(value, Keys):
        raise InputError(f"{where}: expected `key: value` lines at the top, got {type(value).__name__}")
    return value
