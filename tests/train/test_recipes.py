"""Recipes: who sees whom and where gradients stop, as their docstrings draw it; one forward pass in training and at inference."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fasttok.common import json_files
from fasttok.errors import InputError
from tests.train.small import (
    RECIPES,
    ROWS,
    SMALL,
    config,
    gradient_norms_and_losses,
    make_batch,
    one_step,
    shaped,
    with_state,
)
from train import chunk_tokens, gemma, insulation, losses, model, policy, recipes
from train.config import ModelConfig
from train.costs import flops
from train.params import path_name
from train.presets import PRESETS, get_preset
from train.recipe import recipe_of
from train.recipes import hybrid_vla, oft, transfusion

HORIZON = 2


def moved(config: ModelConfig) -> Any:
    """Random parameters after a small move: norms begin at zero."""
    return jax.tree.map(lambda x: x + 0.01, model.init(jax.random.key(0), config))


def prepared(config: ModelConfig, batch: Any, draws: int = 1) -> Any:
    return losses.prepare(jax.tree.map(jnp.asarray, batch), jax.random.key(1), draws, "tokens")


def drawing(doc: str) -> tuple[str, np.ndarray]:
    """The tokens of a drawn mask, such as "ippss-aa", and the mask itself."""
    rows = re.findall(r"^    ([ips\-a])((?: +[x.])+)", doc, re.M)
    return "".join(name for name, _ in rows), np.array([[cell == "x" for cell in cells.split()] for _, cells in rows])


def drawn_batch(tokens: str, rows: int) -> dict[str, Any]:
    """Equal rows with the tokens of a drawing: one image of one patch, text, and actions."""
    text = [token for token in tokens if token in "ps-"]
    length = len(text)
    place = np.arange(length)
    action = np.ones((rows, HORIZON, 2), bool)
    return {
        "images": np.full((rows, 1, 16, 16, 3), 0.3, np.float32),
        "image_mask": np.ones((rows, 1), bool),
        "tokens": np.tile(3 + place, (rows, 1)).astype(np.int32),
        "token_mask": np.tile(np.array(text) != "-", (rows, 1)),
        "token_ar": np.tile(np.array(text) == "s", (rows, 1)),
        "loss_mask": np.tile(np.array(text) == "s", (rows, 1)),
        "is_action": np.ones(rows, bool),
        "actions": np.zeros((rows, HORIZON, 2), np.float32),
        "action_mask": action,
        "embodiment_mask": action,
    }


def outputs(config: ModelConfig, tokens: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, N) bool: which token of a drawing changes what leaves the model at which; and (N,), whether that place was read."""
    count = len(tokens)
    batch, text = drawn_batch(tokens, count + 1), 0
    params = moved(config)
    noisy = np.tile(np.random.default_rng(0).normal(size=(1, HORIZON, config.width)), (count + 1, 1, 1)).astype(
        np.float32
    )
    step = 0
    for row, token in enumerate(tokens, 1):
        if token == "i":
            batch["images"][row] = -0.5
        elif token == "a":
            noisy[row, step] += 1.0
            step += 1
        else:
            batch["tokens"][row, text] = 40
            text += 1

    @jax.jit
    def run(params: Any) -> tuple[Any, Any]:
        """Hidden states of backbone tokens, and what the chunk tokens become."""
        if config.recipe == "hybrid_vla":
            context = hybrid_vla.run(
                params, batch | {"noise": noisy[:, None, :, :2], "time": jnp.full((count + 1, 1), 0.5)}, config
            )
            return context.hidden, context.velocity
        context = model.run_backbone(params, batch, config)
        return context.hidden, chunk_tokens.run_chunk_tokens(params, context, jnp.asarray(noisy), config)

    hidden, after = run(params)
    out = np.concatenate(
        [np.linalg.norm(hidden - hidden[:1], axis=-1), np.linalg.norm(after - after[:1], axis=-1)], axis=1
    )
    return out[1:].T > 1e-6, np.array([token != "-" for token in tokens])


