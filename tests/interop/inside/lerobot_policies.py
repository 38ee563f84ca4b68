"""What scripts in lerobot's environment share: a policy of an export's sizes, loaded whole, and lerobot's observations."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

TIED = "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
HEAD = "model.paligemma_with_expert.paligemma.lm_head.weight"


def patch_sizes(module: Any, sizes: dict[str, Any], rows: int | None = None) -> None:
    """lerobot's two tables of sizes: get_gemma_config, and the configuration of vision encoder and vocabulary.

    Args:
        module: of the policy, which imports both.
        sizes: of our model.
        rows: of the vocabulary, and then pictures have our size, too; None leaves both as lerobot has them.
    """
    gemma, paligemma = module.GemmaConfig, module.PaliGemmaForConditionalGenerationWithPiGemma

    def get_gemma_config(variant: str) -> Any:
        expert = variant == "gemma_300m"
        width, mlp = (sizes["expert_width"], sizes["expert_mlp"]) if expert else (sizes["width"], sizes["mlp"])
        return gemma(width, sizes["depth"], mlp, sizes["heads"], 1, sizes["head_dim"])

    def build(config: Any) -> Any:
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size = sizes["vision_width"], sizes["vision_mlp"]
        vision.num_hidden_layers, vision.num_attention_heads = sizes["vision_depth"], sizes["vision_heads"]
        vision.patch_size, vision.projection_dim = sizes["patch"], sizes["width"]
        if rows is not None:
            vision.image_size, config.text_config.vocab_size = sizes["image_size"], rows
        return paligemma(config)

    module.get_gemma_config = get_gemma_config
    module.PaliGemmaForConditionalGenerationWithPiGemma = build


def sizes_of(folder: str) -> dict[str, Any]:
    """Sizes of an export's model."""
    sizes: dict[str, Any] = json.loads((Path(folder) / "fasttok.json").read_text())["model"]
    return sizes


def loaded_whole(policy: Any, folder: str) -> None:
    """Every tensor of the file is in the policy: lerobot's loader goes on with random weights where something does not fit."""
    held, stored = policy.state_dict(), load_file(Path(folder) / "model.safetensors")
    for name, tensor in stored.items():
        assert torch.equal(held[name], tensor), name
    assert sorted(set(held) - set(stored)) == [TIED]


def observations(given: Any) -> Iterator[dict[str, Any]]:
    """The observation of each case of a CASES.npz."""
    for i in range(sum(name.startswith("task") for name in given.files)):
        batch: dict[str, Any] = {"observation.state": torch.tensor(given[f"state{i}"]), "task": str(given[f"task{i}"])}
        for name in given.files:
            if name.startswith(f"image{i}/"):
                pixels = torch.tensor(np.asarray(given[name])).permute(2, 0, 1).to(torch.float32) / 255
                batch[f"observation.images.{name.split('/')[1]}"] = pixels
        yield batch
