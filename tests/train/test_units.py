"""Each small piece of the model against openpi's own numbers (`golden/`: a part of the reference data; float32)."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train import flow, gemma, insulation, policy, siglip
from train.config import ModelConfig
from train.tokens import bins, robot_prompt, state_text

GOLDEN = Path(__file__).parent / "golden"
jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(GOLDEN / "units.npz", allow_pickle=False) as file:
        return dict(file)


def close(ours: Any, wanted: np.ndarray, bound: float = 1e-5) -> None:
    assert np.shape(ours) == wanted.shape
    assert np.abs(np.asarray(ours, np.float64) - wanted).max() <= bound * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", ["causal", "prefix_lm", "blocks", "padded_middle", "action_block"])
def test_attention_masks(golden: dict[str, Any], name: str) -> None:
    valid, causal, mask = (golden[f"attention_masks/{name}/{part}"] for part in ("valid", "ar", "mask"))
    assert np.array_equal(insulation.backbone_mask(jnp.array(valid), jnp.array(causal)), mask)


def test_norms(golden: dict[str, Any]) -> None:
    g = {key.removeprefix("rms_norm/"): value for key, value in golden.items() if key.startswith("rms_norm/")}
    close(gemma.rms_norm(g["x"], g["scale"]), g["plain_out"])
    out, gate = gemma.ada_rms_norm(g["x"], g["cond"], {"kernel": g["kernel"], "bias": g["bias"]})
    close(out, g["ada_out"])
    close(gate, g["ada_gate"])
    close(g["x"] + gate * g["branch"], g["gated_residual"])
    g = {key.removeprefix("layer_norm/"): value for key, value in golden.items() if key.startswith("layer_norm/")}
    close(siglip.layer_norm(g["x"], {"scale": g["scale"], "bias": g["bias"]}), g["out"])


def test_rope_and_time(golden: dict[str, Any]) -> None:
    g = {key.removeprefix("rope/head16/"): value for key, value in golden.items() if key.startswith("rope/head16/")}
    close(gemma.rope(g["x"], g["positions"]), g["rotated"], 1e-4)
    for dim in (16, 32):
        close(flow.time_embedding(golden["time_embedding/time"], dim), golden[f"time_embedding/dim{dim}"], 2e-4)


def test_feed_forward(golden: dict[str, Any]) -> None:
    g = {k.removeprefix("feed_forward_embed/"): v for k, v in golden.items() if k.startswith("feed_forward_embed/")}
    close(gemma.feed_forward(g["x"], {"gate_up": g["gating"], "down": g["linear"]}), g["out"])


def test_flow_time_and_interpolation(golden: dict[str, Any]) -> None:
    g = {key.removeprefix("flow_time/"): value for key, value in golden.items() if key.startswith("flow_time/")}
    noisy, target = flow.interpolate(g["actions"], g["noise"], g["time"])
    close(noisy, g["x_t"])
    close(target, g["u_t"])
    drawn = np.sort(np.asarray(flow.sample_time(jax.random.key(0), (20_000,))))
    close(np.quantile(drawn, g["cdf_level"]), g["time_at_level"], 0.02)
    assert abs(drawn.mean() - g["mean"]) < 0.01
    assert abs(drawn.var() - g["variance"]) < 0.005


def test_bins_and_prompt(golden: dict[str, Any]) -> None:
    assert np.array_equal(bins(golden["state_bins/state"]), golden["state_bins/bin"])
    for case in json.loads((GOLDEN / "state_text.json").read_text()):
        assert bins(np.array(case["state"])).tolist() == case["bins"]
        assert robot_prompt(case["prompt"], state_text(np.array(case["state"]))) == case["pi05_text"]


def test_calibration_makes_outputs_standard() -> None:
    """After data-dependent initialisation the encoder's output has mean 0 and variance 1 on those images, whatever they are."""
    params = siglip.init(jax.random.key(0), 32, 16, 24, 2, 2, 32, 20)
    images = 0.8 + 0.05 * jax.random.normal(jax.random.key(1), (16, 32, 32, 3))  # almost all alike
    before = siglip.encode(params, images, 16)
    after = siglip.encode(siglip.calibrate(params, images, 16), images, 16)
    assert np.abs(after.mean((0, 1))).max() < 1e-4
    assert abs(float(after.var()) - 1) < 1e-3
    assert before.var(0).mean() < 0.5 * after.var(0).mean()


def test_tokens_are_sampled_as_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is allowed, in the shares of the softmax at the temperature; at 0 the likeliest."""
    rows, scores = 20_000, np.log(np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    prefilled = np.tile(scores, (rows, 1)), None, None, np.zeros((rows, 3), bool)
    monkeypatch.setattr(policy, "_prefill", lambda *_: prefilled)

    params: Any = {}

    def first(temperature: float) -> np.ndarray:
        found = policy.generate(
            params, ModelConfig(), {}, 1, eos_id=9, allowed=lambda *_: np.array([0, 1, 3]), temperature=temperature,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        return np.bincount([row[0] for row in found], minlength=4) / rows

    assert np.array_equal(first(0.0), [0, 0, 0, 1])
    np.testing.assert_allclose(first(1.0), np.array([1, 2, 0, 4]) / 7, atol=0.015)
    np.testing.assert_allclose(first(0.5), np.array([1, 4, 0, 16]) / 21, atol=0.015)
