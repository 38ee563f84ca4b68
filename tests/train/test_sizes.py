"""How a size is trained: its numbers, the learning rate by step, and rates that are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from fasttok.errors import InputError
from train import model, optim
from train.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig
from train.learning import rates
from train.loop import run
from train.params import count
from train.presets import PRESETS, SIZES, TRAINING, get_preset
from train.study.arm_config import parse

FULL = "paligemma_3b_300m"
DEBUG: dict[str, Any] = {
    "learning_rate": 1e-3, "expert_learning_rate": None, "warmup": 30, "schedule": "cosine", "final": 0.1, "b1": 0.9, "b2": 0.999,
    "weight_decay": 1e-4, "clip": 1.0, "ema": None, "freeze": (), "high_rate": False,
}  # fmt: skip
NUMBERS: dict[str, dict[str, Any]] = {
    "debug": DEBUG,
    "small": DEBUG,
    FULL: DEBUG
    | {"learning_rate": 5e-5, "warmup": 1000, "schedule": "constant", "b2": 0.95, "weight_decay": 0.0, "ema": 0.999},
}
FULL_SHAPES = ("--model.width=2048", "--model.depth=18", "--model.heads=8", "--model.head-dim=256", "--model.mlp=16384")


def asked(*flags: str) -> TrainConfig:
    return parse(flags, Path("SHARDS"), Path("RUN"))


def test_every_size_says_how_it_is_trained() -> None:
    assert set(TRAINING) == set(SIZES) == set(NUMBERS)


@pytest.mark.parametrize("size", SIZES)
def test_numbers_of_a_size(size: str) -> None:
    config = get_preset("ki", size)
    for name, value in NUMBERS[size].items():
        assert getattr(config.optim, name) == value, name
    full = size == FULL
    assert config.augment == AugmentConfig(on=full)
    assert (config.steps, config.batch_size, config.flow_draws) == ((30_000, 32, 1) if full else (1000, 32, 2))


def test_debug_is_the_configuration_s_own_defaults() -> None:
    """Studies find their runs by a digest of these."""
    plain = TrainConfig(Path("SHARDS"), Path("RUN"))
    assert get_preset() == plain
    assert not {"schedule", "high_rate"} & set(plain.to_json()["optim"])
    assert get_preset("ki", "small").optim == plain.optim


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_what_and_a_size_says_how(preset: str, size: str) -> None:
    config, base, way = get_preset(preset, size), PRESETS[preset], TRAINING[size]
    assert config.data == base.data
    assert config.optim == replace(way.optim, freeze=base.optim.freeze)
    assert (config.model.insulation, config.model.flow) == (base.model.insulation, base.model.flow)
    assert config.model.width == SIZES[size].get("width", ModelConfig().width)


def test_flags_win_over_preset_and_size() -> None:
    flags = ("--optim.b2=0.99", "--augment.no-on", "--steps=7", "--optim.ema=None", "--flow-draws=3")
    config = asked("--preset=frozen", f"--size={FULL}", *flags)
    assert config.optim == replace(TRAINING[FULL].optim, b2=0.99, ema=None, freeze=("vision", "backbone"))
    assert (config.augment.on, config.steps, config.flow_draws, config.batch_size) == (False, 7, 3, 32)
    tuned = asked(f"--size={FULL}", "--optim.learning-rate=2.5e-5", "--optim.schedule=cosine", "--optim.ema=0.99")
    assert float(optim.schedule(tuned.optim, tuned.steps)(30_000)) == pytest.approx(2.5e-6)


@pytest.mark.parametrize(
    ("schedule", "steps", "wanted"),
    [
        ("constant", 5000, {0: 0, 1: 1e-5, 50: 5e-4, 99: 9.9e-4, 100: 1e-3, 101: 1e-3, 2000: 1e-3, 4999: 1e-3}),
        ("cosine", 1100, {0: 0, 50: 5e-4, 100: 1e-3, 350: 1e-4 + 9e-4 * (1 + 0.5**0.5) / 2, 600: 5.5e-4, 1100: 1e-4}),
        ("constant", 20, {0: 0, 5: 5e-4, 10: 1e-3, 19: 1e-3}),  # half of the steps warm up at most
        ("cosine", 20, {0: 0, 5: 5e-4, 10: 1e-3, 15: 5.5e-4, 20: 1e-4}),
    ],
)
def test_learning_rate_by_step(schedule: Any, steps: int, wanted: dict[int, float]) -> None:
    config = OptimConfig(learning_rate=1e-3, warmup=100, schedule=schedule)
    curve = optim.schedule(config, steps)
    for step, rate in wanted.items():
        assert float(curve(step)) == pytest.approx(rate, rel=1e-5, abs=1e-12), step


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_without_warmup_the_first_rate_is_the_peak(schedule: Any) -> None:
    for config, steps in ((OptimConfig(warmup=0, schedule=schedule), 9), (OptimConfig(schedule=schedule), 1)):
        assert float(optim.schedule(config, steps)(0)) == pytest.approx(1e-3)


def test_the_rate_that_is_used_is_the_rate_of_the_schedule() -> None:
    """An update of SGD-like size: AdamW's first steps move each number by the rate."""
    config = OptimConfig(learning_rate=1e-2, warmup=2, schedule="constant", weight_decay=0.0, clip=1e9)
    chain, params, moved = optim.make(config, 100), {"backbone": {"norm": np.zeros(3, np.float32)}}, []
    state = chain.init(params)
    for _ in range(5):
        updates, state = chain.update({"backbone": {"norm": np.ones(3, np.float32)}}, state, params)
        moved.append(float(-updates["backbone"]["norm"][0]))
    np.testing.assert_allclose(moved, [0, 5e-3, 1e-2, 1e-2, 1e-2], rtol=1e-4)


