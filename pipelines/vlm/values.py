"""Types of values in people's files (JSON, columns, features), as the readers get them before anything is checked."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

JsonValue: TypeAlias = "str | int | float | list[JsonValue] | dict[str, JsonValue] | None"
"""Anything in a JSON document; True and False are integers here."""
JsonObject: TypeAlias = dict[str, JsonValue]

FieldValue: TypeAlias = (
    "str | bytes | int | float | np.generic | NDArray[Any] | Sequence[FieldValue] | Mapping[str, FieldValue] | None"
)
"""Anything under a key of JSON, in a column of Parquet or in a feature of TFDS."""
