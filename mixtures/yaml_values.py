"""Reads and checks values of YAML keys. Every error names the file, the line, what is there and what would be valid."""

import math
import re
from pathlib import Path
from typing import TypeGuard, TypeVar

from fasttok.errors import InputError, unknown_name
from mixtures.yaml_lines import Keys

MOST_SHOWN = 80  # characters of a value in a message
Word = TypeVar("Word", bound=str)  # a word of a closed set


def finite(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number that fits in a float; true and false are not numbers.

    >>> finite(3), finite(True), finite(float("inf")), finite(10**400)
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


WRITTEN = "; numbers stand without quotes, and 1e-3 is written 1.0e-3"


def _numeric(value: object) -> bool:
    """Whether a text looks like a number."""
    return isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", value.strip(), re.IGNORECASE) is not None


def shown(value: object) -> str:
    """Returns a value for a message: as Python writes it, cut if it is long.

    >>> shown("ten"), len(shown("x" * 1000))
    ("'ten'", 83)
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with too many digits, or a list that contains itself
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


class CheckedValues:
    """Reads and checks the values of one file. Every check raises InputError if a value is wrong.

    Args:
        path: the file, or its URL.
        inside: part of the file that the values belong to, for messages, such as "action[0]"; "" for the whole file.
    """

    def __init__(self, path: Path | str, inside: str = "") -> None:
        self.path = Path(path)
        self.where = str(path)
        self.inside = f"{inside}: " if inside else ""

    def error(self, keys: Keys, key: str | None, message: str) -> InputError:
        r"""Returns an error that names the line of a key, or of the whole mapping.

        >>> from mixtures.yaml_lines import loads
        >>> str(CheckedValues(Path("mix.yaml")).error(loads("a: 1\nb: 2"), "b", "b is odd"))
        'mix.yaml: line 2: b is odd'
        """
        line = keys.lines.get(key, keys.line) if key else keys.line
        at = f"line {line}: " if line else ""
        return InputError(f"{self.where}: {at}{self.inside}{message}")

    def check_keys(self, keys: Keys, known: tuple[str, ...], what: str) -> None:
        """Refuses keys that are not known."""
        for key in keys:
            if key not in known:
                raise self.error(keys, key, str(unknown_name(f"{what} key", key, known)))

    def text(self, keys: Keys, key: str, default: str) -> str:
        """Returns a text, `default` if the key is missing."""
        value = keys.get(key, default)
        if not isinstance(value, str):
            raise self.error(keys, key, f"{key} must be text, got {shown(value)}; put it in quotes")
        return value

    def filled(self, keys: Keys, key: str) -> str:
        """Returns a text that is not empty; the key must be there."""
        value = self.text(keys, key, "")
        if not value.strip():
            raise self.error(keys, key, f"{key} is empty; give it a text, or leave it out")
        return value

    def flag(self, keys: Keys, key: str) -> bool:
        """Returns true or false; false if the key is missing."""
        value = keys.get(key, False)
        if not isinstance(value, bool):
            raise self.error(keys, key, f"{key} must be true or false, got {shown(value)}")
        return value

    def positive(self, keys: Keys, key: str, value: object) -> float:
        """Returns `value`, which must be a finite number above 0."""
        if not finite(value) or value <= 0:
            hint = WRITTEN if _numeric(value) else "; drop a source to leave it out" if key == "weight" else ""
            raise self.error(keys, key, f"{key} must be a finite number > 0, got {shown(value)}{hint}")
        return float(value)

    def whole(self, keys: Keys, key: str, low: int, high: int | None = None) -> int:
        """Returns an integer in [low, high]; `high` None is no limit."""
        value = keys[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            most = "" if high is None else f" and <= {high}"
            raise self.error(keys, key, f"{key} must be an integer >= {low}{most}, got {shown(value)}")
        return value

    def number(self, keys: Keys, key: str, low: float, high: float | None = None, above: bool = False) -> int | float:
        """Returns a finite number in [low, high], or above `low` if `above`; a whole number stays an int."""
        value = keys[key]
        if not finite(value) or value < low or (above and value == low) or (high is not None and value > high):
            least = f"> {low:g}" if above else f">= {low:g}" if low > -math.inf else ""
            most = "" if high is None else f"and <= {high:g}"
            what = " ".join(part for part in ("a finite number", least, most) if part)
            hint = WRITTEN if _numeric(value) else ""
            raise self.error(keys, key, f"{key} must be {what}, got {shown(value)}{hint}")
        return value

    def texts(self, keys: Keys, key: str) -> tuple[str, ...]:
        """Returns a list of texts; () if the key is missing."""
        values = keys.get(key, [])
        if not isinstance(values, list):
            raise self.error(
                keys, key, f"{key} must be a list of texts, expected a list such as [a, b], got {shown(values)}"
            )
        for i, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(keys, key, f"{key}[{i}] must be text, got {shown(value)}; put it in quotes")
        return tuple(values)

    def table(self, keys: Keys, key: str, example: str) -> Keys:
        """Returns a mapping with keys of the user's choice; empty if the key is missing."""
        value = keys.get(key, Keys())
        if not isinstance(value, Keys):
            raise self.error(keys, key, f"{key} is {shown(value)}, expected a mapping such as {example}")
        return value

    def choice(self, keys: Keys, key: str, known: tuple[Word, ...], default: Word) -> Word:
        """Returns one of the known words, `default` if the key is missing."""
        said = self.text(keys, key, default)
        for word in known:
            if word == said:
                return word
        raise self.error(keys, key, str(unknown_name(key, said, known)))

    def names(self, keys: Keys, key: str, known: tuple[Word, ...]) -> tuple[Word, ...]:
        """Returns a list of different known words; the key must be there."""
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
        """Returns a mapping with known keys only, None if the key is missing."""
        value = keys.get(key)
        if value is None:
            return None
        if not isinstance(value, Keys) or not value:
            raise self.error(keys, key, f"{key} must be {example}, got {shown(value)}")
        self.check_keys(value, known, key)
        return value
