"""An action expert beside the backbone, and `--model.insulation` between them: knowledge insulation and its relatives.

    ki, joint, pi0, frozen, pi0_fast and their variants (train/presets.py)

arXiv 2505.23705, section 5.2; pi0 is arXiv 2410.24164, section IV. `train.insulation` has masks and equations. The code is in the
core (`train.model`, `train.losses`, `train.policy`); this file only says where.
"""

from train import losses, model, policy
from train.config import TrainConfig
from train.costs import flops
from train.recipe import Recipe


def _check(_: TrainConfig) -> None:
    """Accepts every configuration: `ModelConfig` itself refuses those that make no sense."""


RECIPE = Recipe(
    loss="flow",
    parameters=model.init_expert,
    run=model.run_backbone,
    errors=losses.flow_errors,
    act=policy.integrate,
    drawn=True,
    prefill=model.run_backbone,
    flops=flops.expert,
    check=_check,
    pi05=True,
)
