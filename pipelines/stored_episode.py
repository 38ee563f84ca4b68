"""Reads one robot episode of a dataset or an INDEX as a build does: standardised columns, instruction, images.

`train` reads episodes only through this module, to replay them. It imports no TensorFlow and no Beam.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice

import numpy as np
from numpy.typing import NDArray

from fasttok.common import stores
from fasttok.common.console import track
from fasttok.common.kinds import Encoding
from fasttok.common.next_command import command
from fasttok.episodes import BadRecord, Episode, Where, rlds
from fasttok.episodes.dataset_entry import DatasetEntry, RecordingFormat
from fasttok.episodes.dataset_name import dataset_name
from fasttok.episodes.formats import format_of
from fasttok.episodes.frames import Frames
from fasttok.episodes.index import open_table, reading_table
from fasttok.episodes.index_file import IndexedDataset, is_index, open_index
from fasttok.errors import InputError, unknown_name
from pipelines.common.files import filesystem
from pipelines.datasets.filters import RejectedError
from pipelines.datasets.find_entry import find_entry, own_entry, refuse_unused
from pipelines.datasets.keep_ranges import with_ranges
from pipelines.datasets.standardize import dim_names, encodings, standardize
from pipelines.recordings import Recordings, Section, open_recordings


@dataclass(frozen=True)
class StoredPlace:
    """Says which episode to read.

    Attributes:
        data: folder or URL of an INDEX, or of a dataset (RLDS, LeRobot, HDF5, tables).
        split: split of the dataset.
        number: number of the episode, from 0. An INDEX counts the indexed episodes of the split; a dataset counts the records of
            the split, in the order of their files.
        dataset: name of a robot dataset of the INDEX; "" if it has only one, and for a dataset that is not indexed.
        entries: YAML files or folders of dataset entries, for a dataset that is not indexed.
    """

    data: str
    split: str = "train"
    number: int = 0
    dataset: str = ""
    entries: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class StoredEpisode:
    """A standardised robot episode. T is its number of steps.

    Attributes:
        dataset: name of the dataset.
        split: split of the dataset.
        number: number of the episode, as in `StoredPlace`.
        where: file and place of the source record.
        embodiment: embodiment whose statistics the episode shares; the dataset's name if its entry has none.
        control_hz: control frequency in Hz; None if neither the entry nor the record has one.
        prompt: the instruction; "" if there is none.
        action: (T, D) float32 in raw units.
        action_names: names of the D columns, with their units.
        action_encoding: encodings of the D columns.
        state: (T, S) float32 in raw units.
        state_names: names of the S columns, with their units.
        cameras: slot -> T images, which are read only when somebody needs them.
        bgr: slots whose images are stored with their channels reversed.
        rotations: (first column, form) of each rotation in the action that is absolute (`fasttok.actions.rotations`).
    """

    dataset: str
    split: str
    number: int
    where: Where
    embodiment: str
    control_hz: float | None
    prompt: str
    action: NDArray[np.float32]
    action_names: tuple[str, ...]
    action_encoding: tuple[Encoding, ...]
    state: NDArray[np.float32]
    state_names: tuple[str, ...]
    cameras: dict[str, Frames]
    bgr: tuple[str, ...]
    rotations: tuple[tuple[int, str], ...] = ()


def stored_episode(place: StoredPlace) -> StoredEpisode:
    """Reads an episode.

    Args:
        place: which episode to read.

    Raises:
        InputError: the dataset, split or episode does not exist; no entry says what its features mean; the episode cannot be
            used; or `entries` is given for an INDEX, has a file for another dataset, or `dataset` is given for a dataset.
    """
    if place.number < 0:
        raise InputError(f"--episode is {place.number}; episodes are counted from 0")
    path = place.data.rstrip("/")
    if is_index(path):
        if place.entries:
            raise InputError(f"{path} is an INDEX, which has the entries of its datasets; leave --entries out")
        name, entry, record = _of_index(path, place)
    else:
        if place.dataset:
            raise InputError(f"{path} is no INDEX, so it has one dataset; leave --dataset {place.dataset} out")
        name, entry, record = _of_dataset(path, place)
    asked = f"episode {place.number} of {name}, split {place.split}"
    if isinstance(record, BadRecord):
        raise InputError(f"{asked} ({record.where.file}) cannot be used: {record.reason}: {record.detail}")
    try:
        standard = standardize(entry, record)
    except RejectedError as error:
        raise InputError(f"{asked} ({record.where.file}) cannot be used: {error.reason}: {error}") from None
    action, state = standard.widths
    rate = entry.control_hz or record.metadata.get("control_hz")
    return StoredEpisode(
        dataset=name,
        split=place.split,
        number=place.number,
        where=record.where,
        embodiment=entry.embodiment or name,
        control_hz=float(rate) if rate else None,
        prompt=standard.language,
        action=standard.action,
        action_names=tuple(dim_names(entry.action, action)),
        action_encoding=tuple(encodings(entry.action, action)),
        state=standard.proprio,
        state_names=tuple(dim_names(entry.proprio, state)),
        cameras=standard.cameras,
        bgr=entry.bgr,
        rotations=_rotations(entry, action),
    )


def _rotations(entry: DatasetEntry, widths: Sequence[int]) -> tuple[tuple[int, str], ...]:
    """Returns the first column and the form of each absolute rotation; `widths` are the numbers of columns of the parts."""
    starts = accumulate(widths, initial=0)
    parts = zip(starts, entry.action, strict=False)
    return tuple((start, part.rotation) for start, part in parts if part.rotation and part.encoding == "absolute")


def _of_index(path: str, place: StoredPlace) -> tuple[str, DatasetEntry, Episode | BadRecord]:
    """Finds an episode in an INDEX. Returns the dataset's name, its entry as it was when it was indexed, and the record."""
    every = {name: d for name, d in open_index(path).datasets.items() if d.entry.kind == "robot"}
    if place.dataset and place.dataset not in every:
        raise unknown_name("robot dataset", place.dataset, every, f"of {path}")
    if not place.dataset and len(every) != 1:
        raise InputError(
            f"{path} has {len(every)} robot datasets; choose one: --dataset {' or '.join(map(command, every))}"
        )
    name = place.dataset or next(iter(every))
    found = every[name]
    if place.split not in found.splits:
        raise unknown_name("split", place.split, found.splits, f"of {name} in {path}")
    where = _indexed(path, name, found, place)
    record = open_recordings(found.directory, found.entry, found.through).read_at(where)
    known = -1 not in (where.checksum, record.where.checksum)
    if isinstance(record, Episode) and known and record.where.checksum != where.checksum:
        raise InputError(
            f"{where.file} has another episode at that place than when it was indexed; run `fasttok-pipelines index` again"
        )
    return name, found.entry, record