@pytest.mark.parametrize(
    "flags",
    [
        ("--weights=paligemma", "--optim.learning-rate=2.1e-4"),
        ("--weights=paligemma",),  # debug's own 1e-3
        ("--weights=paligemma", "--optim.learning-rate=1e-4", "--optim.expert-learning-rate=1e-3"),
        (f"--size={FULL}", "--optim.learning-rate=1e-3"),
        (f"--size={FULL}", "--optim.expert-learning-rate=3e-4"),
        (f"--size={FULL}", "--preset=frozen", "--optim.learning-rate=1e-3"),
        FULL_SHAPES,
        ("--model.width=2048",),
        ("--model.expert-width=2048",),
        ("--size=small", "--model.depth=32", "--model.mlp=32768"),  # narrow, and over a billion parameters
        ("--model.vision-width=4096", "--model.vision-depth=27"),
    ],
)
def test_high_rates_are_refused_unless_they_are_meant(flags: tuple[str, ...]) -> None:
    config = asked(*flags)
    with pytest.raises(InputError, match=r"is above 0\.0002.*--optim\.high-rate"):
        rates.check_rates(config)
    rates.check_rates(replace(config, optim=replace(config.optim, high_rate=True)))
    with pytest.raises(InputError, match="high-rate"):
        run(config)  # before anything is read or written
    rates.check_rates(asked(*flags, "--optim.learning-rate=2e-4", "--optim.expert-learning-rate=2e-4"))


def test_rates_of_small_models_from_nothing_are_free() -> None:
    for size in ("debug", "small"):
        rates.check_rates(asked(f"--size={size}", "--optim.learning-rate=1e-2", "--init-from=RUN"))
    for preset in PRESETS:
        rates.check_rates(asked(f"--preset={preset}", f"--size={FULL}", "--weights=paligemma"))


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_counted_about_right(size: str) -> None:
    config = ModelConfig(**SIZES[size], vocab_size=1, horizon=1, action_dim=1)
    shapes: Any = jax.eval_shape(lambda key: model.init(key, config), jax.random.key(0))
    found = sum(count(shapes[name]["blocks" if name == "vision" else "layers"]) for name in shapes)
    assert rates.parameters(config) == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1e-3}, {"learning_rate": float("nan")}, {"learning_rate": float("inf")}, {"warmup": -1},
        {"expert_learning_rate": float("nan")}, {"final": 1.5}, {"final": -0.1}, {"b1": 1.1}, {"b2": -0.5},
        {"clip": float("nan")}, {"clip": 0.0}, {"b1": 1.0}, {"b2": 1.0}, {"weight_decay": -1.0},
        {"learning_rate": 0.0, "expert_learning_rate": 1e-3}, {"ema": float("nan")},
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    """A rate that is not a number would pass every comparison."""
    with pytest.raises(InputError, match="--optim"):
        OptimConfig(**wrong)


def test_a_run_too_short_for_its_moving_average_says_so() -> None:
    config = get_preset("ki", FULL)
    assert rates.short_average(config) == rates.short_average(get_preset()) == ""
    assert "90 % of the moving average" in rates.short_average(replace(config, steps=100))


def test_the_plan_shows_the_learning_rate() -> None:
    words = rates.in_words
    assert words(get_preset("ki", FULL)) == "0 to 5e-05 in 1000 steps, then constant"
    assert words(replace(get_preset("ki", FULL), steps=100)) == "0 to 5e-05 in 50 steps, then constant"
    assert (
        words(asked("--optim.warmup=0", "--optim.expert-learning-rate=3e-3")) == "0.001, cosine to 0.0001; expert 0.003"
    )
