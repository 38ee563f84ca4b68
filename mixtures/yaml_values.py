"""Values out of YAML keys, each checked; every error names the file, the line, what stood there and what would be valid."""

import math
from pathlib import Path
from typing import Any

from fasttok.errors import InputError, unknown_name
from mixtures.yaml_lines import Keys


class Values:
    """Checks of one file's values. All raise InputError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, keys: Keys, key: str | None, message: str) -> InputError:
        line = keys.lines.get(key, keys.line) if key else keys.line
        return InputError(f"{self.path}: line {line}: {message}")

    def check_keys(self, keys: Keys, known: tuple[str, ...], what: str) -> None:
        for key in keys:
            if key not in known:
                raise self.error(keys, key, str(unknown_name(f"{what} key", key, known)))

    def text(self, keys: Keys, key: str, default: str) -> str:
        value = keys.get(key, default)
        if not isinstance(value, str):
            raise self.error(keys, key, f"{key} must be text, got {value!r}; put it in quotes")
        return value

    def flag(self, keys: Keys, key: str) -> bool:
        value = keys.get(key, False)
        if not isinstance(value, bool):
            raise self.error(keys, key, f"{key} must be true or false, got {value!r}")
        return value

    def positive(self, keys: Keys, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.error(
                keys, key, f"{key} must be a finite number > 0, got {value!r}; drop a source to leave it out"
            )
        return float(value)

    def whole(self, keys: Keys, key: str, low: int, high: int | None = None) -> int:
        value = keys[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            most = "" if high is None else f" and <= {high}"
            raise self.error(keys, key, f"{key} must be an integer >= {low}{most}, got {value!r}")
        return value

    def choice(self, keys: Keys, key: str, known: tuple[str, ...], default: str) -> str:
        value = self.text(keys, key, default)
        if value not in known:
            raise self.error(keys, key, str(unknown_name(key, value, known)))
        return value

    def names(self, keys: Keys, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
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
        value = keys.get(key)
        if value is None:
            return None
        if not isinstance(value, Keys) or not value:
            raise self.error(keys, key, f"{key} must be {example}, got {value!r}")
        self.check_keys(value, known, key)
        return value
