"""Knowledge insulation on the debug model: exact zeros where the paper has a stop-gradient, and a test that can fail."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fasttok.errors import InputError
from tests.train.small import SMALL, make_batch
from train import insulation, losses, model
from train.config import LossNorm, ModelConfig, OptimConfig, TrainConfig
from train.devices import sharding
from train.step import begin, train_step


def compute(
    params: Any, config: ModelConfig, batch: Any, key: Any, loss_norm: LossNorm = "tokens", alpha: float = 1.0
) -> Any:
    """The losses as they are logged."""
    total, metrics = losses.compute(params, config, losses.prepare(batch, key, 1, loss_norm), alpha)
    return total, losses.finish(metrics)


def take_steps(params: Any, config: TrainConfig, count: int = 1) -> Any:
    """Parameters after some steps on one batch."""
    mesh = sharding.make_mesh(1, 6 * jax.device_count())
    state = begin(jax.tree.map(jnp.copy, params), config, mesh)
    for step in range(1, count + 1):
        state, _ = train_step(state, make_batch(), jnp.int32(step), config=config, model_config=config.model, mesh=mesh)
    return state.params


@pytest.fixture(scope="module")
def moved() -> Any:
    """Parameters of SMALL after a small move: norms begin at zero."""
    return jax.tree.map(lambda x: x + 0.01, model.init(jax.random.key(0), SMALL))


def flow_gradient(params: Any, config: ModelConfig) -> Any:
    batch = make_batch()

    def flow(params: Any) -> jax.Array:
        return compute(params, config, batch, jax.random.key(1))[1]["loss_flow"]

    return jax.jit(jax.grad(flow))(params)


def largest(tree: Any) -> dict[str, float]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): float(jnp.abs(leaf).max()) for path, leaf in leaves}


def test_flow_loss_leaves_exactly_zero_on_the_backbone(moved: Any) -> None:
    grads = flow_gradient(moved, SMALL)
    assert set(largest({k: grads[k] for k in ("vision", "backbone")}).values()) == {0.0}
    assert min(largest(grads["expert"]["layers"]).values()) > 0


def test_the_zero_gradient_test_fails_when_insulation_is_1(moved: Any) -> None:
    """Joint training reaches every backbone parameter that makes some key or value, and no other."""
    found = largest(flow_gradient(moved, dataclasses.replace(SMALL, insulation=(1.0,))))
    reached = {name for name, value in found.items() if value > 0 and not name.startswith("['expert']")}
    assert reached
    layers = flow_gradient(moved, dataclasses.replace(SMALL, insulation=(1.0,)))["backbone"]["layers"]
    for name, leaf in layers.items():
        per_layer = np.abs(np.asarray(leaf)).reshape(SMALL.depth, -1).max(axis=1)
        assert (per_layer[:-1] > 0).all(), name
        # The last layer's queries, output and MLP only make the backbone's own output.
        assert (per_layer[-1] > 0) == (name in ("attention_norm", "key_value")), name
    assert found["['backbone']['norm']"] == 0.0
    assert "['vision']['patch']['kernel']" in reached


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_insulation_of_one_layer(moved: Any, layer: int) -> None:
    """Only keys and values of the open layer, and what lies before them, receive a gradient."""
    shares = tuple(float(i == layer) for i in range(3))
    grads = flow_gradient(moved, dataclasses.replace(SMALL, insulation=shares))
    per_layer = np.abs(np.asarray(grads["backbone"]["layers"]["key_value"])).reshape(3, -1).max(axis=1)
    assert (per_layer > 0).tolist() == [i <= layer for i in range(3)]


def test_partial_insulation_scales_the_gradient_and_nothing_else() -> None:
    x = jax.random.normal(jax.random.key(0), (3, 2, 5))
    for share in (0.0, 0.25, 1.0):
        value, grad = jax.value_and_grad(lambda y, s=share: jnp.sum(insulation.insulate(y, (s,) * 3) ** 2))(x)
        assert jnp.allclose(value, jnp.sum(x**2))
        assert jnp.allclose(grad, share * 2 * x)


def test_masks_are_those_of_the_docstring() -> None:
    valid, causal = jnp.array([[1, 1, 1, 1, 1, 0]], bool), jnp.array([[0, 0, 0, 1, 1, 0]], bool)
    drawn = [line.split("a    ")[0] for line in (insulation.__doc__ or "").splitlines()]
    rows = [
        line.split()[1:7]
        for line in drawn
        if line.strip()[:2] in ("i ", "p ", "s ", "- ") and ("x" in line or "." in line)
    ]
    expected = [[cell == "x" for cell in row] for row in rows if len(row) == 6 and set(row) <= {"x", "."}]
    assert len(expected) == 6
    assert insulation.backbone_mask(valid, causal)[0].tolist() == expected
    seen = insulation.expert_mask(valid, causal, 2)[0]
    assert seen.tolist() == [[True, True, True, False, False, False, True, True]] * 2
    assert insulation.expert_positions(valid, causal, 2).tolist() == [[3, 4]]


@pytest.mark.slow
def test_fast_tokens_and_actions_do_not_see_each_other() -> None:
    """Other FAST tokens change no velocity; other actions change no token loss."""
    params = model.init(jax.random.key(0), SMALL)
    batch = make_batch()
    noisy, time = jax.random.normal(jax.random.key(2), (6, 4, 3)), jnp.full(6, 0.3)

    def velocity(batch: Any) -> Any:
        return model.run_expert(params, model.run_backbone(params, batch, SMALL), noisy, time, SMALL)

    other = dict(batch, tokens=np.where(batch["token_ar"], 7, batch["tokens"]))
    assert np.array_equal(velocity(batch), velocity(other))
    third = dict(batch, tokens=np.where(batch["token_ar"], batch["tokens"], 7))
    assert not np.allclose(velocity(batch), velocity(third))
    key = jax.random.key(3)
    first = compute(params, SMALL, batch, key)[1]
    second = compute(params, SMALL, dict(batch, actions=-batch["actions"]), key)[1]
    assert float(first["ce_fast"]) == float(second["ce_fast"])
    assert float(first["loss_flow"]) != float(second["loss_flow"])


def test_padding_and_absent_cameras_change_nothing() -> None:
    """What is masked (text padding, an absent camera's pixels, padded steps and dims) has no influence on any loss."""
    params, key, batch = model.init(jax.random.key(0), SMALL), jax.random.key(1), make_batch()
    base = compute(params, SMALL, batch, key)[1]
    junk = dict(batch)
    junk["tokens"] = np.where(batch["token_mask"], batch["tokens"], 9)
    junk["images"] = np.where(batch["image_mask"][..., None, None, None], batch["images"], 0.5)
    longer = {k: np.pad(junk[k], ((0, 0), (0, 5))) for k in ("tokens", "token_mask", "token_ar", "loss_mask")}
    for other in (junk, junk | longer):
        found = compute(params, SMALL, other, key)[1]
        for name, value in base.items():
            assert np.allclose(found[name], value, atol=2e-6), name
    assert int(base["n_flow"]) == batch["action_mask"].sum()
    assert int(base["n_vlm"]) == batch["loss_mask"][-1].sum()


def test_losses_add_up_with_one_denominator() -> None:
    params, batch = model.init(jax.random.key(0), SMALL), make_batch()
    total, m = compute(params, SMALL, batch, jax.random.key(1), alpha=0.5)
    assert np.isclose(total, m["loss_vlm"] + m["loss_fast"] + 0.5 * m["loss_flow"])
    n = m["n_vlm"] + m["n_fast"]
    assert np.isclose(m["loss_vlm"] * n, m["ce_vlm"] * m["n_vlm"])
    assert np.isclose(m["loss_fast"] * n, m["ce_fast"] * m["n_fast"])


@pytest.mark.slow
def test_backbone_under_ki_learns_as_without_the_flow_loss(tmp_path: Any) -> None:
    """A step with alpha 1 and one with alpha 0 move the backbone by the same bits; under joint training they do not."""

    def backbone(alpha: float, config: ModelConfig) -> Any:
        optim = OptimConfig(clip=1e9, learning_rate=1e-2, warmup=0)
        train = TrainConfig(tmp_path, tmp_path, alpha=alpha, optim=optim, model=config)
        params = take_steps(model.init(jax.random.key(0), config), train)
        return params["backbone"]

    same = jax.tree.map(np.array_equal, backbone(1.0, SMALL), backbone(0.0, SMALL))
    assert all(jax.tree.leaves(same))
    joint = dataclasses.replace(SMALL, insulation=(1.0,))
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, backbone(1.0, joint), backbone(0.0, joint))))


