"""A mixture: which sources, in which shares, cut into which chunks. Frozen dataclasses, read from YAML and validated.

name: tabletop_demo
index: index                 # INDEX of `python -m pipelines index`, relative to this file; --index overrides
tokenizer: fit               # or a tokenizer folder, relative to this file; --tokenizer overrides
chunk: {seconds: 1.0}        # or {steps: 16}
unit: samples                # what weights count
seed: 0
sources:
  - {dataset: tabletop_planar, weight: 3}          # action: {form: relative, rotation: 6d} for another form of its actions
  - group: web
    weight: 2                # relative to its siblings (an only child needs none); its members share it
    sources:
      - {dataset: tabletop_vqa, weight: 2, split: train}
      - {dataset: tabletop_captions, weight: 1, max_epochs: 2}
"""

import hashlib
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fasttok.errors import InputError, unknown_name
from mixtures.yaml_lines import Keys, load

MIXTURE_KEYS = ("name", "description", "index", "tokenizer", "chunk", "unit", "seed", "sources")
SOURCE_KEYS = ("dataset", "weight", "split", "name", "max_epochs", "action")
FORMS = ("stored", "relative", "delta")
ROTATIONS = ("stored", "euler", "quaternion", "6d")
GROUP_KEYS = ("group", "weight", "sources")
UNITS = ("samples",)
MAX_DEPTH = 8


@dataclass(frozen=True)
class Chunk:
    """How long an action chunk is: one of the two, never both."""

    seconds: float | None = None
    steps: int | None = None

    def horizon(self, control_hz: float | None) -> int:
        """Steps in a chunk at a control frequency: at least 1, rounded half to even.

        Raises:
            InputError: the chunk is given in seconds and the frequency is not known.

        >>> Chunk(seconds=1.0).horizon(5), Chunk(seconds=0.5).horizon(20), Chunk(steps=16).horizon(None)
        (5, 10, 16)
        """
        if self.steps is not None:
            return self.steps
        if not control_hz:
            raise InputError(
                "the chunk is given in seconds, but control_hz is not known; give it in the dataset entry, or use"
                " chunk: {steps: N}"
            )
        return max(1, round((self.seconds or 0.0) * control_hz))


@dataclass(frozen=True)
class Source:
    """One member of a mixture after nesting is resolved.

    Attributes:
        name: unique in the mixture: the dataset, or as `name:` says.
        dataset: dataset of the INDEX.
        split: split of that dataset.
        share: of all samples, in (0, 1]; shares of a mixture sum to 1.
        max_epochs: most passes over the source, or None; a cap, the freed samples go to the others.
        group: names of the enclosing groups, outermost first.
        form, rotation: how its actions are represented: as stored, relative to the chunk's first state, or per-step differences;
            with rotations as stored, Euler angles, quaternions or 6-D.
    """

    name: str
    dataset: str
    split: str
    share: float
    max_epochs: float | None = None
    group: tuple[str, ...] = ()
    form: str = "stored"
    rotation: str = "stored"


@dataclass(frozen=True)
class Mixture:
    """A named blend of sources. `index` and `tokenizer` are resolved against the file's folder."""

    name: str
    sources: tuple[Source, ...]
    chunk: Chunk = Chunk(seconds=1.0)
    description: str = ""
    index: str | None = None
    tokenizer: str = "fit"
    unit: str = "samples"
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """What decides the samples: plain data without names of places (index, tokenizer), so it is the same everywhere."""
        return {
            "name": self.name,
            "description": self.description,
            "chunk": {k: v for k, v in asdict(self.chunk).items() if v is not None},
            "unit": self.unit,
            "seed": self.seed,
            "sources": [{**asdict(source), "group": list(source.group)} for source in self.sources],
        }

    @property
    def digest(self) -> str:
        """sha256 (hex) of what decides the samples: chunk, unit and sources with their shares; not the seed, not prose."""
        decides = {k: v for k, v in self.to_json().items() if k not in ("name", "description", "seed")}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def read_mixture(path: Path) -> Mixture:
    """Reads and validates a mixture file.

    Raises:
        InputError: naming file, line, what stood there and what was expected.
    """
    top = load(path)
    reader = _Reader(str(path))
    reader.check_keys(top, MIXTURE_KEYS, "mixture")
    name = reader.text(top, "name", path.stem)
    tokenizer = reader.text(top, "tokenizer", "fit")
    index = reader.text(top, "index", "") or None
    unit = reader.text(top, "unit", "samples")
    if unit not in UNITS:
        raise reader.error(top, "unit", f"{unknown_name('unit', unit, UNITS)}: weights are shares of samples drawn")
    seed = top.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise reader.error(top, "seed", f"seed must be an integer >= 0, got {seed!r}")
    sources = reader.members(top, 1.0, ())
    repeated = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
    if repeated:
        raise InputError(f"{path}: source {repeated[0]!r} appears twice; give one of them another `name:`")
    return Mixture(
        name=name,
        description=reader.text(top, "description", ""),
        index=_resolve(path, index),
        tokenizer=tokenizer if tokenizer == "fit" else str(_resolve(path, tokenizer)),
        chunk=reader.chunk(top),
        unit=unit,
        seed=seed,
        sources=tuple(sources),
    )


