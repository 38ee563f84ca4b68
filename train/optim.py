"""The optimiser: AdamW with warmup and a schedule, global-norm clipping, weight decay on matrices, frozen parameters."""

from fnmatch import fnmatchcase
from typing import Any, cast

import jax
import optax

from fasttok.errors import InputError
from train.config import OptimConfig
from train.params import LORA, Params, Tree, path_name


def schedule(config: OptimConfig, steps: int) -> optax.Schedule:
    """Linear warmup to the peak, which then stays or falls as a cosine to `final` of it."""
    warmup, peak = min(config.warmup, steps // 2), config.learning_rate
    if config.schedule == "constant":
        return optax.warmup_constant_schedule(0.0 if warmup else peak, peak, warmup)
    return optax.warmup_cosine_decay_schedule(0.0 if warmup else peak, peak, warmup, steps, config.final * peak)


def split(params: Tree, freeze: tuple[str, ...]) -> tuple[Tree, Tree]:
    """What learns, and what stays as it is: the same tree twice, each with None in place of the other's leaves.

    Args:
        params: a tree of arrays or of their shapes.
        freeze: paths as in `TrainConfig.still`; adapters under them learn all the same.

    Raises:
        InputError: a path that no parameter has, or everything is frozen.
    """
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for start in freeze:
        if not any(below(path, start) for path in paths):
            raise InputError(
                f"--optim.freeze {start}: no parameter has this path; expected one of, say, {', '.join(paths[:4])}"
            )
    still = [any(below(path, s) for s in freeze) and not below(path, f"*/{LORA}/matrices") for path in paths]
    if all(still):
        raise InputError("--optim.freeze leaves nothing to learn")
    leaves, tree = jax.tree.flatten(params)
    return (
        jax.tree.unflatten(tree, [None if s else leaf for s, leaf in zip(still, leaves, strict=True)]),
        jax.tree.unflatten(tree, [leaf if s else None for s, leaf in zip(still, leaves, strict=True)]),
    )


def below(path: str, start: str) -> bool:
    """Whether a parameter lies at, or below, a path that may hold wildcards."""
    return fnmatchcase(path, start) or fnmatchcase(path, f"{start}/*")


def merge(first: Tree, second: Tree) -> Tree:
    """The inverse of `split`."""
    return cast(Tree, jax.tree.map(lambda a, b: b if a is None else a, first, second, is_leaf=lambda x: x is None))


def make(config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """The whole chain, over the tree that learns."""

    def matrices(params: Tree) -> Tree:
        def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
            names = [getattr(key, "key", "") for key in path]
            return leaf.ndim > 1 and not any("norm" in n or n in ("bias", "scale") for n in names)

        return cast(Tree, jax.tree_util.tree_map_with_path(decays, params))

    chain = [
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule(config, steps), config.b1, config.b2, weight_decay=config.weight_decay, mask=matrices),
    ]
    if config.expert_learning_rate is not None:
        faster = config.expert_learning_rate / config.learning_rate

        def expert(params: Params) -> dict[str, bool]:
            return {component: component in ("expert", "action") for component in params}

        chain.append(optax.masked(optax.scale(faster), expert))
    return optax.chain(*chain)
