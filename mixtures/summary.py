"""What a mixture comes to, before anything runs: the lines that `explain` prints, per source and per group."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fasttok.episodes.index import open_index
from mixtures.catalogue import catalogue
from mixtures.index_sizes import held, split_counts
from mixtures.shares import Budget, budget, needs_frames
from mixtures.spec import Group, Mixture, Source, asked_for

TEXT_BYTES_PER_TOKEN = 4.0  # of English text under a vocabulary of 256k; only estimates use it
ANSWER_BYTES = 20.0  # of an answer about a robot, on average over all questions
ROW_BYTES = 512  # of a row that are not images: texts, chunk, ids, provenance


@dataclass(frozen=True)
class Known:
    """What is known of a source; None where it is not.

    Attributes:
        kind: robot, vqa or caption.
        frames: steps (robot) or records (vqa, caption) that it has after its filters.
        horizon, action_dim: shape of its chunks.
        image_bytes: encoded images of a sample.
        target_bytes: text that a sample's loss is on.
        fast_tokens: FAST ids of a chunk, as a given tokenizer makes them, or one fitted on a sample.
        left_out: records that the filters left out, by filter.
    """

    kind: str | None = None
    frames: int | None = None
    horizon: int | None = None
    action_dim: int | None = None
    image_bytes: float | None = None
    target_bytes: float | None = None
    fast_tokens: float | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def naive_tokens(self) -> int | None:
        """What binning needs per sample, and FAST is measured against."""
        return self.horizon * self.action_dim if self.horizon and self.action_dim else None

    @property
    def loss_tokens(self) -> float | None:
        """Tokens of a sample on which the cross-entropy is: FAST ids, `|` and eos; or the answer and eos."""
        if self.kind == "robot":
            return None if self.fast_tokens is None else self.fast_tokens + 2
        return None if self.target_bytes is None else self.target_bytes / TEXT_BYTES_PER_TOKEN + 1


@dataclass(frozen=True)
class Line:
    """One source, or all below one group.

    Attributes:
        name: in the mixture. depth: of groups around it. group: whether it is one.
        share: of all samples, in fact; wanted: as the weights say, from which a cap may keep it.
        samples: quota, exact. phases: of each phase of a curriculum.
        epochs: samples / frames. tokens: all its loss tokens. bytes: all its rows, about.
        capped: max_epochs holds the samples below the share.
    """

    name: str
    depth: int
    group: bool
    share: float
    wanted: float
    samples: int
    phases: tuple[int, ...]
    known: Known
    epochs: float | None
    tokens: float | None
    bytes: float | None
    capped: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        known = self.known
        return {
            "name": self.name,
            "depth": self.depth,
            "group": self.group,
            "kind": known.kind,
            "share": self.share,
            "wanted": self.wanted,
            "samples": self.samples,
            "phases": list(self.phases),
            "frames": known.frames,
            "epochs": self.epochs,
            "horizon": known.horizon,
            "action_dim": known.action_dim,
            "naive_tokens": known.naive_tokens,
            "fast_tokens": known.fast_tokens,
            "loss_tokens": self.tokens,
            "bytes": self.bytes,
            "capped": self.capped,
            "left_out": dict(known.left_out),
        }


def from_index(mixture: Mixture, folder: str) -> dict[str, Known]:
    """What an INDEX knows of each source.

    Raises:
        InputError: no finished INDEX, or it lacks a dataset or a split.
    """
    index = open_index(folder)
    found = {}
    for source in mixture.sources:
        with asked_for(source):
            counts = split_counts(index, source.dataset, source.split)
            entry = index["datasets"][source.dataset]["entry"]
            kind = row_kind(source, entry["kind"])
            have = held(folder, source, counts["files"])
            robot = kind == "robot"
            horizon = (source.chunk or mixture.chunk).horizon(entry["control_hz"]) if robot else None
        records = int(have.records.sum())
        found[source.name] = Known(
            kind=kind,
            frames=have.total,
            horizon=horizon,
            action_dim=entry["action_dim"] if robot else None,
            image_bytes=have.image_bytes / have.total if have.total else None,
            target_bytes=ANSWER_BYTES if source.questions else have.text_bytes / records if records else None,
            left_out=have.left_out,
        )
    return found


def from_catalogue(mixture: Mixture) -> dict[str, Known]:
    """What is published of each source; filters are not counted."""
    found = {}
    for source in mixture.sources:
        facts = catalogue().get(source.dataset, {})
        chunk = source.chunk or mixture.chunk
        kind = row_kind(source, facts["kind"]) if facts else None
        hz = facts.get("hz")
        horizon = chunk.horizon(hz) if kind == "robot" and (hz or chunk.steps) else None
        dim = facts.get("action_dim") if kind == "robot" else None
        found[source.name] = Known(kind, facts.get("frames"), horizon, dim)
    return found


def row_kind(source: Source, dataset_kind: str) -> str:
    """The kind of a source's rows: questions about a robot are no robot rows."""
    if not source.questions:
        return dataset_kind
    return "caption" if source.questions == ("caption",) else "vqa"


def unknown_sizes(mixture: Mixture, known: Mapping[str, Known]) -> list[str]:
    """Sources whose sizes the shares follow from, and are not known."""
    return [name for name in needs_frames(mixture.root) if not known[name].frames]


def summarise(mixture: Mixture, samples: int, known: Mapping[str, Known]) -> tuple[list[Line], Budget]:
    """Lines in the order of the file, each group before its members, the whole mixture first.

    Args:
        samples: size of the build that is asked about.
        known: of each source, by name.

    Returns:
        The lines, and the budget.

    Raises:
        InputError: caps that cannot hold the samples, or a policy that needs sizes that are not known.
    """
    plan = budget(mixture, samples, {name: facts.frames for name, facts in known.items() if facts.frames})
    names = [source.name for source in mixture.sources]
    wanted = (plan.shares * plan.counts.sum(axis=1, keepdims=True)).sum(axis=0) / max(samples, 1)
    lines: list[Line] = []

    def add(node: Group | Source, depth: int) -> Line:
        place = len(lines)
        if isinstance(node, Source):
            i = names.index(node.name)
            facts, n = known[node.name], int(plan.quotas[i])
            lines.append(
                Line(
                    name=node.name,
                    depth=depth,
                    group=False,
                    share=n / max(samples, 1),
                    wanted=float(wanted[i]),
                    samples=n,
                    phases=tuple(plan.counts[:, i].tolist()),
                    known=facts,
                    epochs=n / facts.frames if facts.frames else None,
                    tokens=None if facts.loss_tokens is None else n * facts.loss_tokens,
                    bytes=None if facts.image_bytes is None else n * (facts.image_bytes + ROW_BYTES),
                    capped=bool(plan.capped[i]),
                )
            )
            return lines[-1]
        lines.append(Line(node.name, depth, True, 0.0, 0.0, 0, (), Known(), None, None, None))
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
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
