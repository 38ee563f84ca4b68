"""Prompts that lerobot's preprocessor makes of states and tasks: prompts_from_export.py DIR CASES.npz OUT.npz [TOKENIZER].

CASES.npz holds `states` (n, S), `tasks` (n,) and `actions` (m, D), normalised. OUT.npz gets `tokens` (all rows joined),
`lengths` (n,), and `raw` (m, D): the actions by lerobot's postprocessor, after it has seen the last state. TOKENIZER is the
folder of a tokenizer, for an export that was moved.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors


def main(folder: str, cases: Path, out: Path, tokenizer: str = "") -> None:
    """Runs lerobot's processors on them."""
    given = np.load(cases)
    moved = {"tokenizer_processor": {"tokenizer_name": tokenizer}} if tokenizer else {}
    config = PreTrainedConfig.from_pretrained(folder)
    pre, post = make_pre_post_processors(config, pretrained_path=folder, preprocessor_overrides=moved)
    rows = []
    for state, task in zip(given["states"], given["tasks"], strict=True):
        seen = pre({"observation.state": torch.tensor(state), "task": str(task)})
        rows.append(seen["observation.language.tokens"][0][seen["observation.language.attention_mask"][0]].numpy())
    raw = post(torch.tensor(given["actions"])).numpy()
    np.savez(out, tokens=np.concatenate(rows), lengths=np.array([len(row) for row in rows]), raw=raw)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
