"""Reads through TFDS what the raw reader does not cover. Only this module imports TensorFlow.

`rlds` 0.1.8 imports `reverb`, which cannot load beside current TensorFlow. `rlds_constants` puts a substitute in its place while
`rlds` is imported, and returns the step names.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from types import ModuleType
from typing import Any

import numpy as np

from fasttok.common import stores
from fasttok.episodes.episode import MAX_RECORD, BadRecord, Episode, Where
from fasttok.episodes.tfrecord import large_records
from fasttok.errors import InputError, require


class _Absent(ModuleType):
    """A module that has every attribute, which is enough for the type annotations of code that nobody calls."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name)


def rlds_constants() -> Any:
    """Returns the package `rlds`, which names the fields of a step (`rlds.ACTION`, `rlds.OBSERVATION`, ...)."""
    missing = "reverb" not in sys.modules
    if missing:
        sys.modules["reverb"] = _Absent("reverb")
    try:
        return require("rlds", "pipelines", "reading RLDS through TFDS")
    finally:
        if missing:
            del sys.modules["reverb"]


def tfds() -> Any:
    """Returns the module tensorflow_datasets, and keeps TensorFlow from using GPUs that others need."""
    purpose = "reading or writing RLDS through TFDS"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silent_stderr():
        require("tensorflow", "pipelines", purpose).config.set_visible_devices([], "GPU")
    module = require("tensorflow_datasets", "pipelines", purpose)
    module.disable_progress_bar()
    return module


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Drops what native code prints in the block: TensorFlow's import reports CPU features and absent GPUs."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


@dataclass(frozen=True)
class TfdsRldsDirectory:
    """The folder of a dataset version, read through TFDS; an `RldsDirectory`. Its records have numbers, but no byte ranges.

    Attributes:
        path: a path or URL.
        name: the dataset's name.
        version: the dataset's version, such as "1.0.0".
        splits: split -> its files in shard order.
        declared: file -> number of records.
        spans: file -> (split, number of its first record, number of the record after its last).
        through: why the raw reader cannot read it.
        framed: whether the files are TFRecord files, which store the size of a record before the record.
    """

    path: str
    name: str
    version: str
    splits: dict[str, list[str]]
    declared: dict[str, int]
    spans: dict[str, tuple[str, int, int]]
    through: str
    framed: bool = False

    def read_file(self, file: str, verify: bool = True, most: int = MAX_RECORD) -> Iterator[Episode | BadRecord]:
        """Yields every record of a file, in order. A record of more than `most` bytes is a BadRecord, and TFDS does not read it.

        TFDS always verifies the records, whatever `verify` says.
        """
        del verify
        split, start, stop = self.spans[file]
        if not stores.kind_at(*stores.filesystem(file)):
            said = f"{file} is not there; dataset_info.json says {stop - start} records"
            yield BadRecord(Where(file), "missing", said, stop - start)
            return
        large = large_records(file, most) if self.framed else {}
        read = 0
        for end in (*(number for number in large if number < stop - start), None):
            last = stop if end is None else start + end
            for episode in read_split(self.path, split, start + read, last) if start + read < last else ():
                yield _placed(episode, file, read)
                read += 1
            if end is None or start + read < last:
                break
            yield large[end]
            read += 1
        lost = stop - start - read
        if lost > 0:
            yield BadRecord(
                Where(file, number=read),
                "missing",
                f"dataset_info.json says {stop - start} records, there are {read}",
                lost,
            )

    def read_at(
        self, file: str, offset: int, length: int, number: int = 0, verify: bool = True, most: int = MAX_RECORD
    ) -> Episode | BadRecord:
        """Returns the record with this number in its file. TFDS has no byte ranges, and always verifies."""
        del offset, length, verify
        if self.framed and (large := large_records(file, most).get(number)):
            return large
        split, start, _ = self.spans[file]
        at = start + number
        for episode in read_split(self.path, split, at, at + 1):
            return _placed(episode, file, number)
        return BadRecord(Where(file, number=number), "missing", f"{split} has no record {at}")


def _placed(record: Episode | BadRecord, file: str, number: int) -> Episode | BadRecord:
    where = Where(file, number=number)
    if isinstance(record, BadRecord):
        return BadRecord(where, record.reason, record.detail)
    return Episode(record.steps, record.metadata, where)


