"""Runs where torch is: use_logits_mask.py FOLDER OUT.npz CHECKOUT. What `generate` makes of a model that knows nothing.

FOLDER is of an action tokenizer. OUT.npz holds, for each way to generate, its rows from the prompt's end on.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GemmaConfig, GemmaForCausalLM

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampled": {"do_sample": True, "temperature": 3.0, "top_k": 0},
    "top-k": {"do_sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9},
    "penalties": {"do_sample": True, "repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_new_tokens": 60},
    "beams": {"do_sample": False, "num_beams": 4},
    "sampled beams": {"do_sample": True, "num_beams": 3, "top_k": 0},
    "all beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 3},
}


def main(folder: Path, out: Path, checkout: str) -> None:
    """Rows of every way."""
    sys.path.insert(0, checkout)
    from fasttok import ActionTokenizer
    from fasttok.codec.bpe import Bpe
    from fasttok.logits_mask import ActionFormat, LogitsMask
    from fasttok.placement import Placement

    said = json.loads((folder / "processor_config.json").read_text())
    bpe = Bpe.from_json((folder / "tokenizer.json").read_text(), str(folder))
    tok = ActionTokenizer(bpe, said["scale"], said["min_token"], said["fasttok"]["max_token"])
    size = tok.vocab_size + 60
    form = ActionFormat(Placement(size, 10, tok.vocab_size), 1, opening=(7, 8), closing=(9,), pad_id=0)
    torch.manual_seed(0)
    model = GemmaForCausalLM(
        GemmaConfig(
            vocab_size=size, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=16, bos_token_id=2, eos_token_id=1, pad_token_id=0, initializer_range=0.5,
        )
    ).eval()  # fmt: skip
    prompts = torch.randint(10, 20, (6, 9))
    real = torch.arange(9) >= torch.tensor([0, 1, 2, 3, 5, 7])[:, None]
    inputs = {"input_ids": prompts * real, "attention_mask": real.long()}
    mask = LogitsMask.of(tok, form, horizon=5, action_dim=4, prompt_length=9)
    found = {}
    for name, way in WAYS.items():
        rows = model.generate(**inputs, **mask.arguments(), **way)
        found[name] = rows[:, 9:].numpy()
    short = LogitsMask.of(
        tok, form, horizon=5, action_dim=4, prompt_length=0, max_new_tokens=int(mask.completions.fewest[0, 20]) + 6
    )
    embeds = model.get_input_embeddings()(prompts)
    found["short, embeddings"] = model.generate(inputs_embeds=embeds, **short.arguments(), do_sample=True).numpy()
    told = LogitsMask.of(tok, form, horizon=5, action_dim=4)
    prompts[:, -2:] = torch.tensor([7, 8])
    rows = model.generate(input_ids=prompts * real, attention_mask=real.long(), **told.arguments(), do_sample=True)
    found["opening in the prompt"] = rows[:, 7:].numpy()
    np.savez(out, limit=np.array(short.max_new_tokens), **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
