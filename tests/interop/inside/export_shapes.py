"""A full-size export's header against lerobot's own model, built on torch's meta device: no memory for either.

Usage: export_shapes.py DIR OUT.json. OUT.json: how many tensors the model has, and the keys of config.json as lerobot writes it.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.pi05.modeling_pi05 import PI05Policy, PI05Pytorch
from safetensors import safe_open


def main(folder: Path, out: Path) -> None:
    """Loads the header into the model; lerobot's own mapping of names between them."""
    config = PreTrainedConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = PI05Pytorch(config)
        with safe_open(folder / "model.safetensors", "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - a file, not a dict
            stored = {
                name: torch.empty(
                    one.get_shape(), dtype={"F32": torch.float32, "BF16": torch.bfloat16}[one.get_dtype()]
                )
                for name, one in slices.items()
            }
    holder = SimpleNamespace(model=model)
    fixed = PI05Policy._fix_pytorch_state_dict_keys(holder, stored, config)
    plain = {name.removeprefix("model."): tensor for name, tensor in fixed.items()}
    model.load_state_dict(plain, strict=True)
    config._save_pretrained(out.parent)
    keys = sorted(json.loads((out.parent / "config.json").read_text()))
    parameters = sum(tensor.numel() for tensor in model.parameters())
    out.write_text(json.dumps({"tensors": len(plain), "parameters": parameters, "keys": keys}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
