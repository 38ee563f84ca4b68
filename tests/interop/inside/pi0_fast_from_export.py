"""A pi0-FAST export in lerobot's own hands: its processors, its policy's logits, tokens and chunks.

Usage: pi0_fast_from_export.py DIR CASES.npz OUT.npz CHECKOUT. Only lerobot's tables of sizes are changed, to those in
DIR/fasttok.json. CASES.npz holds for each case i: `state{i}` (S,), `image{i}/<slot>` (h, w, 3) uint8, `task{i}`, and `given{i}`
(n,) tokens of lerobot's that follow: a chunk. CHECKOUT holds fasttok, for the mask.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pi0_fast import modeling_pi0_fast
from lerobot.policies.pi0_fast.modeling_pi0_fast import PI0FastPolicy
from lerobot_policies import HEAD, loaded_whole, observations, patch_sizes, sizes_of
from safetensors.torch import load_file


def load(folder: str) -> PI0FastPolicy:
    """The policy, with every tensor of the file."""
    rows = len(load_file(Path(folder) / "model.safetensors")[HEAD])
    patch_sizes(modeling_pi0_fast, sizes_of(folder), rows)
    policy = PI0FastPolicy.from_pretrained(folder)
    loaded_whole(policy, folder)
    return policy


def main(folder: str, cases: Path, out: Path, checkout: str) -> None:
    """Runs every case: what it reads, the logits of each token that follows, its own chunk, and one under the mask."""
    config = PreTrainedConfig.from_pretrained(folder)
    policy = load(folder)
    pre, post = make_pre_post_processors(config, pretrained_path=folder)
    paligemma = policy.model.paligemma_with_expert.paligemma
    sys.path.insert(0, checkout)
    mask = mask_of(policy, folder)
    given, found = np.load(cases), {}
    for i, batch in enumerate(observations(given)):
        seen = pre(batch)
        tokens, real = seen["observation.language.tokens"], seen["observation.language.attention_mask"]
        found[f"tokens{i}"] = tokens[0][real[0].bool()].numpy()
        images, masks = policy._preprocess_images(seen)
        logits: list[np.ndarray] = []
        chosen = list(given[f"given{i}"])

        def listen(_: Any, __: Any, output: Any, logits: Any = logits, chosen: Any = chosen) -> Any:
            logits.append(output[0, -1].numpy().copy())
            forced = torch.full_like(output, -torch.inf)
            forced[..., chosen[len(logits) - 1]] = 0
            return forced

        hook = paligemma.lm_head.register_forward_hook(listen)
        with torch.no_grad():
            for how in ("sample_actions_fast_kv_cache", "sample_actions_fast"):
                logits.clear()
                getattr(policy.model, how)(images, masks, tokens, real, max_decoding_steps=len(chosen), temperature=0.0)
                found[f"{how}{i}"] = np.stack(logits)
        hook.remove()
        whole = torch.tensor([[*chosen, policy._paligemma_tokenizer.convert_tokens_to_ids("|")]])
        size = (config.n_action_steps, config.output_features["action"].shape[0])
        found[f"decoded{i}"] = post(policy.detokenize_actions(whole, *size))[0].numpy()
        found[f"chunk{i}"] = post(policy.predict_action_chunk(seen))[0].numpy()
        with mask.inside(paligemma.lm_head, paligemma.model.language_model.embed_tokens):
            policy.reset()
            found[f"masked{i}"] = np.stack(
                [post(policy.select_action(seen))[0].numpy() for _ in range(config.n_action_steps)]
            )
    np.savez(out, **found)


def mask_of(policy: PI0FastPolicy, folder: str) -> Any:
    """The mask for an export, as docs/constrained_decoding.md shows it."""
    from fasttok import ActionTokenizer
    from fasttok.codec.bpe import Bpe
    from fasttok.logits_mask import ActionFormat, LogitsMask
    from fasttok.placement import Placement

    text, config = policy._paligemma_tokenizer, policy.config
    files = Path(folder) / "action_tokenizer"  # ActionTokenizer.load needs msgspec, which this environment has not
    said = json.loads((files / "processor_config.json").read_text())
    bpe = Bpe.from_json((files / "tokenizer.json").read_text(), str(files))
    tok = ActionTokenizer(bpe, said["scale"], said["min_token"], said["fasttok"]["max_token"])
    place = Placement(text.vocab_size, config.fast_skip_tokens, tok.vocab_size)
    form = ActionFormat(place, text.eos_token_id, closing=[text.convert_tokens_to_ids("|")])
    return LogitsMask.of(
        tok, form, horizon=config.n_action_steps, action_dim=config.output_features["action"].shape[0],
        prompt_length=0, max_new_tokens=config.max_decoding_steps + 1,  # lerobot stops at "|": the end needs no step
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
