"""What fits where: exact in what is held, near in the rest, and in the right order."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from benchmarks.train_step import random_batch
from train import model
from train.config import LoraConfig, ModelConfig, OptimConfig, TrainConfig
from train.costs import memory
from train.devices import sharding
from train.learning import lora
from train.params import count
from train.presets import SIZES
from train.step import begin, train_step

FULL = ModelConfig(**SIZES["paligemma_3b_300m"], cameras=3, horizon=50, action_dim=32, vocab_size=257_152)
SMALL = ModelConfig(**SIZES["small"], cameras=3, horizon=50, action_dim=32, vocab_size=2048)


def asked(shapes: ModelConfig, **more: Any) -> TrainConfig:
    base = TrainConfig(Path("SHARDS"), Path("RUN"), model=shapes, batch_size=4, flow_draws=1)
    return replace(base, **more)


def test_what_is_held_is_counted_exactly() -> None:
    params = memory.abstract_params(FULL, LoraConfig())
    assert memory.estimate(asked(FULL), FULL, 200).held == 12 * count(params)
    averaged = asked(FULL, optim=OptimConfig(ema=0.999))
    assert memory.estimate(averaged, FULL, 200).held == 16 * count(params)
    assert memory.estimate(averaged, FULL, 200, fsdp=8).held == 2 * count(params)
    expert = count(params["expert"])
    frozen = memory.estimate(asked(FULL, optim=OptimConfig(freeze=("vision", "backbone"))), FULL, 200)
    assert frozen.held == 4 * count(params) + 8 * expert


def test_less_that_learns_and_more_that_is_made_again_leave_room_for_more_rows() -> None:
    rows = memory.what_fits(asked(FULL), FULL, 200)
    by = {(way, remat): [0 if n == "-" else int(n) for n in fits] for way, remat, _, *fits in rows}
    ways = list(dict.fromkeys(way for way, _ in by))
    assert len(by) == 15
    for way in ways:
        for card in range(4):
            none, dots, layer = (by[way, remat][card] for remat in memory.REMATS)
            assert none <= dots <= layer
        assert by[way, "layer"] == sorted(by[way, "layer"])
    for more, less in pairwise(ways[:4]):
        assert all(a <= b for a, b in zip(by[more, "layer"], by[less, "layer"], strict=True)), (more, less)
    assert by["all, --optim.ema 0.999", "layer"][:2] == [0, 0]  # 54 GB are held
    assert by[ways[3], "layer"][0] > 0  # the way that fits a card of 24 GB


def test_the_table_of_the_docs_is_that_of_the_code() -> None:
    said = (Path(__file__).parents[2] / "docs" / "train.md").read_text(encoding="utf-8")
    assert memory.page() in said, "run: python -m train.costs.memory, and put its table into docs/train.md"


def test_a_ratio_scales_what_comes_and_goes_alone() -> None:
    found = memory.StepMemory(held=100.0, fixed=10.0, row=5.0)
    assert found.total(2) == 120.0
    assert found.scaled(2.0) == memory.StepMemory(100.0, 20.0, 10.0)
    assert (found.rows(124.9), found.rows(125.0), found.rows(50.0)) == (2, 3, 0)


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [LoraConfig(), LoraConfig(rank=16)])
def test_the_estimate_is_near_what_xla_compiles(adapted: LoraConfig) -> None:
    """At `--size small`, without any array: held exactly, all of it within a quarter."""
    shapes = replace(SMALL, remat="dots")
    config = asked(shapes, lora=adapted)
    mesh = sharding.make_mesh(1, 4)

    def init(key: jax.Array) -> object:
        return begin(lora.add(model.init(key, shapes), config.lora, key), config, mesh)

    batch = {n: jax.ShapeDtypeStruct(x.shape, x.dtype) for n, x in random_batch(shapes, 4, 200, 50, True).items()}
    state = jax.eval_shape(init, jax.random.key(0))
    lowered = train_step.lower(state, batch, jnp.int32(1), config=config, model_config=shapes, mesh=mesh)
    found: Any = lowered.compile().memory_analysis()
    guess = memory.estimate(config, shapes, 200)
    rows = sum(x.size * x.dtype.itemsize for x in batch.values())
    assert abs(found.argument_size_in_bytes - rows - guess.held) < 1 << 14  # each of some 150 arrays begins at 64 bytes
    assert guess.total(4) == pytest.approx(found.argument_size_in_bytes + found.temp_size_in_bytes, rel=0.25)
