"""Describes learning rates, and refuses those that would silently ruin a large or pretrained model. Imports no JAX."""

from fasttok.errors import InputError
from train.config import ModelConfig, TrainConfig

HIGHEST = (
    2e-4  # GPT-3's peak at 1.3B parameters, width 2048; larger ones have lower peaks (arXiv 2005.14165, table 2.1)
)
FULL_SIZE = "paligemma_3b_300m"
LARGE_COUNT, LARGE_WIDTH = 1_000_000_000, 2048


def check_rates(config: TrainConfig) -> None:
    """Refuses a peak rate above `HIGHEST` for pretrained weights and large models, unless `optim.high_rate` is set.

    Raises:
        InputError: there is such a rate, and `optim.high_rate` is not set.
    """
    optim = config.optim
    rates = {"--optim.learning-rate": optim.learning_rate, "--optim.expert-learning-rate": optim.expert_learning_rate}
    high = [f"{flag} {rate:g}" for flag, rate in rates.items() if rate is not None and rate > HIGHEST]
    why = "starts from --weights" if config.weights is not None else large(config)
    if high and why and not optim.high_rate:
        raise InputError(
            f"{' and '.join(high)} is above {HIGHEST:g}, and this run {why}: such a rate destroys what pretrained weights know "
            f"and makes large models diverge. Use 5e-5 (FAST, pi0.5) or 2.5e-5 (openpi's fine-tunes); if you mean it, add "
            "--optim.high-rate"
        )


def large(config: TrainConfig) -> str:
    """Says why the model counts as large, by its `--size` or by flags for its shapes; "" if it does not."""
    model = config.model
    if config.size == FULL_SIZE:
        return f"has --size {FULL_SIZE}"
    if max(model.width, model.vision_width, model.expert_width if model.flow else 0) >= LARGE_WIDTH:
        return f"has a model of width {LARGE_WIDTH} or more"
    count = parameters(model)
    return f"has a model of {count / 1e9:.1f} billion parameters" if count >= LARGE_COUNT else ""


def parameters(model: ModelConfig) -> int:
    """Returns the number of parameters in the matrices of the layers, with the expert's adaptive norms.

    The embedding, the other norms, and the first and last maps of each component are left out.
    """
    c, inner = model, model.heads * model.head_dim
    vision = c.vision_depth * (4 * c.vision_width**2 + 2 * c.vision_width * c.vision_mlp)

    def gemma(width: int, mlp: int) -> int:
        return c.depth * width * (2 * inner + 2 * c.head_dim + 3 * mlp)

    expert = gemma(c.expert_width, c.expert_mlp) + c.depth * 6 * c.expert_width**2
    return vision + gemma(c.width, c.mlp) + (expert if c.flow else 0)


def short_average(config: TrainConfig) -> str:
    """Returns a note if the moving average will hardly have moved when the run ends; "" if it will have, or if there is none."""
    left = (config.optim.ema or 0.0) ** config.steps
    if left < 0.1:
        return ""
    return (
        f"note: after {config.steps} steps, {100 * left:.0f} % of the moving average ({config.optim.ema}) is still what the run "
        "began with, and evaluation and export use that average; for so short a run use a smaller --optim.ema, or None"
    )


def in_words(config: TrainConfig) -> str:
    """Describes the learning rate over the run, as the plan of a run shows it.

    >>> from pathlib import Path
    >>> in_words(TrainConfig(Path("SHARDS"), Path("RUN")))
    '0 to 0.001 in 30 steps, then cosine to 0.0001'
    """
    optim = config.optim
    warmup = min(optim.warmup, config.steps // 2)
    then = "constant" if optim.schedule == "constant" else f"cosine to {optim.final * optim.learning_rate:g}"
    rate = (
        f"0 to {optim.learning_rate:g} in {warmup} steps, then {then}" if warmup else f"{optim.learning_rate:g}, {then}"
    )
    own = optim.expert_learning_rate
    return rate if own is None else f"{rate}; expert {own:g}"
