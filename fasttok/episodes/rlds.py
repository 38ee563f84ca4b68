"""Reads RLDS directories (TFDS, TFRecord files) without TensorFlow, by their features.json and dataset_info.json.

Images stay encoded. What this raw reader does not cover is read through TFDS (`tfds.py`), by a class with the same methods.
"""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from fasttok.common import stores
from fasttok.common.lfs_pointer import refuse_pointer_at
from fasttok.episodes import tfrecord
from fasttok.episodes.decode import MismatchError, decode
from fasttok.episodes.episode import MAX_RECORD, BadRecord, Episode, Where
from fasttok.episodes.features import Feature, UnsupportedError, parse_features
from fasttok.episodes.tfrecord import WHOLE, RecordRange
from fasttok.errors import InputError, unknown_name

logger = logging.getLogger(__name__)
STEPS = "steps/"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


class RldsDirectory(Protocol):
    """The folder of a dataset version, however it is read."""

    @property
    def path(self) -> str:
        """Path or URL of the folder."""

    @property
    def name(self) -> str:
        """Name of the dataset."""

    @property
    def splits(self) -> dict[str, list[str]]:
        """Split -> its files in shard order."""

    @property
    def declared(self) -> dict[str, int]:
        """File -> number of records that dataset_info.json says it contains."""

    @property
    def through(self) -> str:
        """Why it is read through TFDS, "" if the raw reader reads it."""

    def read_file(self, file: str, verify: bool = True, most: int = MAX_RECORD) -> Iterator[Episode | BadRecord]:
        """Yields every record of a file, in order: an Episode, or a BadRecord, such as for more than `most` bytes."""

    def read_at(
        self, file: str, offset: int, length: int, number: int = 0, verify: bool = True, most: int = MAX_RECORD
    ) -> Episode | BadRecord:
        """Returns one record by its byte range, as an INDEX stores it; through TFDS, which has no byte ranges, by its number."""


@dataclass(frozen=True)
class RawRldsDirectory:
    """A directory of TFRecord files that the raw reader reads; an `RldsDirectory`.

    Attributes:
        path: a path or URL.
        name: the dataset's name.
        version: the dataset's version, such as "1.0.0".
        features: flat name -> what is stored under it.
        splits: split -> its files in shard order.
        declared: file -> number of records that dataset_info.json says it contains.
        through: always empty.
    """

    path: str
    name: str
    version: str
    features: dict[str, Feature]
    splits: dict[str, list[str]]
    declared: dict[str, int]
    through: str = ""

    def read_examples(
        self, file: str, verify: bool = True, most: int = MAX_RECORD, part: RecordRange = WHOLE
    ) -> Iterator[tuple[Where, dict[str, Any]] | BadRecord]:
        """Yields the values of every record by flat name (see `decode`), also for datasets that have no episodes."""
        read = part.number
        end = Where(file, part.offset)
        declared = self.declared.get(file, 0) if part.stop is None else part.stop
        try:
            for record in tfrecord.read_buffered(file, verify, most, part):
                read += 1
                if isinstance(record, BadRecord):
                    end = record.where
                    yield record
                else:
                    end = record[0]
                    yield self._decode(*record)
        except FileNotFoundError:
            if declared > read:
                said = f"{file} is not there; {self._expected(declared, part)}"
                yield BadRecord(Where(file, number=read), "missing", said, declared - read)
            return
        lost = declared - read
        if lost > 0:
            where = Where(file, max(end.offset, 0), 0, read)
            yield BadRecord(where, "missing", f"{self._expected(declared, part)}, there are {read}", lost)

    @staticmethod
    def _expected(declared: int, part: RecordRange) -> str:
        if part.stop is None:
            return f"dataset_info.json says {declared} records"
        return f"when it was cut into jobs it had at least {declared} records"

    def read_file(self, file: str, verify: bool = True, most: int = MAX_RECORD) -> Iterator[Episode | BadRecord]:
        """Yields every record of a file, in order: an Episode, or a BadRecord, such as for more than `most` bytes."""
        return self.read_range(file, WHOLE, verify, most)

    def read_range(
        self, file: str, part: RecordRange, verify: bool = True, most: int = MAX_RECORD
    ) -> Iterator[Episode | BadRecord]:
        """Yields what `read_file` does, for a range of the file's records."""
        for record in self.read_examples(file, verify, most, part):
            yield record if isinstance(record, BadRecord) else _episode(*record)

    def read_at(
        self, file: str, offset: int, length: int, number: int = 0, verify: bool = True, most: int = MAX_RECORD
    ) -> Episode | BadRecord:
        """Returns the record at a byte range, as an INDEX stores it."""
        data = tfrecord.read_record(file, offset, length, number, verify, most)
        if isinstance(data, BadRecord):
            return data
        where = Where(file, offset, length, number, tfrecord.masked_crc(data))
        example = self._decode(where, data, len(data))
        return example if isinstance(example, BadRecord) else _episode(*example)

    def _decode(self, where: Where, data: bytes | bytearray, length: int) -> tuple[Where, dict[str, Any]] | BadRecord:
        try:
            return where, decode(data, self.features, length)
        except MismatchError as error:
            return BadRecord(where, "features", str(error))


