"""lerobot's layout: what its PI05Policy reads."""

import json
from dataclasses import dataclass

from fasttok.common import json_files
from train.exports.layout import Layout, LayoutFiles, check_pi05
from train.exports.source import ExportSource
from train.exports.tensor_file import ExportDtype
from train.exports.tensors import tensors


@dataclass(frozen=True)
class LerobotConfig:
    """config.json as lerobot's pi0.5 writes it, but for the fields that weights do not depend on.

    Attributes:
        type: of the policy.
        chunk_size: steps of a chunk.
        n_action_steps: steps of a chunk that are carried out.
        max_action_dim: dimensions of an action.
        paligemma_variant: size of the backbone.
        action_expert_variant: size of the expert.
        image_resolution: height and width in pixels.
        dtype: of the weights.
    """

    type: str
    chunk_size: int
    n_action_steps: int
    max_action_dim: int
    paligemma_variant: str
    action_expert_variant: str
    image_resolution: tuple[int, int]
    dtype: ExportDtype


def files(source: ExportSource) -> LayoutFiles:
    """config.json."""
    model = source.config.model
    size = (model.image_size, model.image_size)
    config = LerobotConfig(
        "pi05", model.horizon, model.horizon, model.action_dim, "gemma_2b", "gemma_300m", size, source.dtype
    )
    text = json.dumps(json_files.encode(config), indent=2) + "\n"
    return LayoutFiles({"config.json": text.encode()})


LAYOUT = Layout(
    check=lambda source: check_pi05(source, "lerobot"),
    files=files,
    tensors=lambda flat, source: tensors(flat, source.config.model, "lerobot", source.vocab_size),
)
