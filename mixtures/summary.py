"""Computes what a mixture comes to before anything runs: the lines that `explain` prints, per source and per group."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fasttok.common.kinds import RecordKind
from fasttok.episodes.index_file import open_index
from mixtures.catalogue import catalogue
from mixtures.index_sizes import read_holding, refuse_empty, split_counts
from mixtures.shares import Allocation, allocate, needs_frames
from mixtures.spec import Group, Mixture, Source, asked_for

TEXT_BYTES_PER_TOKEN = 4.0  # of English text under a vocabulary of 256k; only estimates use it
ANSWER_BYTES = 20.0  # of an answer about a robot, on average over all questions
ROW_BYTES = 512  # bytes of a row besides its images: texts, chunk, ids, provenance


@dataclass(frozen=True)
class SourceSizes:
    """Sizes of a source; None for a size that is not known.

    Attributes:
        kind: robot, vqa or caption.
        frames: steps (robot) or records (vqa, caption) that it has after its filters.
        horizon: number of steps of its chunks.
        action_dim: number of dims of its actions.
        image_bytes: bytes of a sample's encoded images, on average.
        target_bytes: bytes of a sample's text that the loss is on, on average.
        fast_tokens: FAST ids per chunk, as a given tokenizer makes them, or one fitted on a sample.
        left_out: filter -> number of records that it left out.
    """

    kind: RecordKind | None = None
    frames: int | None = None
    horizon: int | None = None
    action_dim: int | None = None
    image_bytes: float | None = None
    target_bytes: float | None = None
    fast_tokens: float | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def naive_tokens(self) -> int | None:
        """Tokens per sample if every value had a token of its own, as with naive tokens: the baseline of FAST.

        >>> SourceSizes(horizon=20, action_dim=7).naive_tokens
        140
        """
        return self.horizon * self.action_dim if self.horizon and self.action_dim else None

    @property
    def loss_tokens(self) -> float | None:
        """Tokens per sample that the cross-entropy is on: FAST ids, `|` and eos; or the answer and eos.

        >>> SourceSizes(kind="vqa", target_bytes=8.0).loss_tokens
        3.0
        """
        if self.kind == "robot":
            return None if self.fast_tokens is None else self.fast_tokens + 2
        return None if self.target_bytes is None else self.target_bytes / TEXT_BYTES_PER_TOKEN + 1


@dataclass(frozen=True)
class Line:
    """Numbers of one source, or of all sources below one group.

    Attributes:
        name: name in the mixture.
        depth: number of groups around it.
        group: whether it is a group.
        share: share of all samples that it gives.
        wanted: share that the weights ask for; max_epochs may allow less.
        samples: its exact quota.
        phases: samples in each phase of a curriculum.
        sizes: what is known of the source's sizes.
        epochs: samples / frames; None if the frames are not known.
        tokens: loss tokens of all its samples, None if not known.
        bytes: approximate bytes of all its rows, None if not known.
        capped: whether max_epochs keeps the samples below the share.
    """

    name: str
    depth: int
    group: bool
    share: float
    wanted: float
    samples: int
    phases: tuple[int, ...]
    sizes: SourceSizes
    epochs: float | None
    tokens: float | None
    bytes: float | None
    capped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns its numbers as plain values."""
        sizes = self.sizes
        return {
            "name": self.name,
            "depth": self.depth,
            "group": self.group,
            "kind": sizes.kind,
            "share": self.share,
            "wanted": self.wanted,
            "samples": self.samples,
            "phases": list(self.phases),
            "frames": sizes.frames,
            "epochs": self.epochs,
            "horizon": sizes.horizon,
            "action_dim": sizes.action_dim,
            "naive_tokens": sizes.naive_tokens,
            "fast_tokens": sizes.fast_tokens,
            "loss_tokens": self.tokens,
            "bytes": self.bytes,
            "capped": self.capped,
            "left_out": dict(sizes.left_out),
        }


def from_index(mixture: Mixture, folder: str) -> dict[str, SourceSizes]:
    """Reads the sizes of each source from an INDEX.

    Raises:
        InputError: there is no finished INDEX, or it lacks a dataset or a split, or has no record of a source.
    """
    index = open_index(folder)
    sizes = {}
    for source in mixture.sources:
        with asked_for(source):
            counts = split_counts(index, source.dataset, source.split)
            dataset = index.datasets[source.dataset]
            entry = dataset.entry
            kind = row_kind(source, entry.kind)
            holding = read_holding(folder, source, counts.files, dataset.directory)
            refuse_empty(source, holding)
            robot = kind == "robot"
            horizon = (source.chunk or mixture.chunk).horizon(entry.control_hz) if robot else None
        text_bytes = ANSWER_BYTES if source.questions else holding.text_bytes / int(holding.records.sum())
        sizes[source.name] = SourceSizes(
            kind=kind,
            frames=holding.total,
            horizon=horizon,
            action_dim=entry.action_dim if robot else None,
            image_bytes=holding.image_bytes / holding.total,
            target_bytes=text_bytes,
            left_out=holding.left_out,
        )
    return sizes


