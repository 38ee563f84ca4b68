"""Numbers of openpi's models, and of an independent insulated implementation, on tiny random weights.

Bounds are those of the reference data's README: 1e-5 for the backbone, 1e-4 after the time embedding, 2e-4 for gradients.
"""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests.train.parity import TINY, tree
from train import losses, model, policy, siglip
from train.params import Params

jax.config.update("jax_default_matmul_precision", "highest")
BACKBONE, EXPERT = 1e-5, 1e-4


@cache
def load(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def close(ours: Any, golden: np.ndarray, bound: float, where: np.ndarray | None = None) -> None:
    ours, golden = np.asarray(ours, np.float64), np.asarray(golden, np.float64)
    assert ours.shape == golden.shape
    error = np.abs(ours - golden)
    if where is not None:
        error, golden = error[where], golden[where]
    assert error.max() <= bound * max(1.0, np.abs(golden).max())


@pytest.fixture(scope="module")
def pi05(shared_data: Path) -> Path:
    return shared_data / "parity" / "pi05_tiny"


@pytest.fixture(scope="module")
def ki(shared_data: Path) -> Path:
    return shared_data / "parity" / "ki_reference"


def pi05_batch(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    cameras = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
    mask = inputs["tokenized_prompt_mask"]
    return {
        "images": np.stack([inputs[f"images/{c}"] for c in cameras], axis=1),
        "image_mask": np.stack([inputs[f"image_masks/{c}"] for c in cameras], axis=1),
        "tokens": inputs["tokenized_prompt"],
        "token_mask": mask,
        "token_ar": np.zeros_like(mask),
        "loss_mask": np.zeros_like(mask),
        "is_action": np.zeros(len(mask), bool),
        "actions": inputs["actions"],
        "action_mask": np.ones(inputs["actions"].shape, bool),
        "embodiment_mask": np.ones(inputs["actions"].shape, bool),
    }


def ki_batch(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "images": inputs["images"],
        "image_mask": inputs["image_mask"],
        "tokens": inputs["tokens"],
        "token_mask": inputs["token_mask"],
        "token_ar": inputs["ar_mask"],
        "loss_mask": inputs["loss_mask"],
        "is_action": np.array([1, 1, 1, 1, 0, 0], bool),
        "actions": inputs["actions"],
        "action_mask": inputs["action_mask"],
    }


def test_vision_tower(pi05: Path) -> None:
    params = tree(load(pi05 / "params.npz"))
    out = siglip.encode(params["vision"], load(pi05 / "inputs.npz")["images/base_0_rgb"], TINY.patch)
    close(out, load(pi05 / "outputs.npz")["image_tokens/base_0_rgb"], BACKBONE)


def test_backbone_hidden_keys_and_values(pi05: Path) -> None:
    params, golden = tree(load(pi05 / "params.npz")), load(pi05 / "outputs.npz")
    context = model.run_backbone(params, pi05_batch(load(pi05 / "inputs.npz")), TINY)
    valid = golden["prefix_mask"]
    assert np.array_equal(context.valid, valid)
    close(context.hidden, golden["prefix_out"], BACKBONE, valid)
    layers = np.broadcast_to(valid, (TINY.depth, *valid.shape))
    close(context.keys, golden["backbone_k"][:, :, :, 0], BACKBONE, layers)
    close(context.values, golden["backbone_v"][:, :, :, 0], BACKBONE, layers)


def test_velocity_and_samples(pi05: Path) -> None:
    params, golden, inputs = tree(load(pi05 / "params.npz")), load(pi05 / "outputs.npz"), load(pi05 / "inputs.npz")
    batch = pi05_batch(inputs)
    context = model.run_backbone(params, batch, TINY)
    close(model.run_expert(params, context, golden["x_t"], inputs["time"], TINY), golden["v_t"], EXPERT)
    for steps in (4, 10):
        out = policy.integrate(params, context, inputs["sample_noise"], batch["embodiment_mask"], TINY, steps)
        close(out, golden[f"sampled_actions_{steps}"], EXPERT)


@pytest.mark.slow
def test_end_to_end_flow_gradient(pi05: Path) -> None:
    """openpi trains without insulation: our share 1 must give its gradient on every leaf."""
    params, golden, inputs = tree(load(pi05 / "params.npz")), load(pi05 / "outputs.npz"), load(pi05 / "inputs.npz")
    batch, config = pi05_batch(inputs), dataclasses.replace(TINY, insulation=(1.0,))

    def loss(params: Params) -> jax.Array:
        velocity = model.run_expert(
            params, model.run_backbone(params, batch, config), golden["x_t"], inputs["time"], config
        )
        return ((velocity - golden["u_t"]) ** 2).mean()

    check_gradients(jax.grad(loss)(params), load(pi05 / "grads.npz"))


def check_gradients(ours: Any, arrays: dict[str, np.ndarray]) -> None:
    golden = tree(arrays)
    assert len(arrays) == len(jax.tree.leaves(golden)) > 0

    def walk(ours: Any, golden: Any, path: str) -> None:
        if isinstance(golden, dict):
            for key in golden:
                walk(ours[key], golden[key], f"{path}/{key}")
        else:
            error = np.abs(np.asarray(ours) - golden).max()
            assert error <= 2e-4 * max(1e-3, np.abs(golden).max()), path

    walk(ours, golden, "")


@pytest.fixture(scope="module")
def ki_losses(ki: Path) -> Any:
    """Total loss with the reference's own noise and time, split like `losses.compute`."""
    inputs = load(ki / "inputs.npz")
    batch = ki_batch(inputs)

    def parts(params: Params, share: float) -> tuple[jax.Array, jax.Array]:
        config = dataclasses.replace(TINY, insulation=(share,))
        context = model.run_backbone(params, batch, config)
        ce = losses.token_losses(params, context, batch).sum() / batch["loss_mask"].sum()
        velocity = model.run_expert(params, context, inputs["x_t"], inputs["time"], config)
        error = np.where(batch["action_mask"], 1.0, 0.0) * (velocity - inputs["u_t"]) ** 2
        return ce, error.sum() / batch["action_mask"].sum()

    return parts


def test_insulated_losses(ki: Path, pi05: Path, ki_losses: Any) -> None:
    ce, flow = ki_losses(tree(load(pi05 / "params.npz")), 0.0)
    assert float(ce) == pytest.approx(6.747365, rel=1e-5)
    assert float(flow) == pytest.approx(3.411736, rel=1e-5)


def test_insulated_outputs(ki: Path, pi05: Path) -> None:
    params, golden, inputs = tree(load(pi05 / "params.npz")), load(ki / "outputs.npz"), load(ki / "inputs.npz")
    batch = ki_batch(inputs)
    context = model.run_backbone(params, batch, TINY)
    close(context.hidden, golden["out_backbone"], BACKBONE, golden["valid_backbone"])
    text = model.logits(params, context.hidden[:, -26:])
    close(text, golden["text_logits"], BACKBONE, inputs["token_mask"])
    close(
        losses.token_losses(params, context, batch)[:, 1:], golden["ce_per_token"], BACKBONE, inputs["loss_mask"][:, 1:]
    )
    close(model.run_expert(params, context, inputs["x_t"], inputs["time"], TINY), golden["v_t"], EXPERT)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "file"), [(0.0, "grads_insulated.npz"), (1.0, "grads_open.npz")])
