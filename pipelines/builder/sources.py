"""Looks up a mixture's sources in an INDEX: what each source is, and which actions, cameras and prompts the mixture asks for."""

from dataclasses import dataclass, fields

from fasttok.episodes.index_file import IndexedDataset, IndexedEntry, open_index
from fasttok.errors import InputError, unknown_name
from mixtures.index_sizes import split_counts
from mixtures.spec import Mixture, Source, asked_for
from mixtures.summary import row_kind
from pipelines.builder import questions
from pipelines.datasets.actions import representation
from pipelines.shards.manifest import SourceFacts


@dataclass(frozen=True, kw_only=True)
class ResolvedSource(SourceFacts):
    """One source of a mixture, looked up in an INDEX: the facts about it, and where its records are.

    Attributes:
        name: name of the source in the mixture.
        directory: path or URL of the dataset's directory.
        entry: the dataset entry, as index.json has it.
        files: stems of the INDEX's tables of the split, in order.
        through: "" for the raw reader, else why the dataset is read through TFDS.
        taken: (slot of the rows, slot of the dataset) of each camera; None to take all cameras under their own slots.
    """

    name: str
    directory: str
    entry: IndexedEntry
    files: tuple[str, ...]
    through: str
    taken: tuple[tuple[str, str], ...] | None

    @property
    def recorded(self) -> bool:
        """Whether its records are robot episodes."""
        return self.entry.kind == "robot"

    def facts(self) -> SourceFacts:
        """Returns what the manifest says about the source, which includes no places."""
        return SourceFacts(**{field.name: getattr(self, field.name) for field in fields(SourceFacts)})


def resolve(mixture: Mixture, folder: str) -> tuple[list[ResolvedSource], str]:
    """Looks up a mixture's sources in an INDEX.

    Returns:
        The sources in the mixture's order, and the INDEX's digest.

    Raises:
        InputError: there is no INDEX, it lacks a dataset or split, or a dataset cannot give what a source asks for.
    """
    index = open_index(folder)
    found = []
    for source in mixture.sources:
        with asked_for(source):
            counts = split_counts(index, source.dataset, source.split)
            found.append(_resolved(mixture, source, index.datasets[source.dataset], counts.files))
    _one_form(found)
    return found, index.digest


def _resolved(mixture: Mixture, source: Source, dataset: IndexedDataset, files: tuple[str, ...]) -> ResolvedSource:
    entry = dataset.entry
    recorded = entry.kind == "robot"
    kind = row_kind(source, entry.kind)
    robot = kind == "robot"
    if source.questions and not recorded:
        raise InputError(
            f"source {source.name!r}: questions are asked about robots, {source.dataset} is {entry.kind} data"
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
        horizon = (source.chunk or mixture.chunk).horizon(entry.control_hz) if robot else 0
    except InputError as error:
        raise InputError(f"dataset {source.dataset!r}: {error}") from None
    represent = representation(entry, source.name, source.form, source.rotation) if robot else None
    names = entry.action_names if robot else ()
    slots = tuple(sorted(entry.cameras)) if recorded else ("primary",)
    cameras, bgr = _cameras(source, slots, entry.bgr)
    return ResolvedSource(
        name=source.name,
        dataset=source.dataset,
        split=source.split,
        kind=kind,
        directory=dataset.directory,
        entry=entry,
        files=files,
        through=dataset.through,
        embodiment=entry.embodiment if recorded else None,
        control_hz=entry.control_hz if recorded else None,
        horizon=horizon,
        action_dim=represent.dim if represent else entry.action_dim if robot else 0,
        action_encoding=represent.encoding if represent else entry.action_encoding if robot else (),
        action_names=represent.names(names) if represent else names,
        state_dim=entry.proprio_dim if robot else 0,
        state_names=entry.proprio_names if robot else (),
        cameras=cameras,
        taken=source.cameras,
        bgr=() if source.resize else bgr,
        license=entry.license,
        homepage=entry.homepage,
        citation=entry.citation,
        representation=represent,
        prompts=source.prompts,
        resize=source.resize,
        encode=source.encode,
        questions=source.questions,
        subtask=source.subtask,
    )


def _cameras(source: Source, slots: tuple[str, ...], bgr: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the slots of a source's rows, and those of them whose images are stored with their channels reversed."""
    if source.cameras is None:
        return slots, bgr
    for _, of in source.cameras:
        if of not in slots:
            raise unknown_name(f"camera of {source.dataset}", of, slots, f"Asked for by source {source.name!r}.")
    pairs = sorted(source.cameras)
    return tuple(slot for slot, _ in pairs), tuple(slot for slot, of in pairs if of in bgr)


def _one_form(sources: list[ResolvedSource]) -> None:
    """Checks that all sources of an embodiment have one form of actions: a tokenizer has one set of statistics per embodiment."""
    seen: dict[str | None, ResolvedSource] = {}
    for source in (source for source in sources if source.robot):
        first = seen.setdefault(source.embodiment, source)
        if first.representation != source.representation:
            raise InputError(
                f"sources {first.name!r} and {source.name!r} of one embodiment ({source.embodiment}) have different `action:` "
                "forms; its statistics are of one form: give both the same"
            )
