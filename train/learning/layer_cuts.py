"""Cuts stacks of layers into those that learn and those that stay as they are, and joins them again."""

from itertools import groupby, pairwise
from typing import Any

import jax
import jax.numpy as jnp


def cut(leaf: Any, keep: list[bool]) -> Any:
    """Returns some layers of a stack.

    Args:
        leaf: an array (L, ...), or its shape; any array if the parameter is not stacked.
        keep: whether each layer is wanted; one value if the parameter is not stacked.

    Returns:
        The leaf itself if all layers are wanted, None if none is; else an array (wanted, ...).
    """
    if all(keep) or not any(keep):
        return leaf if all(keep) else None
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((sum(keep), *leaf.shape[1:]), leaf.dtype)
    ends = [i for i in range(len(keep) + 1) if i in (0, len(keep)) or keep[i] != keep[i - 1]]
    return jnp.concatenate(
        [leaf[a:b] for a, b in pairwise(ends) if keep[a]]
    )  # slices and not a gather: XLA optimises slices


def join(kept: Any, others: Any, keep: list[bool]) -> jax.Array:
    """Joins the two parts of a stack: `kept` are the layers for which `keep` is True, `others` those for which it is False."""
    if keep.count(True) != len(kept):
        raise ValueError(f"{len(kept)} layers do not fit a mask that keeps {keep.count(True)} of {len(keep)}")
    pieces, rest = [], {True: kept, False: others}
    for which, run in groupby(keep):
        count = len(list(run))
        pieces.append(rest[which][:count])
        rest[which] = rest[which][count:]
    return jnp.concatenate(pieces)
