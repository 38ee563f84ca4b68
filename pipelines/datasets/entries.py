"""Dataset entries: one readable YAML that says what a dataset's features mean (docs/design.md "Dataset entries").

Looked up in this order: --entries, `dataset.yaml` in the dataset's own folder, the packaged `pipelines/datasets/`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import fsspec
import yaml

from fasttok.actions.chunks import ENCODINGS
from fasttok.actions.rotations import STORED
from fasttok.errors import InputError, unknown_name
from pipelines.datasets.filters import Filters, parse_filters
from pipelines.datasets.vlm_keys import OWN, check_keys
from pipelines.shards.records import CAMERA_SLOTS, KINDS

LANGUAGE_FORMATS = ("text", "codepoints")
OWN_ENTRY = "dataset.yaml"


@dataclass(frozen=True)
class Part:
    """Some columns of a step feature.

    Attributes:
        feature: path below steps/. start, stop: columns (None: to the end).
        encoding: absolute, delta or gripper, for padding; a velocity is a delta, whose unit tells.
        closed, open: of a gripper, the stored values that become 0 and 1; what lies outside is clipped.
        relative: a gripper command of which values near 0 change nothing (`grippers.py`).
        rotation: how the columns hold a rotation (`rotations.py`), "" where they hold none.
        unit, names: for people and plots.
    """

    feature: str
    start: int = 0
    stop: int | None = None
    encoding: str = "absolute"
    closed: float = 0.0
    open: float = 1.0
    relative: bool = False
    rotation: str = ""
    unit: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset's meaning. Robot fields are empty on VQA and caption entries, and the other way round.

    Attributes:
        embodiment: whose statistics it shares; its own name unless given.
        control_hz: steps a second; None where unknown, and then `index --control-hz` must say it.
        cameras: slot -> step feature. bgr: slots whose images are stored with their channels reversed.
        language: step or metadata feature, None where episodes have no instruction. language_format: text, or codepoints for
            arrays of unicode numbers.
        drop_first: steps to leave out at the start of every episode (a known defect of some datasets).
        filters: which episodes and steps are wanted.
        exclude: why the dataset is not to be used; `index` then refuses it.
        unknown: why its features are not known, so that the mapping could not be tried on them.
        defects, notes: what its users should know, and where loaders or sources disagree.
        soups: published mixtures that name it.
        episodes: split -> how many; size_gib, version, homepage: of the copy that the entry was written for.
        format: VLM only, how it is stored (`pipelines/vlm/`, docs/vlm.md). splits: split -> its file, or files by a pattern.
        images: folder of its images; `{split}` in it is the split's name.
        image, prompt, target, answers, id: JSON keys, columns or features; prompt None: `fixed_prompt` for all.
        annotations, image_name: of VQAv2, split -> file, and a template for names of images. conversations: a column of turns.
        turns: `each` pair of turns or the `first`. detect: `all` classes of an image at once, or `each`.
    """

    name: str
    kind: str
    license: str = ""
    citation: str = ""
    homepage: str = ""
    version: str = ""
    episodes: tuple[tuple[str, int], ...] = ()
    size_gib: float | None = None
    embodiment: str = ""
    robot: str = ""
    control_hz: float | None = None
    cameras: tuple[tuple[str, str], ...] = ()
    bgr: tuple[str, ...] = ()
    language: str | None = None
    language_format: str = "text"
    action: tuple[Part, ...] = ()
    proprio: tuple[Part, ...] = ()
    drop_first: int = 0
    filters: Filters = field(default_factory=Filters)
    exclude: str = ""
    unknown: str = ""
    defects: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    soups: tuple[str, ...] = ()
    format: str = "jsonl"
    splits: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    images: str = "images"
    image_name: str = ""
    image: str = "image"
    prompt: str | None = None
    fixed_prompt: str = ""
    target: str = ""
    answers: str = ""
    conversations: str = ""
    turns: str = "each"
    detect: str = "all"
    id: str = "id"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for index.json."""
        value = asdict(self) | {key: dict(getattr(self, key)) for key in MAPPINGS}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}


MAPPINGS = ("cameras", "splits", "annotations", "episodes")
LISTS = ("bgr", "defects", "notes", "soups")


def from_json(data: dict[str, Any]) -> DatasetEntry:
    """The inverse of `DatasetEntry.to_json`."""
    parts = {k: tuple(Part(**{**p, "names": tuple(p["names"])}) for p in data[k]) for k in ("action", "proprio")}
    pairs = {k: tuple(data[k].items()) for k in MAPPINGS} | {k: tuple(data[k]) for k in LISTS}
    known = {f.name for f in fields(DatasetEntry)}
    filters = {"filters": Filters(**data["filters"])}
    return DatasetEntry(**{k: v for k, v in data.items() if k in known} | parts | pairs | filters)


def parse_entry(text: str, where: str) -> DatasetEntry:
    """A YAML entry; `same_as` names a packaged one of which it takes all but what it says itself.

    Raises:
        InputError: not YAML, an unknown or missing key, or a value that cannot be.
    """
    data = _resolved(_mapping(text, where), where)
    known = {f.name for f in fields(DatasetEntry)}
    for key in data:
        if key not in known:
            raise InputError(f"{where}: {unknown_name('key', str(key), known | {'same_as'})}")
    for key in ("name", "kind"):
        if not data.get(key):
            raise InputError(f"{where}: key {key!r} is missing")
    if data["kind"] not in KINDS:
        raise InputError(f"{where}: {unknown_name('kind', str(data['kind']), KINDS)}")
    if data["kind"] != "robot" and not data.get("exclude"):
        check_keys(data, where)
    for key in sorted(({"format"} | OWN) & set(data)) if data["kind"] == "robot" else ():
        raise InputError(f"{where}: {key!r} is a key of vqa and caption entries, not of robot ones")
    for key in ("cameras", "action") if data["kind"] == "robot" else ():
        if not data.get(key) and not data.get("exclude"):
            raise InputError(f"{where}: a robot entry needs the key {key!r}")
    for key in ("cameras", "episodes", "filters"):
        if not isinstance(data.get(key) or {}, dict):
            raise InputError(f"{where}: {key} is {data[key]!r}, expected a mapping")
    for key in (*LISTS, "action", "proprio"):
        if not isinstance(data.get(key) or [], list):
            raise InputError(f"{where}: {key} is {data[key]!r}, expected a list")
    cameras = data.get("cameras") or {}
    for slot in (*cameras, *(data.get("bgr") or [])):
        if slot not in CAMERA_SLOTS:
            raise InputError(f"{where}: cameras: {unknown_name('slot', str(slot), CAMERA_SLOTS)}")
    if data.get("language_format", "text") not in LANGUAGE_FORMATS:
        raise InputError(f"{where}: {unknown_name('language_format', str(data['language_format']), LANGUAGE_FORMATS)}")
    if data["kind"] == "robot":
        data["embodiment"] = data.get("embodiment") or data["name"]
    data["filters"] = parse_filters(data.get("filters") or {}, f"{where}: filters")
    for key in MAPPINGS:
        data[key] = tuple((data.get(key) or {}).items())
    for key in LISTS:
        data[key] = tuple(data.get(key) or [])
    for key in ("action", "proprio"):
        data[key] = tuple(_part(part, f"{where}: {key}[{i}]") for i, part in enumerate(data.get(key) or []))
    return DatasetEntry(**data)


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


def _part(data: Any, where: str) -> Part:
    if not isinstance(data, dict) or "from" not in data:
        raise InputError(
            f"{where}: expected a mapping with `from`, such as {{from: action, slice: [0, 6], encoding: delta}}"
        )
    known = {"from", "slice", *(f.name for f in fields(Part))} - {"feature", "start", "stop"}
    for key in data:
        if key not in known:
            raise InputError(f"{where}: {unknown_name('key', str(key), known)}")
    start, stop = data.get("slice") or (0, None)
    more = {key: value for key, value in data.items() if key not in ("from", "slice", "names")}
    part = Part(data["from"], start or 0, stop, names=tuple(data.get("names") or ()), **more)
    if part.encoding not in ENCODINGS:
        raise InputError(f"{where}: {unknown_name('encoding', str(part.encoding), ENCODINGS)}")
    if part.rotation and part.rotation not in STORED:
        raise InputError(f"{where}: {unknown_name('rotation', str(part.rotation), STORED)}")
    if part.encoding == "gripper" and part.closed == part.open:
        raise InputError(f"{where}: closed and open are both {part.open}, expected two stored values")
    if part.encoding != "gripper" and {"closed", "open", "relative"} & set(data):
        raise InputError(f"{where}: closed, open and relative are of parts with encoding: gripper")
    return part


def packaged() -> dict[str, str]:
    """Name -> YAML text of the entries that come with the package."""
    folder = files("pipelines.datasets").joinpath("entries")
    return {f.name.removesuffix(".yaml"): f.read_text() for f in folder.iterdir() if f.name.endswith(".yaml")}


def find_entry(directory: str, dataset: str, extra: Sequence[str] = ()) -> DatasetEntry:
    """The entry of a dataset directory.

    Args:
        dataset: its name (TFDS name, or the folder's). extra: YAML files or folders of them, which come first.

    Raises:
        InputError: none found, or the one found is wrong.
    """
    for place in extra:
        path = Path(place)
        if not path.exists():
            raise InputError(f"--entries {place}: no such file or folder")
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            entry = parse_entry(file.read_text(encoding="utf-8"), str(file))
            if entry.name == dataset:
                return entry
    filesystem, root = fsspec.core.url_to_fs(directory)
    if filesystem.isfile(f"{root}/{OWN_ENTRY}"):
        return parse_entry(filesystem.cat_file(f"{root}/{OWN_ENTRY}").decode(), f"{directory}/{OWN_ENTRY}")
    known = packaged()
    if dataset in known:
        return parse_entry(known[dataset], f"pipelines/datasets/{dataset}.yaml")
    close = difflib.get_close_matches(dataset, known, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    raise InputError(
        f"no entry says what the features of {dataset!r} mean{guess} Draft one: fasttok-pipelines datasets draft {directory}; "
        f"it goes to {directory}/{OWN_ENTRY}, or --entries names it (docs/datasets.md)"
    )