class _Reader:
    """Turns `Keys` into dataclasses; every error names the file and the line."""

    def __init__(self, where: str) -> None:
        self.where = where

    def error(self, keys: Keys, key: str | None, message: str) -> InputError:
        line = keys.lines.get(key, keys.line) if key else keys.line
        return InputError(f"{self.where}: line {line}: {message}")

    def check_keys(self, keys: Keys, known: tuple[str, ...], what: str) -> None:
        for key in keys:
            if key not in known:
                raise self.error(keys, key, str(unknown_name(f"{what} key", key, known)))

    def text(self, keys: Keys, key: str, default: str) -> str:
        value = keys.get(key, default)
        if not isinstance(value, str):
            raise self.error(keys, key, f"{key} must be text, got {value!r}; put it in quotes")
        return value

    def positive(self, keys: Keys, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise self.error(
                keys, key, f"{key} must be a finite number > 0, got {value!r}; drop a source to leave it out"
            )
        return float(value)

    def chunk(self, top: Keys) -> Chunk:
        if "chunk" not in top:
            return Chunk(seconds=1.0)
        value = top["chunk"]
        if not isinstance(value, Keys) or len(value) != 1:
            raise self.error(top, "chunk", f"chunk must be {{seconds: S}} or {{steps: N}}, got {value!r}")
        self.check_keys(value, ("seconds", "steps"), "chunk")
        if "seconds" in value:
            return Chunk(seconds=self.positive(value, "seconds", value["seconds"]))
        steps = value["steps"]
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise self.error(value, "steps", f"steps must be an integer >= 1, got {steps!r}")
        return Chunk(steps=steps)

    def members(self, keys: Keys, share: float, group: tuple[str, ...]) -> list[Source]:
        """The sources below one `sources:` list, which share `share` by their weights."""
        items = keys.get("sources")
        if not isinstance(items, list) or not items:
            raise self.error(keys, "sources", f"sources must be a list with at least one source, got {items!r}")
        if len(group) > MAX_DEPTH:
            raise self.error(keys, "sources", f"groups are nested deeper than {MAX_DEPTH}")
        for item in items:
            if not isinstance(item, Keys):
                raise self.error(keys, "sources", f"a source is {{dataset: NAME, weight: W}}, got {item!r}")
            if ("group" in item) == ("dataset" in item):
                raise self.error(item, None, "a source has either `dataset:` or `group:` (with its own `sources:`)")
            self.check_keys(
                item, GROUP_KEYS if "group" in item else SOURCE_KEYS, "group" if "group" in item else "source"
            )
            if "weight" not in item and len(items) > 1:
                raise self.error(item, None, "weight is missing; it is relative to the siblings, so 1 is a good start")
        weights = [self.positive(item, "weight", item.get("weight", 1)) for item in items]
        total = math.fsum(weights)
        found: list[Source] = []
        for item, weight in zip(items, weights, strict=True):
            part = share * (weight / total)
            if "group" in item:
                found += self.members(item, part, (*group, self.text(item, "group", "")))
            else:
                found.append(self.source(item, part, group))
        return found

    def source(self, item: Keys, share: float, group: tuple[str, ...]) -> Source:
        if share <= 0:
            raise self.error(item, "weight", "weight is so small beside its siblings that the share is 0")
        dataset = self.text(item, "dataset", "")
        cap = item.get("max_epochs")
        return Source(
            name=self.text(item, "name", dataset),
            dataset=dataset,
            split=self.text(item, "split", "train"),
            share=share,
            max_epochs=None if cap is None else self.positive(item, "max_epochs", cap),
            group=group,
            **self.representation(item),
        )

    def representation(self, item: Keys) -> dict[str, str]:
        value = item.get("action")
        if value is None:
            return {}
        if not isinstance(value, Keys):
            raise self.error(
                item, "action", f"action must be {{form: relative, rotation: 6d}} or one of these, got {value!r}"
            )
        self.check_keys(value, ("form", "rotation"), "action")
        for key, known in (("form", FORMS), ("rotation", ROTATIONS)):
            if self.text(value, key, "stored") not in known:
                raise self.error(value, key, str(unknown_name(key, value[key], known)))
        return {key: self.text(value, key, "stored") for key in ("form", "rotation")}


def _resolve(path: Path, value: str | None) -> str | None:
    """A place named in a mixture file: URLs and absolute paths as they are, others relative to the file."""
    if value is None or "://" in value or Path(value).is_absolute():
        return value
    return str(path.parent / value)


def with_overrides(
    mixture: Mixture, index: str | None = None, tokenizer: str | None = None, seed: int | None = None
) -> Mixture:
    """The mixture with what a command line overrides."""
    changed = {k: v for k, v in {"index": index, "tokenizer": tokenizer, "seed": seed}.items() if v is not None}
    return replace(mixture, **changed)  # type: ignore[arg-type]