@pytest.mark.parametrize("name", RECIPES)
def test_who_sees_whom_is_what_is_drawn(name: str) -> None:
    """A token changes what leaves the model at another exactly if the drawn mask says so; padding changes nothing."""
    tokens, mask = drawing(recipes.module(name).__doc__ or "")
    assert mask.shape == (len(tokens), len(tokens))
    assert tokens.endswith("a" * HORIZON)
    config = dataclasses.replace(
        shaped(name, state="text"), image_size=16, cameras=1, horizon=HORIZON, action_dim=2, depth=2
    )  # fmt: skip
    changed, read = outputs(config, tokens)
    assert changed[read].tolist() == mask[read].tolist()
    assert not mask[~read].any()
    batch = drawn_batch(tokens, 1)
    valid = jnp.concatenate([batch["image_mask"], batch["token_mask"]], axis=1)
    causal = jnp.concatenate([jnp.zeros((1, 1), bool), batch["token_ar"]], axis=1)
    if name == "hybrid_vla":
        upper = hybrid_vla.hybrid_mask(valid, causal, jnp.ones((1, HORIZON), bool))
    else:
        upper = jnp.pad(insulation.backbone_mask(valid, causal), ((0, 0), (0, 0), (0, HORIZON)))
    lower = insulation.expert_mask(valid, causal, HORIZON)
    assert np.concatenate([upper[0], lower[0]]).tolist() == mask.tolist()


@pytest.mark.parametrize("name", ["transfusion", "oft"])
def test_cached_passes_are_one_pass_over_the_whole_sequence(name: str) -> None:
    """Chunk tokens that read a cache, as in training and at inference, are those of a sequence with the drawn mask."""
    config = shaped(name, dtype="float32")
    params, batch = moved(config), with_state(make_batch())
    x = jax.random.normal(jax.random.key(2), (6, config.horizon, config.width))

    @jax.jit
    def both(params: Any) -> tuple[Any, Any]:
        context = model.run_backbone(params, batch, config)
        cached = chunk_tokens.run_chunk_tokens(params, context, x, config)
        seen, valid, causal = model.embed(params, batch, config)
        mask = jnp.concatenate(
            [
                jnp.pad(insulation.backbone_mask(valid, causal), ((0, 0), (0, 0), (0, config.horizon))),
                insulation.expert_mask(valid, causal, config.horizon),
            ],
            axis=1,
        )
        positions = jnp.concatenate(
            [insulation.backbone_positions(valid), insulation.expert_positions(valid, causal, config.horizon)], axis=1
        )
        y = jnp.concatenate([seen, x], axis=1)
        for i in range(config.depth):
            p: Any = jax.tree.map(lambda leaf, i=i: leaf[i], params["backbone"]["layers"])
            query, key, value = gemma.project(gemma.rms_norm(y, p["attention_norm"]), p, positions)
            y = y + gemma.merge_heads(gemma.attend(query, key, value, mask), p)
            y = y + gemma.feed_forward(gemma.rms_norm(y, p["mlp_norm"]), p)
        return cached, gemma.rms_norm(y, params["backbone"]["norm"])[:, -config.horizon :]

    cached, whole = both(params)
    np.testing.assert_allclose(cached, whole, atol=2e-5)


def decoded_losses(params: Any, config: ModelConfig, batch: Any, most: int) -> np.ndarray:
    """Cross-entropy of each row's j-th suffix token when they are fed one by one, (B, most)."""
    first = batch["token_ar"].argmax(axis=1)
    wanted = np.stack([np.roll(row, -at)[:most] for row, at in zip(batch["tokens"], first, strict=True)])
    scores, keys, values, valid = policy._prefill(params, config, batch, most)
    start, out = valid.shape[1] - most, []
    for step in range(most):
        table = np.asarray(jax.nn.log_softmax(scores))
        out.append(-np.take_along_axis(table, wanted[:, step : step + 1], axis=1)[:, 0])
        scores, keys, values, valid = policy._decode_step(
            params, config, jnp.asarray(wanted[:, step]), jnp.int32(start + step), keys, values, valid
        )
    return np.stack(out, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "state"), [("ki", None), ("hybrid_vla", None), ("hybrid_vla", "expert")])