def open_through_tfds(path: str, reason: str) -> TfdsRldsDirectory:
    """Opens a directory that the raw reader does not cover; `reason` says why.

    Raises:
        InputError: TFDS is not installed, or cannot open it either.
    """
    path = str(path).rstrip("/")
    info = _builder(path).info
    splits: dict[str, list[str]] = {}
    spans: dict[str, tuple[str, int, int]] = {}
    for split, described in info.splits.items():
        splits[split] = [f"{path}/{name}" for name in sorted(described.filenames)]
        ends = list(accumulate(described.shard_lengths))
        for file, stop, length in zip(splits[split], ends, described.shard_lengths, strict=True):
            spans[file] = (split, stop - length, stop)
    declared = {file: stop - start for file, (_, start, stop) in spans.items()}
    return TfdsRldsDirectory(
        path, info.name, str(info.version), splits, declared, spans, reason, "tfrecord" in str(info.file_format).lower()
    )


@lru_cache(maxsize=8)
def _builder(directory: str) -> Any:
    try:
        return tfds().builder_from_directory(directory)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{directory}: TFDS cannot open it either: {error}") from None


def read_split(directory: str, split: str, start: int = 0, stop: int | None = None) -> Iterator[Episode | BadRecord]:
    """Yields episodes [start, stop) of a split through TFDS. Images stay encoded; `where.number` is the place in the split."""
    module, builder = tfds(), _builder(directory)
    steps_key = rlds_constants().STEPS
    wanted = f"{split}[{start}:{'' if stop is None else stop}]"
    decoders = keep_images(module, builder.info.features)
    random_access = "array_record" in str(builder.info.file_format).lower()  # TFDS has no tf.data for it
    if random_access:
        data = builder.as_data_source(split=wanted, decoders=decoders)
    else:
        data = builder.as_dataset(split=wanted, decoders=decoders, shuffle_files=False)

    def as_numpy(value: Any) -> Any:
        return value if random_access else module.as_numpy(value)

    for number, record in enumerate(data, start):
        where = Where(f"{directory}#{split}", number=number)
        steps = list(as_numpy(record[steps_key])) if steps_key in record else []
        if not steps:
            yield BadRecord(where, "empty", "an episode of 0 steps")
            continue
        flat = [dict(flatten(step)) for step in steps]
        metadata = dict(flatten({k: as_numpy(v) for k, v in record.items() if k != steps_key}))
        columns = {name: _column([step[name] for step in flat]) for name in flat[0]}
        yield Episode(columns, metadata, where)


def keep_images(module: Any, features: Any) -> Any:
    """Returns a tree of TFDS decoders that leaves every image encoded, None if there are no images."""
    if isinstance(features, module.features.Image):
        return module.decode.SkipDecoding()
    inner = getattr(features, "feature", None)
    if inner is not None:
        return keep_images(module, inner)
    if hasattr(features, "items"):
        tree = {key: keep_images(module, child) for key, child in features.items()}
        return {key: value for key, value in tree.items() if value} or None
    return None


def flatten(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (flat name, value) of a nested dictionary's leaves. Ragged values become nested lists of arrays or bytes.

    >>> [*flatten({"observation": {"state": 1}, "reward": 2})]
    [('observation/state', 1), ('reward', 2)]
    """
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flatten(value, f"{name}/{key}" if name else key)
    else:
        yield name, ragged(tree) if hasattr(tree, "row_splits") else tree


def ragged(value: Any) -> Any:
    """Converts a tf.ragged value to nested lists, whose innermost rows are arrays or lists of bytes.

    >>> ragged(np.array([1, 2]))
    array([1, 2])
    """
    if not hasattr(value, "row_splits"):
        array = np.asarray(value)
        return array.tolist() if array.dtype == object and array.ndim == 1 else array
    rows, splits = ragged(value.values), np.asarray(value.row_splits).tolist()
    return [rows[start:stop] for start, stop in pairwise(splits)]


def _column(values: list[Any]) -> Any:
    if isinstance(values[0], bytes | list):
        return values
    arrays = [np.asarray(value) for value in values]
    return np.stack(arrays) if len({a.shape for a in arrays}) == 1 else arrays