def _episode(where: Where, values: dict[str, Any]) -> Episode | BadRecord:
    steps = {name[len(STEPS) :]: value for name, value in values.items() if name.startswith(STEPS)}
    lengths = {name: len(value) for name, value in steps.items()}
    if len(set(lengths.values())) > 1:
        return BadRecord(where, "features", f"steps of different lengths: {lengths}")
    episode = Episode(steps, {n: v for n, v in values.items() if not n.startswith(STEPS)}, where)
    return episode if episode.length else BadRecord(where, "empty", "an episode of 0 steps")


def is_rlds(path: str) -> bool:
    """Returns whether a folder looks like a TFDS dataset version."""
    filesystem, root = stores.filesystem(path)
    return all(
        stores.kind_at(filesystem, f"{root}/{name}") == "file" for name in ("features.json", "dataset_info.json")
    )


def open_directory(path: str) -> RldsDirectory:
    """Opens a directory with the raw reader, or through TFDS if the raw reader does not cover it, which is logged.

    Raises:
        InputError: it is not a TFDS folder, all files of a split are missing, or TFDS is needed but cannot read it either.
    """
    try:
        return open_raw(path)
    except UnsupportedError as error:
        from fasttok.episodes.tfds import open_through_tfds

        logger.warning("%s: the raw reader does not cover %s; reading through TFDS, which is slower", path, error)
        return open_through_tfds(path, str(error))


