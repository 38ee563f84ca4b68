"""Lets only the action expert learn in the first steps of a run, while vision and backbone wait.

The gradients of a new expert are noise to a pretrained backbone (arXiv 2505.23705, section 5.2). If they can reach the backbone,
the expert can learn alone first. The waiting components keep their parameters, moments and moving average to the bit. They also
have their own count of steps, so that AdamW's bias correction (Kingma and Ba 2015, arXiv 1412.6980, section 3) starts when they
begin to learn, and not N steps before.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

from train.params import Params, Tree

Rows = TypeVar("Rows")
Loss = TypeVar("Loss")

WAITING = ("vision", "backbone")  # components that wait; all others are the expert's, whatever the recipe calls them
LATER = "waiting"  # key of the waiting components' part of the optimiser's state
NOW = "expert"


def either(only: Array, loss: Callable[[Params, Rows], Loss]) -> Callable[[Params, Rows], tuple[Loss, Params]]:
    """Returns a function for loss and gradient.

    While only the expert learns, the gradient of everything else is 0, and no backward pass is run for it.

    Args:
        only: () bool, whether only the expert learns.
        loss: (parameters that learn, rows) -> loss, with numbers to log.
    """

    def of_expert(moving: Params, rows: Rows) -> Loss:
        trees = {name: jax.lax.stop_gradient(tree) if name in WAITING else tree for name, tree in moving.items()}
        return loss(cast(Params, trees), rows)

    branches = jax.value_and_grad(of_expert, has_aux=True), jax.value_and_grad(loss, has_aux=True)
    return lambda moving, rows: cast(tuple[Loss, Params], jax.lax.cond(only, *branches, moving, rows))


def held(only: Array, new: Tree, old: Tree) -> Tree:
    """Returns a step's results. While only the expert learns, everything of the waiting components stays as before the step.

    Args:
        only: () bool, whether only the expert learns.
        new: trees of parameters, of the optimiser's state or of the moving average, after the step.
        old: the same trees before the step.
    """

    def one(path: tuple[Any, ...], after: Array, before: Array) -> Array:
        waits = {getattr(key, "key", None) for key in path} & {*WAITING, LATER}
        return jnp.where(only, before, after) if waits else after

    return cast(Tree, jax.tree_util.tree_map_with_path(one, new, old))


def apart(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Applies a transformation to the expert and to the components that wait, each with a state of its own."""

    def part(tree: Any, label: str) -> Any:
        return {
            n: t if (n in WAITING) == (label == LATER) else jax.tree.map(lambda _: None, t) for n, t in tree.items()
        }

    def init(params: optax.Params) -> optax.OptState:
        return {label: inner.init(part(params, label)) for label in (NOW, LATER)}

    def update(grads: optax.Updates, state: Any, params: Any = None) -> tuple[optax.Updates, optax.OptState]:
        both = {label: inner.update(part(grads, label), state[label], part(params, label)) for label in (NOW, LATER)}
        updates = {name: both[LATER if name in WAITING else NOW][0][name] for name in cast(Params, grads)}
        return updates, {label: state for label, (_, state) in both.items()}

    return optax.GradientTransformation(init, update)
