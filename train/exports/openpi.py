"""openpi's layout: what its PI0Pytorch reads (pi0.5).

Source: Physical-Intelligence/openpi@15a9616a, src/openpi/models_pytorch/pi0_pytorch.py,
examples/convert_jax_model_to_pytorch.py.
"""

import json
from dataclasses import dataclass

from fasttok.common import json_files
from train.exports.layout import Layout, LayoutFiles, check_pi05
from train.exports.source import ExportSource
from train.exports.tensor_file import ExportDtype
from train.exports.tensors import tensors


@dataclass(frozen=True)
class OpenpiConfig:
    """config.json as openpi's converter writes it.

    Attributes:
        action_dim: dimensions of an action.
        action_horizon: steps of a chunk.
        paligemma_variant: size of the backbone.
        action_expert_variant: size of the expert.
        precision: dtype of the weights.
    """

    action_dim: int
    action_horizon: int
    paligemma_variant: str
    action_expert_variant: str
    precision: ExportDtype


def files(source: ExportSource) -> LayoutFiles:
    """config.json."""
    model = source.config.model
    config = OpenpiConfig(model.action_dim, model.horizon, "gemma_2b", "gemma_300m", source.dtype)
    text = json.dumps(json_files.encode(config), indent=2) + "\n"
    return LayoutFiles({"config.json": text.encode()})


LAYOUT = Layout(
    check=lambda source: check_pi05(source, "openpi"),
    files=files,
    tensors=lambda flat, source: tensors(flat, source.config.model, "openpi", source.vocab_size),
)
