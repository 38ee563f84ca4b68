"""Reads index.json: what an INDEX contains, by dataset and split (docs/design.md "INDEX")."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

from fasttok.common import json_files, stores
from fasttok.common.kinds import Encoding
from fasttok.common.lfs_pointer import refuse_pointer
from fasttok.common.names import one_piece
from fasttok.common.next_command import command
from fasttok.episodes.dataset_entry import DatasetEntry
from fasttok.errors import InputError

FILE = "index.json"
FORMAT_VERSION = 3
T = TypeVar("T")


def _of_robots(default: T) -> T:
    """Returns a field whose key is written only for robot datasets."""
    return field(default=default, metadata={json_files.WRITTEN_IF: lambda entry: entry.kind == "robot"})


@dataclass(frozen=True)
class IndexedEntry(DatasetEntry):
    """A dataset's entry as it was when the dataset was indexed; for a robot dataset also the columns that were found.

    Attributes:
        action_dim: number of columns of an action.
        proprio_dim: number of columns of a proprio.
        action_widths: number of columns of each piece of the action.
        proprio_widths: number of columns of each piece of the proprio.
        action_encoding: what each column of the action contains.
        action_names: name of each column of the action, with its unit, for people.
        proprio_names: name of each column of the proprio, with its unit, for people.
    """

    action_dim: int = _of_robots(0)
    proprio_dim: int = _of_robots(0)
    action_widths: tuple[int, ...] = _of_robots(())
    proprio_widths: tuple[int, ...] = _of_robots(())
    action_encoding: tuple[Encoding, ...] = _of_robots(())
    action_names: tuple[str, ...] = _of_robots(())
    proprio_names: tuple[str, ...] = _of_robots(())


OF_ROBOTS = tuple(f.name for f in fields(IndexedEntry) if json_files.WRITTEN_IF in f.metadata)


@dataclass(frozen=True)
class SplitCounts:
    """What became of a split's records: read = indexed + filtered + rejected.

    Attributes:
        files: stems of the split's tables, in order: INDEX/dataset/split/STEM.episodes.parquet and others. A table has the
            records of up to 128 source files, each of them whole.
        read: number of records that were read.
        indexed: number of episodes, questions or captions that can be used.
        steps: number of steps of all indexed episodes; a question or caption counts as one.
        bytes: bytes of all records that were read.
        filtered: reason -> number of records that the entry's filters do not want.
        rejected: reason -> number of records that cannot be used.
        left_out: reason -> number of steps, or pieces of records, that are missing from indexed records.
    """

    files: tuple[str, ...]
    read: int
    indexed: int
    steps: int
    bytes: int
    filtered: dict[str, int]
    rejected: dict[str, int]
    left_out: dict[str, int]


@dataclass(frozen=True)
class IndexedDataset:
    """One dataset of an INDEX.

    Attributes:
        directory: where its source files are.
        entry: what its features mean.
        through: "" if the raw reader reads it, else why it is read through TFDS.
        splits: split -> its files and counts.
    """

    directory: str
    entry: IndexedEntry
    through: str
    splits: dict[str, SplitCounts]


@dataclass(frozen=True)
class IndexFile:
    """The contents of index.json.

    Attributes:
        format_version: format version of the INDEX.
        digest: digest of the contents of all its files.
        datasets: name -> dataset.
    """

    format_version: int
    digest: str
    datasets: dict[str, IndexedDataset]


def is_index(path: str) -> bool:
    """Returns whether a path is a finished INDEX."""
    filesystem, root = stores.fresh(path)
    return stores.kind_at(filesystem, f"{root.rstrip('/')}/{FILE}") == "file"


def open_index(path: str) -> IndexFile:
    """Reads index.json.

    Args:
        path: folder or URL of the INDEX.

    Raises:
        InputError: the file is missing (the job did not finish), is damaged, or has another format version.
    """
    where = f"{str(path).rstrip('/')}/{FILE}"
    filesystem, place = stores.fresh(where)
    try:
        with stores.reaching(where):
            text = filesystem.cat_file(place).decode()
    except UnicodeDecodeError:
        raise InputError(f"{where} is not UTF-8 text") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path} is not a finished INDEX (no {FILE}); make one with: "
            f"{command('fasttok-pipelines', 'index', 'DATASET_DIR...', '--out', path)}"
        ) from None
    return parse_index(text, where)


def parse_index(text: str, where: str) -> IndexFile:
    """Parses the text of an index.json.

    Args:
        text: text of the whole file.
        where: path of the file, for messages.

    Raises:
        InputError: the text is not JSON, has another format version, has unknown or missing keys, or has a name that leads out
            of its folder.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse_pointer(text, where)
        raise InputError(f"{where} is not JSON: {error}") from None
    version = raw.get(json_files.VERSION_KEY) if isinstance(raw, Mapping) else None
    if not isinstance(version, int) or version < FORMAT_VERSION:
        raise InputError(f"{where} has format version {version}, this fasttok reads {FORMAT_VERSION}")
    index = json_files.decode(IndexFile, raw, where, FORMAT_VERSION)
    for name, dataset in index.datasets.items():
        for piece in (name, *dataset.splits, *(stem for split in dataset.splits.values() for stem in split.files)):
            one_piece(piece, where)
        for key in OF_ROBOTS:
            if dataset.entry.kind == "robot" and key not in raw["datasets"][name]["entry"]:
                raise InputError(f"{where}: missing key $.datasets.{name}.entry.{key}")
    return index
