"""How good a tokenizer is on given chunks: tokens against naive binning and against no BPE, error per dimension in raw units."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.tokenizer import ActionTokenizer, ClampWarning


@dataclass(frozen=True, eq=False)
class Metrics:
    """Measured on (n, T, D) chunks.

    Attributes:
        chunks: n. naive_tokens: T * D, one a step and dim (256 bins). dct_tokens: mean count of non-zero coefficients, what
            sparse coding without BPE would need at least. fast_tokens, fast_tokens_p99: mean and 99th percentile of ids.
        rms: (D,) root mean square error in raw units. max_error: (D,). rms_normalized: over all dims, normalised units.
        clipped: share of values outside the normaliser's range. clamped: share of coefficients outside the token range.
        vocab_used: share of ids that occur.
    """

    chunks: int
    naive_tokens: int
    dct_tokens: float
    fast_tokens: float
    fast_tokens_p99: float
    rms: NDArray[np.float64]
    max_error: NDArray[np.float64]
    rms_normalized: float
    clipped: float
    clamped: float
    vocab_used: float

    @property
    def ratio(self) -> float:
        """Naive tokens per FAST token."""
        return self.naive_tokens / self.fast_tokens

    def row(self) -> dict[str, Any]:
        """The columns of the paper's table, and what goes with them."""
        return {
            "naive tokens": self.naive_tokens,
            "FAST tokens": round(self.fast_tokens, 1),
            "ratio": round(self.ratio, 1),
            "rms error (normalised)": self.rms_normalized,
            "clipped %": 100 * self.clipped,
            "vocab used %": 100 * self.vocab_used,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(self).items()} | {
            "ratio": self.ratio
        }


def measure(tok: ActionTokenizer, chunks: NDArray, embodiment: str | None = None) -> Metrics:
    """Encodes and decodes chunks (n, T, D), raw units."""
    n, horizon, dim = chunks.shape
    coefs = tok.coefficients(chunks, embodiment)
    outside = (coefs < tok.min_token) | (False if tok.max_token is None else coefs > tok.max_token)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClampWarning)
        ids = tok.encode(chunks, embodiment)
    back = tok.decode(ids, horizon=horizon, action_dim=dim, embodiment=embodiment).actions
    error = np.abs(back - chunks)
    lengths = np.array([len(row) for row in ids])
    name = tok.embodiment(embodiment)
    stats = tok.stats.get(name) if name is not None else None
    normalized = error if stats is None else stats.normalize(back) - stats.normalize(chunks.astype(np.float64))
    return Metrics(
        chunks=n,
        naive_tokens=horizon * dim,
        dct_tokens=float((coefs != 0).sum() / n),
        fast_tokens=float(lengths.mean()),
        fast_tokens_p99=float(np.quantile(lengths, 0.99)),
        rms=np.sqrt((error**2).mean((0, 1))),
        max_error=error.max((0, 1)),
        rms_normalized=float(np.sqrt((normalized**2).mean())),
        clipped=0.0 if stats is None else stats.clipped_share(chunks),
        clamped=float(outside.mean()),
        vocab_used=len(np.unique(np.concatenate(ids))) / tok.vocab_size,
    )
