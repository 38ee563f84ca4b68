"""A mixture's sources, looked up in an INDEX: what each one is, where its records lie, and how one record is read."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.episodes import BadRecord, Episode, Where
from fasttok.episodes.index import open_index, read_parquet
from fasttok.errors import InputError
from fasttok.representation import Piece, Representation
from mixtures.spec import Mixture
from mixtures.summary import split_counts
from pipelines import entries, vlm
from pipelines.filters import Reject
from pipelines.index_file import open_directory
from pipelines.plan import TABLE_COLUMNS
from pipelines.standardize import standardize


@dataclass(frozen=True)
class Facts:
    """One source of a mixture, resolved.

    Attributes:
        name: source in the mixture; dataset, split: where in the INDEX.
        kind: robot, vqa or caption.
        directory: the dataset's directory.
        entry: the dataset entry, as index.json holds it.
        files: stems of the INDEX's files, in order.
        through: "" for the raw reader, else why it is read through TFDS.
        bgr: cameras whose images are stored with their channels reversed, as whoever decodes them must know.
        representation: how its actions are represented (`fasttok.representation`), None for as stored; action_dim,
            action_encoding and action_names are those of what is represented.
        horizon: steps of a chunk; 0 for vqa and caption, as are action_dim and state_dim.
    """

    name: str
    dataset: str
    split: str
    kind: str
    directory: str
    entry: dict[str, Any]
    files: tuple[str, ...]
    through: str
    embodiment: str | None
    control_hz: float | None
    horizon: int
    action_dim: int
    action_encoding: tuple[str, ...]
    action_names: tuple[str, ...]
    state_dim: int
    cameras: tuple[str, ...]
    bgr: tuple[str, ...]
    license: str
    representation: dict[str, Any] | None = None

    @property
    def robot(self) -> bool:
        return self.kind == "robot"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Facts":
        lists = ("files", "action_encoding", "action_names", "cameras", "bgr")
        return cls(**{**value, **{name: tuple(value[name]) for name in lists}})

    def card(self) -> dict[str, Any]:
        """What the manifest says of a source: no places."""
        places = ("name", "directory", "entry", "files", "through")
        value = {key: v for key, v in asdict(self).items() if key not in places}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A source record, ready to be cut into rows.

    Attributes:
        action: (T, D) float32 raw units; (1, 0) for vqa and caption.
        proprio: (T, S) float32 raw units; (1, 0) for vqa and caption.
        prompt: instruction, question, or fixed prompt.
        target: the answer; "" for robots.
        cameras: slot -> T encoded images.
        steps: (T,) int64, each step's number in the stored episode, of which an entry may leave some out.
    """

    action: NDArray[np.float32]
    proprio: NDArray[np.float32]
    prompt: str
    target: str
    cameras: dict[str, list[bytes]]
    steps: NDArray[np.int64]


def resolve(mixture: Mixture, folder: str) -> tuple[list[Facts], str]:
    """Looks a mixture's sources up in an INDEX.

    Returns:
        The sources in the mixture's order, and the INDEX's digest.

    Raises:
        InputError: no INDEX, or it lacks a dataset or split.
    """
    index = open_index(folder)
    found = []
    for source in mixture.sources:
        counts = split_counts(index, source.dataset, source.split)
        dataset = index["datasets"][source.dataset]
        entry = dataset["entry"]
        robot = entry["kind"] == "robot"
        try:
            horizon = mixture.chunk.horizon(entry["control_hz"]) if robot else 0
        except InputError as error:
            raise InputError(f"dataset {source.dataset!r}: {error}") from None
        represent = representation(entry, source.name, source.form, source.rotation) if robot else None
        encoding, names = (entry["action_encoding"], entry["action_names"]) if robot else ((), ())
        found.append(
            Facts(
                name=source.name,
                dataset=source.dataset,
                split=source.split,
                kind=entry["kind"],
                directory=dataset["directory"],
                entry=entry,
                files=tuple(counts["files"]),
                through=dataset["through"],
                embodiment=entry["embodiment"] if robot else None,
                control_hz=entry["control_hz"] if robot else None,
                horizon=horizon,
                action_dim=represent.dim if represent else entry["action_dim"] if robot else 0,
                action_encoding=represent.encoding if represent else tuple(encoding),
                action_names=represent.names(names) if represent else tuple(names),
                state_dim=entry["proprio_dim"] if robot else 0,
                cameras=tuple(sorted(entry["cameras"])) if robot else ("primary",),
                bgr=tuple(entry["bgr"]),
                license=entry["license"],
                representation=represent.to_json() if represent else None,
            )
        )
    forms = {(source.embodiment, str(source.representation)) for source in found if source.robot}
    if len(forms) > len({embodiment for embodiment, _ in forms}):
        raise InputError("sources of one embodiment have different `action:` forms; its statistics are of one form")
    return found, str(index["digest"])


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


def episode_table(folder: str, facts: Facts) -> pa.Table:
    """The INDEX's episodes of a source, by file and place in it: the columns that a plan needs."""
    files = [f"{folder.rstrip('/')}/{facts.dataset}/{facts.split}/{stem}.episodes.parquet" for stem in facts.files]
    return pa.concat_tables([read_parquet(file).select(TABLE_COLUMNS) for file in files]).combine_chunks()


def relative(file: str, directory: str) -> str:
    """A source file's name for provenance: relative to its dataset's directory, so it is the same wherever that lies.

    >>> relative("/data/toy/1.0.0/toy-train.tfrecord-00000-of-00001", "/data/toy/1.0.0")
    'toy-train.tfrecord-00000-of-00001'
    """
    return file.removeprefix(directory.rstrip("/")).lstrip("/")


def open_source(facts: Facts) -> Callable[[Where], Loaded | BadRecord]:
    """A function that reads a record at its place and standardises it; what cannot be used comes back as BadRecord."""
    entry = entries.from_json(facts.entry)
    if not facts.robot:
        return lambda where: _load_vlm(vlm.read_at(entry, facts.directory, where))
    directory = open_directory(facts.directory, facts.through)
    return lambda where: _load_robot(entry, directory.read_at(where.file, where.offset, where.length, where.number))


def _load_robot(entry: entries.DatasetEntry, episode: Episode | BadRecord) -> Loaded | BadRecord:
    if isinstance(episode, BadRecord):
        return episode
    try:
        standard = standardize(entry, episode)
    except Reject as error:
        return BadRecord(episode.where, error.reason, str(error))
    return Loaded(standard.action, standard.proprio, standard.language, "", standard.cameras, standard.steps)


def _load_vlm(record: vlm.VlmRecord | BadRecord) -> Loaded | BadRecord:
    if isinstance(record, BadRecord):
        return record
    nothing = np.zeros((1, 0), np.float32)
    return Loaded(nothing, nothing, record.prompt, record.target, {"primary": [record.data]}, np.zeros(1, np.int64))
