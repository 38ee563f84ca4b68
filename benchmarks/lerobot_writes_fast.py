"""Runs where lerobot is installed: chunks that its pi0-FAST samples, with and without the mask. DIR CASES.npz CHECKOUT -> JSON.

lerobot's own loop and decoding; only its tables of sizes are changed. The few rows of the embedding that are no token of the run
cannot be drawn, with and without the mask: nobody trained them.
"""

import json
import statistics
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors


def main(folder: str, cases: str, checkout: str) -> None:
    """Prints {"without": {...}, "with": {...}, "steps": ..., "versions": {...}}: what came of the tokens, and times per chunk."""
    sys.path.insert(0, str(Path(checkout) / "tests" / "interop" / "inside"))
    sys.path.insert(1, checkout)
    from pi0_fast_from_export import load, mask_of

    torch.set_num_threads(1)  # two would wait for each other on a machine that does other things
    config = PreTrainedConfig.from_pretrained(folder)
    policy = load(folder)
    policy.config.temperature = 1.0
    pre, _ = make_pre_post_processors(config, pretrained_path=folder)
    paligemma = policy.model.paligemma_with_expert.paligemma
    names = policy._paligemma_tokenizer.convert_ids_to_tokens(list(range(policy._paligemma_tokenizer.vocab_size)))
    unknown = torch.tensor([name.startswith("<row_") for name in names])
    paligemma.lm_head.register_forward_hook(lambda _, __, logits: logits.masked_fill(unknown, -torch.inf))
    mask = mask_of(policy, folder)
    given = np.load(cases)
    observations = [seen(given, i) for i in range(len(given["task"]))]
    size = int(given["batch"])
    batches = [pre(stacked(observations[i : i + size])) for i in range(0, len(observations), size)]
    counts: dict[str, Counter[str]] = {"without": Counter(), "with": Counter()}
    spent: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    rows: Counter[str] = Counter()
    counted(policy, rows)
    for number, batch in enumerate(batches):
        for how in ("without", "with") if number % 2 else ("with", "without"):
            rows.clear()
            torch.manual_seed(number)
            spent[how].append(timed(policy, mask, batch, how == "with"))
            counts[how].update(rows)
    alone: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    for number in range(11):
        batch = pre(stacked(observations[number : number + 1]))
        for how in ("without", "with") if number % 2 else ("with", "without"):
            alone[how].append(timed(policy, mask, batch, how == "with"))
    said = {
        how: {
            **counts[how],
            "batched": [1e3 * statistics.median(kind) / size for kind in zip(*spent[how][1:], strict=True)],
            "alone": [1e3 * statistics.median(kind) for kind in zip(*alone[how][1:], strict=True)],
        }
        for how in counts
    }
    versions = {name: version(name) for name in ("lerobot", "transformers", "torch")}
    print(json.dumps({**said, "steps": config.max_decoding_steps, "versions": versions}))


def seen(given: Any, i: int) -> dict[str, Any]:
    """One observation, as a robot's program has it."""
    images = {name: torch.tensor(given[name][i]).permute(2, 0, 1) / 255 for name in given.files if "images" in name}
    return {"observation.state": torch.tensor(given["state"][i]), "task": str(given["task"][i]), **images}


def stacked(observations: list[dict[str, Any]]) -> dict[str, Any]:
    """Several as one batch."""
    return {
        key: [one[key] for one in observations] if key == "task" else torch.stack([one[key] for one in observations])
        for key in observations[0]
    }


def counted(policy: Any, rows: Any) -> None:
    """Has the policy's decoding count what it was given."""
    decode, vocabulary = policy.decode_actions_with_fast, len(policy.action_tokenizer.bpe_tokenizer)

    def listen(token_ids: list[Any], time_horizon: int, action_dim: int, **more: Any) -> Any:
        for ids in token_ids:
            if any(not 0 <= int(i) < vocabulary for i in ids):
                rows["other tokens"] += 1
                continue
            number = len(policy.action_tokenizer.bpe_tokenizer.decode(ids))
            size = time_horizon * action_dim
            rows["whole" if number == size else "too few" if number < size else "too many"] += 1
        return decode(token_ids, time_horizon, action_dim, **more)

    policy.decode_actions_with_fast = listen


def timed(policy: Any, mask: Any, batch: Any, masked: bool) -> tuple[float, float]:
    """Seconds, and CPU seconds, of chunks for a batch."""
    paligemma = policy.model.paligemma_with_expert.paligemma
    clock, cpu = time.perf_counter(), time.process_time()
    if masked:
        with mask.inside(paligemma.lm_head, paligemma.model.language_model.embed_tokens):
            policy.predict_action_chunk(batch)
    else:
        policy.predict_action_chunk(batch)
    return time.perf_counter() - clock, time.process_time() - cpu


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