@pytest.mark.parametrize("at_once", [pytest.param(1, marks=pytest.mark.slow), 900, 10**9])
def test_chunks_of_the_cross_entropy_change_nothing(at_once: int) -> None:
    """Loss and gradient equal those of all logits at once, however few are made at a time."""
    batch = make_batch()
    batch["loss_mask"][2] = False  # a row without targets
    params = model.init(jax.random.key(0), SMALL)

    def chunked(params: Any) -> jax.Array:
        context = model.run_backbone(params, batch, SMALL)
        return jnp.sum(losses.token_losses(params, context, batch, at_once) ** 2)

    def whole(params: Any) -> jax.Array:
        hidden = model.run_backbone(params, batch, SMALL).hidden[:, -13:-1]
        scores = jax.nn.log_softmax(model.logits(params, hidden))
        found = -jnp.take_along_axis(scores, batch["tokens"][..., None], axis=-1)[..., 0]
        return jnp.sum(jnp.where(batch["loss_mask"], found, 0.0) ** 2)

    (ours, grads), (theirs, wanted) = jax.value_and_grad(chunked)(params), jax.value_and_grad(whole)(params)
    assert np.allclose(ours, theirs, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5, rtol=1e-4), grads, wanted)


@pytest.mark.slow
def test_frozen_parts_stay_bit_identical_and_the_rest_learns() -> None:
    params = jax.tree.map(lambda x: x + 0.01, model.init(jax.random.key(0), SMALL))
    optim = OptimConfig(freeze=("vision", "backbone"), warmup=0)
    after = take_steps(params, TrainConfig(Path("s"), Path("r"), model=SMALL, optim=optim, steps=5), 2)
    for part in ("vision", "backbone"):
        jax.tree.map(np.testing.assert_array_equal, after[part], params[part])
    moved = jax.tree.map(
        lambda a, b: bool((np.asarray(a) != b).any()), after["expert"]["layers"], params["expert"]["layers"]
    )
    assert all(jax.tree.leaves(moved))
    with pytest.raises(InputError, match="did you mean 'backbone'"):
        OptimConfig(freeze=("backbon/embedding",))
    with pytest.raises(InputError, match="no parameter has this path"):
        take_steps(
            params, TrainConfig(Path("s"), Path("r"), model=SMALL, optim=OptimConfig(freeze=("vision/nothing",)))
        )


def test_loss_norms_are_means_over_tokens_or_over_rows() -> None:
    params, batch = model.init(jax.random.key(0), SMALL), make_batch()
    batch["loss_mask"] = batch["loss_mask"] & (np.arange(12)[None] < np.array([12, 12, 6, 12, 12, 12])[:, None])
    found = np.asarray(losses.token_losses(params, model.run_backbone(params, batch, SMALL), batch))
    mask = np.asarray(batch["loss_mask"])
    rows = [row[m].mean() for row, m in zip(found, mask, strict=True) if m.any()]
    means: dict[LossNorm, float] = {"tokens": float(found[mask].mean()), "samples": float(np.mean(rows))}
    for norm, wanted in means.items():
        _, metrics = compute(params, SMALL, batch, jax.random.key(1), norm)
        assert float(metrics["loss_vlm"] + metrics["loss_fast"]) == pytest.approx(wanted, rel=1e-5)
