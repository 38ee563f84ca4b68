"""Values out of YAML keys, each checked; every error names the file, the line, what stood there and what would be valid."""

import math
from pathlib import Path
from typing import TypeVar

from fasttok.errors import InputError, unknown_name
from mixtures.yaml_lines import Keys

Word = TypeVar("Word", bound=str)  # of a closed set


class CheckedValues:
    """Checks of one file's values. All raise InputError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, keys: Keys, key: str | None, message: str) -> InputError:
        r"""An error that names the line of a key, or of the whole mapping.

        >>> from mixtures.yaml_lines import loads
        >>> str(CheckedValues(Path("mix.yaml")).error(loads("a: 1\nb: 2"), "b", "b is odd"))
        'mix.yaml: line 2: b is odd'
        """
        line = keys.lines.get(key, keys.line) if key else keys.line
        return InputError(f"{self.path}: line {line}: {message}")

    def check_keys(self, keys: Keys, known: tuple[str, ...], what: str) -> None:
        """Refuses keys that are not known."""
        for key in keys:
            if key not in known:
                raise self.error(keys, key, str(unknown_name(f"{what} key", key, known)))

    def text(self, keys: Keys, key: str, default: str) -> str:
        """A text."""
        value = keys.get(key, default)
        if not isinstance(value, str):
            raise self.error(keys, key, f"{key} must be text, got {value!r}; put it in quotes")
        return value

    def flag(self, keys: Keys, key: str) -> bool:
        """True or false; false if the key is missing."""
        value = keys.get(key, False)
        if not isinstance(value, bool):
            raise self.error(keys, key, f"{key} must be true or false, got {value!r}")
        return value

    def positive(self, keys: Keys, key: str, value: object) -> float:
        """A finite number above 0."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.error(
                keys, key, f"{key} must be a finite number > 0, got {value!r}; drop a source to leave it out"
            )
        return float(value)

    def whole(self, keys: Keys, key: str, low: int, high: int | None = None) -> int:
        """An integer in [low, high]."""
        value = keys[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            most = "" if high is None else f" and <= {high}"
            raise self.error(keys, key, f"{key} must be an integer >= {low}{most}, got {value!r}")
        return value

    def choice(self, keys: Keys, key: str, known: tuple[Word, ...], default: Word) -> Word:
        """One of the known words."""
        said = self.text(keys, key, default)
        for word in known:
            if word == said:
                return word
        raise self.error(keys, key, str(unknown_name(key, said, known)))

    def names(self, keys: Keys, key: str, known: tuple[Word, ...]) -> tuple[Word, ...]:
        """A list of different known words."""
        values = keys[key]
        if not isinstance(values, list) or not values or len(set(map(str, values))) < len(values):
            raise self.error(
                keys, key, f"{key} must be a list of different names of {', '.join(known)}; got {values!r}"
            )
        for value in values:
            if value not in known:
                raise self.error(keys, key, str(unknown_name(f"entry of {key}", str(value), known)))
        return tuple(values)

    def mapping(self, keys: Keys, key: str, known: tuple[str, ...], example: str) -> Keys | None:
        """A mapping with known keys only, None if the key is missing."""
        value = keys.get(key)
        if value is None:
            return None
        if not isinstance(value, Keys) or not value:
            raise self.error(keys, key, f"{key} must be {example}, got {value!r}")
        self.check_keys(value, known, key)
        return value
