"""LoRA (Hu et al. 2021, arXiv 2106.09685, section 4.1): two thin matrices learn for each large one, which stays as it is.

    y = x W + (alpha / rank) (x A) B        A (in, rank) random, B (rank, out) zero, so at step 0 nothing changes

A stack of layers contains its adapters under `lora`, beside the matrices that they adapt: backbone/layers/lora/matrices/query/a
belongs to backbone/layers/query. Adapters are stacked on L, too, so the scan over layers gives each layer its own. Neither
W + A B nor a gradient of W's shape is ever made. alpha / rank is in the tree, too (`lora/scale`), so the parameters alone say
what they compute.

By default the attention and feed-forward matrices of backbone and expert are adapted, as in openpi's gemma_2b_lora and
gemma_300m_lora (src/openpi/models/gemma.py, rank 16 and 32 with alpha = rank), and the whole vision encoder learns, as in openpi.
Everything under an adapted path that is no adapter, such as the norms, does not learn, as with openpi's freeze filter. Their
filter also freezes the embedding and the last norm; for that, add `--optim.freeze backbone/embedding backbone/norm expert/norm`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import Array

from fasttok.errors import InputError
from train.config import LoraConfig
from train.learning.layer_paths import below
from train.params import LORA, Adapter, Adapters, Params

# Axes of the adapted matrices of a stack, without L: i for in, o for out, s for several matrices, each with its own adapter.
AXES: dict[str, dict[str, str]] = {
    "layers": {"query": "oio", "key_value": "sio", "output": "iio", "gate_up": "sio", "down": "io"},
    "blocks": {"query": "ioo", "key": "ioo", "value": "ioo", "output": "iio", "up": "io", "down": "io"},
}


def adapt(y: Array, x: Array, layer: Mapping[str, Any], name: str) -> Array:
    """Adds the result of an adapter to that of its matrix: y + scale (x A) B.

    Args:
        y: (..., out), the product of x and the matrix `name`; the results of several matrices are concatenated along `out`.
        x: (..., in), with as many axes as `y`.
        layer: one layer's parameters.
        name: name of the matrix.

    Returns:
        The sum, in the shape of `y`; `y` itself if the layer has no such adapter.
    """
    adapters: Adapters | None = layer.get(LORA)
    if adapters is None or name not in adapters["matrices"]:
        return y
    a, b = (adapters["matrices"][name][side].astype(x.dtype) for side in ("a", "b"))
    flat = x.reshape(-1, x.shape[-1])  # one flat product, as in `gemma.matmul`
    added = jnp.concatenate([flat @ a[i] @ b[i] for i in range(a.shape[0])], axis=-1)
    return y + adapters["scale"].astype(x.dtype) * added.reshape(y.shape)


def add(params: Params, config: LoraConfig, key: Array) -> Params:
    """Returns parameters with adapters, or the parameters as they are if the rank is 0.

    Args:
        params: parameters without adapters; under `jax.eval_shape` only their shapes.
        config: rank, alpha and paths.
        key: draws every A.

    Raises:
        InputError: nothing can be adapted under one of the paths.
    """
    if not config.rank:
        return params
    used: set[str] = set()
    out: dict[str, Any] = {component: dict(cast(Mapping[str, Any], tree)) for component, tree in params.items()}
    for place, (component, stack) in enumerate(_stacks(params)):
        layers, matrices = out[component][stack], {}
        for number, (name, axes) in enumerate(AXES[stack].items()):
            path = f"{component}/{stack}/{name}"
            hit = {start for start in config.adapted if below(path, start)}
            used |= hit
            if hit:
                own = jax.random.fold_in(jax.random.fold_in(key, place), number)
                matrices[name] = _adapter(own, _kernel(layers[name]), axes, config.rank)
        if matrices:
            depth = next(iter(matrices.values()))["a"].shape[0]
            adapters: Adapters = {"scale": jnp.full(depth, config.alpha / config.rank), "matrices": matrices}
            out[component][stack] = {**layers, LORA: adapters}
    for start in config.adapted:
        if start not in used:
            raise InputError(
                f"--lora.paths {start}: no matrix of attention or of a feed-forward network is there; expected a component, a "
                f"stack or a matrix, such as {', '.join('/'.join(names) for names in _stacks(params))}, backbone/layers/query"
            )
    return cast(Params, out)


def merge(params: Params) -> Params:
    """Returns parameters without adapters that compute the same: each adapted matrix becomes W + scale A B, summed in float32."""
    out: dict[str, Any] = {component: dict(cast(Mapping[str, Any], tree)) for component, tree in params.items()}
    for component, stack in _stacks(params):
        layers = dict(out[component][stack])
        adapters: Adapters = layers.pop(LORA, {"matrices": {}})
        for name in adapters["matrices"]:
            base = _kernel(layers[name])
            whole = base + _product(adapters, name, AXES[stack][name], base.shape)
            layers[name] = {**layers[name], "kernel": whole} if isinstance(layers[name], Mapping) else whole
        out[component][stack] = layers
    return cast(Params, out)


def _stacks(params: Params) -> Iterator[tuple[str, str]]:
    """Yields (component, name) of each stack of layers."""
    for component, tree in sorted(params.items()):
        yield from ((component, stack) for stack in AXES if stack in cast(Mapping[str, Any], tree))


def adapted_components(params: Params) -> set[str]:
    """Returns the components that have adapters."""
    trees = cast(Mapping[str, Any], params)
    return {component for component, stack in _stacks(params) if LORA in trees[component][stack]}


def _kernel(matrix: Any) -> Array:
    """Returns the array of a matrix, which may be in a dict with a bias."""
    return cast(Array, matrix["kernel"] if isinstance(matrix, Mapping) else matrix)


def _adapter(key: Array, kernel: Array, axes: str, rank: int) -> Adapter:
    depth, (several, into, out) = kernel.shape[0], _sizes(kernel.shape[1:], axes)
    a = jax.random.normal(key, (depth, several, into, rank), jnp.float32) * into**-0.5
    return {"a": a, "b": jnp.zeros((depth, several, rank, out))}


def _sizes(shape: tuple[int, ...], axes: str) -> tuple[int, int, int]:
    """Returns how many matrices an array without L contains, and their numbers of rows and columns."""
    several, into, out = (math.prod(n for n, axis in zip(shape, axes, strict=True) if axis == kind) for kind in "sio")
    return several, into, out


def _product(adapters: Adapters, name: str, axes: str, shape: tuple[int, ...]) -> Array:
    """Returns scale A B in the shape (L, ...) of its matrix."""
    adapter = adapters["matrices"][name]
    product = jnp.matmul(adapter["a"], adapter["b"], precision="highest") * adapters["scale"][:, None, None, None]
    order = sorted(range(len(axes)), key=lambda axis: "sio".index(axes[axis]))  # where our axes are in the product
    spread = product.reshape(shape[0], *(shape[1 + axis] for axis in order))
    return spread.transpose(0, *(1 + order.index(axis) for axis in range(len(axes))))
