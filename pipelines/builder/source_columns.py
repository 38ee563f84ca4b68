"""One source's part of a shard: columns by frame while they are gathered, then Arrow columns by row."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.common.kinds import CAMERA_SLOTS
from pipelines.shards.records import SCHEMA

NO_IDS: NDArray[np.int32] = np.zeros(0, np.int32)


@dataclass
class Part:
    """One source's frames of a shard, each of which becomes `times` rows.

    Attributes:
        times: rows of each frame. place: (file, offset, episode, step) of each.
        images: slot -> encoded bytes of each frame, None where the camera is absent.
        prompt, target, answers: texts of each frame.
        chunks: (k, horizon, action_dim) of each record's frames; action_steps, state: their other numbers.
        tokens: FAST ids of each frame.
        rejected: dead letters. planned, clamped, resized: counts.
    """

    times: list[int] = field(default_factory=list)
    place: list[tuple[str, int, int, int]] = field(default_factory=list)
    images: dict[str, list[bytes | None]] = field(default_factory=dict)
    prompt: list[str] = field(default_factory=list)
    target: list[str] = field(default_factory=list)
    answers: list[tuple[str, ...]] = field(default_factory=list)
    chunks: list[NDArray[np.float32]] = field(default_factory=list)
    action_steps: list[NDArray[np.int64]] = field(default_factory=list)
    state: list[NDArray[np.float32]] = field(default_factory=list)
    tokens: list[NDArray[np.int32]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    planned: int = 0
    clamped: int = 0
    resized: int = 0

    @property
    def rows(self) -> int:
        """Rows that its frames become."""
        return sum(self.times)


def table(
    part: Part, kind: str, source: str, order: NDArray[np.int64]
) -> tuple[pa.Table, dict[str, list[bytes | None]]]:
    """A part's rows in the given order: all columns but the images, and the images as lists of the very bytes.

    Args:
        order: (part.rows,) permutation of the rows.
    """
    frame = np.repeat(np.arange(len(part.times)), part.times)
    repeat = np.arange(len(frame)) - np.repeat(np.cumsum(part.times) - part.times, part.times)
    frame, repeat = frame[order], repeat[order]
    at = frame.tolist()
    places = [part.place[i] for i in at]
    robot = kind == "robot"
    n = len(at)
    columns: dict[str, pa.Array] = {
        "kind": pa.array([kind] * n, pa.string()),
        "source": pa.array([source] * n, pa.string()),
        "sample_id": pa.array(
            [f"{source}/{p[0]}/{p[2]}/{p[3]}/{r}" for p, r in zip(places, repeat.tolist(), strict=True)],
            pa.string(),
        ),
        "prompt": pa.array([part.prompt[i] for i in at], pa.string()),
        "target": pa.array([part.target[i] for i in at], pa.string()),
        "answers": pa.array([part.answers[i] for i in at], SCHEMA.field("answers").type),
        "action": _matrix(part.chunks, frame if robot else None, n),
        "action_steps": pa.array(_numbers(part.action_steps, frame) if robot else np.zeros(n, np.int32), pa.int32()),
        "action_tokens": _ragged([part.tokens[i] for i in at] if part.tokens else [NO_IDS] * n),
        "state": _matrix(part.state, frame if robot else None, n),
        "file": pa.array([p[0] for p in places], pa.string()),
        "offset": pa.array([p[1] for p in places], pa.int64()),
        "episode": pa.array([p[2] for p in places], pa.int64()),
        "step": pa.array([p[3] for p in places], pa.int32()),
    }
    names = [name for name in SCHEMA.names if name in columns]
    images: dict[str, list[bytes | None]] = {
        f"image/{slot}": [part.images[slot][i] for i in at] if slot in part.images else [None] * n
        for slot in CAMERA_SLOTS
    }
    return pa.table([columns[name] for name in names], pa.schema([SCHEMA.field(name) for name in names])), images


def _numbers(parts: Sequence[NDArray], frame: NDArray[np.int64]) -> NDArray:
    return np.concatenate(parts)[frame] if parts else np.zeros(0, np.int32)


def _matrix(parts: Sequence[NDArray[np.float32]], frame: NDArray[np.int64] | None, rows: int) -> pa.ListArray:
    """Rows of equal length as a list column; empty lists where there are none."""
    flat = (
        np.concatenate(parts)[frame].reshape(rows, -1)
        if frame is not None and len(frame)
        else np.zeros((rows, 0), np.float32)
    )
    offsets = np.arange(rows + 1, dtype=np.int32) * flat.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)), type=SCHEMA.field("action").type)


def _ragged(values: list[NDArray[np.int32]]) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int32)
    flat = np.concatenate(values).astype(np.int32) if values else NO_IDS
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), type=SCHEMA.field("action_tokens").type)
