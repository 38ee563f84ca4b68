"""A mixture's sources, looked up in an INDEX: what each one is, and how its actions, cameras and prompts are asked for."""

from dataclasses import dataclass, fields
from typing import Any, cast

from fasttok.actions.representation import Piece, Representation
from fasttok.episodes.index import open_index
from fasttok.errors import InputError, unknown_name
from mixtures.index_sizes import split_counts
from mixtures.spec import Mixture, Source, asked_for
from mixtures.summary import row_kind
from pipelines.builder import questions
from pipelines.datasets import entries
from pipelines.shards.manifest import SourceFacts
from pipelines.shards.records import RecordKind


@dataclass(frozen=True, kw_only=True)
class ResolvedSource(SourceFacts):
    """One source of a mixture, looked up in an INDEX: its facts, and where its records are.

    Attributes:
        name: source in the mixture.
        directory: the dataset's.
        entry: the dataset entry, as index.json has it.
        files: stems of the INDEX's files of its split, in order.
        through: "" for the raw reader, else why it is read through TFDS.
        taken: (slot of the rows, slot of the dataset) of each camera; None for all as they are.
    """

    name: str
    directory: str
    entry: dict[str, Any]
    files: tuple[str, ...]
    through: str
    taken: tuple[tuple[str, str], ...] | None

    @property
    def recorded(self) -> bool:
        """Whether its records are robot episodes."""
        return bool(self.entry["kind"] == "robot")

    def facts(self) -> dict[str, Any]:
        """The fields of `SourceFacts` by name: what the manifest says of a source, which is nothing about places."""
        return {field.name: getattr(self, field.name) for field in fields(SourceFacts)}


@dataclass(frozen=True)
class BuildSources:
    """SHARDS/plan/sources.json: what workers need besides the plan. It does not say where the INDEX is, so that its bytes are
    the same wherever that lies.

    Attributes:
        tokenizer: fingerprint of SHARDS/tokenizer, None without robot sources.
        sources: in the mixture's order.
    """

    tokenizer: str | None
    sources: tuple[ResolvedSource, ...]


def resolve(mixture: Mixture, folder: str) -> tuple[list[ResolvedSource], str]:
    """Looks a mixture's sources up in an INDEX.

    Returns:
        The sources in the mixture's order, and the INDEX's digest.

    Raises:
        InputError: no INDEX, it lacks a dataset or split, or a dataset cannot be what a source asks for.
    """
    index = open_index(folder)
    found = []
    for source in mixture.sources:
        with asked_for(source):
            counts = split_counts(index, source.dataset, source.split)
            dataset = index["datasets"][source.dataset]
            found.append(_resolved(mixture, source, dataset, tuple(counts["files"])))
    _one_form(found)
    return found, str(index["digest"])


def _resolved(mixture: Mixture, source: Source, dataset: dict[str, Any], files: tuple[str, ...]) -> ResolvedSource:
    entry = dataset["entry"]
    recorded = entry["kind"] == "robot"
    kind = cast(RecordKind, row_kind(source, entry["kind"]))
    robot = kind == "robot"
    if source.questions and not recorded:
        raise InputError(
            f"source {source.name!r}: questions are asked about robots, {source.dataset} is {entry['kind']} data"
        )
    if source.questions:
        questions.check(source.questions, entry, source.name)
    if source.subtask:
        if not robot:
            raise InputError(
                f"source {source.name!r}: subtask goes with a robot's actions, its rows are {kind}; leave it out"
            )
        questions.check(("subtask",), entry, source.name)
    try:
        horizon = (source.chunk or mixture.chunk).horizon(entry["control_hz"]) if robot else 0
    except InputError as error:
        raise InputError(f"dataset {source.dataset!r}: {error}") from None
    represent = representation(entry, source.name, source.form, source.rotation) if robot else None
    encoding, names = (entry["action_encoding"], entry["action_names"]) if robot else ((), ())
    slots = tuple(sorted(entry["cameras"])) if recorded else ("primary",)
    cameras, bgr = _cameras(source, slots, tuple(entry["bgr"]))
    return ResolvedSource(
        name=source.name,
        dataset=source.dataset,
        split=source.split,
        kind=kind,
        directory=dataset["directory"],
        entry=entry,
        files=files,
        through=dataset["through"],
        embodiment=entry["embodiment"] if recorded else None,
        control_hz=entry["control_hz"] if recorded else None,
        horizon=horizon,
        action_dim=represent.dim if represent else entry["action_dim"] if robot else 0,
        action_encoding=represent.encoding if represent else tuple(encoding),
        action_names=represent.names(names) if represent else tuple(names),
        state_dim=entry["proprio_dim"] if robot else 0,
        state_names=tuple(entry["proprio_names"]) if robot else (),
        cameras=cameras,
        taken=source.cameras,
        bgr=() if source.resize else bgr,
        license=entry["license"],
        homepage=entry["homepage"],
        citation=entry["citation"],
        representation=represent,
        prompts=source.prompts,
        resize=source.resize,
        questions=source.questions,
        subtask=source.subtask,
    )


def _cameras(source: Source, slots: tuple[str, ...], bgr: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The slots of a source's rows, and which of them are stored with their channels reversed."""
    if source.cameras is None:
        return slots, bgr
    for _, of in source.cameras:
        if of not in slots:
            raise unknown_name(f"camera of {source.dataset}", of, slots, f"Asked for by source {source.name!r}.")
    pairs = sorted(source.cameras)
    return tuple(slot for slot, _ in pairs), tuple(slot for slot, of in pairs if of in bgr)


def _one_form(sources: list[ResolvedSource]) -> None:
    """A tokenizer has one set of statistics per embodiment, so all its sources are represented alike."""
    seen: dict[str | None, ResolvedSource] = {}
    for source in (source for source in sources if source.robot):
        first = seen.setdefault(source.embodiment, source)
        if first.representation != source.representation:
            raise InputError(
                f"sources {first.name!r} and {source.name!r} of one embodiment ({source.embodiment}) have different `action:` "
                "forms; its statistics are of one form: give both the same"
            )


def representation(entry: dict[str, Any], name: str, form: str, rotation: str) -> Representation | None:
    """How the actions of a source of this name are represented, None for as stored. `entry`: as index.json holds it.

    Raises:
        InputError: the dataset does not allow it.
    """
    if (form, rotation) == ("stored", "stored"):
        return None
    parts = entries.from_json(entry)
    columns, at = {}, 0
    for part, width in zip(parts.proprio, entry["proprio_widths"], strict=True):
        columns[part.rotation, part.names or part.feature, width] = tuple(range(at, at + width))
        at += width
    pieces, at = [], 0
    for part, width in zip(parts.action, entry["action_widths"], strict=True):
        same = (
            columns.get((part.rotation, part.names or part.feature, width), ()) if part.encoding == "absolute" else ()
        )
        pieces.append(Piece(at, width, part.encoding, part.rotation, part.unit.endswith("/s"), same))
        at += width
    if any(piece.rate for piece in pieces) and not entry["control_hz"]:
        raise InputError(f"source {name!r}: its actions are velocities, and its control frequency is not known")
    try:
        return Representation(tuple(pieces), form, rotation, 1 / (entry["control_hz"] or 1))
    except InputError as error:
        raise InputError(f"source {name!r}: {error}") from None
