"""Which keys a VQA or caption entry may have, by its format, and what they may hold (docs/vlm.md)."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from fasttok.episodes.dataset_entry import DETECT, TURNS, VlmFormat
from fasttok.errors import InputError, unknown_name

TEXTS = ("prompt", "fixed_prompt", "target", "answers", "id")
# format -> keys that it must have, and ones that it may have
KEYS: dict[VlmFormat, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "jsonl": (("splits",), ("images", "image", *TEXTS)),
    "llava": (("splits",), ("images", "image", "turns", "id")),
    "coco_captions": (("splits", "fixed_prompt"), ("images",)),
    "coco_boxes": (("splits",), ("images", "detect")),
    "vqav2": (("splits", "annotations", "image_name"), ("images",)),
    "parquet": (("splits", "image"), ("conversations", "turns", *TEXTS)),
    "webdataset": (("splits",), ("image", *TEXTS)),
    "tfds": (("image",), TEXTS),
}
TEXTS_FROM_KEYS: tuple[VlmFormat, ...] = ("jsonl", "parquet", "webdataset", "tfds")
OWN = frozenset(key for required, more in KEYS.values() for key in (*required, *more))


def check_keys(data: Mapping[str, Any], where: str) -> None:
    """Holds an entry's keys, as written, against its format.

    Args:
        data: the entry.
        where: path of its file, for messages.

    Raises:
        InputError: an unknown format, a key that it lacks or does not take, or a value that cannot be.
    """
    name = data.get("format", "jsonl")
    if not isinstance(name, str) or name not in KEYS:
        raise InputError(f"{where}: {unknown_name('format', str(name), KEYS)}")
    required, more = KEYS[name]
    for key in required:
        if not data.get(key):
            raise InputError(f"{where}: a {data['kind']} entry with format: {name} needs the key {key!r}")
    for key in sorted((OWN & set(data)) - {*required, *more}):
        users = ", ".join(other for other, (a, b) in KEYS.items() if key in (*a, *b))
        raise InputError(f"{where}: {key!r} is a key of format {users}, not of {name}")
    _check_splits(data, where)
    for key in ("image", "target", "answers", "id", "prompt", "conversations", "fixed_prompt"):
        if data.get(key) is not None and not isinstance(data[key], str):
            raise InputError(f"{where}: {key} is {data[key]!r}, expected a name or text")
    _check_texts(data, name, where)
    for key, known in (("turns", TURNS), ("detect", DETECT)):
        if data.get(key, known[0]) not in known:
            raise InputError(f"{where}: {unknown_name(key, str(data[key]), known)}")
    _check_path(f"{where}: images", data.get("images", "images"))
    _check_template(f"{where}: images", str(data.get("images", "")), ("split",))
    if name == "vqav2":
        _check_template(f"{where}: image_name", str(data["image_name"]), ("split", "image_id"))
        missing = set(data["splits"]) - set(data["annotations"])
        if missing:
            raise InputError(f"{where}: annotations lacks the splits {', '.join(sorted(missing))}")


def _check_splits(data: Mapping[str, Any], where: str) -> None:
    """Splits have plain names, and files below the dataset's directory."""
    for key in ("splits", "annotations"):
        if not isinstance(data.get(key) or {}, dict):
            raise InputError(f"{where}: {key} is {data[key]!r}, expected a mapping of splits to files")
        for split, file in (data.get(key) or {}).items():
            _check_path(f"{where}: {key}: {split}", file)
            if not isinstance(split, str) or not re.fullmatch(r"[\w.+-]+", split) or split.startswith("."):
                raise InputError(f"{where}: {key}: {split!r} is no plain name for a split")


def _check_texts(data: Mapping[str, Any], name: str, where: str) -> None:
    """The keys say where prompt and target come from, in one way only."""
    if data.get("conversations") and (set(TEXTS) - {"id"}) & set(data):
        raise InputError(f"{where}: conversations hold the prompt and the target; leave out prompt, target and answers")
    if name in TEXTS_FROM_KEYS and not data.get("conversations"):
        if not data.get("target") and not data.get("answers"):
            raise InputError(
                f"{where}: a {data['kind']} entry with format: {name} needs the key 'target' (or 'answers')"
            )
        if not data.get("prompt") and not str(data.get("fixed_prompt") or "").strip():
            raise InputError(f"{where}: the entry needs 'prompt', or 'fixed_prompt' for one that all records share")


def _check_path(where: str, path: object) -> None:
    if not isinstance(path, str) or not path or path.startswith("/") or ".." in path.split("/") or ":" in path:
        raise InputError(f"{where} is {path!r}, expected a path below the dataset's directory, without '..'")


def _check_template(where: str, template: str, known: tuple[str, ...]) -> None:
    """Fields are of the known names; a number may have a width of two digits."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{where} is {template!r}: {error}") from None
    for _, name, spec, conversion in parts:
        if name is not None and (name not in known or conversion):
            raise InputError(f"{where} is {template!r}; known fields are {', '.join('{' + k + '}' for k in known)}")
        if spec and not (name == "image_id" and re.fullmatch(r"0?\d{1,2}d?", spec)):
            raise InputError(f"{where} is {template!r}: expected a width such as {{image_id:012d}}")
