"""Building blocks of Gemma, and the adaptive norms that the action expert has in place of plain ones.

Shapes: B rows, S backbone tokens, H action steps, W width, N query heads, K head_dim, M mlp, L layers. One key/value head.
Conventions follow openpi's Gemma: RMSNorm multiplies by 1 + scale (epsilon 1e-6), rotary embedding on halves with base
10000, tanh gelu, queries scaled by K ** -0.5. Layer parameters are stacked on a leading axis and run by `lax.scan`.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array

from train.config import AttentionKernel, Remat
from train.learning import lora
from train.params import Attention, FeedForward, Layers, Linear, Norm

Stream = TypeVar("Stream")
Stacked = TypeVar("Stacked")
Output = TypeVar("Output")
EPSILON = 1e-6
ROPE_BASE = 10_000.0
MASKED = -2.3819763e38  # openpi's and big_vision's "minus infinity" that survives float32 arithmetic


def init_layers(
    key: Array, depth: int, width: int, mlp: int, heads: int, head_dim: int, norm: Callable[[], Norm]
) -> Layers[Norm]:
    """Returns a stack of random layers, with the shapes in `train.params.Layers`.

    Args:
        key: draws the numbers.
        depth: L.
        width: W.
        mlp: M.
        heads: N.
        head_dim: K.
        norm: makes the stacked parameters of one norm.
    """
    keys = jax.random.split(key, 5)

    def normal(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
        numbers: Array = jax.random.normal(key, (depth, *shape), jnp.float32) * fan_in**-0.5
        return numbers

    return {
        "attention_norm": norm(),
        "query": normal(keys[0], (heads, width, head_dim), width),
        "key_value": normal(keys[1], (2, width, head_dim), width),
        "output": normal(keys[2], (heads, head_dim, width), heads * head_dim),
        "mlp_norm": norm(),
        "gate_up": normal(keys[3], (2, width, mlp), width),
        "down": normal(keys[4], (mlp, width), mlp),
    }


def init_ada_norm(depth: int, width: int, cond: int) -> Linear:
    """Returns the stacked parameters of adaptive norms: kernel (L, C, 3 W), bias (L, 3 W)."""
    # Zero kernels make scale, shift and gate 0; a gate of 0 would cut every branch off, so its bias starts at 1.
    bias = jnp.concatenate([jnp.zeros((depth, 2 * width)), jnp.ones((depth, width))], axis=-1)
    return {"kernel": jnp.zeros((depth, cond, 3 * width)), "bias": bias}


def matmul(x: Array, kernel: Array) -> Array:
    """Computes (..., W) @ (W, M) as one flat matrix product in x's dtype.

    XLA's CPU backend runs batched products at a third of the speed.
    """
    return (x.reshape(-1, x.shape[-1]) @ kernel.astype(x.dtype)).reshape(*x.shape[:-1], kernel.shape[-1])


def unroll(depth: int) -> int:
    """Returns how many layers of a scan to unroll: all of a shallow stack (a fifth faster), 1 of a deep one (compiles fast)."""
    return depth if depth <= 6 else 1


def run_layers(
    layer: Callable[[Stream, Stacked], tuple[Stream, Output]], x: Stream, stacked: Stacked, depth: int, remat: Remat
) -> tuple[Stream, Output]:
    """Scans a function over stacked layers.

    Args:
        layer: takes x and one layer's parameters; returns the new x and an output, which may be None.
        x: input of the first layer.
        stacked: trees of arrays (L, ...).
        depth: L.
        remat: as in `ModelConfig.remat`; inside the scan, each layer's own activations are dropped and computed again.

    Returns:
        x after the last layer, and all outputs stacked (L, ...).
    """
    if remat != "none":
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if remat == "dots" else None
        layer = jax.checkpoint(layer, policy=policy, prevent_cse=unroll(depth) > 1)
    x, outputs = jax.lax.scan(layer, x, stacked, unroll=unroll(depth))
    return x, outputs


def rms_norm(x: Array, scale: Array) -> Array:
    """Computes x / rms(x) * (1 + scale) over the last axis, in float32."""
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.mean(x32**2, axis=-1, keepdims=True) + EPSILON)
    return (normed * (1 + scale)).astype(x.dtype)


def ada_rms_norm(x: Array, cond: Array, params: Linear) -> tuple[Array, Array]:
    """Applies an RMSNorm whose scale, shift and residual gate come from a condition (pi0.5's adaRMS).

    Args:
        x: (B, H, W).
        cond: (B, C), or (B, H, C) if each step has its own.
        params: kernel (C, 3 W), bias (3 W).

    Returns:
        Normalised x (B, H, W), and the gate (B, 1 or H, W).
    """
    x32 = x.astype(jnp.float32)
    normed = x32 * jax.lax.rsqrt(jnp.mean(x32**2, axis=-1, keepdims=True) + EPSILON)
    modulation = cond.astype(jnp.float32) @ params["kernel"] + params["bias"]
    scale, shift, gate = jnp.split(modulation if cond.ndim == 3 else modulation[:, None, :], 3, axis=-1)
    return (normed * (1 + scale) + shift).astype(x.dtype), gate.astype(x.dtype)


def rope(x: Array, positions: Array) -> Array:
    """Applies the rotary position embedding.

    Args:
        x: (B, T, ..., K) with any axes between time and head_dim.
        positions: (B, T) int.

    Returns:
        As `x`.
    """
    half = x.shape[-1] // 2
    period = ROPE_BASE ** (jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[..., None].astype(jnp.float32) / period
    angle = angle.reshape(*angle.shape[:2], *(1,) * (x.ndim - 3), half)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    x1, x2 = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1).astype(x.dtype)


def project(x: Array, layer: Attention, positions: Array) -> tuple[Array, Array, Array]:
    """Projects normalised x (B, T, W) to scaled, rotated queries (B, T, N, K), rotated keys (B, T, K) and values (B, T, K)."""
    heads, width, head_dim = layer["query"].shape
    query = lora.adapt(matmul(x, layer["query"].transpose(1, 0, 2).reshape(width, -1)), x, layer, "query")
    query = query.reshape(*x.shape[:2], heads, head_dim)
    both = lora.adapt(matmul(x, layer["key_value"].transpose(1, 0, 2).reshape(width, -1)), x, layer, "key_value")
    key, value = jnp.split(both, 2, axis=-1)
    return rope(query, positions) * query.shape[-1] ** -0.5, rope(key, positions), value


def attend(query: Array, key: Array, value: Array, mask: Array, kernel: AttentionKernel = "einsum") -> Array:
    """Softmax attention with one key/value head.

    Args:
        query: (B, T, N, K), already scaled.
        key: (B, S, K).
        value: (B, S, K).
        mask: (B, T, S) bool, True = may attend.
        kernel: as in `ModelConfig.attention`.

    Returns:
        (B, T, N, K).
    """
    if kernel != "einsum":
        return jax.nn.dot_product_attention(
            query, key[:, :, None], value[:, :, None], mask=mask[:, None], scale=1.0, implementation=kernel
        )
    logits = jnp.einsum("btnk,bsk->bnts", query, key, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(mask[:, None], logits, MASKED), axis=-1).astype(value.dtype)
    return jnp.einsum("bnts,bsk->btnk", weights, value)


def merge_heads(heads: Array, layer: Attention) -> Array:
    """Applies the output projection to the results of all heads: (B, T, N, K) -> (B, T, W)."""
    x = heads.reshape(*heads.shape[:2], -1)
    return lora.adapt(matmul(x, layer["output"].reshape(-1, layer["output"].shape[-1])), x, layer, "output")


def feed_forward(x: Array, layer: FeedForward) -> Array:
    """Applies the gated feed-forward network with tanh gelu: down(gelu(gate(x)) * up(x))."""
    kernel = layer["gate_up"].transpose(1, 0, 2).reshape(x.shape[-1], -1)
    gate, up = jnp.split(lora.adapt(matmul(x, kernel), x, layer, "gate_up"), 2, axis=-1)
    gated = jax.nn.gelu(gate, approximate=True) * up
    return lora.adapt(matmul(gated, layer["down"]), gated, layer, "down")
