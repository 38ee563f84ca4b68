"""Measures a tokenizer on given chunks: tokens against naive binning and against no BPE, error per dimension in raw units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.channels import Channels
from fasttok.actions.dim_ranges import NAMES, NormalizedBy
from fasttok.tokenizer import ActionTokenizer

Cell = str | int | float | None  # of a table


@dataclass(frozen=True, eq=False)
class Metrics:
    """Metrics of a tokenizer on (n, T, D) chunks.

    Attributes:
        chunks: n.
        naive_tokens: T * D, one token per step and dim (256 bins).
        dct_tokens: mean number of non-zero coefficients, which sparse coding without BPE would need at least.
        fast_tokens: mean number of ids per chunk.
        fast_tokens_p50: median number of ids per chunk.
        fast_tokens_p99: 99th percentile of the number of ids per chunk.
        fast_tokens_max: largest number of ids in a chunk.
        rms: (D,) root mean square error in raw units.
        max_error: (D,) largest error in raw units.
        rms_normalized: root mean square error over all dims, in normalised units.
        clipped: share of values outside the normaliser's range.
        clamped: share of coefficients outside the token range.
        vocab_used: share of ids that occur.
        normalized_by: what each dim is normalised by; empty without statistics.
        lengths: (n,) number of ids of each chunk.
    """

    chunks: int
    naive_tokens: int
    dct_tokens: float
    fast_tokens: float
    fast_tokens_p50: float
    fast_tokens_p99: float
    fast_tokens_max: int
    rms: NDArray[np.float64]
    max_error: NDArray[np.float64]
    rms_normalized: float
    clipped: float
    clamped: float
    vocab_used: float
    lengths: NDArray[np.int64]
    normalized_by: tuple[NormalizedBy, ...] = ()

    @property
    def ratio(self) -> float:
        """Naive tokens per FAST token."""
        return self.naive_tokens / self.fast_tokens

    def row(self) -> dict[str, Cell]:
        """Returns the columns of the paper's table, and a few more."""
        return {
            "naive tokens": self.naive_tokens,
            "without BPE": round(self.dct_tokens, 1),
            "FAST tokens": round(self.fast_tokens, 1),
            "ratio": round(self.ratio, 1),
            "rms error (normalised)": self.rms_normalized,
            "clipped %": 100 * self.clipped,
            "vocab used %": 100 * self.vocab_used,
        }

    def to_json(self) -> dict[str, float | list[float | None] | list[str]]:
        """Returns plain values without `lengths`; None for the error of dims that are left out."""
        plain = {name: value for name, value in vars(self).items() if name != "lengths"}
        for name in ("rms", "max_error"):
            plain[name] = [None if np.isnan(error) else float(error) for error in plain[name]]
        return plain | {"ratio": self.ratio, "normalized_by": list(self.normalized_by)}


def error_rows(metrics: Mapping[str, Metrics], names: Mapping[str, tuple[str, ...]] = {}) -> list[list[Cell]]:
    """Returns one row per dim: embodiment, dim, root mean square and largest error in raw units, what normalises it.

    Args:
        metrics: metrics of each embodiment.
        names: names of the dims, for embodiments whose data records them; other dims have numbers.

    >>> chunks = np.ones((4, 15, 1))
    >>> [row[:2] for row in error_rows({"arm": measure(ActionTokenizer.fit(chunks, 256), chunks)})]
    [['arm', 0]]
    """
    return [
        [
            name,
            names[name][d] if names.get(name) else d,
            float(m.rms[d]),
            float(m.max_error[d]),
            NAMES[m.normalized_by[d]] if m.normalized_by else None,
        ]
        for name, m in metrics.items()
        for d in range(len(m.rms))
    ]


def normalized_error(
    channels: Channels, chunks: NDArray[Any], back: NDArray[np.float64], reference: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Returns the error of decoded chunks (n, T, D), in normalised units; NaN in dims that the embodiment leaves out."""
    if channels.stats is None:
        return np.asarray(back - chunks)
    offset = channels.offset(reference, chunks)
    wanted = (chunks - offset).astype(np.float64)
    return np.asarray(channels.stats.normalize(back - offset) - channels.stats.normalize(wanted))


def measure(
    tok: ActionTokenizer, chunks: NDArray[Any], embodiment: str | None = None, reference: NDArray[Any] | None = None
) -> Metrics:
    """Encodes and decodes chunks (n, T, D) in raw units. Dims that the embodiment leaves out have the error NaN.

    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> metrics = measure(ActionTokenizer.fit(chunks, 256), chunks)
    >>> metrics.naive_tokens, bool(metrics.rms[0] < 0.05)
    (15, True)
    """
    n, horizon, dim = chunks.shape
    coefs = tok.coefficients(chunks, embodiment=embodiment, reference=reference)
    report = tok.encode_report(chunks, embodiment=embodiment, reference=reference)
    back = tok.decode(report.ids, horizon=horizon, action_dim=dim, embodiment=embodiment, reference=reference).actions
    error = back - chunks
    lengths = np.array([len(row) for row in report.ids])
    channels = tok.channels(embodiment)
    stats = channels.stats
    normalized = normalized_error(channels, chunks, back, reference)
    return Metrics(
        chunks=n,
        naive_tokens=horizon * dim,
        dct_tokens=float((coefs != 0).sum() / n),
        fast_tokens=float(lengths.mean()),
        fast_tokens_p50=float(np.median(lengths)),
        fast_tokens_p99=float(np.quantile(lengths, 0.99)),
        fast_tokens_max=int(lengths.max()),
        rms=np.sqrt((error**2).mean((0, 1))),
        max_error=np.abs(error).max((0, 1)),
        rms_normalized=float(np.sqrt(np.nanmean(normalized**2))),
        clipped=0.0 if stats is None else stats.clipped_share(chunks - channels.offset(reference, chunks)),
        clamped=float(report.clamped.sum() / coefs.size),
        vocab_used=len(np.unique(np.concatenate(report.ids))) / tok.vocab_size,
        lengths=lengths,
        normalized_by=() if stats is None else stats.normalized_by,
    )
