"""Compiles every kernel that numba keeps on disk: `python -m tests.kernels`.

Several processes that compile the same kernel at once all take the time, so this runs before the workers of `pytest -n` start.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from fasttok import ActionTokenizer
from fasttok.actions.quantiles import summarize
from pipelines.common.pixels import copy_rgb
from tests.pipelines.made_shards import make_shards, read_all


def main() -> None:
    """Fits, encodes and decodes; reads shards; decodes an image."""
    chunks = np.random.default_rng(0).normal(size=(50, 10, 3)).cumsum(axis=1)
    tokenizer = ActionTokenizer.fit(chunks, vocab_size=500)
    tokenizer.decode(tokenizer.encode(chunks), horizon=10, action_dim=3)
    summarize(lambda: [chunks[0]], [0.5])
    copy_rgb(Image.new("RGB", (8, 8)), np.zeros((8, 8, 3), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        make_shards(Path(folder) / "shards", [[300, 100]])
        read_all(Path(folder) / "shards")


if __name__ == "__main__":
    main()
