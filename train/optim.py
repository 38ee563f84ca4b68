"""The optimiser: AdamW with warmup and a schedule, global-norm clipping, weight decay on matrices, frozen parameters."""

from typing import Any, cast

import jax
import optax

from fasttok.errors import InputError
from train.config import OptimConfig
from train.learning import expert_first
from train.learning.layer_cuts import cut, join
from train.learning.layer_paths import check_freeze, is_stacked, stays
from train.params import LORA, Params, Tree, path_name


def schedule(config: OptimConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate by step: linear warmup to the peak, then constant, or a cosine down to `final` of the peak."""
    warmup, peak = min(config.warmup, steps // 2), config.learning_rate
    if config.schedule == "constant":
        return optax.warmup_constant_schedule(0.0 if warmup else peak, peak, warmup)
    return optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, steps, config.final * peak)


def split(params: Tree, freeze: tuple[str, ...]) -> tuple[Tree, Tree]:
    """Splits a tree into what learns and what stays as it is.

    Args:
        params: a tree of arrays or of their shapes.
        freeze: paths as in `TrainConfig.still`; adapters under them learn anyway.

    Returns:
        Two trees of the same structure. A leaf that is wholly in one of them is None in the other. If only some layers of a stack
        learn, each tree contains its own layers of the stack.

    Raises:
        InputError: a path names no parameter or a layer that does not exist, or everything is frozen.
    """
    if not freeze:
        return params, cast(Tree, jax.tree.map(lambda _: None, params))
    leaves, tree = jax.tree.flatten(params)
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    layers = [leaf.shape[0] if is_stacked(path) else 1 for path, leaf in zip(paths, leaves, strict=True)]
    check_freeze(dict(zip(paths, layers, strict=True)), freeze)
    still = [_still(path, count, freeze) for path, count in zip(paths, layers, strict=True)]
    if all(map(all, still)):
        raise InputError("--optim.freeze leaves nothing to learn")
    mine = [cut(leaf, [not s for s in mask]) for mask, leaf in zip(still, leaves, strict=True)]
    return jax.tree.unflatten(tree, mine), jax.tree.unflatten(tree, list(map(cut, leaves, still)))


def _still(path: str, layers: int, freeze: tuple[str, ...]) -> list[bool]:
    """Returns whether each layer of a parameter stays as it is. Adapters always learn; their scale never does."""
    if f"/{LORA}/" in path:
        return [path.endswith(f"/{LORA}/scale")] * layers
    return stays(path, layers, freeze)


def merge(moving: Tree, still: Tree, freeze: tuple[str, ...] = ()) -> Tree:
    """Undoes `split`. `freeze` may be left out only if no stack of layers was split."""

    def whole(path: tuple[Any, ...], mine: Any, other: Any) -> Any:
        if mine is None or other is None:
            return other if mine is None else mine
        return join(other, mine, _still(path_name(path), len(mine) + len(other), freeze))

    return cast(Tree, jax.tree_util.tree_map_with_path(whole, moving, still, is_leaf=lambda x: x is None))


def make(config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Returns the whole optimiser, for the tree that learns: clipping, AdamW, and the expert's own learning rate."""

    def matrices(params: Tree) -> Tree:
        def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
            names = [getattr(key, "key", "") for key in path]
            return leaf.ndim > 1 and not any("norm" in n or n in ("bias", "scale") for n in names)

        return cast(Tree, jax.tree_util.tree_map_with_path(decays, params))

    adam = optax.adamw(schedule(config, steps), config.b1, config.b2, weight_decay=config.weight_decay, mask=matrices)
    if config.expert_first:
        # AdamW in its three parts: moments and decay are separate for expert and backbone, the rate follows the run's steps.
        decayed = optax.add_decayed_weights(config.weight_decay, matrices)
        apart = expert_first.apart(optax.chain(optax.scale_by_adam(config.b1, config.b2), decayed))
        adam = optax.chain(apart, optax.scale_by_learning_rate(schedule(config, steps)))
    chain = [optax.clip_by_global_norm(config.clip), adam]
    if config.expert_learning_rate is not None:
        faster = config.expert_learning_rate / config.learning_rate

        def expert(params: Params) -> dict[str, bool]:
            return {component: component in ("expert", "action") for component in params}

        chain.append(optax.masked(optax.scale(faster), expert))
    return optax.chain(*chain)
