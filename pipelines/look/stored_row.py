"""Reads one row of shards, with a name and a type for each of its columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.shards import ShardReader

IMAGE = "image/"  # how the names of image columns begin


@dataclass(frozen=True, eq=False)
class StoredRow:
    """A row as a trainer gets it.

    Attributes:
        number: its number in storage order.
        kind: robot, vqa or caption.
        source: the mixture's source that it belongs to.
        sample_id: unique in the shards.
        prompt: what the model reads.
        target: the text that it learns to say, "" for none.
        answers: all answers that count as right; () if there is only the target.
        images: slot -> encoded picture, None for a camera that the row lacks.
        action: (horizon * action_dim,) float32, the chunk row by row, in raw units.
        action_steps: steps of the chunk before the episode's end.
        action_tokens: (n,) int32 FAST ids.
        state: (state_dim,) float32, in raw units.
        file: file of the dataset.
        offset: byte at which its record begins.
        episode: number of the episode (or record) in its file.
        step: step of the episode.
    """

    number: int
    kind: str
    source: str
    sample_id: str
    prompt: str
    target: str
    answers: tuple[str, ...]
    images: dict[str, bytes | None]
    action: NDArray[np.float32]
    action_steps: int
    action_tokens: NDArray[np.int32]
    state: NDArray[np.float32]
    file: str
    offset: int
    episode: int
    step: int


def stored_row(reader: ShardReader, number: int) -> StoredRow:
    """Reads a row by its number in storage order, 0 <= number < num_rows."""
    row = reader.row(number)
    return StoredRow(
        number=number,
        kind=row["kind"],
        source=row["source"],
        sample_id=row["sample_id"],
        prompt=row["prompt"],
        target=row["target"],
        answers=tuple(row["answers"]),
        images={name.removeprefix(IMAGE): data or None for name, data in row.items() if name.startswith(IMAGE)},
        action=row["action"],
        action_steps=int(row["action_steps"]),
        action_tokens=row["action_tokens"],
        state=row["state"],
        file=row["file"],
        offset=row["offset"],
        episode=row["episode"],
        step=row["step"],
    )
