"""Measures how close a chunk is if only its first tokens are read: the error curve of `decode(..., partial=True)`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.common.evenly import evenly
from fasttok.evaluation.metrics import normalized_error
from fasttok.tokenizer import ActionTokenizer

SHARES = tuple(round(0.1 * i, 1) for i in range(11))
MEASURED = 2_000  # maximum number of chunks per embodiment


@dataclass(frozen=True)
class PartialPoint:
    """The error of chunks if only their first tokens are read.

    Attributes:
        share: share of each chunk's tokens that are read, rounded up to whole tokens.
        tokens: mean number of tokens per chunk that are read.
        rms: root mean square error over all dims, in normalised units.
    """

    share: float
    tokens: float
    rms: float


def partial_curve(
    tok: ActionTokenizer, chunks: NDArray[Any], embodiment: str | None = None, reference: NDArray[Any] | None = None
) -> list[PartialPoint]:
    """Returns the error of chunks (n, T, D), in raw units, after 0, 10, ..., 100 % of their tokens.

    At most `MEASURED` chunks are used, evenly spread.

    >>> chunks = np.cumsum(np.random.default_rng(0).normal(0, 0.1, (50, 10, 2)), axis=1)
    >>> curve = partial_curve(ActionTokenizer.fit(chunks, 300), chunks)
    >>> curve[0].tokens, bool(curve[0].rms > curve[5].rms > curve[10].rms)
    (0.0, True)
    """
    rows = evenly(len(chunks), MEASURED)
    chunks, reference = chunks[rows], None if reference is None else reference[rows]
    channels = tok.channels(embodiment)
    ids = tok.encode_report(chunks, embodiment=embodiment, reference=reference).ids
    points = []
    for share in SHARES:
        first = [row[: int(np.ceil(share * len(row)))] for row in ids]
        back = tok.decode(
            first,
            horizon=chunks.shape[1],
            action_dim=chunks.shape[2],
            embodiment=embodiment,
            reference=reference,
            partial=True,
        ).actions
        error = normalized_error(channels, chunks, back, reference)
        tokens = float(np.mean([len(row) for row in first]))
        points.append(PartialPoint(share, tokens, float(np.sqrt(np.nanmean(error**2)))))
    return points
