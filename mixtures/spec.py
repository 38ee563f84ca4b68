"""A mixture as frozen dataclasses: its sources, their shares and chunks. `parse.py` reads them from YAML.

A mixture is a tree: groups contain groups and sources. The policy of a group turns the weights or the sizes of its members
into shares. `shares.py` computes the shares once sizes are known, and how they change over a build.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from fasttok.actions.chunks import horizon_steps
from fasttok.common.action_forms import ActionForm, RotationForm
from fasttok.common.images import Fit
from fasttok.common.kinds import CameraSlot
from fasttok.errors import InputError

Unit = Literal["samples"]
"""What weights count."""
UNITS: tuple[Unit, ...] = get_args(Unit)

Policy = Literal["as_given", "proportional", "temperature", "weight_times_frames"]
"""What the shares of a group's members are proportional to (see `shares.py`): their weights; their frames; their frames to the
power 1 / temperature; weight times frames."""
POLICIES: tuple[Policy, ...] = get_args(Policy)

ImageFormat = Literal["jpeg", "png", "webp"]
"""Format in which a build encodes the frames of videos and arrays."""
IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)

FITS: tuple[Fit, ...] = get_args(Fit)

Question = Literal["task", "motion", "gripper", "progress", "subtask", "caption"]
"""A question that rows can ask about a robot."""
QUESTIONS: tuple[Question, ...] = get_args(Question)


@dataclass(frozen=True)
class Chunk:
    """Length of an action chunk: in seconds or in steps, never both.

    Attributes:
        seconds: length in time; a dataset's control frequency turns it into steps.
        steps: number of steps, at any control frequency.
    """

    seconds: float | None = None
    steps: int | None = None

    def horizon(self, control_hz: float | None) -> int:
        """Returns the steps of a chunk at a control frequency: at least 1, rounded half to even.

        Raises:
            InputError: the chunk is given in seconds and the frequency is not known, or it has too many steps.

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
        return horizon_steps(self.seconds or 0.0, control_hz)


@dataclass(frozen=True)
class Resize:
    """Size to which images are resized. A build encodes images that are encoded already only to resize them.

    Attributes:
        height: height in pixels.
        width: width in pixels.
        fit: how pictures of other proportions are fitted (see `Fit`).
        quality: quality of the JPEGs written, in [1, 100].
    """

    height: int
    width: int
    fit: Fit = "inside"
    quality: int = 95

    @property
    def without_edges(self) -> "Resize":
        """How to resize an image in which a text names places: black edges would move them, so it is not padded but stretched."""
        return replace(self, fit="stretch") if self.fit == "pad" else self


@dataclass(frozen=True)
class ImageEncoding:
    """How frames of videos and arrays are encoded; images that are encoded already are passed on unchanged.

    Attributes:
        format: format of the image; PNG keeps every pixel.
        quality: quality of JPEG and WebP, in [1, 100].
    """

    format: ImageFormat = "jpeg"
    quality: int = 95


@dataclass(frozen=True)
class SourceFilters:
    """Which records of the INDEX a source takes. None, () and False mean that a filter is not used.

    Attributes:
        min_steps: minimum number of steps of an episode.
        max_steps: maximum number of steps of an episode.
        language: whether an instruction must be there.
        matches: RE2 pattern that the instruction or question must match somewhere.
        excludes: RE2 pattern that the instruction or question must not match anywhere.
        cameras: slots that must be there.
        part: (low, high) in [0, 1]: takes the records with low <= hash < high. (0, 0.9) and (0.9, 1) hold out a tenth of a
            dataset without a split of its own. An episode's hash depends only on its file's path below the dataset's
            folder and on its id; that of a question or caption depends on its image.
        records: number of records to take, evenly spread over all that pass the other filters.
    """

    min_steps: int | None = None
    max_steps: int | None = None
    language: bool = False
    matches: str | None = None
    excludes: str | None = None
    cameras: tuple[CameraSlot, ...] = ()
    part: tuple[float, float] | None = None
    records: int | None = None


