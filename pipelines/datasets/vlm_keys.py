"""Checks which keys a VQA or caption entry has, by its format, and what their values are (docs/vlm.md)."""

import re
from string import Formatter

from fasttok.episodes.dataset_entry import DETECT, TURNS, VlmFormat
from mixtures.yaml_lines import Keys
from mixtures.yaml_values import CheckedValues, shown

TEXTS = ("prompt", "fixed_prompt", "target", "answers", "id")
# format -> (keys that it must have, other keys that it may have)
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


def check_keys(keys: Keys, reader: CheckedValues) -> None:
    """Checks an entry's keys, as written, against its format.

    Args:
        keys: keys of the entry.
        reader: checks values of the entry's file.

    Raises:
        InputError: the format is unknown, a key is missing or belongs to another format, or a value is not valid; names the line.
    """
    name: VlmFormat = reader.choice(keys, "format", tuple(KEYS), "jsonl")
    required, more = KEYS[name]
    for key in required:
        if not keys.get(key):
            raise reader.error(keys, key, f"a {keys['kind']} entry with format: {name} needs the key {key!r}")
    for key in sorted((OWN & set(keys)) - {*required, *more}):
        users = ", ".join(other for other, (a, b) in KEYS.items() if key in (*a, *b))
        raise reader.error(keys, key, f"{key!r} is a key of format {users}, not of {name}")
    _check_splits(keys, reader)
    for key in ("image", "target", "answers", "id", "prompt", "conversations", "fixed_prompt"):
        reader.text(keys, key, "")
    _check_texts(keys, name, reader)
    reader.choice(keys, "turns", TURNS, TURNS[0])
    reader.choice(keys, "detect", DETECT, DETECT[0])
    if "images" in keys:
        _check_path(keys, "images", "images", reader)
        _check_template(keys, "images", ("split",), reader)
    if name == "vqav2":
        _check_template(keys, "image_name", ("split", "image_id"), reader)
        missing = set(keys["splits"]) - set(keys["annotations"])
        if missing:
            raise reader.error(keys, "annotations", f"annotations lacks the splits {', '.join(sorted(missing))}")


def _check_splits(keys: Keys, reader: CheckedValues) -> None:
    """Checks that splits have plain names, and files below the dataset's directory."""
    for key in ("splits", "annotations"):
        files = reader.table(keys, key, "{train: train.jsonl}")
        for split in files:
            _check_path(files, split, f"{key}: {split}", reader)
            if not re.fullmatch(r"[\w.+-]+", split) or split.startswith("."):
                raise reader.error(files, split, f"{key}: {split!r} is no plain name for a split")


def _check_texts(keys: Keys, name: VlmFormat, reader: CheckedValues) -> None:
    """Checks that the keys say where prompt and target come from, in one way only."""
    if keys.get("conversations") and (set(TEXTS) - {"id"}) & set(keys):
        raise reader.error(
            keys,
            "conversations",
            "conversations contain the prompt and the target; leave out prompt, target and answers",
        )
    if name in TEXTS_FROM_KEYS and not keys.get("conversations"):
        if not keys.get("target") and not keys.get("answers"):
            raise reader.error(
                keys, "format", f"a {keys['kind']} entry with format: {name} needs the key 'target' (or 'answers')"
            )
        if not keys.get("prompt") and not keys.get("fixed_prompt", "").strip():
            raise reader.error(
                keys, "format", "the entry needs 'prompt', or 'fixed_prompt' for one that all records share"
            )


def _check_path(keys: Keys, key: str, what: str, reader: CheckedValues) -> None:
    path = keys[key]
    if not isinstance(path, str) or not path or path.startswith("/") or ".." in path.split("/") or ":" in path:
        raise reader.error(
            keys, key, f"{what} is {shown(path)}, expected a path below the dataset's directory, without '..'"
        )


def _check_template(keys: Keys, key: str, known: tuple[str, ...], reader: CheckedValues) -> None:
    """Checks that a template has known fields only. The number `image_id` may have a width of one or two digits."""
    template = reader.text(keys, key, "")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise reader.error(keys, key, f"{key} is {shown(template)}: {error}") from None
    for _, name, spec, conversion in parts:
        if name is not None and (name not in known or conversion):
            fields = ", ".join("{" + k + "}" for k in known)
            raise reader.error(keys, key, f"{key} is {shown(template)}; known fields are {fields}")
        if spec and not (name == "image_id" and re.fullmatch(r"0?\d{1,2}d?", spec)):
            raise reader.error(keys, key, f"{key} is {shown(template)}: expected a width such as {{image_id:012d}}")
