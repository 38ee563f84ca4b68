"""`fasttok-pipelines statistics INDEX`: exact statistics of the actions and proprio that an INDEX holds, or of chunks of them.

Read from the INDEX's columns, which is what tokenizers and shards are made from; every number is correctly rounded and does
not depend on how the data were cut into files (`fasttok.actions.quantiles`). `pipelines index` writes INDEX/statistics.json.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from numpy.typing import NDArray

from fasttok.actions.chunks import chunks_at, horizon_steps
from fasttok.actions.quantiles import summarize
from fasttok.actions.representation import Representation
from fasttok.common.console import emit_json, log, progress, table
from fasttok.episodes.index import open_index, read_file
from fasttok.errors import InputError, unknown_name
from pipelines.builder.sources import representation
from pipelines.common.files import join, write_json

FILE = "statistics.json"
FORMAT_VERSION = 1
QUANTILES = {"q01": 0.01, "q05": 0.05, "q50": 0.5, "q95": 0.95, "q99": 0.99}
ROWS = 1 << 15  # of a batch
Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class StatisticsConfig:
    """Exact count, mean, std, min, max and quantiles per embodiment: of each step as stored, or of chunks as they are tokenised.

    Example: fasttok-pipelines statistics INDEX --seconds 1.0 --form relative --rotation 6d
    """

    index: Annotated[str, tyro.conf.Positional]
    """INDEX of `fasttok-pipelines index`."""
    split: str = "train"
    """Split whose episodes count."""
    horizon: int | None = None
    """Of chunks of so many steps, one from each step, padded past the end as tokens are; each step once by default."""
    seconds: float | None = None
    """The same by time."""
    form: Literal["stored", "relative", "delta"] = "stored"
    """Of chunks in the form that a mixture's `action:` may ask for (docs/datasets.md)."""
    rotation: Literal["stored", "euler", "quaternion", "6d"] = "stored"
    """With rotations of this kind."""
    out: str | None = None
    """Write them here as JSON."""
    json: bool = False
    """Print JSON on stdout."""


def of_index(folder: str, index: dict[str, Any], split: str = "train") -> dict[str, Any]:
    """Statistics of every step as stored, per embodiment and per dataset; one without that split counts with all it has."""
    datasets: dict[str, tuple[dict[str, Any], list[str]]] = {}
    groups: dict[str, list[str]] = {}
    for name, dataset in index["datasets"].items():
        entry = dataset["entry"]
        if entry["kind"] != "robot":
            continue
        bases = [
            join(folder, name, part, stem)
            for part, counts in dataset["splits"].items()
            if part == split or split not in dataset["splits"]
            for stem in counts["files"]
        ]
        datasets[name] = (entry, bases)
        groups.setdefault(entry["embodiment"], []).append(name)
    files = sum(len(bases) for _, bases in datasets.values())
    shared = sum(len(datasets[name][1]) for names in groups.values() if len(names) > 1 for name in names)
    per_dataset: dict[str, Any] = {}
    per_embodiment: dict[str, Any] = {}
    with progress("statistics", 2 * (files + shared), "readings of a file") as advance:
        for name, (entry, bases) in datasets.items():
            per_dataset[name] = _both(entry, bases, advance)
        for embodiment, names in groups.items():
            shapes = {(datasets[name][0]["action_dim"], datasets[name][0]["proprio_dim"]) for name in names}
            if len(shapes) > 1:
                dims = f"{', '.join(names)} have (action, proprio) dims {sorted(shapes)}"
                log(f"note: no statistics for the embodiment {embodiment}: {dims}")
                continue
            bases = [base for name in names for base in datasets[name][1]]
            one = per_dataset[names[0]]
            per_embodiment[embodiment] = one if len(names) == 1 else _both(datasets[names[0]][0], bases, advance)
            per_embodiment[embodiment] = {"datasets": names, **per_embodiment[embodiment]}
    return {"format_version": FORMAT_VERSION, "split": split, "embodiments": per_embodiment, "datasets": per_dataset}


def _both(entry: dict[str, Any], bases: list[str], advance: Callable[..., None]) -> dict[str, Any]:
    """Action and proprio in the same two readings."""
    width = entry["action_dim"]

    def rows(base: str) -> Iterator[Matrix]:
        for batch in _batches(base, ["action", "proprio"]):
            yield np.concatenate([_matrix(batch.column("action")), _matrix(batch.column("proprio"))], axis=1)
        advance()

    found = statistics(bases, rows)
    return {
        "count": found["count"],
        "action": {key: values[:width] for key, values in found.items() if key != "count"}
        | {"names": entry["action_names"]},
        "proprio": {key: values[width:] for key, values in found.items() if key != "count"}
        | {"names": entry["proprio_names"]},
    }


