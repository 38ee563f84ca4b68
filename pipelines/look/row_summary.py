"""Describes a row in words, as `inspect` prints it."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.common.image_headers import format_of, image_size
from pipelines.look.stored_row import StoredRow
from pipelines.shards.manifest import ManifestSource

IDS_SHOWN = 24


def summary(row: StoredRow, source: ManifestSource) -> dict[str, str]:
    """Summarises a row: image sizes instead of bytes, and the chunk's shape and ranges instead of its numbers."""
    out = {
        "kind": row.kind,
        "source": row.source,
        "sample_id": row.sample_id,
        "prompt": row.prompt,
        "target": row.target,
        "answers": ", ".join(row.answers),
        "images": ", ".join(describe_image(slot, data) for slot, data in row.images.items() if data),
        "state": numbers(row.state),
    }
    if row.kind == "robot":
        ids = row.action_tokens.tolist()
        shown = f"{len(ids)}: {' '.join(map(str, ids[:IDS_SHOWN]))}{' ...' if len(ids) > IDS_SHOWN else ''}"
        out |= {**describe_chunk(row, source), "FAST ids": shown}
    at = f" byte {row.offset}," if row.offset >= 0 else ","
    return out | {"from": f"{row.file}{at} episode {row.episode}, step {row.step}"}


def one_line(text: str) -> str:
    r"""Writes control characters of texts from data as Python does, so that they cannot break a line or steer a terminal.

    >>> print(one_line("two\nlines, \x1b[31mred, é"))
    two\nlines, \x1b[31mred, é
    """
    return "".join(repr(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in text)


def describe_chunk(row: StoredRow, source: ManifestSource) -> dict[str, str]:
    """Describes the action: its shape, its first step and its range in each dimension."""
    shape = (source.horizon, source.action_dim)
    if row.action.size != shape[0] * shape[1] or not row.action.size:
        return {"action": f"{row.action.size} values, expected {shape[0]} x {shape[1]}; see lint"}
    chunk = row.action.reshape(shape)
    ranges = (f"[{low:.3g}, {high:.3g}]" for low, high in zip(chunk.min(0), chunk.max(0), strict=True))
    return {
        "action": f"{shape[0]} x {shape[1]}, {row.action_steps} real steps",
        "first action": numbers(chunk[0]),
        "range": ", ".join(ranges),
    }


def numbers(values: Sequence[float] | NDArray[np.float32]) -> str:
    """Writes numbers in one line.

    >>> numbers([1.0, 0.33333])
    '1 0.3333'
    """
    return " ".join(f"{value:.4g}" for value in values)


def describe_image(slot: str, data: bytes) -> str:
    """Describes a picture: camera, size, format and bytes.

    >>> describe_image("wrist", b"not a picture")
    'wrist 0x0 JPEG 13 B'
    """
    width, height = image_size(data)
    return f"{slot} {width}x{height} {format_of(data) or 'JPEG'} {len(data):,} B"