def open_raw(path: str) -> RawRldsDirectory:
    """Opens a directory with the raw reader. A declared file that is missing stays in the list, and reading it reports the loss.

    Raises:
        UnsupportedError: the raw reader does not cover a feature, the file format or a template of file names.
        InputError: it is not a TFDS folder, or all files of a split are missing.
    """
    path = str(path).rstrip("/")
    filesystem, root = stores.filesystem(path)

    def read(name: str) -> str:
        try:
            return str(filesystem.cat_file(f"{root}/{name}"), "utf-8")
        except FileNotFoundError:
            hint = "expected a version folder such as bridge_dataset/1.0.0"
            raise InputError(f"{path} has no {name}, so it is not a TFDS/RLDS directory; {hint}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}/{name} is not UTF-8 text") from None

    try:
        info = json.loads(read("dataset_info.json"))
        name, file_format = _plain(info["name"]), info.get("fileFormat", "tfrecord")
        declared = [
            (_plain(s["name"]), _lengths(s.get("shardLengths", [])), str(s.get("filepathTemplate") or TEMPLATE))
            for s in info["splits"]
        ]
        version = str(info.get("version", ""))
    except InputError:  # a ValueError, which says what is wrong already
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        refuse_pointer_at(f"{path}/dataset_info.json")
        raise InputError(f"{path}/dataset_info.json is not a TFDS description: {error!r}") from None
    if file_format != "tfrecord":
        raise UnsupportedError(f"file format {file_format}")
    features = parse_features(read("features.json"), f"{path}/features.json")
    folders = any("/" in template for _, _, template in declared)
    listed = filesystem.find(root, maxdepth=None if folders else 1)  # files only
    prefix = f"{filesystem._strip_protocol(root).rstrip('/')}/"
    present = {filesystem._strip_protocol(entry).removeprefix(prefix) for entry in listed}
    splits: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for split, lengths, template in declared:
        names = [file_name(template, name, split, i, len(lengths)) for i in range(len(lengths))]
        missing = [n for n in names if n not in present]
        if missing and len(missing) == len(names):
            raise InputError(
                f"{path}: none of the {len(names)} files of split {split} is there, the first would be {missing[0]}; "
                "copy the whole folder"
            )
        if missing:
            logger.warning(
                "%s: split %s lacks %d of %d files, the first %s; their records count as missing",
                path, split, len(missing), len(names), missing[0],
            )  # fmt: skip
        splits[split] = [f"{path}/{n}" for n in names]
        counts |= zip(splits[split], lengths, strict=True)
    return RawRldsDirectory(path, name, version, features, splits, counts)


def files_of(directory: RldsDirectory, split: str) -> list[str]:
    """Returns the files of a split.

    Raises:
        InputError: there is no such split.

    >>> files_of(RawRldsDirectory("toy/1.0.0", "toy", "1.0.0", {}, {"train": ["toy/1.0.0/a"]}, {}), "train")
    ['toy/1.0.0/a']
    """
    if split not in directory.splits:
        raise unknown_name("split", split, directory.splits, f"in {directory.path}")
    return directory.splits[split]


def _plain(name: Any) -> str:
    """Checks a name that may become the name of a folder, and returns it.

    Raises:
        ValueError: it cannot be the name of a folder.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name) or name.startswith("."):
        raise ValueError(f"{name!r} is not a plain name")
    return name


def _lengths(values: Any) -> list[int]:
    """Returns the number of records of each file.

    Raises:
        ValueError: the value is not a list of counts.
    """
    lengths = [int(n) for n in values]
    if isinstance(values, str | dict) or any(n < 0 for n in lengths):
        raise ValueError(f"shardLengths {values!r}")
    return lengths


def file_name(template: str, dataset: str, split: str, shard: int, shards: int) -> str:
    """Returns the path of a shard, relative to the folder, by TFDS's template.

    Raises:
        UnsupportedError: the template contains a variable that is not known.
        InputError: the path leads out of the folder.

    >>> file_name(TEMPLATE, "toy", "train", 3, 8)
    'toy-train.tfrecord-00003-of-00008'
    >>> file_name("{SPLIT}/{SHARD_INDEX}.{FILEFORMAT}", "toy", "train", 3, 8)
    'train/00003.tfrecord'
    """
    digits = max(5, len(str(shards)))
    values = {
        "DATASET": dataset,
        "SPLIT": split,
        "FILEFORMAT": "tfrecord",
        "SHARD_INDEX": f"{shard:0{digits}d}",
        "NUM_SHARDS": f"{shards:0{digits}d}",
        "SHARD_X_OF_Y": f"{shard:0{digits}d}-of-{shards:0{digits}d}",
    }
    name = re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), template)
    if "\\" in name or name.startswith("/") or {"..", "."} & set(name.split("/")):
        raise InputError(f"dataset_info.json: the file name template {template!r} leads out of the dataset's folder")
    if "{" in name:
        raise UnsupportedError(f"file name template {template!r}")
    return name
