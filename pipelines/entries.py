"""Dataset entries: one readable YAML that says what a dataset's features mean (docs/design.md "Dataset entries").

Looked up in this order: --entries, `dataset.yaml` in the dataset's own folder, the packaged `pipelines/datasets/`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import fsspec
import yaml

from fasttok.chunks import ENCODINGS
from fasttok.errors import InputError, unknown_name
from pipelines.filters import Filters, parse_filters
from pipelines.records import CAMERA_SLOTS, KINDS

OPS = ("invert",)
OWN_ENTRY = "dataset.yaml"


@dataclass(frozen=True)
class Part:
    """Some columns of a step feature.

    Attributes:
        feature: path below steps/. start, stop: columns (None: to the end).
        encoding: absolute, delta or gripper (1 = open), for padding. op: "invert" (1 - x) or "".
        unit, names: for people and plots.
    """

    feature: str
    start: int = 0
    stop: int | None = None
    encoding: str = "absolute"
    op: str = ""
    unit: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset's meaning. Robot fields are empty on VQA and caption entries, and the other way round.

    Attributes:
        cameras: slot -> step feature. language: step or metadata feature, None where episodes have no instruction.
        drop_first: steps to leave out at the start of every episode (a known defect of some datasets).
        filters: which episodes and steps are wanted.
        splits: VLM only, split -> JSONL file. images: folder of its images. image, prompt, target, id: its JSON keys;
            prompt None: `fixed_prompt` for all.
    """

    name: str
    kind: str
    license: str = ""
    citation: str = ""
    embodiment: str = ""
    robot: str = ""
    control_hz: float | None = None
    cameras: tuple[tuple[str, str], ...] = ()
    language: str | None = None
    action: tuple[Part, ...] = ()
    proprio: tuple[Part, ...] = ()
    drop_first: int = 0
    filters: Filters = field(default_factory=Filters)
    splits: tuple[tuple[str, str], ...] = ()
    images: str = "images"
    image: str = "image"
    prompt: str | None = None
    fixed_prompt: str = ""
    target: str = ""
    id: str = "id"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for index.json."""
        return asdict(self) | {"cameras": dict(self.cameras), "splits": dict(self.splits)}


def from_json(data: dict[str, Any]) -> DatasetEntry:
    """The inverse of `DatasetEntry.to_json`."""
    parts = {k: tuple(Part(**{**p, "names": tuple(p["names"])}) for p in data[k]) for k in ("action", "proprio")}
    pairs = {k: tuple(data[k].items()) for k in ("cameras", "splits")}
    known = {f.name for f in fields(DatasetEntry)}
    filters = {"filters": Filters(**data["filters"])}
    return DatasetEntry(**{k: v for k, v in data.items() if k in known} | parts | pairs | filters)


def parse_entry(text: str, where: str) -> DatasetEntry:
    """A YAML entry.

    Raises:
        InputError: not YAML, an unknown or missing key, or a value that cannot be.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} is not YAML: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected a mapping with name, kind, ..., got {type(data).__name__}")
    known = {f.name for f in fields(DatasetEntry)}
    for key in data:
        if key not in known:
            raise InputError(f"{where}: {unknown_name('key', str(key), known)}")
    for key in ("name", "kind"):
        if not data.get(key):
            raise InputError(f"{where}: key {key!r} is missing")
    if data["kind"] not in KINDS:
        raise InputError(f"{where}: {unknown_name('kind', str(data['kind']), KINDS)}")
    required = ("embodiment", "cameras", "action") if data["kind"] == "robot" else ("splits", "target")
    for key in required:
        if not data.get(key):
            raise InputError(f"{where}: a {data['kind']} entry needs the key {key!r}")
    cameras = data.get("cameras") or {}
    for slot in cameras:
        if slot not in CAMERA_SLOTS:
            raise InputError(f"{where}: cameras: {unknown_name('slot', str(slot), CAMERA_SLOTS)}")
    data["cameras"] = tuple(cameras.items())
    data["splits"] = tuple((data.get("splits") or {}).items())
    data["filters"] = parse_filters(data.get("filters") or {}, f"{where}: filters")
    for key in ("action", "proprio"):
        data[key] = tuple(_part(part, f"{where}: {key}[{i}]") for i, part in enumerate(data.get(key) or []))
    return DatasetEntry(**data)


def _part(data: Any, where: str) -> Part:
    if not isinstance(data, dict) or "from" not in data:
        raise InputError(
            f"{where}: expected a mapping with `from`, such as {{from: action, slice: [0, 6], encoding: delta}}"
        )
    known = {"from", "slice", "encoding", "op", "unit", "names"}
    for key in data:
        if key not in known:
            raise InputError(f"{where}: {unknown_name('key', str(key), known)}")
    start, stop = data.get("slice") or (0, None)
    part = Part(data["from"], start or 0, stop, data.get("encoding", "absolute"), data.get("op") or "",
                data.get("unit", ""), tuple(data.get("names") or ()))  # fmt: skip
    if part.encoding not in ENCODINGS:
        raise InputError(f"{where}: {unknown_name('encoding', str(part.encoding), ENCODINGS)}")
    if part.op and part.op not in OPS:
        raise InputError(f"{where}: {unknown_name('op', part.op, OPS)}")
    return part


def packaged() -> dict[str, str]:
    """Name -> YAML text of the entries that come with the package."""
    folder = files("pipelines.datasets")
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
    hint = f"write {directory}/{OWN_ENTRY} or pass --entries (docs/design.md, Dataset entries)"
    raise unknown_name("dataset", dataset, known, hint)
