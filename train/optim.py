"""The optimiser: AdamW with warmup and cosine decay, global-norm clipping, weight decay on matrices only."""

from typing import Any

import jax
import optax

from train.config import TrainConfig


def schedule(config: TrainConfig) -> optax.Schedule:
    """Linear warmup to the peak, cosine to a tenth of it."""
    warmup = min(config.warmup, config.steps // 2)
    return optax.warmup_cosine_decay_schedule(
        0.0 if warmup else config.learning_rate, config.learning_rate, warmup, config.steps, 0.1 * config.learning_rate
    )


def frozen(path: tuple[Any, ...], freeze: tuple[str, ...]) -> bool:
    """Whether a parameter lies at, or below, one of the frozen paths."""
    name = "/".join(str(getattr(key, "key", key)) for key in path)
    return any(name == start or name.startswith(f"{start}/") for start in freeze)


def make(config: TrainConfig) -> optax.GradientTransformation:
    """The whole chain. Frozen parameters are not updated, and count in no norm."""

    def matrices(params: Any) -> Any:
        def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
            names = [getattr(key, "key", "") for key in path]
            return leaf.ndim > 1 and not any("norm" in n or n in ("bias", "scale") for n in names)

        return jax.tree_util.tree_map_with_path(decays, params)

    chain = optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule(config), weight_decay=config.weight_decay, mask=matrices),
    )
    if not config.freeze:
        return chain

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda p, _: "still" if frozen(p, config.freeze) else "moves", params)

    return optax.multi_transform({"moves": chain, "still": optax.set_to_zero()}, labels)
