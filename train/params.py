"""The model's parameters: nested dicts of arrays. A parameter's path, such as backbone/layers/query, is its keys.

Shapes: W width and M mlp of the component at hand, D width of the backbone, E width of the expert, L layers, N query heads,
K head_dim, P numbers of a patch, T patches of an image, V vocabulary, A action dimensions, S state dimensions. All are float32.
Layers are stacked on a leading axis L, which a scan walks along: what it hands to one layer has the same keys without L.

The types say what a mapping contains; at run time they are plain dicts, which JAX takes apart by their sorted keys.
"""

from typing import Any, Generic, NotRequired, TypedDict, TypeVar, cast

import jax
from jax import Array

Norm = TypeVar("Norm")
Tree = TypeVar("Tree")
LORA = "lora"
"""Where a stack keeps its adapters, if it has some."""


class Linear(TypedDict):
    """x @ kernel + bias.

    Attributes:
        kernel: (in, out), or (L, ..., ...) where layers are stacked and heads have axes of their own.
        bias: (out,), likewise.
    """

    kernel: Array
    bias: Array


class LayerNorm(TypedDict):
    """The encoder's norm.

    Attributes:
        scale: (W,), or (L, W).
        bias: (W,), or (L, W).
    """

    scale: Array
    bias: Array


class Adapter(TypedDict):
    """LoRA's two matrices beside an array that contains Z matrices (key and value, gate and up: 2), each (in, out) when flat.

    Attributes:
        a: (L, Z, in, rank).
        b: (L, Z, rank, out).
    """

    a: Array
    b: Array


class Adapters(TypedDict):
    """All adapters of a stack (`train.learning.lora`).

    Attributes:
        scale: (L,), alpha / rank; never learns.
        matrices: by the name of the adapted parameter.
    """

    scale: Array
    matrices: dict[str, Adapter]


class VisionBlocks(TypedDict):
    """The encoder's transformer blocks.

    Attributes:
        lora: absent if nothing is adapted.
        attention_norm: (L, W).
        query: kernel (L, W, N, K), bias (L, N, K).
        key: as `query`.
        value: as `query`.
        output: kernel (L, N, K, W), bias (L, W).
        mlp_norm: (L, W).
        up: kernel (L, W, M), bias (L, M).
        down: kernel (L, M, W), bias (L, W).
    """

    attention_norm: LayerNorm
    query: Linear
    key: Linear
    value: Linear
    output: Linear
    mlp_norm: LayerNorm
    up: Linear
    down: Linear
    lora: NotRequired[Adapters]


class VisionParams(TypedDict):
    """The vision encoder.

    Attributes:
        patch: kernel (P, W), bias (W,).
        position: (T, W).
        blocks: the stack.
        norm: (W,).
        head: kernel (W, D), bias (D,).
    """

    patch: Linear
    position: Array
    blocks: VisionBlocks
    norm: LayerNorm
    head: Linear


class Attention(TypedDict):
    """Projections of attention with one key/value head.

    Attributes:
        query: (L, N, W, K).
        key_value: (L, 2, W, K).
        output: (L, N, K, W).
    """

    query: Array
    key_value: Array
    output: Array


class FeedForward(TypedDict):
    """The gated feed-forward network.

    Attributes:
        gate_up: (L, 2, W, M).
        down: (L, M, W).
    """

    gate_up: Array
    down: Array


class Layers(Attention, FeedForward, Generic[Norm]):
    """Gemma's layers. The backbone's norms are scales (L, W); the expert's make scale, shift and gate of a condition.

    Attributes:
        attention_norm: scale (L, W), or kernel (L, E, 3 W) and bias (L, 3 W).
        mlp_norm: as `attention_norm`.
        lora: absent if nothing is adapted.
    """

    attention_norm: Norm
    mlp_norm: Norm
    lora: NotRequired[Adapters]


class BackboneParams(TypedDict):
    """The language model.

    Attributes:
        embedding: (V, D), for logits too.
        layers: the stack.
        norm: (D,).
        state_in: kernel (S, D), bias (D,); if a continuous state enters here.
    """

    embedding: Array
    layers: Layers[Array]
    norm: Array
    state_in: NotRequired[Linear]


class ExpertParams(TypedDict):
    """The action expert.

    Attributes:
        layers: the stack.
        norm: kernel (E, 3 E), bias (3 E,).
        action_in: kernel (A, E), bias (E,).
        action_out: kernel (E, A), bias (A,).
        time_in: kernel (E, E), bias (E,).
        time_out: as `time_in`.
        state_in: kernel (S, E), bias (E,); if a continuous state enters here.
    """

    layers: Layers[Linear]
    norm: Linear
    action_in: Linear
    action_out: Linear
    time_in: Linear
    time_out: Linear
    state_in: NotRequired[Linear]


class ActionComponents(TypedDict):
    """What `ModelConfig.recipe` adds to vision and backbone.

    Attributes:
        expert: the action expert; absent if `ModelConfig.flow` is False, or if the recipe has none.
        action: what a recipe of train/recipes/ has for actions in its place; its file says what that contains.
    """

    expert: NotRequired[ExpertParams]
    action: NotRequired["ActionParams"]


class Params(ActionComponents):
    """The whole model.

    Attributes:
        vision: the vision encoder.
        backbone: the language model.
    """

    vision: VisionParams
    backbone: BackboneParams


class ActionParams(TypedDict):
    """What every recipe without an expert has; some have more.

    Attributes:
        action_out: kernel (D, A), bias (A,): what the backbone makes of an action's token, as an action.
    """

    action_out: Linear


Component = VisionParams | BackboneParams | ExpertParams | ActionParams


def components(params: Params) -> dict[str, Component]:
    """Vision, backbone, expert and action by name: those that hold any array.

    Args:
        params: parameters, gradients, or a tree of `optim.split`, whose other leaves are None.
    """
    return {name: cast(Component, tree) for name, tree in params.items() if jax.tree.leaves(tree)}


def count(tree: object) -> int:
    """Number of parameters in a tree of arrays, or of their shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def path_name(path: tuple[Any, ...]) -> str:
    """A parameter's path as flags and logs write it.

    Args:
        path: keys, as `jax.tree_util.tree_leaves_with_path` gives them.

    >>> path_name((jax.tree_util.DictKey("backbone"), jax.tree_util.DictKey("norm")))
    'backbone/norm'
    """
    return "/".join(str(getattr(key, "key", key)) for key in path)
