"""Collects the rows of one source in a shard: first columns with a value per frame, then Arrow columns with a value per row."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fasttok.common.kinds import CAMERA_SLOTS
from pipelines.builder.dead_letter import DeadLetter
from pipelines.shards.manifest import LongestRow
from pipelines.shards.records import SCHEMA

NO_IDS: NDArray[np.int32] = np.zeros(0, np.int32)


@dataclass
class SourceColumns:
    """The frames of one source in a shard. Each frame becomes `times` rows.

    Attributes:
        times: number of rows of each frame.
        place: (file, offset, episode, step) of each frame.
        images: slot -> encoded bytes of each frame; None if the camera is absent.
        prompt: prompt of each frame.
        target: target of each frame.
        answers: all answers that people gave, of each frame.
        chunks: for each record, (k, horizon, action_dim) float32 chunks of its k frames.
        action_steps: for each record, (k,) number of steps of each chunk that are not padding.
        state: for each record, (k, state_dim) float32.
        tokens: FAST ids of each frame.
        rejected: dead letters of the source.
        planned: number of rows that the plan asked for.
        clamped: number of chunks with a coefficient outside the tokenizer's range.
        resized: number of images that were resized, and so encoded again.
        encoded: number of images that came as pixels, from videos and arrays.
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
    rejected: list[DeadLetter] = field(default_factory=list)
    planned: int = 0
    clamped: int = 0
    resized: int = 0
    encoded: int = 0

    @property
    def rows(self) -> int:
        """Number of rows that the frames become."""
        return sum(self.times)

    @property
    def longest(self) -> LongestRow:
        """Lengths that none of the rows exceeds. Frames that become no row do not count."""
        taken = [i for i, times in enumerate(self.times) if times]
        return LongestRow(
            max((len(self.tokens[i]) for i in taken), default=0) if self.tokens else 0,
            max((len(self.prompt[i].encode()) for i in taken), default=0),
            max((len(self.target[i].encode()) for i in taken), default=0),
        )


def table(
    columns: SourceColumns, kind: str, source: str, order: NDArray[np.int64]
) -> tuple[pa.Table, dict[str, list[bytes | None]]]:
    """Makes the rows of a source in the given order.

    Args:
        columns: frames of the source.
        kind: kind of the rows.
        source: name of the source.
        order: (columns.rows,) permutation of the rows.

    Returns:
        A table of all columns except the images, and image column -> encoded images, which are not copied.
    """
    frame = np.repeat(np.arange(len(columns.times)), columns.times)
    repeat = np.arange(len(frame)) - np.repeat(np.cumsum(columns.times) - columns.times, columns.times)
    frame, repeat = frame[order], repeat[order]
    at = frame.tolist()
    places = [columns.place[i] for i in at]
    robot = kind == "robot"
    n = len(at)
    arrays: dict[str, pa.Array] = {
        "kind": pa.array([kind] * n, pa.string()),
        "source": pa.array([source] * n, pa.string()),
        "sample_id": pa.array(
            [f"{source}/{p[0]}/{p[2]}/{p[3]}/{r}" for p, r in zip(places, repeat.tolist(), strict=True)],
            pa.string(),
        ),
        "prompt": pa.array([columns.prompt[i] for i in at], pa.string()),
        "target": pa.array([columns.target[i] for i in at], pa.string()),
        "answers": pa.array([columns.answers[i] for i in at], SCHEMA.field("answers").type),
        "action": _matrix(columns.chunks, frame if robot else None, n),
        "action_steps": pa.array(_numbers(columns.action_steps, frame) if robot else np.zeros(n, np.int32), pa.int32()),
        "action_tokens": _ragged([columns.tokens[i] for i in at] if columns.tokens else [NO_IDS] * n),
        "state": _matrix(columns.state, frame if robot else None, n),
        "file": pa.array([p[0] for p in places], pa.string()),
        "offset": pa.array([p[1] for p in places], pa.int64()),
        "episode": pa.array([p[2] for p in places], pa.int64()),
        "step": pa.array([p[3] for p in places], pa.int32()),
    }
    names = [name for name in SCHEMA.names if name in arrays]
    images: dict[str, list[bytes | None]] = {
        f"image/{slot}": [columns.images[slot][i] for i in at] if slot in columns.images else [None] * n
        for slot in CAMERA_SLOTS
    }
    return pa.table([arrays[name] for name in names], pa.schema([SCHEMA.field(name) for name in names])), images


def _numbers(parts: Sequence[NDArray[np.int64]], frame: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(parts)[frame] if parts else np.zeros(0, np.int64)


def _matrix(parts: Sequence[NDArray[np.float32]], frame: NDArray[np.int64] | None, rows: int) -> pa.ListArray:
    """Returns the rows `frame` of the joined parts as a list column; `rows` empty lists if `frame` is None or empty."""
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