def test_gradients_with_and_without_insulation(ki: Path, pi05: Path, ki_losses: Any, share: float, file: str) -> None:
    grads = jax.grad(lambda p: sum(ki_losses(p, share)))(tree(load(pi05 / "params.npz")))
    check_gradients(grads, load(ki / file))


def test_flow_gradient_alone(ki: Path, pi05: Path, ki_losses: Any) -> None:
    params = tree(load(pi05 / "params.npz"))
    check_gradients(jax.grad(lambda p: ki_losses(p, 1.0)[1])(params), load(ki / "grads_flow_open.npz"))
    insulated = jax.grad(lambda p: ki_losses(p, 0.0)[1])(params)
    check_gradients(insulated, load(ki / "grads_flow_insulated_expert_only.npz"))
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves([insulated["vision"], insulated["backbone"]]))


def test_greedy_decoding(shared_data: Path) -> None:
    """Cached greedy decoding equals the reference's uncached one (contiguous positions), absent cameras included."""
    folder = shared_data / "parity" / "pi0_fast_tiny"
    inputs, golden = load(folder / "inputs.npz"), load(folder / "outputs.npz")
    cameras = ("base_0_rgb", "base_1_rgb", "wrist_0_rgb")
    mask = inputs["prompt_mask"]
    batch = {
        "images": np.stack([inputs[f"images/{c}"] for c in cameras], axis=1),
        "image_mask": np.stack([inputs[f"image_masks/{c}"] for c in cameras], axis=1),
        "tokens": inputs["prompt_tokens"],
        "token_mask": mask,
        "token_ar": np.zeros_like(mask),
    }
    config = dataclasses.replace(TINY, flow=False)
    rows = policy.generate(tree(load(folder / "params.npz"), expert=False), config, batch, 12, eos_id=-1)
    assert np.array_equal(rows, golden["greedy_contiguous"])
