"""A dataset entry out of its YAML: keys and values that cannot be are refused by name, with the closest that can.

The keys are those of `fasttok.episodes.dataset_entry`; docs/datasets.md describes them.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml

from fasttok.actions.rotations import STORED
from fasttok.common import json_files
from fasttok.common.kinds import CAMERA_SLOTS, ENCODINGS, KINDS
from fasttok.episodes.dataset_entry import LANGUAGE_FORMATS, DatasetEntry, FeatureColumns
from fasttok.errors import InputError, unknown_name
from pipelines.datasets.filters import parse_filters
from pipelines.datasets.packaged_entries import packaged
from pipelines.datasets.vlm_keys import OWN, check_keys

MAPPINGS = ("cameras", "splits", "annotations", "episodes")
LISTS = ("bgr", "defects", "notes", "soups")
COLUMNS = ("action", "proprio")


def parse_entry(text: str, where: str) -> DatasetEntry:
    """A YAML entry; `same_as` names a packaged one of which it takes all but what it says itself.

    Args:
        text: the YAML.
        where: path of the file, for messages.

    Raises:
        InputError: not YAML, an unknown or missing key, or a value that cannot be.
    """
    data = _resolved(_mapping(text, where), where)
    _check(data, where)
    if data["kind"] == "robot":
        data["embodiment"] = data.get("embodiment") or data["name"]
    data["filters"] = parse_filters(data.get("filters") or {}, f"{where}: filters")
    for key in COLUMNS:
        data[key] = [_columns(value, f"{where}: {key}[{i}]") for i, value in enumerate(data.get(key) or [])]
    _check_states(data["action"], data["proprio"], where)
    given = {key: value for key, value in data.items() if value is not None}
    return json_files.decode(DatasetEntry, json_files.encode(given), where)


def _check(data: dict[str, Any], where: str) -> None:
    """Refuses keys that no entry, or none of its kind, has, and values that cannot be."""
    known = {f.name for f in fields(DatasetEntry)}
    for key in data:
        if key not in known:
            raise InputError(f"{where}: {unknown_name('key', str(key), known | {'same_as'})}")
    for key in ("name", "kind"):
        if not data.get(key):
            raise InputError(f"{where}: key {key!r} is missing")
    if data["kind"] not in KINDS:
        raise InputError(f"{where}: {unknown_name('kind', str(data['kind']), KINDS)}")
    if data["kind"] == "robot":
        _check_robot(data, where)
    elif not data.get("exclude"):
        check_keys(data, where)
    for key in (*MAPPINGS, "filters"):
        if not isinstance(data.get(key) or {}, dict):
            raise InputError(f"{where}: {key} is {data[key]!r}, expected a mapping")
    for key in (*LISTS, *COLUMNS):
        if not isinstance(data.get(key) or [], list):
            raise InputError(f"{where}: {key} is {data[key]!r}, expected a list")
    for slot in (*(data.get("cameras") or {}), *(data.get("bgr") or [])):
        if slot not in CAMERA_SLOTS:
            raise InputError(f"{where}: cameras: {unknown_name('slot', str(slot), CAMERA_SLOTS)}")
    if data.get("language_format", "text") not in LANGUAGE_FORMATS:
        raise InputError(f"{where}: {unknown_name('language_format', str(data['language_format']), LANGUAGE_FORMATS)}")


def _check_robot(data: dict[str, Any], where: str) -> None:
    """Refuses keys of other entries, and asks for those that a robot's must have."""
    for key in sorted(({"format"} | OWN) & set(data)):
        raise InputError(f"{where}: {key!r} is a key of vqa and caption entries, not of robot ones")
    for key in ("cameras", "action"):
        if not data.get(key) and not data.get("exclude"):
            raise InputError(f"{where}: a robot entry needs the key {key!r}")


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping with name, kind, ..., got {type(data).__name__}")
    return data


def _resolved(data: dict[str, Any], where: str) -> dict[str, Any]:
    """`same_as` followed, once: an alias of an alias is refused."""
    if "same_as" not in data:
        return data
    known = packaged()
    base = str(data.pop("same_as"))
    if base not in known:
        raise InputError(f"{where}: same_as: {unknown_name('dataset', base, known)}")
    other = _mapping(known[base], base)
    if "same_as" in other:
        raise InputError(f"{where}: same_as: {base} is an alias itself, of {other['same_as']}")
    return other | data


def _check_states(action: Sequence[FeatureColumns], proprio: Sequence[FeatureColumns], where: str) -> None:
    """`state` is for absolute action parts, and names a feature of the proprio."""
    known = {part.feature for part in proprio if part.encoding == "absolute"}
    for key, parts in (("action", action), ("proprio", proprio)):
        for i, part in enumerate(parts):
            if part.state and (key == "proprio" or part.encoding != "absolute"):
                raise InputError(
                    f"{where}: {key}[{i}]: state is for action parts with encoding: absolute; leave it out"
                )
            if part.state and part.state not in known:
                raise InputError(f"{where}: {key}[{i}]: state: {unknown_name('feature of proprio', part.state, known)}")


def _columns(data: object, where: str) -> FeatureColumns:
    if not isinstance(data, dict) or "from" not in data:
        raise InputError(
            f"{where}: expected a mapping with `from`, such as {{from: action, slice: [0, 6], encoding: delta}}"
        )
    known = {"from", "slice", *(f.name for f in fields(FeatureColumns))} - {"feature", "start", "stop"}
    for key in data:
        if key not in known:
            raise InputError(f"{where}: {unknown_name('key', str(key), known)}")
    start, stop = data.get("slice") or (0, None)
    plain = {"feature": data["from"], "start": start or 0, "stop": stop}
    plain |= {key: value for key, value in data.items() if key not in ("from", "slice") and value is not None}
    for key, names in (("encoding", ENCODINGS), ("rotation", ("", *STORED))):
        if plain.get(key, names[0]) not in names:
            raise InputError(f"{where}: {unknown_name(key, str(plain[key]), [name for name in names if name])}")
    columns = json_files.decode(FeatureColumns, plain, where)
    if columns.encoding == "gripper" and columns.closed == columns.open:
        raise InputError(f"{where}: closed and open are both {columns.open}, expected two stored values")
    if columns.encoding != "gripper" and {"closed", "open", "relative"} & set(data):
        raise InputError(f"{where}: closed, open and relative are of parts with encoding: gripper")
    return columns