def test_decoded_tokens_see_what_they_saw_in_training(name: str, state: Any) -> None:
    """Logits of cached decoding are those of the training forward; of hybrid_vla, of one with pure noise at t = 1."""
    more = {"state": "continuous", "state_in": state, "state_dim": 5} if state else {}
    config = shaped(name, **more)
    params, batch, most = moved(config), with_state(make_batch()), 4
    decoded = decoded_losses(params, config, batch, most)
    noise = jax.random.normal(jax.random.key(0), (config.horizon, config.action_dim))
    rows = prepared(config, batch) | {"noise": jnp.tile(noise, (6, 1, 1, 1)), "time": jnp.ones((6, 1))}
    context = recipe_of(config).run(params, rows, config)
    taught = np.asarray(losses.token_losses(params, context, rows))
    for row, (at, mask) in enumerate(zip(batch["token_ar"].argmax(axis=1), batch["loss_mask"], strict=True)):
        count = min(most, mask.sum())
        np.testing.assert_allclose(decoded[row, :count], taught[row, at : at + count], atol=2e-4)
    if name == "hybrid_vla":  # and another noise would have been seen
        other = recipe_of(config).run(params, rows | {"noise": -rows["noise"]}, config)
        changed = np.abs(losses.token_losses(params, other, rows) - taught).max(axis=1) > 1e-6
        assert changed.tolist() == batch["is_action"].tolist()


@pytest.mark.slow
def test_hybrid_vla_velocities_are_those_of_an_expert_that_acts() -> None:
    """The first draw runs beside the backbone, others after it, and at inference there is no suffix: one velocity."""
    config = shaped("hybrid_vla", state="continuous", state_in="expert", state_dim=5)
    params, batch = moved(config), with_state(make_batch())
    rows = prepared(config, batch, draws=2)
    found = hybrid_vla.errors(params, hybrid_vla.run(params, rows, config), rows, config)
    acting = model.run_backbone(params, dict(rows, token_mask=rows["token_mask"] & ~rows["token_ar"]), config)
    np.testing.assert_allclose(found, losses.flow_errors(params, acting, rows, config), atol=1e-4)


@pytest.mark.slow
def test_a_question_is_what_it_was_before() -> None:
    """Rows without actions have the losses of `ki`, to rounding, whatever noise stands in their place in the batch."""
    params = moved(shaped("hybrid_vla"))
    batch = make_batch() | {"is_action": np.zeros(6, bool), "action_mask": np.zeros((6, 4, 3), bool)}
    total, found = losses.compute(params, shaped("hybrid_vla"), prepared(SMALL, batch))
    _, wanted = losses.compute(params, SMALL, prepared(SMALL, batch))
    assert float(found["loss_flow"]) == 0.0
    assert np.isfinite(float(total))
    assert float(found["loss_vlm"]) == pytest.approx(float(wanted["loss_vlm"]), abs=1e-5)


def gradients(config: ModelConfig, batch: Any, loss: str) -> dict[str, Any]:
    """Largest absolute gradient of one loss by parameter; per layer where layers are stacked."""
    rows = prepared(config, batch)
    grads = jax.jit(jax.grad(lambda p: losses.compute(p, config, rows)[1][loss]))(moved(config))
    out = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        name = path_name(path)
        axes = tuple(range(1, leaf.ndim)) if "layers" in name else None
        out[name] = np.abs(np.asarray(leaf)).max(axis=axes)
    return out


