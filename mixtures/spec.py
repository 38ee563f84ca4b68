"""A mixture: which sources, in which shares, cut into which chunks. Frozen dataclasses; `parse.py` reads them from YAML.

A mixture is a tree: groups hold groups and sources, and each group's policy turns the weights, or the sizes, of its members
into shares. What a share is, once sizes are known, and how shares change over a build: `shares.py`.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fasttok.errors import InputError

FORMS = ("stored", "relative", "delta")
ROTATIONS = ("stored", "euler", "quaternion", "6d")
UNITS = ("samples",)
POLICIES = ("as_given", "proportional", "temperature", "weight_times_frames")
FITS = ("inside", "pad", "stretch")
CAMERA_SLOTS = ("primary", "secondary", "wrist", "wrist_secondary")
QUESTIONS = ("task", "motion", "gripper", "progress", "subtask", "caption")


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
class Resize:
    """Images of another size, the only reason for which a build encodes them again.

    Attributes:
        height, width: pixels.
        fit: inside: the largest that fits, in its own proportions, never enlarged; pad: that, centred on black; stretch.
        quality: of the JPEGs written, in [1, 100].
    """

    height: int
    width: int
    fit: str = "inside"
    quality: int = 95


@dataclass(frozen=True)
class Filters:
    """Which records of the INDEX a source takes; None, empty and False where a filter is not asked for.

    Attributes:
        min_steps, max_steps: of an episode.
        language: an instruction must be there.
        matches, excludes: RE2 patterns that the instruction or question must, or must not, match somewhere.
        cameras: slots that must be there.
        part: (low, high) in [0, 1]: records whose hash lies in it. (0, 0.9) and (0.9, 1) hold out a tenth of a dataset without a
            split of its own; what a record's part is depends on its file's name and its id alone.
        records: only so many, evenly spread over all that pass the rest.
    """

    min_steps: int | None = None
    max_steps: int | None = None
    language: bool = False
    matches: str | None = None
    excludes: str | None = None
    cameras: tuple[str, ...] = ()
    part: tuple[float, float] | None = None
    records: int | None = None


@dataclass(frozen=True)
class Source:
    """One dataset's split in a mixture, and what is made of it.

    Attributes:
        name: unique in the mixture: the dataset, or as `name:` says.
        dataset: dataset of the INDEX.
        split: split of that dataset.
        weight: relative to its siblings; what it means is its group's policy.
        max_epochs: most passes over the source, or None; a cap, the freed samples go to the others.
        form, rotation: how its actions are represented: as stored, relative to the chunk's first state, or per-step differences;
            with rotations as stored, Euler angles, quaternions or 6-D.
        chunk: its own chunk, None for the mixture's.
        cameras: (slot in the rows, slot of the dataset) pairs; None for all as they are.
        resize: None passes the encoded bytes through.
        prompts: templates with {prompt} in them, of which each row takes one; () for the prompt as it is.
        filters: which records.
        questions: not actions but questions about the robot: these, of `pipelines/builder/questions.yaml`.
        subtask: its rows say what the robot is at, from its gripper, for models that predict it or are told it.
        where: file and line that ask for it, for errors found later; decides nothing.
    """

    name: str
    dataset: str
    split: str = "train"
    weight: float = 1.0
    max_epochs: float | None = None
    form: str = "stored"
    rotation: str = "stored"
    chunk: Chunk | None = None
    cameras: tuple[tuple[str, str], ...] | None = None
    resize: Resize | None = None
    prompts: tuple[str, ...] = ()
    filters: Filters = Filters()
    questions: tuple[str, ...] = ()
    subtask: bool = False
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Group:
    """Members that share the weight of their group.

    Attributes:
        policy: how shares follow from the members (see `shares.py`): as_given: their weights; proportional: their frames;
            temperature: their frames to the power 1 / temperature; weight_times_frames: weight times frames.
    """

    name: str
    members: "tuple[Group | Source, ...]"
    weight: float = 1.0
    policy: str = "as_given"
    temperature: float = 1.0

    @property
    def weighted(self) -> bool:
        """Whether the policy reads the members' weights."""
        return self.policy in ("as_given", "weight_times_frames")

    @property
    def sized(self) -> bool:
        """Whether the policy reads the members' frames."""
        return self.policy != "as_given" and len(self.members) > 1


@dataclass(frozen=True)
class Phase:
    """A part of a curriculum: from sample `after` on, these (name of a source or group, weight) replace the weights."""

    after: int
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Mixture:
    """A named blend of sources. `index` and `tokenizer` are resolved against the file's folder.

    Attributes:
        root: the tree.
        schedule: a curriculum, phases in order; () where the weights never change.
    """

    name: str
    root: Group
    chunk: Chunk = Chunk(seconds=1.0)
    description: str = ""
    index: str | None = None
    tokenizer: str = "fit"
    unit: str = "samples"
    seed: int = 0
    schedule: tuple[Phase, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources, in the order in which they are written."""
        return tuple(source for _, source in walk(self.root))

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """For each source the names of the groups around it, outermost first, without the root."""
        return tuple(path for path, _ in walk(self.root))

    def to_json(self) -> dict[str, Any]:
        """What decides the samples: plain data without names of places (index, tokenizer), so it is the same everywhere."""
        return {
            "name": self.name,
            "description": self.description,
            "chunk": {k: v for k, v in asdict(self.chunk).items() if v is not None},
            "unit": self.unit,
            "seed": self.seed,
            "schedule": [{"after": p.after, "weights": dict(p.weights)} for p in self.schedule],
            "root": tree(self.root),
        }

    @property
    def digest(self) -> str:
        """sha256 (hex) of what decides the samples: chunk, unit and the tree; not the seed, not prose."""
        decides = {k: v for k, v in self.to_json().items() if k not in ("name", "description", "seed")}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def walk(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Source]]:
    """(names of the groups around it, source) of every source below a group, in order."""
    for member in group.members:
        if isinstance(member, Group):
            yield from walk(member, (*path, member.name))
        else:
            yield path, member


def tree(node: Group | Source) -> dict[str, Any]:
    """A node as plain data; what is as by default is left out."""
    if isinstance(node, Source):
        plain, default = asdict(node), asdict(Source("", ""))
        shown = {k: v for k, v in plain.items() if k in ("name", "dataset", "weight") or v != default[k]}
        return {k: v for k, v in shown.items() if k != "where"}
    return {
        "group": node.name,
        "weight": node.weight,
        "policy": node.policy,
        **({"temperature": node.temperature} if node.policy == "temperature" else {}),
        "members": [tree(member) for member in node.members],
    }


@contextmanager
def asked_for(source: Source) -> Iterator[None]:
    """Puts the file and line of a source before an InputError that its data cause."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{source.where}: {error}" if source.where else str(error)) from None


def with_overrides(
    mixture: Mixture, index: str | None = None, tokenizer: str | None = None, seed: int | None = None
) -> Mixture:
    """The mixture with what a command line overrides."""
    changed = {k: v for k, v in {"index": index, "tokenizer": tokenizer, "seed": seed}.items() if v is not None}
    return replace(mixture, **changed)  # type: ignore[arg-type]
