"""openpi's parameter names and layouts onto ours, for the golden numbers (see the reference data's README)."""

from typing import Any

import numpy as np

from train.config import ModelConfig

TINY = ModelConfig(
    image_size=56, patch=14, vision_width=48, vision_depth=2, vision_heads=4, vision_mlp=172,
    width=64, depth=3, heads=4, head_dim=16, mlp=256, expert_width=32, expert_mlp=128,
    vocab_size=512, horizon=8, action_dim=7, cameras=3,
)  # fmt: skip
IMG = "PaliGemma/img/"
LLM = "PaliGemma/llm/"
BLOCK = IMG + "Transformer/encoderblock/"
ATTENTION = BLOCK + "MultiHeadDotProductAttention_0/"


def names(expert: bool = True) -> dict[str, str]:
    """Our path (a/b/c) -> openpi's name; one array each, shapes equal up to the reshapes of `tree`."""
    out = {
        "vision/patch/kernel": IMG + "embedding/kernel",
        "vision/patch/bias": IMG + "embedding/bias",
        "vision/position": IMG + "pos_embedding",
        "vision/norm/scale": IMG + "Transformer/encoder_norm/scale",
        "vision/norm/bias": IMG + "Transformer/encoder_norm/bias",
        "vision/head/kernel": IMG + "head/kernel",
        "vision/head/bias": IMG + "head/bias",
        "backbone/embedding": LLM + "embedder/input_embedding",
        "backbone/norm": LLM + "final_norm/scale",
    }
    for ours, theirs in (("attention_norm", "LayerNorm_0"), ("mlp_norm", "LayerNorm_1")):
        for leaf in ("scale", "bias"):
            out[f"vision/blocks/{ours}/{leaf}"] = f"{BLOCK}{theirs}/{leaf}"
    for ours, theirs in (("query", "query"), ("key", "key"), ("value", "value"), ("output", "out")):
        for leaf in ("kernel", "bias"):
            out[f"vision/blocks/{ours}/{leaf}"] = f"{ATTENTION}{theirs}/{leaf}"
    for ours, theirs in (("up", "Dense_0"), ("down", "Dense_1")):
        for leaf in ("kernel", "bias"):
            out[f"vision/blocks/{ours}/{leaf}"] = f"{BLOCK}MlpBlock_0/{theirs}/{leaf}"
    for side, suffix in (("backbone", ""), ("expert", "_1")):
        if side == "expert" and not expert:
            continue
        layers = {
            "query": f"attn/q_einsum{suffix}/w",
            "key_value": f"attn/kv_einsum{suffix}/w",
            "output": f"attn/attn_vec_einsum{suffix}/w",
            "gate_up": f"mlp{suffix}/gating_einsum",
            "down": f"mlp{suffix}/linear",
        }
        for ours, theirs in layers.items():
            out[f"{side}/layers/{ours}"] = f"{LLM}layers/{theirs}"
        for ours, theirs in (("attention_norm", "pre_attention_norm"), ("mlp_norm", "pre_ffw_norm")):
            if side == "backbone":
                out[f"{side}/layers/{ours}"] = f"{LLM}layers/{theirs}/scale"
            else:
                for leaf in ("kernel", "bias"):
                    out[f"{side}/layers/{ours}/{leaf}"] = f"{LLM}layers/{theirs}_1/Dense_0/{leaf}"
    if expert:
        for leaf in ("kernel", "bias"):
            out[f"expert/norm/{leaf}"] = f"{LLM}final_norm_1/Dense_0/{leaf}"
            for ours, theirs in (
                ("action_in", "action_in_proj"),
                ("action_out", "action_out_proj"),
                ("time_in", "time_mlp_in"),
                ("time_out", "time_mlp_out"),
            ):
                out[f"expert/{ours}/{leaf}"] = f"{theirs}/{leaf}"
    return out


def tree(arrays: Any, expert: bool = True) -> dict[str, Any]:
    """An npz of openpi's names as our nested parameters; names that it lacks are left out."""
    out: dict[str, Any] = {}
    for ours, theirs in names(expert).items():
        if theirs not in arrays:
            continue
        value = np.asarray(arrays[theirs])
        if ours == "vision/patch/kernel":
            value = value.reshape(-1, value.shape[-1])
        elif ours == "vision/position":
            value = value[0]
        elif ours.endswith("layers/key_value"):
            value = value[:, :, 0]
        node = out
        *folders, leaf = ours.split("/")
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = value
    return out
