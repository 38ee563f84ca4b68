"""Says where each of our parameters is in other people's checkpoints: names and axes, in one table for both directions.

A rule says that our array `path` contains the tensors `names`. `{}` in a name is the layer (our first axis). If there are several
names, they divide the next axis among them (key, value; gate, up). The pattern names the axes of one tensor, ours on the left:
`n w k -> (n k) w` turns (heads, width, head_dim) into (heads * head_dim, width).

There are two families (only facts were taken from these sources):
    jax    openpi's tree (Physical-Intelligence/openpi@15a9616a, src/openpi/models/{gemma,siglip,pi0}.py); big_vision's PaliGemma,
           without the prefix "PaliGemma/"
    torch  transformers' PaliGemma, and around it openpi's PyTorch model (same commit, src/openpi/models_pytorch/pi0_pytorch.py,
           gemma_pytorch.py, examples/convert_jax_model_to_pytorch.py) and lerobot's pi0.5 (huggingface/lerobot@7427f318,
           src/lerobot/policies/pi05/modeling_pi05.py, pi_gemma.py). Linear weights are (out, in).
Tensors of both are found by one canonical name, whatever the version that wrote the file called them (`canonical`).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Family = Literal["jax", "torch", "fasttok"]
Shape = tuple[int, ...]
T = TypeVar("T")
Nested = dict[str, T | "Nested[T]"]
"""A tree of dicts with leaves of one type."""
PLAIN = ""  # pattern of a tensor with the same axes as ours
LINEAR = "i o -> o i"


@dataclass(frozen=True)
class Rule:
    """Says which tensors of a family make up one of our arrays; the module's docstring explains it.

    Attributes:
        path: path of our array.
        names: names of the tensors that it is made of.
        pattern: axes, ours -> theirs; PLAIN if they are the same.
    """

    path: str
    names: tuple[str, ...]
    pattern: str = PLAIN


def _pairs(path: str, name: str, pattern: str, ours: str = "kernel", theirs: str = "weight") -> list[Rule]:
    return [Rule(f"{path}/{ours}", (f"{name}{theirs}",), pattern), Rule(f"{path}/bias", (f"{name}bias",))]


def _torch() -> list[Rule]:
    block, layer = "vision.encoder.layers.{}.", "layers.{}."
    rules = [
        *_pairs("vision/patch", "vision.embeddings.patch_embedding.", "(p q c) w -> w c p q"),
        Rule("vision/position", ("vision.embeddings.position_embedding.weight",)),
        *_pairs("vision/norm", "vision.post_layernorm.", PLAIN, "scale"),
        *_pairs("vision/head", "projector.", LINEAR),
        *_pairs("vision/blocks/attention_norm", block + "layer_norm1.", PLAIN, "scale"),
        *_pairs("vision/blocks/mlp_norm", block + "layer_norm2.", PLAIN, "scale"),
        *_pairs("vision/blocks/output", block + "self_attn.out_proj.", "n k w -> w (n k)"),
        *_pairs("vision/blocks/up", block + "mlp.fc1.", LINEAR),
        *_pairs("vision/blocks/down", block + "mlp.fc2.", LINEAR),
        Rule("backbone/embedding", ("language.embed_tokens.weight",)),
        Rule("backbone/norm", ("language.norm.weight",)),
        Rule("backbone/layers/attention_norm", (f"language.{layer}input_layernorm.weight",)),
        Rule("backbone/layers/mlp_norm", (f"language.{layer}post_attention_layernorm.weight",)),
        *_pairs("expert/norm", "expert.norm.dense.", LINEAR),
        *_pairs("expert/layers/attention_norm", f"expert.{layer}input_layernorm.dense.", LINEAR),
        *_pairs("expert/layers/mlp_norm", f"expert.{layer}post_attention_layernorm.dense.", LINEAR),
    ]
    for side in ("query", "key", "value"):
        name = f"{block}self_attn.{side[0]}_proj."
        rules += [
            Rule(f"vision/blocks/{side}/kernel", (name + "weight",), "w n k -> (n k) w"),
            Rule(f"vision/blocks/{side}/bias", (name + "bias",), "n k -> (n k)"),
        ]
    for component, prefix in (("backbone", "language."), ("expert", "expert.")):
        attention, mlp = f"{prefix}{layer}self_attn.", f"{prefix}{layer}mlp."
        rules += [
            Rule(f"{component}/layers/query", (attention + "q_proj.weight",), "n w k -> (n k) w"),
            Rule(f"{component}/layers/key_value", (attention + "k_proj.weight", attention + "v_proj.weight"), LINEAR),
            Rule(f"{component}/layers/output", (attention + "o_proj.weight",), "n k w -> w (n k)"),
            Rule(f"{component}/layers/gate_up", (mlp + "gate_proj.weight", mlp + "up_proj.weight"), LINEAR),
            Rule(f"{component}/layers/down", (mlp + "down_proj.weight",), LINEAR),
        ]
    for ours, theirs in ACTION.items():
        rules += _pairs(f"expert/{ours}", f"{theirs}.", LINEAR)
    return rules


def _jax() -> list[Rule]:
    block = "img/Transformer/encoderblock/"
    attention, mlp = block + "MultiHeadDotProductAttention_0/", block + "MlpBlock_0/"
    same = {
        "vision/patch": "img/embedding",
        "vision/norm": "img/Transformer/encoder_norm",
        "vision/head": "img/head",
        "vision/blocks/attention_norm": block + "LayerNorm_0",
        "vision/blocks/query": attention + "query",
        "vision/blocks/key": attention + "key",
        "vision/blocks/value": attention + "value",
        "vision/blocks/output": attention + "out",
        "vision/blocks/mlp_norm": block + "LayerNorm_1",
        "vision/blocks/up": mlp + "Dense_0",
        "vision/blocks/down": mlp + "Dense_1",
        "expert/norm": "llm/final_norm_1/Dense_0",
        "expert/layers/attention_norm": "llm/layers/pre_attention_norm_1/Dense_0",
        "expert/layers/mlp_norm": "llm/layers/pre_ffw_norm_1/Dense_0",
        **{f"expert/{ours}": theirs for ours, theirs in ACTION.items()},
    }
    rules = [
        Rule("vision/position", ("img/pos_embedding",), "t w -> 1 t w"),
        Rule("backbone/embedding", ("llm/embedder/input_embedding",)),
        Rule("backbone/norm", ("llm/final_norm/scale",)),
        Rule("backbone/layers/attention_norm", ("llm/layers/pre_attention_norm/scale",)),
        Rule("backbone/layers/mlp_norm", ("llm/layers/pre_ffw_norm/scale",)),
    ]
    for path, name in same.items():
        leaf = "scale" if path.startswith("vision") and path.endswith("norm") else "kernel"
        pattern = "(p q c) w -> p q c w" if path == "vision/patch" else PLAIN
        rules += _pairs(path, name + "/", pattern, leaf, leaf)
    for component, suffix in (("backbone", ""), ("expert", "_1")):
        rules += [
            Rule(f"{component}/layers/query", (f"llm/layers/attn/q_einsum{suffix}/w",)),
            Rule(f"{component}/layers/key_value", (f"llm/layers/attn/kv_einsum{suffix}/w",), "l s w k -> l s 1 w k"),
            Rule(f"{component}/layers/output", (f"llm/layers/attn/attn_vec_einsum{suffix}/w",)),
            Rule(f"{component}/layers/gate_up", (f"llm/layers/mlp{suffix}/gating_einsum",)),
            Rule(f"{component}/layers/down", (f"llm/layers/mlp{suffix}/linear",)),
        ]
    return rules


ACTION = {
    "action_in": "action_in_proj",
    "action_out": "action_out_proj",
    "time_in": "time_mlp_in",
    "time_out": "time_mlp_out",
}
RULES: dict[Family, list[Rule]] = {"jax": _jax(), "torch": _torch()}

# What the writers of checkpoints put before the names above. The first pattern that matches is replaced, so that files of every
# version look alike: transformers moved `language_model.model.` to `model.language_model.` in 4.52.
LM_HEAD, EXPERT_HEAD = "lm_head.weight", "expert_lm_head.weight"
_PI = r"(?:model\.)?paligemma_with_expert\."
_HF = rf"(?:{_PI}paligemma\.)?(?:model\.)?"
CANONICAL: dict[Family, list[tuple[str, str]]] = {
    "torch": [
        (rf"{_PI}gemma_expert\.lm_head\.weight$", EXPERT_HEAD),
        (rf"{_PI}gemma_expert\.(?:model\.)?", "expert."),
        (rf"{_HF}(?:language_model\.)?lm_head\.weight$", LM_HEAD),
        (rf"{_HF}vision_tower\.(?:vision_model\.)?", "vision."),
        (rf"{_HF}multi_modal_projector\.linear\.", "projector."),
        (rf"{_HF}language_model\.(?:model\.)?", "language."),
        (r"model\.(?=action_|time_|state_)", ""),
    ],
    "jax": [(r"(?:params/)?(?:PaliGemma/)?(.*?)(?:/value)?$", r"\1")],
    "fasttok": [],
}
_OPENPI = "paligemma_with_expert.paligemma."
_OPENPI_PREFIXES = {
    # Tied tables are saved once, under the name that sorts first; lerobot copies this one to the other.
    "language.embed_tokens.weight": _OPENPI + "lm_head.weight",
    EXPERT_HEAD: "paligemma_with_expert.gemma_expert.lm_head.weight",
    "vision.": _OPENPI + "model.vision_tower.vision_model.",
    "projector.": _OPENPI + "model.multi_modal_projector.linear.",
    "language.": _OPENPI + "model.language_model.",
    "expert.": "paligemma_with_expert.gemma_expert.model.",
    "": "",
}
PREFIXES: dict[str, dict[str, str]] = {
    "paligemma": {
        "vision.": "vision_tower.vision_model.",
        "projector.": "multi_modal_projector.linear.",
        "language.": "language_model.model.",
    },
    "openpi": _OPENPI_PREFIXES,
    "lerobot": {ours: f"model.{theirs}" for ours, theirs in _OPENPI_PREFIXES.items()},
}


@dataclass(frozen=True)
class MappedTensor:
    """One tensor of a checkpoint and its place in our array: `array[index]`, with its axes in another order.

    Attributes:
        name: canonical name of the tensor.
        path: path of our array.
        index: index of the tensor's place in the first axes of our array; () if the tensor is the whole array.
        split: shape of this place; an axis that is several of theirs is split into these.
        order: order of these axes in the tensor.
        shape: shape of the tensor.
    """

    name: str
    path: str
    index: tuple[int, ...]
    split: Shape
    order: tuple[int, ...]
    shape: Shape

    def to_theirs(self, array: NDArray[Any]) -> NDArray[Any]:
        """Returns their tensor from our whole array, as a view if the axes allow one."""
        place: NDArray[Any] = array[self.index]
        return place.reshape(self.split).transpose(self.order).reshape(self.shape)

    def to_ours(self, tensor: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """Returns the part of our array that their tensor is, in the given shape."""
        grouped = tensor.reshape([self.split[axis] for axis in self.order])
        return grouped.transpose(np.argsort(self.order)).reshape(shape)


def mapped_tensors(family: Family, shapes: Mapping[str, Shape]) -> list[MappedTensor]:
    """Returns the tensors of a checkpoint of `family` for our arrays, by canonical name. Arrays without a rule have none.

    >>> shapes = {"backbone/layers/key_value": (1, 2, 8, 4), "backbone/norm": (8,)}
    >>> [(p.name, p.index, p.shape) for p in mapped_tensors("torch", shapes)][:2]
    [('language.norm.weight', (), (8,)), ('language.layers.0.self_attn.k_proj.weight', (0, 0), (4, 8))]
    """
    if family == "fasttok":
        return [MappedTensor(path, path, (), shape, tuple(range(len(shape))), shape) for path, shape in shapes.items()]
    out = []
    for rule in RULES[family]:
        shape = shapes.get(rule.path)
        if shape is None:
            continue
        stacked = "{}" in rule.names[0]
        place = shape[stacked + (len(rule.names) > 1) :]
        split, order, theirs = _axes(rule.pattern, place)
        for layer in range(shape[0]) if stacked else (None,):
            for number, name in enumerate(rule.names):
                index = (() if layer is None else (layer,)) + ((number,) if len(rule.names) > 1 else ())
                out.append(MappedTensor(name.format(layer), rule.path, index, split, order, theirs))
    return out


def _axes(pattern: str, shape: Shape) -> tuple[Shape, tuple[int, ...], Shape]:
    """Returns (our axes split up, their order, shape of the result) for a pattern on an array of `shape`."""
    if pattern == PLAIN:
        return shape, tuple(range(len(shape))), shape
    left, right = pattern.split(" -> ")
    if left.startswith("(p q c)"):  # the one axis of ours that is several of theirs: a square patch's pixels
        side = math.isqrt(shape[0] // 3)
        shape = (side, side, 3, *shape[1:])
    letters = re.findall("[a-z]", left)
    size = dict(zip(letters, shape, strict=True)) | {"1": 1}
    groups = [re.findall("[a-z1]", group) for group in re.findall(r"\([^)]*\)|[a-z1]", right)]
    order = tuple(letters.index(letter) for group in groups for letter in group if letter != "1")
    return shape, order, tuple(math.prod(size[letter] for letter in group) for group in groups)


def canonical(family: Family, name: str) -> str:
    """Returns a tensor's name without what differs between writers and versions.

    >>> [canonical("torch", n) for n in ("language_model.model.norm.weight", "model.language_model.norm.weight")]
    ['language.norm.weight', 'language.norm.weight']
    >>> canonical("torch", "model.paligemma_with_expert.paligemma.model.language_model.norm.weight")
    'language.norm.weight'
    >>> canonical("jax", "params/PaliGemma/img/head/bias/value")
    'img/head/bias'
    """
    for pattern, replacement in CANONICAL[family]:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return name


def spelled(layout: str, name: str) -> str:
    """Returns a canonical torch name as `layout` writes it.

    >>> spelled("lerobot", "expert.norm.dense.bias")
    'model.paligemma_with_expert.gemma_expert.model.norm.dense.bias'
    """
    prefix, theirs = next((p, t) for p, t in PREFIXES[layout].items() if name.startswith(p))
    return theirs + name[len(prefix) :]


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Turns a nested dict into {"a/b/c": leaf}.

    >>> flatten({"a": {"b": 1}, "c": 2})
    {'a/b': 1, 'c': 2}
    """
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {k: v for key, node in tree.items() for k, v in flatten(node, f"{prefix}/{key}" if prefix else key).items()}


def unflatten(flat: Mapping[str, T]) -> Nested[T]:
    """Undoes `flatten`.

    >>> unflatten({"a/b": 1, "c": 2})
    {'a': {'b': 1}, 'c': 2}
    """
    out: Nested[T] = {}
    for path, leaf in flat.items():
        node = out
        *folders, last = path.split("/")
        for folder in folders:
            node = cast(Nested[T], node.setdefault(folder, {}))
        node[last] = leaf
    return out
