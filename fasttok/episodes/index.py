"""Episodes of an INDEX (docs/design.md "INDEX"): the standardised action and proprio columns, exactly what shards hold."""

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.episodes.episode import Episode, Where
from fasttok.errors import InputError, unknown_name

FILE = "index.json"
FORMAT_VERSION = 3


def open_index(path: str) -> dict[str, Any]:
    """index.json.

    Raises:
        InputError: missing (the job did not finish), or of another format version.
    """
    with_file = f"{str(path).rstrip('/')}/{FILE}"
    try:
        with fsspec.open(with_file, "r", encoding="utf-8") as stream:
            data = json.load(stream)
    except FileNotFoundError:
        raise InputError(
            f"{path} is not a finished INDEX (no {FILE}); make one with: fasttok-pipelines index DATASET_DIR... --out {path}"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(f"{with_file} is not JSON: {error}") from None
    if data.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"{with_file} has format version {data.get('format_version')}, this fasttok reads {FORMAT_VERSION}"
        )
    return data


def robots(path: str, split: str) -> dict[str, dict[str, Any]]:
    """Robot datasets of the INDEX that have this split: name -> its entry in index.json.

    Raises:
        InputError: none has it.
    """
    datasets = open_index(path)["datasets"]
    found = {n: d for n, d in datasets.items() if d["entry"]["kind"] == "robot" and split in d["splits"]}
    if not found:
        known = {s for d in datasets.values() if d["entry"]["kind"] == "robot" for s in d["splits"]}
        raise unknown_name("split", split, known, f"of the robot datasets in {path}")
    return found


def count(path: str, split: str) -> int:
    """Indexed robot episodes of a split."""
    return sum(d["splits"][split]["indexed"] for d in robots(path, split).values())


def read(path: str, split: str, keep: Callable[[str, int], Collection[int] | None] | None = None) -> Iterator[Episode]:
    """Robot episodes of a split, by dataset and file.

    `keep`: (dataset, number of its file) -> which rows of that file are wanted, None for none of the file.
    """
    for name, dataset in robots(path, split).items():
        entry = dataset["entry"]
        shared = {
            "dataset": name,
            "split": split,
            "embodiment": entry["embodiment"],
            "control_hz": entry["control_hz"],
            "action_encoding": entry["action_encoding"],
        }
        for number, stem in enumerate(dataset["splits"][split]["files"]):
            rows = None if keep is None else keep(name, number)
            if keep is None or rows is not None:
                yield from read_file(f"{path}/{name}/{split}/{stem}", shared, rows)


def read_file(base: str, shared: dict[str, Any], keep: Collection[int] | None = None) -> Iterator[Episode]:
    """Episodes of one indexed source file, all or the rows in `keep`; `base` is its path without `.episodes.parquet`."""
    episodes = read_parquet(f"{base}.episodes.parquet")
    columns = read_parquet(f"{base}.steps.parquet")
    action, proprio = columns["action"].combine_chunks(), columns["proprio"].combine_chunks()
    start = 0
    for number, row in enumerate(episodes.to_pylist()):
        stop = start + row["steps"]
        if keep is not None and number not in keep:
            start = stop
            continue
        steps: dict[str, Any] = {"action": matrix(action, start, stop)}
        if row["proprio_dim"]:
            steps["proprio"] = matrix(proprio, start, stop)
        where = Where(row["file"], row["offset"], row["length"], row["episode"])
        yield Episode(steps, shared | {"language": row["language"]}, where)
        start = stop


def read_parquet(path: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file of the INDEX, all columns or these.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with fsspec.open(path, "rb") as stream:
            return pq.read_table(stream, columns=columns)
    except (FileNotFoundError, pa.ArrowException) as error:
        raise InputError(f"{path} is missing or damaged ({error}); run the index job again") from None


def matrix(column: pa.Array, start: int, stop: int) -> NDArray[np.float32]:
    """Rows [start, stop) of a list<float> column of equal lengths as (rows, dim)."""
    part = column.slice(start, stop - start)
    return part.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(stop - start, -1)
