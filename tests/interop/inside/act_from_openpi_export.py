"""An export in openpi's own hands: its loader, its statistics and transforms, its model, on one observation.

Usage: act_from_openpi_export.py SOURCES DIR CASE.npz OUT.npz. SOURCES is `src` of a checkout of openpi. Its changed files of
transformers are laid over a copy of the package, as its README asks. Only its two tables of sizes are changed, to those in
DIR/fasttok.json. CASE.npz holds `state` (S,), `primary` and `wrist` (224, 224, 3) uint8, `tokens`, `noise` (H, D). OUT.npz gets
`bins` of the state for the prompt, and `chunk` (H, D) in raw units.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


def lay_over(sources: Path, folder: Path) -> None:
    """transformers with openpi's files, before the installed one."""
    found = importlib.util.find_spec("transformers")
    assert found is not None
    assert found.origin is not None
    shutil.copytree(Path(found.origin).parent, folder / "transformers")
    changed = sources / "openpi" / "models_pytorch" / "transformers_replace"
    shutil.copytree(changed, folder / "transformers", dirs_exist_ok=True)
    sys.path[:0] = [str(folder), str(sources)]


def patch_sizes(sizes: dict[str, Any]) -> None:
    """openpi's two tables of sizes."""
    from openpi.models import gemma
    from openpi.models_pytorch import gemma_pytorch

    paligemma = gemma_pytorch.PaliGemmaForConditionalGeneration

    def get_config(variant: str) -> Any:
        expert = variant == "gemma_300m"
        width, mlp = (sizes["expert_width"], sizes["expert_mlp"]) if expert else (sizes["width"], sizes["mlp"])
        return gemma.Config(width, sizes["depth"], mlp, sizes["heads"], 1, sizes["head_dim"])

    def build(config: Any) -> Any:
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size = sizes["vision_width"], sizes["vision_mlp"]
        vision.num_hidden_layers, vision.num_attention_heads = sizes["vision_depth"], sizes["vision_heads"]
        vision.projection_dim = sizes["width"]
        return paligemma(config)

    gemma.get_config = get_config
    gemma_pytorch.PaliGemmaForConditionalGeneration = build


def main(folder: Path, case: Path, out: Path) -> None:
    """Acts once."""
    import torch
    from openpi import transforms
    from openpi.models import model as openpi_model
    from openpi.models.pi0_config import Pi0Config
    from openpi.shared import normalize

    sizes, about = (json.loads((folder / name).read_text()) for name in ("fasttok.json", "config.json"))
    patch_sizes(sizes["model"])
    config = Pi0Config(
        dtype="float32", action_dim=about["action_dim"], action_horizon=about["action_horizon"], pi05=True,
        pytorch_compile_mode=None,
    )  # fmt: skip
    policy = config.load_pytorch(SimpleNamespace(model=config), str(folder / "model.safetensors")).eval()
    (assets,) = (folder / "assets").iterdir()
    stats, given = normalize.load(assets), np.load(case)
    seen = transforms.Normalize(stats, use_quantiles=True)({"state": given["state"].astype(np.float64)})
    bins = np.digitize(seen["state"], bins=np.linspace(-1, 1, 256 + 1)[:-1]) - 1
    keys = dict(zip(("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"), ("primary", "wrist", ""), strict=True))
    tokens, black = torch.tensor(given["tokens"])[None], np.zeros((224, 224, 3), np.uint8)
    data = {
        "image": {key: torch.tensor(given[slot] if slot else black)[None] for key, slot in keys.items()},
        "image_mask": {key: torch.tensor([bool(slot)]) for key, slot in keys.items()},
        "state": torch.tensor(np.pad(seen["state"], (0, config.action_dim - len(seen["state"]))), dtype=torch.float32)[
            None
        ],
        "tokenized_prompt": tokens,
        "tokenized_prompt_mask": torch.ones_like(tokens, dtype=torch.bool),
    }
    with torch.no_grad():
        observation = openpi_model.Observation.from_dict(data)
        chunk = policy.sample_actions("cpu", observation, noise=torch.tensor(given["noise"])[None])[0].numpy()
    raw = transforms.Unnormalize(stats, use_quantiles=True)({"state": seen["state"], "actions": chunk})
    np.savez(out, bins=bins, chunk=raw["actions"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        lay_over(Path(sys.argv[1]), Path(made))
        main(*map(Path, sys.argv[2:]))