@dataclass(frozen=True)
class Source:
    """A split of a dataset in a mixture, and what is made of it.

    Attributes:
        name: name, unique in the mixture; by default that of the dataset.
        dataset: dataset of the INDEX.
        split: split of that dataset.
        weight: weight relative to its siblings; the policy of its group decides what it means.
        max_epochs: maximum number of passes over the source; the samples beyond go to the other sources. None is no limit.
        form: how its actions are represented.
        rotation: how the rotations in its actions are represented.
        chunk: its own chunk, None for the mixture's.
        cameras: (slot in the rows, slot of the dataset) pairs; None for all as they are.
        resize: size of its images; None passes the encoded bytes through.
        encode: how frames of videos and arrays are encoded; None: as JPEG of quality 95, or of the quality of `resize`.
        prompts: templates that contain {prompt}, of which each row uses one; () for the prompt as it is.
        filters: which records it takes.
        questions: what its rows ask about the robot (`pipelines/builder/questions.yaml`); () if they contain actions.
        subtask: whether its rows contain what the robot is doing, from its gripper, for models that predict it or read it.
        where: file and line of the mixture that define it, for later errors; it has no effect on samples.
    """

    name: str
    dataset: str
    split: str = "train"
    weight: float = 1.0
    max_epochs: float | None = None
    form: ActionForm = "stored"
    rotation: RotationForm = "stored"
    chunk: Chunk | None = None
    cameras: tuple[tuple[CameraSlot, CameraSlot], ...] | None = None
    resize: Resize | None = None
    encode: ImageEncoding | None = None
    prompts: tuple[str, ...] = ()
    filters: SourceFilters = SourceFilters()
    questions: tuple[Question, ...] = ()
    subtask: bool = False
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Group:
    """Members that share the weight of their group.

    Attributes:
        name: unique among the names that a schedule mentions.
        members: groups and sources, in the order of the file.
        weight: relative to its siblings.
        policy: how shares follow from the members.
        temperature: temperature of the policy `temperature`; a larger one makes the shares more alike.
    """

    name: str
    members: "tuple[Group | Source, ...]"
    weight: float = 1.0
    policy: Policy = "as_given"
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
class CurriculumPhase:
    """A stretch of a curriculum with weights of its own.

    Attributes:
        after: the first sample of the phase.
        weights: (name of a source or group, weight) pairs that replace the weights in the tree from there on.
    """

    after: int
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Mixture:
    """A named blend of sources.

    Attributes:
        name: the mixture's name.
        root: the tree of groups and sources.
        chunk: chunk of sources that have none of their own.
        description: one line of prose.
        index: INDEX that it mixes, resolved against the file's folder; None if the command line names one.
        tokenizer: tokenizer folder, resolved against the file's folder; or `fit`, to fit one on the INDEX.
        unit: what weights count.
        seed: seed of a build, if the command line gives none.
        schedule: a curriculum, phases in order; () if the weights never change.
    """

    name: str
    root: Group
    chunk: Chunk = Chunk(seconds=1.0)
    description: str = ""
    index: str | None = None
    tokenizer: str = "fit"
    unit: Unit = "samples"
    seed: int = 0
    schedule: tuple[CurriculumPhase, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources, in the order in which they are written."""
        return tuple(source for _, source in walk(self.root))

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """For each source, the names of the groups around it, outermost first, without the root."""
        return tuple(path for path, _ in walk(self.root))

    def to_json(self) -> dict[str, Any]:
        """Returns what decides the samples, as plain data without places (index, tokenizer), so it is the same everywhere."""
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
        """sha256 (hex) of what decides the samples: chunk, unit, schedule and tree, but not seed, name and description."""
        decides = {k: v for k, v in self.to_json().items() if k not in ("name", "description", "seed")}
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def walk(group: Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Source]]:
    """Yields (names of the groups around it, source) for every source below a group, in order.

    >>> [(path, source.name) for path, source in walk(Group("m", (Source("a", "a"), Group("web", (Source("b", "b"),)))))]
    [((), 'a'), (('web',), 'b')]
    """
    for member in group.members:
        if isinstance(member, Group):
            yield from walk(member, (*path, member.name))
        else:
            yield path, member


def tree(node: Group | Source) -> dict[str, Any]:
    """Returns a node as plain data, without the values that are defaults of a source.

    >>> tree(Source("a", "tabletop_arm", max_epochs=2.0))
    {'name': 'a', 'dataset': 'tabletop_arm', 'weight': 1.0, 'max_epochs': 2.0}
    """
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
    """Puts the file and line of a source before an InputError that its data causes.

    >>> with asked_for(Source("a", "a", where="mix.yaml: line 4")):
    ...     raise InputError("no such split")
    Traceback (most recent call last):
    fasttok.errors.InputError: mix.yaml: line 4: no such split
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{source.where}: {error}" if source.where else str(error)) from None


def with_overrides(
    mixture: Mixture, index: str | None = None, tokenizer: str | None = None, seed: int | None = None
) -> Mixture:
    """Returns the mixture with what a command line overrides; None overrides nothing.

    >>> with_overrides(Mixture("m", Group("m", ()), seed=3), index="INDEX").seed
    3
    """
    return replace(
        mixture,
        index=mixture.index if index is None else index,
        tokenizer=mixture.tokenizer if tokenizer is None else tokenizer,
        seed=mixture.seed if seed is None else seed,
    )
