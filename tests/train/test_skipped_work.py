"""Work that need not be done is not done, and what is left out changes no number."""

import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.train.small import SMALL, make_batch
from train import losses, model
from train.config import DataConfig, TrainConfig
from train.setup import Setup


def without_targets() -> dict[str, Any]:
    batch = make_batch()
    return batch | {"loss_mask": np.zeros_like(batch["loss_mask"])}


def gradient(share: float, text: bool) -> Any:
    """Loss and gradient of a batch without text loss, compiled."""
    shapes = replace(SMALL, insulation=(share,))
    batch = without_targets()
    if not text:
        del batch["loss_mask"]
    rows = losses.prepare(batch, jax.random.key(1), 2, "tokens")
    params = jax.tree.map(lambda x: x + 0.01, model.init(jax.random.key(0), shapes))
    call = jax.jit(jax.value_and_grad(lambda p: losses.compute(p, shapes, rows), has_aux=True))
    return call.lower(params).compile(), params


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_step_without_text_loss_builds_no_token_losses(share: float) -> None:
    """At share 0 that leaves no backward pass through backbone and vision: their gradient is 0, as it was."""
    (full, params), (less, _) = gradient(share, True), gradient(share, False)
    ((total, metrics), grads), ((same, fewer), wanted) = less(params), full(params)
    np.testing.assert_allclose(total, same, rtol=1e-6)
    assert set(metrics) == set(fewer)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-4), grads, wanted)
    cost = less.cost_analysis()["flops"] / full.cost_analysis()["flops"]
    if share == 0:
        assert not any(np.any(x) for part in ("vision", "backbone") for x in jax.tree.leaves(grads[part]))
        assert cost < 0.55, cost  # a forward pass and the small expert
    else:
        assert any(np.any(x) for x in jax.tree.leaves(grads["vision"]))


@pytest.mark.parametrize("at_once", [200, None])
def test_logits_are_made_of_targets_and_of_one_chunk_s_rest_at_most(
    monkeypatch: pytest.MonkeyPatch, at_once: int | None
) -> None:
    made: list[int] = []
    real = model.logits

    def counted(params: Any, hidden: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: made.append(hidden.size // hidden.shape[-1]))
        return real(params, hidden)

    monkeypatch.setattr(model, "logits", counted)
    monkeypatch.setattr(losses, "POSITIONS_AT_ONCE", 7)
    params, batch = model.init(jax.random.key(0), SMALL), make_batch()
    batch["loss_mask"] = batch["loss_mask"] & (np.arange(12)[None] < np.array([12, 5, 6, 0, 7, 12])[:, None])
    losses.token_losses(params, model.run_backbone(params, batch, SMALL), batch, at_once)
    jax.effects_barrier()
    targets, chunk = int(batch["loss_mask"].sum()), 7 if at_once is None else 4
    assert set(made) == {chunk}
    assert sum(made) == -(-targets // chunk) * chunk < batch["loss_mask"].size / 2


def test_the_host_says_whether_a_step_has_text_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process looks at its rows; several, which must run one program, at the configuration."""

    def says(batch: dict[str, Any], data: DataConfig) -> bool:
        config = TrainConfig(Path("s"), Path("r"), data=data)
        return "loss_mask" in Setup.for_step(types.SimpleNamespace(config=config), batch)  # type: ignore[arg-type]

    flow_only = DataConfig(kinds=("robot",), discrete="none", subtasks=0.0)
    assert says(make_batch(), flow_only)
    assert not says(without_targets(), DataConfig())
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert says(without_targets(), DataConfig())
    assert says(without_targets(), replace(flow_only, subtasks=0.5))
    assert not says(make_batch(), flow_only)