def _indexed(path: str, name: str, found: IndexedDataset, place: StoredPlace) -> Where:
    """Returns the place of an indexed episode. From the tables before it, only the numbers of rows are read."""
    counts, before = found.splits[place.split], 0
    if place.number >= counts.indexed:
        raise InputError(
            f"--episode {place.number}: {name} has {counts.indexed} indexed episodes in split {place.split}; "
            f"{_expected(counts.indexed)}"
        )
    columns = ["file", "offset", "length", "episode", "checksum"]
    for stem in counts.files:
        url = f"{path}/{name}/{place.split}/{stem}.episodes.parquet"
        fs, inner = filesystem(url)
        with reading_table(url), fs.open(inner, "rb") as file:
            reader = open_table(file)
            if place.number < before + reader.metadata.num_rows:
                table = reader.read(columns=[column for column in columns if column in reader.schema_arrow.names])
                row = table.slice(place.number - before, 1).to_pylist()[0]
                return Where(row["file"], row["offset"], row["length"], row["episode"], row.get("checksum", -1))
            before += reader.metadata.num_rows
    raise InputError(f"{path}: the tables of {name} have {before} episodes; run the index job again")


def _of_dataset(path: str, place: StoredPlace) -> tuple[str, DatasetEntry, Episode | BadRecord]:
    """Finds an episode in a dataset that is not indexed. Returns the dataset's name, its entry, and the record."""
    if not stores.kind_at(*stores.fresh(path)):
        raise InputError(
            f"{path}: no such folder or file; expected an INDEX, or a dataset: RLDS, LeRobot, HDF5 or tables"
        )
    through, found = "", format_of(path)
    if found == "rlds":
        directory = rlds.open_directory(path)
        refuse_unused(place.entries, [directory.name])
        through, entry = directory.through, find_entry(path, directory.name, place.entries)
    elif found is None:
        raise InputError(
            f"{path} is no INDEX and no dataset of robot episodes; expected the folder of one: RLDS (a version folder with "
            "features.json), LeRobot, HDF5 or tables"
        )
    else:
        refuse_unused(place.entries, [dataset_name(path)])
        entry = own_entry(path, dataset_name(path), place.entries) or _drafted(path, found)
        entry = replace(entry, format=found) if entry.kind == "robot" else entry
    if entry.kind != "robot":
        raise InputError(f"{path} contains questions or captions; expected robot episodes")
    entry = with_ranges(entry, ())
    recordings = open_recordings(path, entry, through)
    sections = recordings.sections()
    if place.split not in sections:
        raise unknown_name("split", place.split, sections, f"of {path}")
    return entry.name, entry, _numbered(recordings, sections[place.split], place)


def _drafted(path: str, found: RecordingFormat) -> DatasetEntry:
    from pipelines.drafts import drafted  # seldom needed, and drafting looks at many files

    return drafted(path, found)


def _numbered(recordings: Recordings, sections: Sequence[Section], place: StoredPlace) -> Episode | BadRecord:
    """Returns the record with the number of `place`. Skips earlier sections if the number of their records is known."""
    left, first = place.number, 0
    for i, section in enumerate(sections):
        if section.count is None or left < section.count:
            first = i
            break
        left -= section.count
    else:
        raise _beyond(place, place.number - left)
    records: Iterator[Episode | BadRecord] = (
        record for section in sections[first:] for record in recordings.read(section, True)
    )
    read = 0
    for record in track(islice(records, left + 1), f"looking for episode {place.number}", left + 1, "records"):
        if read == left:
            return record
        read += 1
    raise _beyond(place, place.number - left + read)


def _beyond(place: StoredPlace, count: int) -> InputError:
    return InputError(f"--episode {place.number}: split {place.split} of {place.data} has {count}; {_expected(count)}")


def _expected(count: int) -> str:
    return f"expected 0 to {count - 1}" if count else "choose another --split"