def from_catalogue(mixture: Mixture) -> dict[str, SourceSizes]:
    """Returns the published sizes of each source; filters are not counted.

    >>> from_catalogue(Mixture("m", Group("m", (Source("a", "bridge_orig"),))))["a"].frames
    2135463
    """
    sizes = {}
    for source in mixture.sources:
        published = catalogue().get(source.dataset)
        if published is None:
            sizes[source.name] = SourceSizes()
            continue
        chunk = source.chunk or mixture.chunk
        kind = row_kind(source, published.kind)
        robot = kind == "robot"
        horizon = chunk.horizon(published.hz) if robot and (published.hz or chunk.steps) else None
        sizes[source.name] = SourceSizes(kind, published.frames, horizon, published.action_dim if robot else None)
    return sizes


def row_kind(source: Source, dataset_kind: RecordKind) -> RecordKind:
    """Returns the kind of a source's rows; questions about a robot are not robot rows.

    >>> row_kind(Source("a", "a"), "robot"), row_kind(Source("a", "a", questions=("task",)), "robot")
    ('robot', 'vqa')
    """
    if not source.questions:
        return dataset_kind
    return "caption" if source.questions == ("caption",) else "vqa"


def unknown_sizes(mixture: Mixture, known: Mapping[str, SourceSizes]) -> list[str]:
    """Returns the sources whose sizes decide the shares and are not known.

    >>> unknown_sizes(Mixture("m", Group("m", (Source("a", "a"),))), {})
    []
    """
    return [name for name in needs_frames(mixture.root) if not known[name].frames]


def summarise(mixture: Mixture, samples: int, known: Mapping[str, SourceSizes]) -> tuple[list[Line], Allocation]:
    """Computes the lines in the order of the file: the whole mixture first, each group before its members.

    Args:
        mixture: the mixture.
        samples: number of samples of the build.
        known: sizes of each source, by name.

    Returns:
        The lines, and how many samples each source gives.

    Raises:
        InputError: max_epochs allows fewer samples than asked for, or a policy needs sizes that are not known.

    >>> mixture = Mixture("m", Group("m", (Source("a", "a", weight=3.0), Source("b", "b"))))
    >>> lines, _ = summarise(mixture, 8, {"a": SourceSizes(frames=3), "b": SourceSizes()})
    >>> [(line.name, line.samples, line.epochs) for line in lines]
    [('m', 8, None), ('a', 6, 2.0), ('b', 2, None)]
    """
    plan = allocate(mixture, samples, {name: sizes.frames for name, sizes in known.items() if sizes.frames})
    names = [source.name for source in mixture.sources]
    wanted = (plan.shares * plan.counts.sum(axis=1, keepdims=True)).sum(axis=0) / max(samples, 1)
    lines: list[Line] = []

    def add(node: Group | Source, depth: int) -> Line:
        place = len(lines)
        if isinstance(node, Source):
            i = names.index(node.name)
            sizes, n = known[node.name], int(plan.quotas[i])
            lines.append(
                Line(
                    name=node.name,
                    depth=depth,
                    group=False,
                    share=n / max(samples, 1),
                    wanted=float(wanted[i]),
                    samples=n,
                    phases=tuple(plan.counts[:, i].tolist()),
                    sizes=sizes,
                    epochs=n / sizes.frames if sizes.frames else None,
                    tokens=None if sizes.loss_tokens is None else n * sizes.loss_tokens,
                    bytes=None if sizes.image_bytes is None else n * (sizes.image_bytes + ROW_BYTES),
                    capped=bool(plan.capped[i]),
                )
            )
            return lines[-1]
        lines.append(Line(node.name, depth, True, 0.0, 0.0, 0, (), SourceSizes(), None, None, None))
        below = [add(member, depth + 1) for member in node.members]
        lines[place] = replace(
            lines[place],
            share=sum(line.share for line in below),
            wanted=sum(line.wanted for line in below),
            samples=sum(line.samples for line in below),
            phases=tuple(map(sum, zip(*(line.phases for line in below), strict=True))),
            tokens=_sum([line.tokens for line in below]),
            bytes=_sum([line.bytes for line in below]),
        )
        return lines[place]

    add(mixture.root, 0)
    return lines, plan


def _sum(values: list[float | None]) -> float | None:
    """Returns the sum, None if a value is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
