"""The model's parameters, as nested dicts of arrays. The path of a parameter is its keys, such as backbone/layers/query.

Shapes: W width and M mlp of the component at hand, D width of the backbone, E width of the expert, L layers, N query heads,
K head_dim, P numbers of a patch, T patches of an image, V vocabulary, A action dimensions, S state dimensions. All are float32.
Layers are stacked on a leading axis L, along which a scan runs: one layer gets arrays under the same keys, without L.

The types say what a mapping contains. At run time they are plain dicts, which JAX flattens in the order of their sorted keys.
"""

from typing import Any, Generic, NotRequired, TypedDict, TypeVar, cast

import jax
from jax import Array

Norm = TypeVar("Norm")
Tree = TypeVar("Tree")
LORA = "lora"
"""Key of the adapters in a stack of layers, if it has any."""


class Linear(TypedDict):
    """x @ kernel + bias.

    Attributes:
        kernel: (in, out), or (L, ..., ...) if layers are stacked and heads have axes of their own.
        bias: (out,), likewise.
    """

    kernel: Array
    bias: Array


class LayerNorm(TypedDict):
    """A norm of the vision encoder.

    Attributes:
        scale: (W,), or (L, W).
        bias: (W,), or (L, W).
    """

    scale: Array
    bias: Array


class Adapter(TypedDict):
    """LoRA's two matrices for each of the Z matrices (in, out) in an array. Z is 2 for key_value and gate_up, and else 1.

    Attributes:
        a: (L, Z, in, rank).
        b: (L, Z, rank, out).
    """

    a: Array
    b: Array


class Adapters(TypedDict):
    """All adapters of a stack (`train.learning.lora`).

    Attributes:
        scale: (L,), alpha / rank; it never learns.
        matrices: by the name of the adapted parameter.
    """

    scale: Array
    matrices: dict[str, Adapter]


class VisionBlocks(TypedDict):
    """The transformer blocks of the vision encoder.

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
    """Gemma's layers. The backbone's norms are scales (L, W); the expert's norms compute scale, shift and gate from a condition.

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
        embedding: (V, D); the logits use it, too.
        layers: the stack.
        norm: (D,).
        state_in: kernel (S, D), bias (D,); only if a continuous state enters the backbone.
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
        state_in: kernel (S, E), bias (E,); only if a continuous state enters the expert.
    """

    layers: Layers[Linear]
    norm: Linear
    action_in: Linear
    action_out: Linear
    time_in: Linear
    time_out: Linear
    state_in: NotRequired[Linear]


class ActionComponents(TypedDict):
    """Components that the recipe (`ModelConfig.recipe`) adds to vision and backbone.

    Attributes:
        expert: the action expert; absent if `ModelConfig.flow` is False, or if the recipe has none.
        action: what a recipe of train/recipes/ has instead of an expert; the recipe's file says what it contains.
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
    """Parameters that every recipe without an expert has; some recipes have more.

    Attributes:
        action_out: kernel (D, A), bias (A,): the last map from a chunk token to an action, or to its velocity.
    """

    action_out: Linear


Component = VisionParams | BackboneParams | ExpertParams | ActionParams


def components(params: Params) -> dict[str, Component]:
    """Returns those of the components vision, backbone, expert and action that contain any array, by name.

    Args:
        params: parameters, gradients, or a tree of `optim.split`, whose other leaves are None.
    """
    return {name: cast(Component, tree) for name, tree in params.items() if jax.tree.leaves(tree)}


def count(tree: object) -> int:
    """Returns the number of parameters in a tree of arrays, or of their shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def path_name(path: tuple[Any, ...]) -> str:
    """Returns a parameter's path as flags and logs write it.

    Args:
        path: keys, as `jax.tree_util.tree_leaves_with_path` gives them.

    >>> path_name((jax.tree_util.DictKey("backbone"), jax.tree_util.DictKey("norm")))
    'backbone/norm'
    """
    return "/".join(str(getattr(key, "key", key)) for key in path)