@pytest.mark.slow
def test_where_the_losses_of_hybrid_vla_reach() -> None:
    """L_FLOW never reaches the backbone at insulation 0; L_FAST reaches the expert by its keys and values, L_VLM does not."""
    config, batch = shaped("hybrid_vla", insulation=(0.0,)), make_batch()
    flow = gradients(config, batch, "loss_flow")
    assert {float(np.max(v)) for k, v in flow.items() if not k.startswith("expert")} == {0.0}
    fast = gradients(config, batch, "loss_fast")
    assert min(float(np.min(fast[f"expert/layers/{leaf}"])) for leaf in ("key_value", "attention_norm/kernel")) > 0
    for leaf in ("query", "output", "gate_up", "down", "mlp_norm/kernel"):  # the last layer's only make the velocity
        assert (fast[f"expert/layers/{leaf}"] > 0).tolist() == [True, True, False], leaf
    assert float(fast["expert/action_in/kernel"]) > 0
    assert float(fast["expert/action_out/kernel"]) == float(fast["expert/norm/kernel"]) == 0.0
    vlm = gradients(config, batch, "loss_vlm")
    assert {float(np.max(v)) for k, v in vlm.items() if k.startswith("expert")} == {0.0}
    joint = gradients(shaped("hybrid_vla"), batch, "loss_flow")
    assert min(joint["backbone/layers/key_value"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transfusion", "oft"])
def test_the_action_loss_reaches_the_whole_backbone(name: str) -> None:
    """Every layer and every matrix of it, the last norm, the vision encoder; and L_VLM does not reach what is for actions."""
    config, batch = shaped(name), with_state(make_batch())
    found = gradients(config, batch, f"loss_{recipe_of(config).loss}")
    assert min(float(np.min(v)) for k, v in found.items() if k.startswith(("backbone", "action"))) > 0
    assert float(found["vision/patch/kernel"]) > 0
    text = gradients(config, batch, "loss_vlm")
    assert {float(np.max(v)) for k, v in text.items() if k.startswith("action")} == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_kernels_and_what_is_made_again_change_nothing(name: str) -> None:
    """Another attention kernel and layers made again in the backward pass: the same losses and gradients; bfloat16 is near."""
    batch = with_state(make_batch(ROWS))

    def found(**more: Any) -> np.ndarray:
        return gradient_norms_and_losses(one_step(config(model=shaped(name, **more), flow_draws=1), batch)[1])

    base = found()
    np.testing.assert_allclose(base, found(attention="xla", remat="layer"), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(base, found(dtype="bfloat16"), rtol=0.1, atol=0.03)


def test_losses_have_the_names_of_what_they_are() -> None:
    batch = with_state(make_batch())
    for name, word in (("oft", "l1"), ("transfusion", "flow")):
        config = shaped(name)
        rows = prepared(config, batch)
        shapes: Any = jax.eval_shape(lambda p, c=config, r=rows: losses.compute(p, c, r)[1], moved(config))
        assert {f"loss_{word}", f"n_{word}"} <= set(shapes)
        assert not {"loss_flow", "n_flow", "loss_l1", "n_l1"} - {f"loss_{word}", f"n_{word}"} & set(shapes)


def test_oft_is_the_mean_absolute_error_of_real_numbers() -> None:
    config, batch = shaped("oft"), with_state(make_batch())
    params, rows = moved(config), prepared(config, batch)
    chunks = np.asarray(policy.sample_actions(params, config, rows, jax.random.key(3)))
    assert np.array_equal(
        chunks, policy.sample_actions(params, config, rows, jax.random.key(4), steps=3)
    )  # nothing is drawn
    wanted = np.abs(chunks - batch["actions"])[batch["action_mask"]].mean()
    for draws in (1, 4):  # measured with several draws, it is the same number
        found = losses.compute(params, config, prepared(config, batch, draws))[1]["loss_l1"]
        assert float(found) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_flops_are_those_of_the_compiler(name: str) -> None:
    config, rows = shaped(name, depth=2, state="text"), 2
    batch = prepared(config, make_batch(rows))
    recipe = recipe_of(config)

    def forward(params: Any) -> Any:
        context = recipe.run(params, batch, config)
        return model.logits(params, context.hidden[:, -12:]), recipe.errors(params, context, batch, config)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), config))
    cost: Any = jax.jit(forward).lower(shapes).compile().cost_analysis()
    assert flops.forward(config, 12, 12).total == pytest.approx(cost["flops"] / rows, rel=0.15)


