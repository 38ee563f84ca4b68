"""Parses a dataset entry from YAML. An error names the line of a wrong key or value, and says what would be valid.

The keys are those of `fasttok.episodes.dataset_entry`; docs/datasets.md describes them.
"""

from dataclasses import fields

from fasttok.common import json_files
from fasttok.common.kinds import CAMERA_SLOTS, KINDS
from fasttok.episodes.dataset_entry import LANGUAGE_FORMATS, RECORDING_FORMATS, DatasetEntry
from fasttok.errors import unknown_name
from mixtures.yaml_lines import Keys, loads
from mixtures.yaml_values import CheckedValues
from pipelines.datasets.entry_columns import check_states, parse_columns
from pipelines.datasets.filters import parse_filters
from pipelines.datasets.hdf5_keys import check_hdf5_keys
from pipelines.datasets.keep_ranges import check_keep_ranges
from pipelines.datasets.packaged_entries import packaged
from pipelines.datasets.vlm_keys import OWN, check_keys

KNOWN = tuple(f.name for f in fields(DatasetEntry))
TEXTS = ("license", "citation", "homepage", "version", "embodiment", "robot", "exclude", "unknown")
LISTS = ("defects", "notes", "guesses", "soups")
COLUMNS = ("action", "proprio")
FASTEST_HZ = 100_000  # a higher frequency is a mistake, and a chunk of a second would fill the memory


def parse_entry(text: str, where: str) -> DatasetEntry:
    """Parses a YAML entry. If it has `same_as`, it takes the keys that it lacks from that packaged entry.

    Args:
        text: the YAML.
        where: path of the file, for messages.

    Raises:
        InputError: the text is not YAML, a key is unknown or missing, or a value is not valid; names the line.
    """
    reader = CheckedValues(where)
    keys = _given(_resolved(loads(text, where), reader))
    reader.check_keys(keys, KNOWN, "entry")
    for key in ("name", "kind"):
        if not keys.get(key):
            raise reader.error(keys, key, f"key {key!r} is missing")
    _check_name(keys, reader)
    kind = reader.choice(keys, "kind", KINDS, KINDS[0])
    _check_texts_and_numbers(keys, reader)
    _check_cameras(keys, reader)
    check_keep_ranges(keys, reader)
    if kind == "robot":
        _check_robot(keys, reader)
        keys["embodiment"] = keys.get("embodiment") or keys["name"]
    elif not keys.get("exclude"):
        check_keys(keys, reader)
    plain = dict(keys)
    if "filters" in keys:
        plain["filters"] = parse_filters(reader.table(keys, "filters", "{min_steps: 10}"), where)
    parts = {key: parse_columns(keys, key, reader) for key in COLUMNS}
    check_states(keys, parts["action"], parts["proprio"], reader)
    return json_files.decode(DatasetEntry, json_files.encode(plain | parts), where)


def _resolved(keys: Keys, reader: CheckedValues) -> Keys:
    """Adds the keys of the entry that `same_as` names. That entry must not have `same_as` itself."""
    if "same_as" not in keys:
        return keys
    known = packaged()
    base = reader.text(keys, "same_as", "")
    if base not in known:
        raise reader.error(keys, "same_as", f"same_as: {unknown_name('dataset', base, known)}")
    other = loads(known[base], base)
    if "same_as" in other:
        raise reader.error(keys, "same_as", f"same_as: {base} is an alias itself, of {other['same_as']}")
    own = {key: value for key, value in keys.items() if key != "same_as"}
    lines = dict.fromkeys(other, keys.lines["same_as"]) | keys.lines
    return Keys(dict(other) | own, keys.line, lines)


def _given(keys: Keys) -> Keys:
    """Returns the keys that have a value. A key without a value counts as missing."""
    return Keys({key: value for key, value in keys.items() if value is not None}, keys.line, keys.lines)


def _check_name(keys: Keys, reader: CheckedValues) -> None:
    """Checks the name, as a dataset's name is the name of its folder in an INDEX."""
    name = reader.filled(keys, "name")
    if name.startswith(".") or name != name.strip() or any(c in "/\\:" or not c.isprintable() for c in name):
        raise reader.error(
            keys, "name", f"name is {name!r}, expected a plain name: no slash, backslash or colon, no dot at its start"
        )


def _check_texts_and_numbers(keys: Keys, reader: CheckedValues) -> None:
    for key in TEXTS:
        reader.text(keys, key, "")
    for key in LISTS:
        reader.texts(keys, key)
    episodes = reader.table(keys, "episodes", "{train: 100}")
    for split in episodes:
        reader.whole(episodes, split, 0)
    if "size_gib" in keys:
        reader.number(keys, "size_gib", 0)
    if "control_hz" in keys:
        reader.number(keys, "control_hz", 0, FASTEST_HZ, above=True)
    if "drop_first" in keys:
        reader.whole(keys, "drop_first", 0)
    if "max_record" in keys:
        reader.whole(keys, "max_record", 1)
    if "language" in keys:
        reader.filled(keys, "language")
    reader.choice(keys, "language_format", LANGUAGE_FORMATS, LANGUAGE_FORMATS[0])


def _check_cameras(keys: Keys, reader: CheckedValues) -> None:
    """Checks that `cameras` and `bgr` have known slots, and that `bgr` names slots of `cameras`."""
    cameras = reader.table(keys, "cameras", "{primary: observation/image}")
    for slot in cameras:
        if slot not in CAMERA_SLOTS:
            raise reader.error(cameras, slot, f"cameras: {unknown_name('slot', slot, CAMERA_SLOTS)}")
        reader.filled(cameras, slot)
    for slot in reader.texts(keys, "bgr"):
        if slot not in CAMERA_SLOTS:
            raise reader.error(keys, "bgr", f"cameras: {unknown_name('slot', slot, CAMERA_SLOTS)}")
        if slot not in cameras:
            raise reader.error(keys, "bgr", f"bgr names {slot!r}, which is none of the cameras: {', '.join(cameras)}")


def _check_robot(keys: Keys, reader: CheckedValues) -> None:
    """Refuses keys of other kinds of entries, and requires the keys that a robot entry must have."""
    for key in sorted((OWN - {"splits"}) & set(keys)):
        raise reader.error(keys, key, f"{key!r} is a key of vqa and caption entries, not of robot ones")
    if "format" in keys:
        reader.choice(keys, "format", RECORDING_FORMATS, RECORDING_FORMATS[0])
    check_hdf5_keys(keys, reader)
    if keys.get("exclude"):
        return
    if "cameras" not in keys:
        raise reader.error(keys, "cameras", "a robot entry needs the key 'cameras'; {} if there are none")
    if not keys.get("action"):
        raise reader.error(keys, "action", "a robot entry needs the key 'action'")
