"""Reads and checks the parts of an action or a proprio in an entry's YAML: `{from: action, slice: [0, 3], encoding: delta}`."""

import math
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from fasttok.actions.rotations import STORED, width
from fasttok.common import json_files
from fasttok.common.kinds import ENCODINGS
from fasttok.episodes.dataset_entry import FeatureColumns
from fasttok.errors import unknown_name
from mixtures.yaml_lines import Keys
from mixtures.yaml_values import CheckedValues, finite, shown

KNOWN = ("from", "slice", *(f.name for f in fields(FeatureColumns) if f.name not in ("feature", "start", "stop")))
OF_GRIPPERS = ("closed", "open", "relative")
DEGREES = re.compile(r"(°|deg|degrees?)(/s)?", re.IGNORECASE)
WIDEST = 1_000_000  # a higher column number is a mistake


def parse_columns(keys: Keys, key: str, reader: CheckedValues) -> tuple[FeatureColumns, ...]:
    """Reads the parts under one key of an entry.

    Args:
        keys: keys of the entry.
        key: `action` or `proprio`.
        reader: checks values of the entry's file.

    Raises:
        InputError: the value is no list of parts, a key is unknown, or a value is not valid; names the line.
    """
    parts = keys.get(key, [])
    if not isinstance(parts, list):
        raise reader.error(keys, key, f"{key} is {shown(parts)}, expected a list of parts such as [{{from: {key}}}]")
    found = []
    for i, part in enumerate(parts):
        if not isinstance(part, Keys) or part.get("from") is None:
            raise reader.error(
                part if isinstance(part, Keys) else keys,
                None if isinstance(part, Keys) else key,
                f"{key}[{i}]: expected a mapping with `from`, such as {{from: action, slice: [0, 6], encoding: delta}}",
            )
        given = Keys({k: value for k, value in part.items() if value is not None}, part.line, part.lines)
        found.append(_part(given, CheckedValues(reader.where, f"{key}[{i}]")))
    return tuple(found)


def check_states(
    keys: Keys, action: Sequence[FeatureColumns], proprio: Sequence[FeatureColumns], reader: CheckedValues
) -> None:
    """Checks that only absolute action parts have `state`, and that it names an absolute feature of the proprio.

    Args:
        keys: keys of the entry.
        action: parts of its action.
        proprio: parts of its proprio.
        reader: checks values of the entry's file.

    Raises:
        InputError: a part breaks these rules; names the line.
    """
    known = {part.feature for part in proprio if part.encoding == "absolute"}
    for key, parts in (("action", action), ("proprio", proprio)):
        for i, part in enumerate(parts):
            if part.state and (key == "proprio" or part.encoding != "absolute"):
                message = f"{key}[{i}]: state is for action parts with encoding: absolute; leave it out"
            elif part.state and part.state not in known:
                message = f"{key}[{i}]: state: {unknown_name('feature of proprio', part.state, known)}"
            else:
                continue
            raise reader.error(keys[key][i], "state", message)


def _part(part: Keys, reader: CheckedValues) -> FeatureColumns:
    for key in part:
        if key not in KNOWN:
            raise reader.error(part, key, str(unknown_name("key", key, KNOWN)))
    start, stop = _slice(part, reader)
    plain: dict[str, Any] = {"feature": reader.filled(part, "from"), "start": start, "stop": stop}
    plain |= {key: value for key, value in part.items() if key not in ("from", "slice")}
    encoding = reader.choice(part, "encoding", ENCODINGS, ENCODINGS[0])
    rotation = reader.choice(part, "rotation", ("", *STORED), "")
    for key in ("unit", "state"):
        reader.text(part, key, "")
    reader.texts(part, "names")
    for key in ("closed", "open"):
        if key in part:
            reader.number(part, key, -math.inf)
    reader.flag(part, "relative")
    _check_scale(part, encoding, rotation, reader)
    columns = json_files.decode(FeatureColumns, json_files.encode(plain), reader.where)
    if encoding == "gripper" and columns.closed == columns.open:
        raise reader.error(
            part, "closed", f"closed and open are both {columns.closed}, expected two different stored values"
        )
    for key in OF_GRIPPERS:
        if key in part and encoding != "gripper":
            raise reader.error(part, key, "closed, open and relative are of parts with encoding: gripper")
    if rotation and encoding == "gripper":
        raise reader.error(part, "rotation", "a gripper has no rotation; leave one of the two out")
    if rotation and DEGREES.fullmatch(columns.unit):
        raise reader.error(
            part,
            "unit",
            f"{rotation} is read in radians, unit is {columns.unit!r}; if degrees are stored, write "
            f"scale: {math.radians(1):.10f} and unit: rad{'/s' * columns.unit.endswith('/s')}",
        )
    _check_width(part, columns, reader)
    return columns


def _check_scale(part: Keys, encoding: str, rotation: str, reader: CheckedValues) -> None:
    """Checks that `scale` has numbers other than 0, and that its columns are neither a gripper nor a quaternion."""
    if "scale" not in part:
        return
    given = part["scale"]
    numbers = given if isinstance(given, list) else [given]
    if not numbers or not all(finite(number) and number != 0 for number in numbers):
        raise reader.error(
            part,
            "scale",
            f"scale must be a finite number other than 0, or a list of one per column, got {shown(given)}",
        )
    if encoding == "gripper" or rotation.startswith("quaternion"):
        what = "a gripper has closed and open for that" if encoding == "gripper" else "a quaternion has no unit"
        raise reader.error(part, "scale", f"scale is not for these columns: {what}")


def _slice(part: Keys, reader: CheckedValues) -> tuple[int, int | None]:
    """Reads `slice: [start, stop]`. A missing slice means all columns, a null stop all columns from `start` on."""
    if "slice" not in part:
        return 0, None
    ends = part["slice"]
    expected = f"expected [start, stop] with 0 <= start < stop, counted from 0, got {shown(ends)}"
    if not isinstance(ends, list) or len(ends) != 2:
        raise reader.error(part, "slice", f"slice: {expected}")
    start, stop = (ends[0] if ends[0] is not None else 0), ends[1]
    whole = [end for end in (start, stop) if end is not None]
    if any(isinstance(end, bool) or not isinstance(end, int) or not 0 <= end <= WIDEST for end in whole):
        raise reader.error(part, "slice", f"slice: {expected}; negative numbers do not count from the end here")
    if stop is not None and stop <= start:
        raise reader.error(part, "slice", f"slice: {expected}")
    return start, stop


def _check_width(part: Keys, columns: FeatureColumns, reader: CheckedValues) -> None:
    """Checks that the number of columns fits the rotation, the names and the scale, as far as the entry has that number."""
    if columns.rotation and columns.names and len(columns.names) != width(columns.rotation):
        raise reader.error(
            part, "names", f"{columns.rotation} has {width(columns.rotation)} columns, names has {len(columns.names)}"
        )
    if columns.stop is None:
        return
    wide = columns.stop - columns.start
    if isinstance(columns.scale, tuple) and len(columns.scale) != wide:
        raise reader.error(part, "scale", f"scale has {len(columns.scale)} numbers, the slice takes {wide} columns")
    if columns.rotation and wide != width(columns.rotation):
        raise reader.error(
            part, "slice", f"{columns.rotation} has {width(columns.rotation)} columns, the slice takes {wide}"
        )
    if len(columns.names) > wide:
        raise reader.error(part, "names", f"names has {len(columns.names)} names, the slice takes {wide} columns")
