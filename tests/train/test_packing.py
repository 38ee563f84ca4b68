"""Packed rows: the losses and gradients of every form of the model are those of rows of their own."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from tests.train.small import SMALL, make_batch
from train import losses, model
from train.config import ModelConfig
from train.devices.packing import Packing, pack, sequences_of

WIDE = Packing(sequences=5, length=24, images=10, acting=5, prefix=16, image_tokens=4, state=False)


def batch_of(seed: int) -> dict[str, Any]:
    """As `make_batch`, with 13 text tokens, a continuous state, a row without any image and one without targets."""
    batch = make_batch(rows=6, length=13, seed=seed)
    batch["image_mask"][3] = False
    batch["loss_mask"][4] = False
    rng = np.random.default_rng(seed + 100)
    state_mask = np.array([True, True, False, True, True, False])
    return batch | {"state": rng.normal(size=(6, 5)).astype(np.float32) * state_mask[:, None], "state_mask": state_mask}


def loss_and_gradient(shapes: ModelConfig, batch: dict[str, Any]) -> Any:
    params = jax.tree.map(lambda x: x + 0.01, model.init(jax.random.key(0), shapes))
    rows = losses.prepare(batch, jax.random.key(1), 2, "tokens")
    return jax.jit(jax.value_and_grad(lambda p: losses.compute(p, shapes, rows, 0.7), has_aux=True))(params)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"insulation": (0.0, 0.5, 1.0)},
        {"flow": False},
        {"state": "continuous", "state_dim": 5, "insulation": (1.0,)},
        {"state": "continuous", "state_dim": 5, "state_in": "backbone"},
    ],
)
def test_packed_rows_have_the_losses_and_gradients_of_rows_of_their_own(more: dict[str, Any]) -> None:
    shapes = replace(SMALL, **more)
    for seed in range(2):
        batch = batch_of(seed)
        state = shapes.state_token == "backbone"
        packed = pack(batch, replace(WIDE, state=state, sequences=6))
        assert packed is not batch
        ((total, metrics), grads) = loss_and_gradient(shapes, packed)
        ((wanted, numbers), expected) = loss_and_gradient(shapes, batch)
        np.testing.assert_allclose(total, wanted, rtol=1e-5)
        assert metrics.keys() == numbers.keys()
        for name in numbers:
            np.testing.assert_allclose(metrics[name], numbers[name], rtol=1e-5, err_msg=name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5, rtol=1e-3), grads, expected)


def test_every_token_lies_in_one_place_and_beside_its_own_row_only() -> None:
    batch = batch_of(3)
    packed = pack(batch, WIDE)
    row, source = packed["packed_row"], packed["packed_from"]
    assert (row >= 0).sum() == 4 * batch["image_mask"].sum() + batch["token_mask"].sum()
    assert len(set(source[row >= 0].tolist())) == (row >= 0).sum()
    flat, owners = packed["packed_place"][batch["token_mask"]], np.nonzero(batch["token_mask"])[0]
    assert (row.ravel()[flat] == owners).all()
    assert (source.ravel()[flat] == 4 * WIDE.images + np.flatnonzero(batch["token_mask"])).all()
    for sequence in row:  # a row's tokens are in one piece
        changes = [int(r) for r, before in zip(sequence, [-2, *sequence], strict=False) if r != before]
        assert len(changes) == len(set(changes))


@pytest.mark.parametrize("short", [{"sequences": 4}, {"images": 6}, {"acting": 4}, {"prefix": 4}])
def test_a_batch_that_does_not_fit_stays_as_it_is(short: dict[str, Any]) -> None:
    batch = batch_of(0)
    assert pack(batch, replace(WIDE, **short)) is batch
    assert pack(batch, None) is batch


def test_sequences_hold_every_row_once_and_never_too_much() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(1, 60, rng.integers(1, 40))
        found = sequences_of(sizes, 60)
        assert sorted(row for rows in found for row in rows) == list(range(len(sizes)))
        assert max(sizes[rows].sum() for rows in found) <= 60
        assert len(found) <= 1.5 * np.ceil(sizes.sum() / 60) + 1