def refused(*words: str, **more: Any) -> Callable[[], None]:
    """Checks a configuration of a preset with other settings."""
    base = get_preset(words[0])
    parts = {
        part: dataclasses.replace(getattr(base, part), **more.pop(part)) for part in ("model", "data") if part in more
    }
    config = dataclasses.replace(base, **parts, **more)
    return lambda: recipe_of(config.model).check(config)


@pytest.mark.parametrize(
    ("check", "says"),
    [
        (
            refused("ki", model={"recipe": "transfusion"}),
            r"nothing to insulate.*--model\.insulation is 0, expected 1.*--preset tr",
        ),
        (refused("transfusion", model={"insulation": (1.0, 1.0, 0.5, 1.0)}), r"--model\.insulation is 1 1 0\.5 1"),
        (refused("oft", model={"insulation": (0.0,)}), r"recipe oft has no expert.*expected 1"),
        (refused("oft", model={"state_in": "expert"}), r"no expert for a continuous state.*--model\.state-in backbone"),
        (refused("oft", flow_draws=4), r"draws no flow times, but --flow-draws is 4, expected 1"),
        (
            refused("transfusion", model={"insulation": (1.0,), "width": 33}),
            r"--model\.width is 33, expected an even number",
        ),
        (refused("transfusion", insulation_schedule=("5:1",)), r"--insulation-schedule has nothing to act on"),
        (refused("transfusion", model={"flow": False}), r"model\.flow is False"),
        (refused("hybrid_vla", model={"flow": False}), r"there are no noised actions"),
        (refused("hybrid_vla", data={"discrete": "none"}), r"there are no discrete tokens"),
    ],
)
def test_what_makes_no_sense_together_is_refused(check: Callable[[], None], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check()


@pytest.mark.parametrize("size", ["debug", "small", "paligemma_3b_300m"])
def test_presets_are_what_their_recipes_ask_for(size: str) -> None:
    for name in PRESETS:
        config = get_preset(name, size)
        recipe_of(config.model).check(config)
        assert config.model.recipe == (name if name in RECIPES else "insulated")


def test_only_files_of_the_folder_are_recipes() -> None:
    with pytest.raises(InputError, match=r"transfusoin.*did you mean 'transfusion'"):
        ModelConfig(recipe="transfusoin")
    for name in ("os", "train.loop", "../model", "", "__init__"):
        with pytest.raises(InputError, match="recipe"):
            ModelConfig(recipe=name)
        with pytest.raises(InputError, match="recipe"):
            recipes.module(name)
        with pytest.raises(InputError, match=r"config\.json.*recipe"):
            json_files.read(ModelConfig, f'{{"recipe": "{name}"}}', "config.json")
    assert tuple(sorted(("insulated", *RECIPES))) == recipes.NAMES


def test_the_core_knows_no_recipe_by_name() -> None:
    folder = Path(recipes.__file__).parents[1]
    for file in (*folder.glob("*.py"), *(folder / "weights").glob("*.py")):
        if file.name != "presets.py":
            found = re.findall("hybrid_?vla|transfusion|[^a-z]oft[^a-z]", file.read_text(encoding="utf-8"), re.I)
            assert not found, file


def test_recipes_say_where_they_are_from() -> None:
    """Equation, paper, drawing, and what differs."""
    for module in (hybrid_vla, oft, transfusion):
        doc = module.__doc__ or ""
        assert re.search(r"arXiv \d{4}\.\d{5}, section|arXiv \d{4}\.\d{5}; ", doc), module
        assert "Kept:" in doc
        assert "Different:" in doc
