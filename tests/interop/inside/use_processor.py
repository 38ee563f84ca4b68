"""Runs in an environment: use_processor.py FOLDER CHUNKS.npz OUT. What a processor makes of a tokenizer folder."""

import json
import sys
from pathlib import Path

import numpy as np
import transformers


def main(folder: Path, data: Path, out: Path) -> None:
    """Writes OUT/found.json (ids), OUT/actions.npy (decoded) and OUT/again (what save_pretrained leaves)."""
    chunks = np.load(data)["actions"]
    processor = transformers.AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    ids = [[int(i) for i in row] for row in processor(chunks)]
    actions = processor.decode(ids, time_horizon=chunks.shape[1], action_dim=chunks.shape[2])
    processor.save_pretrained(out / "again")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    np.save(out / "actions.npy", actions)
    found = {"ids": ids, "module": type(processor).__module__, "merges": len(backend["model"]["merges"])}
    (out / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
