"""`python -m pipelines inspect SHARDS`: rows of shards, printed for people or as JSON."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import tyro

from fasttok.console import emit_json, log
from fasttok.errors import InputError, unknown_name
from pipelines.images import jpeg_size, png_size
from pipelines.records import IMAGE_COLUMNS
from pipelines.shards import ShardReader

IDS_SHOWN = 24


@dataclass(frozen=True)
class InspectConfig:
    """Prints rows of shards: kind, source, prompt, target, state, action, FAST ids, provenance.

    Example: python -m pipelines inspect SHARDS --rows 4
    """

    shards: Annotated[str, tyro.conf.Positional]
    """SHARDS folder of `python -m pipelines build`."""
    rows: int = 8
    """Rows to print."""
    start: int = 0
    """First row, in storage order."""
    source: str | None = None
    """Only rows of this source."""
    json: bool = False
    """Print JSON on stdout."""


def run_inspect(config: InspectConfig) -> None:
    """Prints the rows.

    Raises:
        InputError: no shards, an unknown source, or a start past the end.
    """
    reader = ShardReader(config.shards)
    if config.source is not None and config.source not in reader.sources:
        raise unknown_name("source", config.source, reader.sources)
    if config.rows < 1 or not 0 <= config.start < max(reader.num_rows, 1):
        raise InputError(
            f"--rows must be >= 1 and --start in [0, {reader.num_rows}); got {config.rows} and {config.start}"
        )
    found: list[dict[str, Any]] = []
    for i in range(config.start, reader.num_rows):
        row = reader.row(i)
        if config.source is None or row["source"] == config.source:
            found.append({"row": i, **summary(row, reader.manifest.sources[row["source"]])})
        if len(found) == config.rows:
            break
    if config.json:
        emit_json(found)
        return
    for item in found:
        print(f"row {item.pop('row'):,}  {item.pop('kind')}  {item.pop('source')}")
        for name, value in item.items():
            if value not in (None, "", []):
                print(f"  {name:<14} {value}")
    log(f"{len(found)} of {reader.num_rows:,} rows; counts and histograms: python -m pipelines stats {config.shards}")


def summary(row: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """A row in words: image sizes instead of bytes, the chunk's shape and range per dimension instead of its numbers."""
    out: dict[str, Any] = {
        "kind": row["kind"],
        "source": row["source"],
        "sample_id": row["sample_id"],
        "prompt": row["prompt"],
        "target": row["target"],
        "images": ", ".join(_image(name, row[name]) for name in IMAGE_COLUMNS if row[name]),
        "state": _numbers(row["state"]),
    }
    if row["kind"] == "robot":
        chunk = row["action"].reshape(source["horizon"], source["action_dim"])
        ids = row["action_tokens"].tolist()
        out |= {
            "action": f"{source['horizon']} x {source['action_dim']}, {row['action_steps']} real steps",
            "first action": _numbers(chunk[0]),
            "range": ", ".join(
                f"[{low:.3g}, {high:.3g}]" for low, high in zip(chunk.min(0), chunk.max(0), strict=True)
            ),
            "FAST ids": f"{len(ids)}: {' '.join(map(str, ids[:IDS_SHOWN]))}{' ...' if len(ids) > IDS_SHOWN else ''}",
        }
    return out | {"from": f"{row['file']} byte {row['offset']}, episode {row['episode']}, step {row['step']}"}


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _image(name: str, data: bytes) -> str:
    png = data.startswith(b"\x89PNG")
    width, height = png_size(data) if png else jpeg_size(data)
    return f"{name.removeprefix('image/')} {width}x{height} {'PNG' if png else 'JPEG'} {len(data):,} B"
