"""Who may see whom, and where gradients stop: the heart of knowledge insulation (arXiv 2505.23705, section 5.2, eq. 5-6).

Two streams: b = backbone tokens (images, prompt, state, then the causal suffix of FAST ids or answer), a = action-expert
tokens. The backbone never attends to the expert, so there are two calls of attention, one for each:

    Eb = attn(Qb, Kb, Vb)
    Ea = attn(Qa, [sg(Kb); Ka], [sg(Vb); Va])

where sg is the stop-gradient. `insulate` replaces sg by one number per layer: the share of the expert's gradient that reaches Kb
and Vb. 0 is the paper's method, 1 is joint training. With 0, the flow loss gives the backbone a gradient of exactly zero, because
there is no other way from the expert to the backbone.

The masks of one row with six backbone tokens (image i, prompt p, suffix s, padding -) and two expert tokens (a):

    backbone_mask          expert_mask (keys: backbone, then expert)
         i p p s s -            i p p s s -  a a
    i    x x x . . .       a    x x x . . .  x x
    p    x x x . . .       a    x x x . . .  x x
    p    x x x . . .
    s    x x x x . .       FAST and expert tokens never see each other: the suffix contains the very actions that the
    s    x x x x x .       expert must predict, and at inference there is no suffix.
    -    . . . . . .
"""

import jax
import jax.numpy as jnp
from jax import Array


def backbone_mask(valid: Array, causal: Array) -> Array:
    """Returns which backbone tokens attend to which: a bidirectional prefix with a causal suffix.

    Args:
        valid: (B, S) bool, False on padding and absent cameras.
        causal: (B, S) bool, True on suffix tokens.

    Returns:
        (B, S, S) bool, [b, query, key]: both valid, and the key is in the same or an earlier block.
    """
    order = jnp.cumsum(causal, axis=1)
    return (order[:, None, :] <= order[:, :, None]) & valid[:, None, :] & valid[:, :, None]


def expert_mask(valid: Array, causal: Array, horizon: int, state: Array | None = None) -> Array:
    """Returns what the expert sees: the valid prefix, and all steps of the chunk, with a state token before them if there is one.

    Args:
        valid: (B, S) bool, as in `backbone_mask`.
        causal: (B, S) bool, as in `backbone_mask`.
        horizon: action steps.
        state: (B,) bool, whether the row has a state; its token sees the prefix and itself, as in pi0. None: no state tokens.

    Returns:
        (B, T, S + T) bool, [b, query, key], with T = horizon, or 1 + horizon with a state token.
    """
    b, tokens = valid.shape[0], horizon + (state is not None)
    own = jnp.ones((b, tokens, tokens), bool)
    if state is not None:
        own = own.at[:, 0, 1:].set(False).at[:, 1:, 0].set(state[:, None])
    prefix = jnp.broadcast_to((valid & ~causal)[:, None, :], (b, tokens, valid.shape[1]))
    return jnp.concatenate([prefix, own], axis=-1)


def backbone_positions(valid: Array) -> Array:
    """Returns the running count of valid tokens minus 1, (B, S) int32: absent cameras and padding take no position."""
    return jnp.cumsum(valid, axis=1) - 1


def expert_positions(valid: Array, causal: Array, horizon: int) -> Array:
    """Returns positions after the valid prefix, (B, horizon) int32: equal with and without a suffix."""
    prefix_length = jnp.sum(valid & ~causal, axis=1, keepdims=True)
    return prefix_length + jnp.arange(horizon)


def insulate(x: Array, shares: tuple[float, ...]) -> Array:
    """Returns keys or values of all layers for the expert: the same values, but only `shares[layer]` of the gradient.

    Args:
        x: (L, ...) with one leading entry per layer.
        shares: one number in [0, 1] per layer.
    """
    stopped = jax.lax.stop_gradient(x)
    if not any(shares):
        return stopped  # no backward pass through the backbone is built at all
    share = jnp.asarray(shares, x.dtype).reshape(-1, *(1,) * (x.ndim - 1))
    return stopped + share * (x - stopped)
