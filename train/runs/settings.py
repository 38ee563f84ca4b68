"""The settings of a run by their dotted names, such as optim.learning_rate. Imports no JAX."""

import dataclasses
from typing import Any

Settings = dict[str, object]  # by dotted name


def settings(value: Any, above: str = "") -> Settings:
    """Returns all settings of a configuration; `above` is put before each name.

    >>> from train.presets import KI
    >>> settings(KI)["optim.clip"]
    1.0
    """
    found: Settings = {}
    for field in dataclasses.fields(value):
        held, name = getattr(value, field.name), above + field.name
        found |= settings(held, f"{name}.") if dataclasses.is_dataclass(held) else {name: held}
    return found


def as_words(value: object) -> str:
    """Formats the value of a setting for people.

    >>> as_words((0.0, 1.0)), as_words(()), as_words(None)
    ('0.0, 1.0', '()', 'None')
    """
    return ", ".join(map(str, value)) or "()" if isinstance(value, tuple) else str(value)
