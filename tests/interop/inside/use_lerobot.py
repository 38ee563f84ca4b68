"""Runs in an environment: use_lerobot.py FOLDER CHUNKS.npz OUT. lerobot's own normaliser and processor on raw chunks."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
from lerobot.policies.molmoact2.molmoact2_hf_model.action_tokenizer import UniversalActionProcessor
from lerobot.processor import NormalizerProcessorStep


def main(folder: Path, data: Path, out: Path) -> None:
    """Writes OUT/found.json: ids of what lerobot normalises by the quantiles in CHUNKS.npz."""
    file = np.load(data)
    chunks = file["actions"]
    step = NormalizerProcessorStep(
        features={"action": PolicyFeature(type=FeatureType.ACTION, shape=chunks.shape[2:])},
        norm_map={FeatureType.ACTION: NormalizationMode.QUANTILES},
        stats={"action": {"q01": file["q01"], "q99": file["q99"]}},
        dtype=torch.float64,
    )
    normalized = step._normalize_action(torch.from_numpy(chunks), inverse=False).numpy()
    processor = UniversalActionProcessor.from_pretrained(folder)
    ids = [[int(i) for i in row] for row in processor(normalized)]
    (out / "found.json").write_text(json.dumps({"ids": ids, "lowest": normalized.min(axis=(0, 1)).tolist()}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
