"""Chooses the shapes of the packed batches of a run (`train.devices.packing`)."""

from itertools import islice

import jax
import numpy as np

from train import model
from train.config import ModelConfig
from train.devices.packing import Packing, sequences_of
from train.examples import Example
from train.prefetch import rows_of
from train.recipe import recipe_of
from train.setup import Setup

BATCHES_MEASURED = 32
WORTH = 0.85  # packing is not worth its gathers if the sequences are more than this share of the rows


def plan(setup: Setup) -> Packing | None:
    """Returns shapes that nearly every batch of a run fits, measured on its first batches.

    None if packing is impossible or not worth it.

    Args:
        setup: setup of the run.
    """
    config, shapes = setup.config, setup.model
    possible = config.data.pack and config.accumulate == 1 and recipe_of(shapes).run is model.run_backbone
    if not possible or jax.default_backend() != "cpu" or jax.device_count() > 1:
        return None
    rows, state = config.batch_size, shapes.state_token == "backbone"
    length = shapes.cameras * shapes.image_tokens + state + setup.batcher.length
    sequences = images = acting = prefix = 0
    read = setup.reader.batches(rows, weights=setup.weights, seed=config.seed)
    for batch in islice(read, BATCHES_MEASURED):
        examples = [setup.encoder.row(row) for row in rows_of(batch.columns)]
        before = [_prefix(example, shapes) for example in examples]
        sizes = [n + len(e.suffix) for n, e in zip(before, examples, strict=True)]
        sequences = max(sequences, len(sequences_of(np.array(sizes), length)))
        images = max(images, sum(len(e.images) for e in examples))
        acts = [n for n, e in zip(before, examples, strict=True) if e.actions is not None]
        acting, prefix = max(acting, len(acts)), max(prefix, *acts, 1)
    room = -(-rows // 32)  # for batches that need a little more than those that were measured
    sequences = sequences + room
    if sequences > WORTH * rows:
        return None
    return Packing(
        sequences, length, min(images + room, rows * shapes.cameras), min(acting + room, rows), -(-prefix // 8) * 8,
        shapes.image_tokens, state,
    )  # fmt: skip


def _prefix(example: Example, shapes: ModelConfig) -> int:
    """Returns the number of tokens before a row's suffix."""
    state = shapes.state_token == "backbone" and len(example.state) > 0
    return len(example.images) * shapes.image_tokens + state + len(example.prefix)