def statistics(bases: list[str], rows: Callable[[str], Iterator[Matrix]]) -> dict[str, Any]:
    """Count, and per dim mean, std, min, max and quantiles, as plain lists; empty for files without rows."""
    try:
        found = summarize(lambda: (batch for base in bases for batch in rows(base)), list(QUANTILES.values()))
    except ValueError as error:
        if str(error) != "no rows":
            raise
        return {"count": 0, **{key: [] for key in ("mean", "std", "min", "max", *QUANTILES)}}
    moments = {key: getattr(found, key).tolist() for key in ("mean", "std", "min", "max")}
    quantiles = {key: row.tolist() for key, row in zip(QUANTILES, found.quantiles, strict=True)}
    return {"count": found.count, **moments, **quantiles}


def of_chunks(config: StatisticsConfig, index: dict[str, Any]) -> dict[str, Any]:
    """Statistics of chunks per embodiment, and of proprio at each step.

    Raises:
        InputError: a form that a dataset does not allow, or seconds without a control frequency.
    """
    found = of_index(config.index, index, config.split)
    groups: dict[str, list[str]] = {name: value["datasets"] for name, value in found["embodiments"].items()}
    for embodiment, names in groups.items():
        ways = {name: Way.of(index["datasets"][name]["entry"], config) for name in names}
        bases = {
            join(config.index, name, config.split, stem): ways[name]
            for name in names
            for stem in index["datasets"][name]["splits"].get(config.split, {"files": []})["files"]
        }
        action = statistics(list(bases), lambda base, bases=bases: bases[base].chunks(base))  # type: ignore[misc]
        first = ways[names[0]]
        found["embodiments"][embodiment] |= {
            "horizon": first.horizon,
            "form": "stored" if first.represent is None else first.represent.name,
            "chunk_steps": action.pop("count"),
            "action": action | {"names": first.names},
        }
    del found["datasets"]
    return found


@dataclass(frozen=True)
class Way:
    """How one dataset's episodes become what is tokenised."""

    horizon: int
    encoding: tuple[str, ...]
    names: tuple[str, ...]
    represent: Representation | None

    @classmethod
    def of(cls, entry: dict[str, Any], config: StatisticsConfig) -> "Way":
        """As a mixture with this chunk and form would make them."""
        if config.horizon is not None:
            horizon = config.horizon
        elif entry["control_hz"] is not None:
            horizon = horizon_steps(config.seconds or 1.0, entry["control_hz"])
        else:
            raise InputError(
                f"{entry['name']}: its control frequency is not known; pass the chunk length with --horizon"
            )
        represent = representation(entry, entry["name"], config.form, config.rotation)
        names = tuple(entry["action_names"])
        return cls(horizon, tuple(entry["action_encoding"]), represent.names(names) if represent else names, represent)

    def chunks(self, base: str) -> Iterator[Matrix]:
        """All chunks of a file's episodes as (steps of all chunks, D)."""
        for episode in read_file(base, {}):
            action = np.asarray(episode.steps["action"])
            chunks = chunks_at(action, np.arange(len(action)), self.horizon, self.encoding)
            if self.represent is not None:
                proprio = np.asarray(episode.steps.get("proprio", np.zeros((len(action), 0))))
                chunks = self.represent(chunks, self.represent.reference(action, proprio))
            yield chunks.reshape(-1, chunks.shape[-1])


def _batches(base: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    path = f"{base}.steps.parquet"
    try:
        with fsspec.open(path, "rb") as stream:
            yield from pq.ParquetFile(stream).iter_batches(ROWS, columns=columns)
    except (FileNotFoundError, pa.ArrowException) as error:
        raise InputError(f"{path} is missing or damaged ({error}); run the index job again") from None


def _matrix(column: pa.ListArray) -> Matrix:
    """A list column whose lists are of one length."""
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def run_statistics(config: StatisticsConfig) -> None:
    """Prints a table, or JSON.

    Raises:
        InputError: no INDEX there, or it has no robot data of that split.
    """
    index = open_index(config.index)
    splits = {s for d in index["datasets"].values() if d["entry"]["kind"] == "robot" for s in d["splits"]}
    if config.split not in splits:
        raise unknown_name("split", config.split, splits, f"of the robot datasets in {config.index}")
    if config.horizon is not None and config.horizon < 1:
        raise InputError(f"--horizon is {config.horizon}, expected at least 1 step")
    represented = (config.form, config.rotation) != ("stored", "stored")
    chunked = config.horizon is not None or config.seconds is not None or represented
    found = of_chunks(config, index) if chunked else of_index(config.index, index, config.split)
    if config.out:
        write_json(config.out, found)
        log(f"wrote {config.out}")
    if config.json:
        emit_json(found)
        return
    for embodiment, value in found["embodiments"].items():
        title = f"{embodiment}: {value['count']:,} steps of {', '.join(value['datasets'])}"
        if chunked:
            title += f"; actions in chunks of {value['horizon']}, {value['form']}"
        table(title, ["", "dim", "mean", "std", "min", *QUANTILES, "max"], _lines(value))


def _lines(value: dict[str, Any]) -> Iterator[list[Any]]:
    for kind in ("action", "proprio"):
        columns = [value[kind][key] for key in ("mean", "std", "min", *QUANTILES, "max")]
        for dim, name in enumerate(value[kind]["names"]):
            yield [kind, name, *[column[dim] for column in columns]]
