"""A step on one device, on eight, in parts: the same loss and gradient; options that must not change what they do not concern."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.small import ROWS, SMALL, config, gradient_norms_and_losses, make_batch, on_eight_devices, one_step
from train import augment, losses, model
from train.config import AugmentConfig, ModelConfig, OptimConfig, Remat, StateEntry
from train.costs import flops
from train.devices import sharding
from train.learning import layer_paths
from train.params import components
from train.presets import SIZES
from train.step import probe, ready, shown


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 8])
@pytest.mark.parametrize("norm", ["tokens", "samples"])
def test_accumulated_parts_are_the_whole_batch(parts: int, norm: str) -> None:
    whole, metrics = one_step(config(loss_norm=norm))
    cut, same = one_step(config(loss_norm=norm, accumulate=parts))
    np.testing.assert_allclose(gradient_norms_and_losses(metrics), gradient_norms_and_losses(same), rtol=1e-5)
    first = jax.tree.map(lambda m: np.asarray(m), whole.optimizer[1][0].mu)  # a tenth of the clipped gradient
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), first, cut.optimizer[1][0].mu)


EIGHT = """
out = {}
devices = jax.devices()
meshes = {
    "one": jax.sharding.Mesh(np.array(devices[:1]).reshape(1, 1), ("data", "fsdp")),
    "8x1": sharding.make_mesh(1, ROWS),
    "2x4": sharding.make_mesh(4, ROWS),
    "1x8": sharding.make_mesh(8, ROWS),
    "2x4 parts": sharding.make_mesh(4, ROWS, 2),
}
for name, mesh in meshes.items():
    c = config(accumulate=2 if "parts" in name else 1)
    state, metrics = one_step(c, mesh=mesh)
    mu = jax.tree.leaves(state.optimizer[1][0].mu)
    out[name] = gradient_norms_and_losses(metrics), [np.asarray(x) * 10 for x in mu]
    if name == "1x8":
        kernel = state.params["backbone"]["layers"]["gate_up"]
        assert kernel.addressable_shards[0].data.size == kernel.size // 8, kernel.sharding
        assert state.optimizer[1][0].mu["backbone"]["layers"]["gate_up"].sharding == kernel.sharding
for name, (numbers, grads) in out.items():
    np.testing.assert_allclose(numbers, out["one"][0], rtol=1e-5, err_msg=name)
    for a, b in zip(grads, out["one"][1]):
        np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)
print("equal")
"""


@pytest.mark.slow
def test_eight_devices_are_one() -> None:
    """Loss and (clipped) gradients on data x fsdp meshes equal those of one device within 1e-5; fsdp really divides."""
    assert on_eight_devices(EIGHT).split() == ["equal"]


@pytest.mark.slow
def test_more_draws_keep_the_backbones_gradient_and_the_flow_loss_scale() -> None:
    one, four = one_step(config(flow_draws=1))[1], one_step(config(flow_draws=4))[1]
    assert float(one["grad_norm_backbone"]) == pytest.approx(float(four["grad_norm_backbone"]), rel=1e-5)
    assert 0.5 < float(four["loss_flow"]) / float(one["loss_flow"]) < 2


@pytest.mark.slow
def test_probe_splits_the_gradient_by_loss() -> None:
    """Under ki the flow loss has none on the backbone; L_VLM and L_FAST have none on the expert."""
    batch = {name: jnp.asarray(x) for name, x in make_batch(ROWS).items()}
    params = model.init(jax.random.key(0), SMALL)
    found = {k: float(v) for k, v in probe(params, batch, jnp.int32(1), config=config(), model_config=SMALL).items()}
    assert found["grad_norm_flow_backbone"] == found["grad_norm_flow_vision"] == 0.0
    assert found["grad_norm_vlm_expert"] == found["grad_norm_fast_expert"] == 0.0
    assert min(found["grad_norm_vlm_backbone"], found["grad_norm_fast_backbone"], found["grad_norm_flow_expert"]) > 0


@pytest.mark.slow
def test_moving_average_and_the_experts_own_rate() -> None:
    slow = config(optim=OptimConfig(ema=0.9, warmup=0, learning_rate=1e-2, expert_learning_rate=1e-3))
    state, _ = one_step(slow)
    start = model.init(jax.random.key(0), SMALL)
    plain, _ = one_step(config(optim=OptimConfig(warmup=0, learning_rate=1e-2)))
    before, after, plainly = components(start), components(state.params), components(plain.params)
    for name, share in (("backbone", 1.0), ("expert", 0.1)):
        moved = jax.tree.map(lambda a, b: np.asarray(a) - b, after[name], before[name])
        wanted = jax.tree.map(lambda a, b, s=share: s * (np.asarray(a) - b), plainly[name], before[name])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, wanted)
    average = shown(state)
    jax.tree.map(
        lambda e, p, s: np.testing.assert_allclose(e, 0.9 * np.asarray(s) + 0.1 * np.asarray(p), atol=1e-6),
        average, state.params, start,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["dots", "layer"])
def test_what_is_made_again_changes_nothing(remat: Remat) -> None:
    base = gradient_norms_and_losses(one_step(config())[1])
    again = gradient_norms_and_losses(one_step(config(model=replace(SMALL, remat=remat)))[1])
    np.testing.assert_allclose(base, again, rtol=1e-5)


@pytest.mark.slow
def test_attention_kernels_agree_and_bfloat16_is_near() -> None:
    base = gradient_norms_and_losses(one_step(config())[1])
    other = gradient_norms_and_losses(one_step(config(model=replace(SMALL, attention="xla")))[1])
    np.testing.assert_allclose(base, other, rtol=1e-4)
    state, metrics = one_step(config(model=replace(SMALL, dtype="bfloat16")))
    np.testing.assert_allclose(base, gradient_norms_and_losses(metrics), rtol=0.05, atol=0.02)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["expert", "backbone"])
def test_continuous_state_reaches_the_actions_and_nothing_it_should_not(where: StateEntry) -> None:
    """The velocity depends on the state; a row without one does not; FAST tokens see only a backbone's state token."""
    shapes = replace(SMALL, state="continuous", state_in=where, state_dim=5)
    params = model.init(jax.random.key(0), shapes)
    rng = np.random.default_rng(0)
    batch = make_batch(ROWS) | {
        "state": rng.normal(size=(ROWS, 5)).astype(np.float32),
        "state_mask": np.arange(ROWS) > 0,
    }
    noisy, time = jnp.ones((ROWS, 4, 3)), jnp.full(ROWS, 0.5)

    def look(batch: Any) -> tuple[np.ndarray, np.ndarray]:
        context = model.run_backbone(params, batch, shapes)
        return np.asarray(model.run_expert(params, context, noisy, time, shapes)), np.asarray(
            losses.token_losses(params, context, batch)
        )

    (v, ce), (other_v, other_ce) = look(batch), look(batch | {"state": batch["state"] + 1})
    changed = np.abs(v - other_v).max((1, 2)) > 1e-6
    assert changed[1:].all()
    assert not changed[0]
    assert (np.abs(ce - other_ce).max(1) > 1e-6)[1:].any() == (where == "backbone")


