"""RLDS directories (TFDS, TFRecord files) read without TensorFlow: features.json and dataset_info.json say everything.

Images stay the encoded bytes they are. What this reader does not cover raises `Unsupported`; `pipelines.tfds` is the
fallback.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import fsspec

from fasttok.episodes import tfrecord
from fasttok.episodes.episode import BadRecord, Episode, Where
from fasttok.episodes.features import Feature, Mismatch, Unsupported, decode, parse_features
from fasttok.errors import InputError, unknown_name


@dataclass(frozen=True)
class RldsDirectory:
    """A dataset version's folder. `splits`: split -> its files in shard order; `counts`: split -> episodes it declares."""

    path: str
    name: str
    version: str
    features: dict[str, Feature]
    splits: dict[str, list[str]]
    counts: dict[str, int]

    def files(self, split: str) -> list[str]:
        """Files of a split.

        Raises:
            InputError: no such split.
        """
        if split not in self.splits:
            raise unknown_name("split", split, self.splits, f"in {self.path}")
        return self.splits[split]

    def read_file(self, file: str, verify: bool = True) -> Iterator[Episode | BadRecord]:
        """Every record of a file, in order: an Episode, or a BadRecord that says why not."""
        for record in tfrecord.read_records(file, verify):
            yield record if isinstance(record, BadRecord) else self._episode(*record)

    def read_at(self, file: str, offset: int, length: int, number: int = 0, verify: bool = True) -> Episode | BadRecord:
        """The record at a byte range, as an index recorded it."""
        data = tfrecord.read_record(file, offset, length, number, verify)
        return data if isinstance(data, BadRecord) else self._episode(Where(file, offset, length, number), data)

    def _episode(self, where: Where, data: bytes) -> Episode | BadRecord:
        try:
            steps, metadata = decode(data, self.features)
        except Mismatch as error:
            return BadRecord(where, "features", str(error))
        episode = Episode(steps, metadata, where)
        return episode if episode.length else BadRecord(where, "empty", "an episode of 0 steps")


def is_rlds(path: str) -> bool:
    """Whether a folder looks like a TFDS dataset version."""
    filesystem, root = fsspec.core.url_to_fs(path)
    return filesystem.isfile(f"{root}/features.json") and filesystem.isfile(f"{root}/dataset_info.json")


def open_directory(path: str) -> RldsDirectory:
    """Reads the two JSON files.

    Raises:
        Unsupported: another file format than TFRecord, or a feature the raw reader does not cover.
        InputError: not a TFDS folder, or a declared file is missing.
    """
    path = str(path).rstrip("/")
    filesystem, root = fsspec.core.url_to_fs(path)

    def read(name: str) -> str:
        try:
            return filesystem.cat_file(f"{root}/{name}").decode()
        except FileNotFoundError:
            hint = "expected a version folder such as bridge_dataset/1.0.0"
            raise InputError(f"{path} has no {name}, so it is not a TFDS/RLDS directory; {hint}") from None

    features = parse_features(read("features.json"), f"{path}/features.json")
    try:
        info = json.loads(read("dataset_info.json"))
        name, file_format = info["name"], info.get("fileFormat", "tfrecord")
        declared = [(s["name"], [int(n) for n in s["shardLengths"]], s.get("filepathTemplate")) for s in info["splits"]]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}/dataset_info.json is not a TFDS description: {error!r}") from None
    if file_format != "tfrecord":
        raise Unsupported(f"{path}: file format {file_format}")
    present = {entry.rsplit("/", 1)[-1] for entry in filesystem.ls(root, detail=False)}
    splits, counts = {}, {}
    for split, lengths, template in declared:
        names = [_file_name(template, name, split, i, len(lengths)) for i in range(len(lengths))]
        missing = [n for n in names if n not in present]
        if missing:
            raise InputError(
                f"{path}: split {split} lacks {len(missing)} of {len(names)} files, the first {missing[0]}"
            )
        splits[split] = [f"{path}/{n}" for n in names]
        counts[split] = sum(lengths)
    return RldsDirectory(path, name, info.get("version", ""), features, splits, counts)


def _file_name(template: str | None, dataset: str, split: str, shard: int, shards: int) -> str:
    """TFDS's file name templates.

    >>> _file_name(None, "toy", "train", 3, 8)
    'toy-train.tfrecord-00003-of-00008'
    """
    values = {
        "DATASET": dataset,
        "SPLIT": split,
        "FILEFORMAT": "tfrecord",
        "SHARD_INDEX": f"{shard:05d}",
        "NUM_SHARDS": f"{shards:05d}",
        "SHARD_X_OF_Y": f"{shard:05d}-of-{shards:05d}",
    }
    name = re.sub(
        r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), template or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    )
    if "/" in name or "{" in name:
        raise Unsupported(f"file name template {template!r}")
    return name
