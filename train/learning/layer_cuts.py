"""Stacks of layers, cut into those that learn and those that stay, and joined again."""

from itertools import groupby, pairwise
from typing import Any

import jax
import jax.numpy as jnp


def cut(leaf: Any, keep: list[bool]) -> Any:
    """Some layers of a stack.

    Args:
        leaf: an array (L, ...), or its shape; of a parameter that is not stacked, any.
        keep: whether each layer is wanted; one value if it is not stacked.

    Returns:
        The leaf itself if all are wanted, None if none is; else (wanted, ...).
    """
    if all(keep) or not any(keep):
        return leaf if all(keep) else None
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((sum(keep), *leaf.shape[1:]), leaf.dtype)
    ends = [i for i in range(len(keep) + 1) if i in (0, len(keep)) or keep[i] != keep[i - 1]]
    return jnp.concatenate(
        [leaf[a:b] for a, b in pairwise(ends) if keep[a]]
    )  # slices, which XLA sees through; not a gather


def join(kept: Any, others: Any, keep: list[bool]) -> jax.Array:
    """The stack of which `kept` and `others` are the two cuts: by `keep`, and by its opposite."""
    if keep.count(True) != len(kept):
        raise ValueError(f"{len(kept)} layers do not fit a mask that keeps {keep.count(True)} of {len(keep)}")
    pieces, rest = [], {True: kept, False: others}
    for which, run in groupby(keep):
        count = len(list(run))
        pieces.append(rest[which][:count])
        rest[which] = rest[which][count:]
    return jnp.concatenate(pieces)
