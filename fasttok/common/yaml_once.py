"""Reads YAML in which each key is given once. PyYAML itself keeps the last of several values, and drops the others silently."""

from typing import Any

import yaml

from fasttok.errors import InputError

MERGE = "tag:yaml.org,2002:merge"


class OnceLoader(yaml.SafeLoader):
    """A SafeLoader that refuses a mapping with a key given twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Reads a mapping; later, when values are made, it also has the keys that `<<` brings in."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            line, named = key.start_mark.line + 1, (key.tag, key.value)
            if named in lines:
                raise InputError(f"line {line}: {key.value!r} is given twice (first on line {lines[named]}); keep one")
            lines[named] = line
        return node


def load_once(text: str, where: str) -> Any:
    r"""Returns what a YAML text contains, as `yaml.safe_load` does.

    Args:
        text: the text.
        where: its path, for messages.

    Raises:
        InputError: a key is given twice in a mapping; the message names the line.
        yaml.YAMLError: the text is not YAML.

    >>> load_once("a: 1\nb: {a: 2}", "x.yaml")
    {'a': 1, 'b': {'a': 2}}
    >>> load_once("x: {b: &b {<<: &a {k: 1}, k: 2}}\nc: {<<: *b, k: 3}", "x.yaml")["c"]  # what `<<` brings in may be given again
    {'k': 3}
    >>> load_once("a: 1\na: 2", "x.yaml")
    Traceback (most recent call last):
    fasttok.errors.InputError: x.yaml: line 2: 'a' is given twice (first on line 1); keep one
    """
    try:
        return yaml.load(text, OnceLoader)  # plain data only, as it is a SafeLoader
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
