"""The insulated vision-language-action model: vision encoder, backbone, action expert.

One forward pass of the backbone gives its last hidden states and every layer's keys and values; the expert reads those
through `insulation.insulate`. Training, FAST decoding and flow sampling use the same functions (`run_backbone`, `run_expert`), so
inference computes the same velocity as training. `train.params` has the names and shapes of the parameters.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from train import flow, gemma, insulation, recipes, siglip
from train.config import Dtype, ModelConfig
from train.params import ActionComponents, ExpertParams, Layers, Linear, Params

Batch = dict[str, Array]  # arrays of docs/design.md "Training batch"


class Context(NamedTuple):
    """Results of the backbone, for the losses and the expert. S = number of its tokens: images, state and text together.

    Attributes:
        hidden: (B, S, width) after the last norm.
        keys: (L, B, S, head_dim), rotated.
        values: (L, B, S, head_dim).
        valid: (B, S) bool, False on padding and absent cameras.
        causal: (B, S) bool, True on the suffix.
        state: states (B, state_dim), and whether each row has one, (B,) bool; None unless the expert takes a continuous state.
        velocity: (B, H, D) velocity of the first flow draw, if the recipe runs backbone and expert side by side; else None.
    """

    hidden: Array
    keys: Array
    values: Array
    valid: Array
    causal: Array
    state: tuple[Array, Array] | None = None
    velocity: Array | None = None


Velocity = Callable[[Params, Context, Array, Array, ModelConfig], Array]  # the signature of `run_expert`


def init_linear(key: Array, into: int, out: int) -> Linear:
    """Returns a random kernel and a bias of zeros."""
    return {"kernel": jax.random.normal(key, (into, out), jnp.float32) * into**-0.5, "bias": jnp.zeros(out)}


def init(key: Array, config: ModelConfig) -> Params:
    """Returns random parameters, float32."""
    c = config
    keys = jax.random.split(key, 9)
    params: Params = {
        "vision": siglip.init(
            keys[0], c.image_size, c.patch, c.vision_width, c.vision_depth, c.vision_heads, c.vision_mlp, c.width
        ),
        "backbone": {
            "embedding": jax.random.normal(keys[1], (c.vocab_size, c.width), jnp.float32) * c.width**-0.5,
            "layers": gemma.init_layers(
                keys[2], c.depth, c.width, c.mlp, c.heads, c.head_dim, lambda: jnp.zeros((c.depth, c.width))
            ),
            "norm": jnp.zeros(c.width),
        },
    }
    if c.state_token == "backbone":
        params["backbone"]["state_in"] = init_linear(keys[8], c.state_dim, c.width)
    if c.flow:
        params.update(recipes.module(c.recipe).RECIPE.parameters(keys, c))
    return params


def init_expert(keys: Array, c: ModelConfig) -> ActionComponents:
    """Returns random parameters of the action expert. `keys` are those of `init`."""
    expert: ExpertParams = {
        "layers": gemma.init_layers(
            keys[3],
            c.depth,
            c.expert_width,
            c.expert_mlp,
            c.heads,
            c.head_dim,
            lambda: gemma.init_ada_norm(c.depth, c.expert_width, c.expert_width),
        ),
        "norm": {"kernel": jnp.zeros((c.expert_width, 3 * c.expert_width)), "bias": jnp.zeros(3 * c.expert_width)},
        "action_in": init_linear(keys[4], c.action_dim, c.expert_width),
        "action_out": init_linear(keys[5], c.expert_width, c.action_dim),
        "time_in": init_linear(keys[6], c.expert_width, c.expert_width),
        "time_out": init_linear(keys[7], c.expert_width, c.expert_width),
    }
    if c.state_token == "expert":
        expert["state_in"] = init_linear(keys[8], c.state_dim, c.expert_width)
    return {"expert": expert}


def embed_text(params: Params, tokens: Array, config: ModelConfig) -> Array:
    """Returns token embeddings times sqrt(width), as in Gemma: (B, L) -> (B, L, width)."""
    embedded: Array = params["backbone"]["embedding"][tokens] * config.width**0.5
    return embedded.astype(config.dtype)


def pixels(images: Array, dtype: Dtype) -> Array:
    """Maps uint8 images to [-1, 1]. Other images are in this range already, and only get the dtype.

    The mapping is computed in float32, as training augments float32 images: bfloat16 would round each step of it.
    """
    scaled = images.astype("float32") / 127.5 - 1.0 if images.dtype == jnp.uint8 else images
    return scaled.astype(dtype)


def embed(params: Params, batch: Batch, config: ModelConfig) -> tuple[Array, Array, Array]:
    """Returns the backbone's input: tokens of images, of a continuous state if the backbone takes one, and of text.

    Returns:
        Tokens (B, S, width), which of them are valid (B, S) bool, and which are causal (B, S) bool.
    """
    images = pixels(batch["images"], config.dtype)
    b, cameras = images.shape[:2]
    prefix: list[Array] = []
    valid: list[Array] = []
    if cameras:
        flat = images.reshape(b * cameras, *images.shape[2:])
        seen = siglip.encode(params["vision"], flat, config.patch, config.remat)
        per_camera = seen.shape[1]
        prefix.append(seen.reshape(b, cameras * per_camera, config.width))
        valid.append(jnp.repeat(batch["image_mask"], per_camera, axis=1))
    if config.state_token == "backbone":
        prefix.append(linear(batch["state"], params["backbone"]["state_in"])[:, None].astype(config.dtype))
        valid.append(batch["state_mask"][:, None])
    before = sum(tokens.shape[1] for tokens in prefix)
    x = jnp.concatenate([*prefix, embed_text(params, batch["tokens"], config)], axis=1)
    causal = jnp.concatenate([jnp.zeros((b, before), bool), batch["token_ar"]], axis=1)
    return x, jnp.concatenate([*valid, batch["token_mask"]], axis=1), causal


def linear(x: Array, p: Linear) -> Array:
    """Computes x @ kernel + bias, in the wider dtype of the two."""
    return x @ p["kernel"] + p["bias"]


def run_backbone(params: Params, batch: Batch, config: ModelConfig) -> Context:
    """Runs the backbone on a batch, of which it reads the arrays of tokens, images and states."""
    x, valid, causal = embed(params, batch, config)
    mask, positions = insulation.backbone_mask(valid, causal), insulation.backbone_positions(valid)
    hidden, keys, values = run_backbone_layers(params, x, mask, positions, config)
    state = None
    if config.state_token == "expert":
        state = batch["state"], batch["state_mask"]
    return Context(hidden, keys, values, valid, causal, state)


def run_backbone_layers(
    params: Params, x: Array, mask: Array, positions: Array, config: ModelConfig
) -> tuple[Array, Array, Array]:
    """Runs the layers of the backbone on tokens (B, S, width).

    Returns:
        Hidden states after the last norm (B, S, width), keys (L, B, S, head_dim), and values (L, B, S, head_dim).
    """

    def layer(x: Array, p: Layers[Array]) -> tuple[Array, tuple[Array, Array]]:
        query, key, value = gemma.project(gemma.rms_norm(x, p["attention_norm"]), p, positions)
        x = x + gemma.merge_heads(gemma.attend(query, key, value, mask, config.attention), p)
        return x + gemma.feed_forward(gemma.rms_norm(x, p["mlp_norm"]), p), (key, value)

    x, (keys, values) = gemma.run_layers(layer, x, params["backbone"]["layers"], config.depth, config.remat)
    return gemma.rms_norm(x, params["backbone"]["norm"]), keys, values


def logits(params: Params, hidden: Array) -> Array:
    """Returns logits over the vocabulary by the tied embedding, float32: (..., width) -> (..., vocab)."""
    table = params["backbone"]["embedding"].astype(hidden.dtype)
    return jnp.einsum("...w,vw->...v", hidden, table, preferred_element_type=jnp.float32)


def run_expert(params: Params, context: Context, noisy: Array, time: Array, config: ModelConfig) -> Array:
    """Returns the velocity of noisy chunks, given what the backbone saw.

    Args:
        params: the model's parameters, with an expert.
        context: result of `run_backbone`; gradients into it are multiplied by `config.shares`, where 0 is full insulation.
        noisy: (B, H, D) x_t.
        time: (B,) flow time, 1 = noise; or (B, H) if each step has its own. A state token gets the last step's time.
        config: the model's shapes.

    Returns:
        (B, H, D) float32 velocity v_t (towards noise).
    """
    p = params["expert"]
    horizon = noisy.shape[1]
    keys, values = insulation.insulate(context.keys, config.shares), insulation.insulate(context.values, config.shares)

    x, cond = embed_actions(p, noisy, time, context.state, config)
    has_state = None if context.state is None else context.state[1]
    mask = insulation.expert_mask(context.valid, context.causal, horizon, has_state)
    positions = insulation.expert_positions(context.valid, context.causal, x.shape[1])

    def layer(x: Array, inputs: tuple[Layers[Linear], Array, Array]) -> tuple[Array, None]:
        q, seen_key, seen_value = inputs
        y, gate = gemma.ada_rms_norm(x, cond, q["attention_norm"])
        query, key, value = gemma.project(y, q, positions)
        key, value = jnp.concatenate([seen_key, key], axis=1), jnp.concatenate([seen_value, value], axis=1)
        x = x + gate * gemma.merge_heads(gemma.attend(query, key, value, mask, config.attention), q)
        y, gate = gemma.ada_rms_norm(x, cond, q["mlp_norm"])
        return x + gate * gemma.feed_forward(y, q), None

    x, _ = gemma.run_layers(layer, x, (p["layers"], keys, values), config.depth, config.remat)
    return velocity_of(p, x[:, -horizon:], cond)


def embed_actions(
    p: ExpertParams, noisy: Array, time: Array, state: tuple[Array, Array] | None, config: ModelConfig
) -> tuple[Array, Array]:
    """Returns the expert's input tokens (B, T, E), and the condition of its norms.

    The tokens are a state token, if the expert takes one, and one token per step. The condition is (B, E), or (B, T, E) if each
    step has its own time; the state token then gets the last step's.
    """
    cond = flow.time_embedding(time, config.expert_width)
    for into in (p["time_in"], p["time_out"]):
        cond = jax.nn.swish(linear(cond, into))
    x = linear(noisy, p["action_in"]).astype(config.dtype)
    if state is not None:
        x = jnp.concatenate([linear(state[0], p["state_in"])[:, None].astype(config.dtype), x], axis=1)
        cond = cond if cond.ndim == 2 else jnp.concatenate([cond[:, -1:], cond], axis=1)
    return x, cond


def velocity_of(p: ExpertParams, x: Array, cond: Array) -> Array:
    """Maps the steps' results of the expert's layers, (B, H, E), to velocities (B, H, D) float32."""
    x, _ = gemma.ada_rms_norm(x, cond if cond.ndim == 2 else cond[:, -x.shape[1] :], p["norm"])
    return linear(x.astype(jnp.float32), p["action_out"])
