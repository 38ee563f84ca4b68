"""`fasttok-pipelines inspect SHARDS`: rows of shards, printed, as JSON, or as a page with pictures and curves."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tyro

from fasttok.common.console import emit_json, log
from fasttok.errors import InputError, unknown_name
from mixtures.quota import interleave
from pipelines.common.images import jpeg_size, png_size
from pipelines.look.page_parts import PagePath, page_path, write_page
from pipelines.look.scan import rows_of, scan, shard_starts
from pipelines.shards import ShardReader
from pipelines.shards.manifest import ManifestSource
from pipelines.shards.records import IMAGE_COLUMNS

IDS_SHOWN = 24
ROWS_PRINTED, ROWS_ON_PAGE = 8, 16


@dataclass(frozen=True)
class InspectConfig:
    """Shows rows of shards: cameras, prompt, target, state, raw and decoded actions, FAST ids, provenance.

    Rows are drawn at random, evenly over sources, unless --start or --sample-id says which.

    Example: fasttok-pipelines inspect SHARDS --html
    """

    shards: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS")]
    """The folder that `fasttok-pipelines build` wrote."""
    rows: int | None = None
    """Rows to show; by default 8, and 16 on a page."""
    seed: int = 0
    """Of the draw; another seed shows other rows."""
    start: int | None = None
    """Instead of a draw, the rows from this one on, in storage order."""
    sample_id: tuple[str, ...] = ()
    """Instead of a draw, the rows of these ids."""
    source: tuple[str, ...] = ()
    """Only rows of these sources."""
    kind: Literal["robot", "vqa", "caption"] | None = None
    """Only rows of this kind."""
    html: PagePath = None
    """Write one self-contained page; without FILE it is NAME-OF-SHARDS.inspect.html in the current folder."""
    max_mb: float = 32.0
    """Most megabytes of pictures on the page; it says which were left out."""
    json: bool = False
    """Print the rows as JSON on stdout."""


def run_inspect(config: InspectConfig) -> None:
    """Prints the rows, or writes the page and prints its path.

    Raises:
        InputError: no shards, an unknown source or id, nothing to show, or numbers that do not fit.
    """
    reader = ShardReader(config.shards)
    numbers = chosen(reader, config)
    rows = [(number, reader.row(number)) for number in numbers]
    of = f"{len(rows)} of {reader.num_rows:,} rows"
    page = page_path(config.html, config.shards, "inspect")
    if page is not None:
        from pipelines.look.inspect_page import (
            inspect_page,
        )  # loads the tokenizer's kernels, which printing rows does not need

        write_page(page, inspect_page(reader, rows, described(config, len(rows)), config.max_mb))
        if not config.json:
            print(page)
    if config.json:
        emit_json([{"row": number, **summary(row, reader.manifest.sources[row["source"]])} for number, row in rows])
        return
    if page is not None:
        log(f"{of} on the page")
        return
    for number, row in rows:
        item = summary(row, reader.manifest.sources[row["source"]])
        print(f"row {number:,}  {item.pop('kind')}  {item.pop('source')}")
        for name, value in item.items():
            if value not in (None, "", []):
                print(f"  {name:<14} {value}")
    log(f"{of}; with pictures and curves: fasttok-pipelines inspect {config.shards} --html")


def described(config: InspectConfig, rows: int) -> str:
    """How the rows were chosen, in words."""
    only = f" of {', '.join(config.source)}" if config.source else ""
    only += f" of kind {config.kind}" if config.kind else ""
    if config.sample_id:
        return f"The {rows} rows that were asked for by sample_id."
    if config.start is not None:
        return f"{rows} rows{only} in storage order, from row {config.start:,} on."
    return f"{rows} rows{only} drawn with seed {config.seed}, evenly over sources; another --seed shows others."


def chosen(reader: ShardReader, config: InspectConfig) -> list[int]:
    """Numbers of the rows to show, in storage order.

    Raises:
        InputError: an unknown source or sample_id, no such rows, or numbers that do not fit.
    """
    for name in config.source:
        if name not in reader.sources:
            raise unknown_name("source", name, reader.sources)
    wanted = [
        name
        for name, source in reader.manifest.sources.items()
        if (not config.source or name in config.source) and config.kind in (None, source.kind)
    ]
    if config.sample_id:
        return sorted(find_ids(reader, config.sample_id))
    count = config.rows if config.rows is not None else ROWS_PRINTED if config.html is None else ROWS_ON_PAGE
    start = config.start
    if count < 1 or (start is not None and not 0 <= start < max(reader.num_rows, 1)):
        raise InputError(f"--rows must be >= 1 and --start in [0, {reader.num_rows}); got {count} and {start}")
    found = draw(reader, wanted, count, config.seed) if start is None else following(reader, wanted, start, count)
    if not found:
        held = ", ".join(f"{n} ({s.kind}, {s.written:,} rows)" for n, s in reader.manifest.sources.items())
        raise InputError(f"{config.shards}: no such rows; the sources are {held or 'none'}")
    return found


def draw(reader: ShardReader, names: Sequence[str], count: int, seed: int) -> list[int]:
    """`count` rows (or all that there are) without repeats, spread evenly over sources; reads nothing but the manifest."""
    places = [reader.sources.index(name) for name in names]
    held = [sum(shard.rows_per_source[place] for shard in reader.manifest.shards) for place in places]
    takes = [0] * len(names)
    while sum(takes) < min(count, sum(held)):
        for i in range(len(takes)):
            if takes[i] < held[i] and sum(takes) < count:
                takes[i] += 1
    found: list[int] = []
    for name, take, rows in zip(names, takes, held, strict=True):
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        index = np.sort(random.choice(rows, take, replace=False)) if take else np.zeros(0)
        found += rows_of(reader, name, index.astype(np.int64)).tolist()
    return sorted(found)


def following(reader: ShardReader, names: Sequence[str], start: int, count: int) -> list[int]:
    """The first `count` rows of these sources from row `start` on."""
    found: list[int] = []
    firsts = shard_starts(reader)
    for shard, first in zip(reader.manifest.shards, firsts.tolist(), strict=True):
        if first + shard.rows <= start:
            continue
        order = interleave(shard.rows_per_source)
        here = first + np.flatnonzero(np.isin(order, [reader.sources.index(name) for name in names]))
        found += here[here >= start][: count - len(found)].tolist()
        if len(found) == count:
            break
    return found


def find_ids(reader: ShardReader, ids: Sequence[str]) -> list[int]:
    """Rows with these sample_ids; reads that column until all are found.

    Raises:
        InputError: an id that no row has.
    """
    starts, found = shard_starts(reader), {}
    wanted = pa.array(ids, pa.string())
    example = ""
    for number, at, batch in scan(reader, "looking for sample_id"):
        column = batch.column("sample_id")
        example = example or (column[0].as_py() if len(column) else "")
        for i in np.flatnonzero(pc.is_in(column, value_set=wanted).to_numpy(zero_copy_only=False)).tolist():
            found[column[i].as_py()] = int(starts[number]) + at + i
        if len(found) == len(set(ids)):
            break
    lost = [name for name in ids if name not in found]
    if lost:
        raise InputError(f"{reader.path}: no row has the sample_id {lost[0]!r}; they look like {example!r}")
    return list(found.values())


def summary(row: dict[str, Any], source: ManifestSource) -> dict[str, Any]:
    """A row in words: image sizes instead of bytes, the chunk's shape and range per dimension instead of its numbers."""
    out: dict[str, Any] = {
        "kind": row["kind"],
        "source": row["source"],
        "sample_id": row["sample_id"],
        "prompt": row["prompt"],
        "target": row["target"],
        "answers": ", ".join(row.get("answers") or []),
        "images": ", ".join(_image(name, row[name]) for name in IMAGE_COLUMNS if row[name]),
        "state": _numbers(row["state"]),
    }
    if row["kind"] == "robot":
        ids = row["action_tokens"].tolist()
        shown = f"{len(ids)}: {' '.join(map(str, ids[:IDS_SHOWN]))}{' ...' if len(ids) > IDS_SHOWN else ''}"
        out |= {**_chunk(row, source), "FAST ids": shown}
    return out | {"from": f"{row['file']} byte {row['offset']}, episode {row['episode']}, step {row['step']}"}


def _chunk(row: dict[str, Any], source: ManifestSource) -> dict[str, Any]:
    shape = (source.horizon, source.action_dim)
    if row["action"].size != shape[0] * shape[1] or not row["action"].size:
        return {"action": f"{row['action'].size} values, expected {shape[0]} x {shape[1]}; see lint"}
    chunk = row["action"].reshape(shape)
    ranges = (f"[{low:.3g}, {high:.3g}]" for low, high in zip(chunk.min(0), chunk.max(0), strict=True))
    return {
        "action": f"{shape[0]} x {shape[1]}, {row['action_steps']} real steps",
        "first action": _numbers(chunk[0]),
        "range": ", ".join(ranges),
    }


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _image(name: str, data: bytes) -> str:
    png = data.startswith(b"\x89PNG")
    width, height = png_size(data) if png else jpeg_size(data)
    return f"{name.removeprefix('image/')} {width}x{height} {'PNG' if png else 'JPEG'} {len(data):,} B"
