"""An export in lerobot's own hands: its configuration, processors and policy on given observations.

Usage: act_from_export.py DIR CASES.npz OUT.npz. Only lerobot's tables of sizes are changed, to those in DIR/fasttok.json.
CASES.npz holds for each case i: `state{i}` (S,), `image{i}/<slot>` (h, w, 3) uint8, `task{i}`, `noise{i}` (H, D).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pi05 import modeling_pi05
from lerobot.policies.pi05.modeling_pi05 import PI05Policy
from lerobot_policies import loaded_whole, observations, patch_sizes, sizes_of

SEED = 7


def main(folder: str, cases: Path, out: Path) -> None:
    """Runs every case."""
    patch_sizes(modeling_pi05, sizes_of(folder))
    config = PreTrainedConfig.from_pretrained(folder)
    policy = PI05Policy.from_pretrained(folder)
    loaded_whole(policy, folder)
    pre, post = make_pre_post_processors(config, pretrained_path=folder)
    given, found = np.load(cases), {}
    for i, batch in enumerate(observations(given)):
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
