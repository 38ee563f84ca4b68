"""FAST action tokens (DCT + BPE): fit, use and judge a tokenizer for robot action chunks.

>>> import numpy as np
>>> from fasttok import ActionTokenizer
>>> t = np.linspace(0, 1, 15)[:, None]
>>> chunks = np.stack([np.sin(2 * np.pi * (t + phase)) * [0.5, 1.0] for phase in np.linspace(0, 1, 64)])
>>> tok = ActionTokenizer.fit(chunks, vocab_size=256)
>>> ids = tok.encode(chunks[:2])
>>> bool(np.abs(tok.decode(ids, horizon=15, action_dim=2).actions - chunks[:2]).max() < 0.1)
True

Names are imported on first use, so the other packages import `fasttok.errors` and `fasttok.episodes` quickly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fasttok._version import __version__

if TYPE_CHECKING:
    from fasttok.actions.normalize import NormStats
    from fasttok.tokenizer import ActionTokenizer

__all__ = ["ActionTokenizer", "NormStats", "__version__"]

_HOME = {"ActionTokenizer": "fasttok.tokenizer", "NormStats": "fasttok.actions.normalize"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'fasttok' has no attribute {name!r}")
