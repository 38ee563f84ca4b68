"""An export in lerobot's own hands: its configuration, processors and policy on given observations.

Usage: act_from_export.py DIR CASES.npz OUT.npz. Only lerobot's tables of sizes are changed, to those in DIR/fasttok.json.
CASES.npz holds for each case i: `state{i}` (S,), `image{i}/<slot>` (h, w, 3) uint8, `task{i}`, `noise{i}` (H, D).
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pi05 import modeling_pi05
from lerobot.policies.pi05.modeling_pi05 import PI05Policy
from safetensors.torch import load_file

SEED = 7


def patch_sizes(sizes: dict[str, Any]) -> None:
    """lerobot's two tables of sizes: get_gemma_config, and the configuration of the vision encoder."""
    gemma, paligemma = modeling_pi05.GemmaConfig, modeling_pi05.PaliGemmaForConditionalGenerationWithPiGemma

    def get_gemma_config(variant: str) -> Any:
        expert = variant == "gemma_300m"
        width, mlp = (sizes["expert_width"], sizes["expert_mlp"]) if expert else (sizes["width"], sizes["mlp"])
        return gemma(width, sizes["depth"], mlp, sizes["heads"], 1, sizes["head_dim"])

    def build(config: Any) -> Any:
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size = sizes["vision_width"], sizes["vision_mlp"]
        vision.num_hidden_layers, vision.num_attention_heads = sizes["vision_depth"], sizes["vision_heads"]
        vision.patch_size, vision.projection_dim = sizes["patch"], sizes["width"]
        return paligemma(config)

    modeling_pi05.get_gemma_config = get_gemma_config
    modeling_pi05.PaliGemmaForConditionalGenerationWithPiGemma = build


def main(folder: str, cases: Path, out: Path) -> None:
    """Runs every case."""
    patch_sizes(json.loads((Path(folder) / "fasttok.json").read_text())["model"])
    config = PreTrainedConfig.from_pretrained(folder)
    policy = PI05Policy.from_pretrained(folder)
    held, stored = policy.state_dict(), load_file(Path(folder) / "model.safetensors")
    for name, tensor in stored.items():  # its loader goes on with random weights where something does not fit
        assert torch.equal(held[name], tensor), name
    rest = sorted(set(held) - set(stored))
    assert rest == ["model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"], rest
    pre, post = make_pre_post_processors(config, pretrained_path=folder)
    given, found = np.load(cases), {}
    for i in range(sum(name.startswith("task") for name in given.files)):
        batch: dict[str, Any] = {"observation.state": torch.tensor(given[f"state{i}"]), "task": str(given[f"task{i}"])}
        for name in given.files:
            if name.startswith(f"image{i}/"):
                pixels = torch.tensor(given[name]).permute(2, 0, 1).to(torch.float32) / 255
                batch[f"observation.images.{name.split('/')[1]}"] = pixels
        seen = pre(batch)
        mask = seen["observation.language.attention_mask"][0]
        found[f"tokens{i}"] = seen["observation.language.tokens"][0][mask].numpy()
        noise = torch.tensor(given[f"noise{i}"])[None]
        chunk = policy.predict_action_chunk(seen, noise=noise)
        found[f"chunk{i}"] = post(chunk)[0].numpy()
        policy.reset()
        torch.manual_seed(SEED)
        found[f"drawn{i}"] = policy.model.sample_noise(noise.shape, "cpu")[0].numpy()
        torch.manual_seed(SEED)
        steps = [post(policy.select_action(seen))[0].numpy() for _ in range(config.n_action_steps)]
        found[f"actions{i}"] = np.stack(steps)
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