def test_augmentation_is_per_row_and_leaves_wrists_in_place() -> None:
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, 2, 16, 16, 3)).astype(np.float32))
    key = jax.random.key(0)
    nothing = AugmentConfig(on=True, crop=1.0, rotation=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
    np.testing.assert_allclose(augment.augment(key, images, nothing, (False, False)), images, atol=1e-5)
    moved = augment.augment(key, images, replace(nothing, crop=0.8, rotation=10.0), (False, True))
    assert (np.abs(moved[:, 0] - images[:, 0]).max((1, 2, 3)) > 0.1).all()
    np.testing.assert_allclose(moved[:, 1], images[:, 1], atol=1e-5)
    located = jnp.array([True, False, False, True])  # a text says where things are in these rows' images
    kept = augment.augment(key, images, replace(nothing, crop=0.8, rotation=10.0), (False, True), located)
    np.testing.assert_allclose(kept[located], images[located], atol=1e-5)
    assert np.array_equal(kept[~located], moved[~located])
    coloured = augment.augment(
        key, jnp.broadcast_to(images[:1, :1], images.shape), AugmentConfig(on=True), (True, True)
    )
    assert len({float(x) for x in coloured[:, :, 3, 3, 0].ravel()}) == 8
    assert np.abs(coloured).max() <= 1.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_acting_sees_the_pixels_of_training(dtype: Any) -> None:
    """A training step makes float32 images, which augmentation may change; a policy gives the model uint8."""
    grey = jnp.arange(256, dtype=jnp.uint8)
    trained = model.pixels(model.pixels(grey, "float32"), dtype)
    for acting in (model.pixels, jax.jit(model.pixels, static_argnums=1)):
        assert np.array_equal(acting(grey, dtype), trained)


def test_the_same_step_has_the_same_noise_in_parts_and_whole() -> None:
    batch = {name: jnp.asarray(x) for name, x in make_batch(ROWS).items()}
    a, b = ready(batch, jnp.int32(3), config(), ()), ready(batch, jnp.int32(3), config(accumulate=4), ())
    assert np.array_equal(a["noise"], b["noise"])
    assert not np.array_equal(a["noise"], ready(batch, jnp.int32(4), config(), ())["noise"])


def test_flops_are_those_of_the_design_and_of_the_compiler() -> None:
    """14.6 TFLOP per sample of the 3-camera, 200-token, 50-action shape; and XLA's own count of a small forward pass."""
    full = ModelConfig(**SIZES["paligemma_3b_300m"], cameras=3, horizon=50, action_dim=32, vocab_size=257_152)
    assert flops.train(full, 200, 50).total == pytest.approx(14.6e12, rel=0.03)
    small = replace(SMALL, depth=2)
    params, rows = model.init(jax.random.key(0), small), 2
    batch = make_batch(rows)

    def forward(params: Any) -> Any:
        context = model.run_backbone(params, batch, small)
        return model.logits(params, context.hidden[:, -12:]), model.run_expert(
            params, context, jnp.ones((rows, 4, 3)), jnp.ones(rows), small
        )

    cost: Any = jax.jit(forward).lower(params).compile().cost_analysis()
    assert flops.forward(small, 12, 12).total == pytest.approx(cost["flops"] / rows, rel=0.15)


def test_meshes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="divisor"):
        sharding.make_mesh(jax.device_count() + 1, 8)
    assert layer_paths.below("backbone/layers/query", "*/layers")
