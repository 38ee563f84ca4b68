"""Says for a report what the transforms of a tokenizer are, and what `auto` compared."""

from fasttok.codec.spline import Spline
from fasttok.codec.transform import Learned, Transform
from fasttok.tokenizer import ActionTokenizer


def transform_lines(tok: ActionTokenizer) -> list[str]:
    """Returns one line for each embodiment whose transform is not the DCT, or was chosen by `auto`.

    >>> import numpy as np
    >>> chunks = np.linspace(-1.0, 1.0, 60).reshape(4, 15, 1)
    >>> transform_lines(ActionTokenizer.fit(chunks, 256, mode="fixed"))
    ['transform: splines of 10 control points per dim, degree 3, 256 bins']
    """
    lines = []
    for name in dict.fromkeys([*tok.transforms, *tok.tried]):
        line = f"transform: {in_words(tok.transforms.get(name))}"
        if tok.tried.get(name):
            line += f"; auto compared on held-out chunks: {compared(tok, name)}"
        lines.append(f"{name}: {line}".lstrip(": "))
    return lines


def compared(tok: ActionTokenizer, name: str) -> str:
    """Says in words what `auto` compared for an embodiment."""
    return ", ".join(
        f"{one.name} {one.tokens:.1f} tokens (rms error {one.error:.4f}){', chosen' if one.chosen else ''}"
        for one in tok.tried[name]
    )


def in_words(transform: Transform | None) -> str:
    """Says in words what a transform is.

    >>> in_words(None)
    'dct'
    """
    if isinstance(transform, Spline):
        config = transform.config
        return f"splines of {config.points} control points per dim, degree {config.degree}, {transform.bins} bins"
    if isinstance(transform, Learned):
        return f"{transform.kind}, learned, at {transform.finer:.3g} of the scale"
    return "dct"
