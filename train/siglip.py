"""The vision encoder: SigLIP's ViT (Zhai et al. 2023, arXiv 2303.15343) as PaliGemma uses it.

Patch embedding, learned positions, pre-LayerNorm blocks with tanh gelu, a last LayerNorm, and a projection to the
backbone's width. Every patch is a token, row by row; there is no class token and no pooling.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from train.config import Remat
from train.gemma import matmul, run_layers
from train.learning import lora
from train.params import LayerNorm, Linear, VisionBlocks, VisionParams

EPSILON = 1e-6
Matrix = Literal["query", "key", "value", "output", "up", "down"]


def init(
    key: Array, image_size: int, patch: int, width: int, depth: int, heads: int, mlp: int, out: int
) -> VisionParams:
    """Returns random parameters; those of the blocks are stacked on a leading `depth` axis.

    Args:
        key: draws the numbers.
        image_size: pixels per side of an image.
        patch: pixels per side of a patch.
        width: numbers per token.
        depth: blocks.
        heads: heads of attention, which share the width.
        mlp: width inside a block's feed-forward network.
        out: width of the backbone.
    """
    keys = jax.random.split(key, 9)
    head_dim = width // heads
    tokens = (image_size // patch) ** 2

    def normal(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
        numbers: Array = jax.random.normal(key, shape, jnp.float32) * fan_in**-0.5
        return numbers

    def norm(*lead: int) -> LayerNorm:
        return {"scale": jnp.ones((*lead, width)), "bias": jnp.zeros((*lead, width))}

    def linear(key: Array, into: tuple[int, ...], out_of: tuple[int, ...], fan_in: int) -> Linear:
        return {"kernel": normal(key, (depth, *into, *out_of), fan_in), "bias": jnp.zeros((depth, *out_of))}

    return {
        "patch": {"kernel": normal(keys[0], (patch * patch * 3, width), patch * patch * 3), "bias": jnp.zeros(width)},
        "position": normal(keys[1], (tokens, width), 1),
        "blocks": {
            "attention_norm": norm(depth),
            "query": linear(keys[2], (width,), (heads, head_dim), width),
            "key": linear(keys[3], (width,), (heads, head_dim), width),
            "value": linear(keys[4], (width,), (heads, head_dim), width),
            "output": linear(keys[5], (heads, head_dim), (width,), width),
            "mlp_norm": norm(depth),
            "up": linear(keys[6], (width,), (mlp,), width),
            "down": linear(keys[7], (mlp,), (width,), mlp),
        },
        "norm": norm(),
        "head": {"kernel": normal(keys[8], (width, out), width), "bias": jnp.zeros(out)},
    }


def calibrate(params: VisionParams, images: Array, patch: int) -> VisionParams:
    """Shifts and scales random parameters so that the patch embedding and the output have mean 0 and variance 1 on images.

    Data-dependent initialisation (Salimans and Kingma 2016, section 3): on scenes that are mostly background, nearly all of a
    random encoder's output is the same for every image, and a small model spends its first thousand steps undoing that.

    Args:
        params: parameters from `init`.
        images: (B, S, S, 3) in [-1, 1], images of the data.
        patch: pixels per side of a patch.
    """

    def standard(linear: Linear, out: Array) -> Linear:
        mean = jnp.mean(out, axis=(0, 1))
        scale = jnp.sqrt(jnp.mean((out - mean) ** 2)) + EPSILON
        return {"kernel": linear["kernel"] / scale, "bias": (linear["bias"] - mean) / scale}

    embedded = matmul(patches(images, patch), params["patch"]["kernel"]) + params["patch"]["bias"]
    params = {**params, "patch": standard(params["patch"], embedded)}
    return {**params, "head": standard(params["head"], encode(params, images, patch))}


def layer_norm(x: Array, params: LayerNorm) -> Array:
    """Applies a LayerNorm over the last axis in float32, epsilon 1e-6."""
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + EPSILON)
    return (normed * params["scale"] + params["bias"]).astype(x.dtype)


def patches(images: Array, patch: int) -> Array:
    """Cuts images into patches: (B, S, S, 3) -> (B, tokens, patch * patch * 3), row by row; pixels are (row, column, channel)."""
    b, size, _, channels = images.shape
    n = size // patch
    grid = images.reshape(b, n, patch, n, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(b, n * n, patch * patch * channels)


def block(x: Array, p: VisionBlocks) -> Array:
    """Applies one pre-LayerNorm transformer block to (B, T, width)."""
    dtype = x.dtype

    def product(y: Array, name: Matrix) -> Array:
        kernel = p[name]["kernel"].reshape(y.shape[-1], -1)
        return lora.adapt(matmul(y, kernel), y, p, name)

    def heads(y: Array, name: Matrix) -> Array:
        bias = p[name]["bias"]
        return product(y, name).reshape(*y.shape[:2], *bias.shape) + bias.astype(dtype)

    y = layer_norm(x, p["attention_norm"])
    query, key, value = heads(y, "query"), heads(y, "key"), heads(y, "value")
    logits = jnp.einsum("btnk,bsnk->bnts", query, key, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
    mixed = jnp.einsum("bnts,bsnk->btnk", jax.nn.softmax(logits, axis=-1).astype(dtype), value)
    x = x + product(mixed.reshape(*x.shape[:2], -1), "output") + p["output"]["bias"].astype(dtype)
    y = layer_norm(x, p["mlp_norm"])
    y = jax.nn.gelu(product(y, "up") + p["up"]["bias"].astype(dtype), approximate=True)
    return x + product(y, "down") + p["down"]["bias"].astype(dtype)


def encode(params: VisionParams, images: Array, patch: int, remat: Remat = "none") -> Array:
    """Encodes images to backbone tokens.

    Args:
        params: the encoder's parameters.
        images: (B, S, S, 3) in [-1, 1].
        patch: pixels per side of a patch.
        remat: as in `ModelConfig.remat`.

    Returns:
        (B, (S / patch) ** 2, backbone width).
    """
    dtype = images.dtype
    x = matmul(patches(images, patch), params["patch"]["kernel"]) + params["patch"]["bias"].astype(dtype)
    x = x + params["position"].astype(dtype)
    depth = params["blocks"]["up"]["bias"].shape[0]
    x, _ = run_layers(lambda y, p: (block(y, p), None), x, params["blocks"], depth, remat)
    x = layer_norm(x, params["norm"])
    return matmul(x, params["head"]["kernel"]) + params["head"]["bias"].astype(dtype)
