"""Recipes from shards to actions: they learn, resume, act, are measured and exported; a batch learned by heart is acted again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train.small import RECIPES, make_batch, shaped, with_state
from tests.train.tiny_runs import TINY, config, rows_of
from train import export, model, policy
from train.config import LoraConfig, OptimConfig, TrainConfig
from train.devices import sharding
from train.initial_params import initial_params
from train.judging.open_loop import action_errors
from train.loop import run
from train.player import Player
from train.presets import get_preset
from train.runs.checkpoint import load_params
from train.setup import prepare
from train.step import begin, train_step

SEEN: dict[str, np.ndarray] = {"image/primary": np.full((64, 64, 3), 90, np.uint8), "state": np.zeros(3, np.float32)}
LOSS = {"hybrid_vla": "loss_flow", "transfusion": "loss_flow", "oft": "loss_l1"}


def tiny(chain: Chain, out: Path, name: str, **more: Any) -> TrainConfig:
    """A recipe's preset at the tests' size."""
    base = get_preset(name)
    plain = config(chain, out, steps=4, checkpoint_every=2, flow_draws=base.flow_draws, preset=name)
    return replace(
        plain,
        model=replace(base.model, **TINY),
        data=replace(base.data, text_vocab=600),
        **{"optim": base.optim, **more},
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_from_shards_to_actions(chain: Chain, tmp_path: Path, name: str) -> None:
    still = "expert/action_in" if name == "hybrid_vla" else "action/action_out"
    optim = OptimConfig(warmup=0, ema=0.9, freeze=(still, "vision"))
    asked = tiny(chain, tmp_path / "run", name, optim=optim, keep=5)
    run(asked)
    found = rows_of(asked.out)
    words = {word for word in found[0] if word.startswith("loss_")} - {"loss_vlm", "loss_fast"}
    assert words == {LOSS[name]}
    for row in found:
        assert row["loss"] == pytest.approx(row["loss_vlm"] + row["loss_fast"] + row[LOSS[name]], rel=1e-5)
        assert (row["n_fast"] > 0) == (name == "hybrid_vla")
        assert row["grad_norm_expert" if name == "hybrid_vla" else "grad_norm_action"] > 0

    ended: Any = load_params(asked.out)[1]
    (asked.out / "checkpoints" / "4").rename(tmp_path / "4")
    run(replace(asked, resume=True))
    for a, b in zip(found, rows_of(asked.out), strict=True):
        assert {k: a[k] for k in ("loss", "loss_vlm", LOSS[name])} == {
            k: b[k] for k in ("loss", "loss_vlm", LOSS[name])
        }
    begun: Any = initial_params(prepare(asked))
    jax.tree.map(np.testing.assert_array_equal, load_params(asked.out)[1], ended)
    component, leaf = still.split("/")
    jax.tree.map(np.testing.assert_array_equal, ended[component][leaf], begun[component][leaf])
    assert not np.array_equal(ended["backbone"]["layers"]["query"], begun["backbone"]["layers"]["query"])

    player = Player.load(asked.out, flow_steps=2)
    horizon = player.horizon("planar")
    assert player.act("planar", ["push the red circle"], [SEEN]).shape == (1, horizon, 3)
    errors = action_errors(player, chain.shards, 2, "flow", draws=2)
    assert {one.draws for one in errors} == {1 if name == "oft" else 2}
    assert {one.embodiment for one in errors} == {"planar", "arm"}
    assert all(np.isfinite(one.rmse).all() for one in errors)
    if name == "hybrid_vla":
        twice = [player.act("planar", ["push the red circle"], [SEEN], "tokens") for _ in range(2)]
        assert np.array_equal(twice[0], twice[1])
    else:
        with pytest.raises(InputError, match="no action tokens"):
            player.act("planar", ["push the red circle"], [SEEN], "tokens")

    export.export(export.ExportConfig(asked.out, tmp_path / "export"))
    again = replace(asked, weights=tmp_path / "export", weights_strict=True, optim=OptimConfig(high_rate=True))
    jax.tree.map(np.testing.assert_array_equal, initial_params(prepare(again)), ended)
    with pytest.raises(InputError, match=f"recipe {name}, which openpi does not run.*--layout fasttok"):
        export.export(export.ExportConfig(asked.out, tmp_path / "theirs", "openpi"))
    assert not (tmp_path / "theirs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_learns_from_a_vlm_with_few_weights_at_a_time(chain: Chain, tmp_path: Path, name: str) -> None:
    """Losses fall; the backbone may come from a run that has no actions at all."""
    if name == "transfusion":
        run(config(chain, tmp_path / "vlm", model={"flow": False}, data={"kinds": ("vqa", "caption")}, steps=1))
    fast = OptimConfig(learning_rate=3e-3, warmup=5)
    before = {"init_from": tmp_path / "vlm"} if name == "transfusion" else {}
    run(tiny(chain, tmp_path / "run", name, optim=fast, steps=60, checkpoint_every=100, **before))
    found = rows_of(tmp_path / "run")
    for word in ("loss", LOSS[name]):
        values = [row[word] for row in found]
        assert np.mean(values[-5:]) < 0.8 * np.mean(values[:2]), word


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_batch_learned_by_heart_is_acted_again(name: str) -> None:
    """Overfitting: actions and tokens of the batch come back; the row without actions is in the batch, too."""
    shapes = shaped(name, depth=2)
    batch = with_state(make_batch())
    train = TrainConfig(
        Path("s"), Path("r"), model=shapes, batch_size=6, steps=250, flow_draws=1 if name == "oft" else 8,
        optim=OptimConfig(learning_rate=3e-3, warmup=20, weight_decay=0.0),
    )  # fmt: skip
    mesh = sharding.make_mesh(1, 6 * jax.device_count())
    state = begin(model.init(jax.random.key(0), shapes), train, mesh)
    for step in range(1, train.steps + 1):
        state, _ = train_step(state, batch, jnp.int32(step), config=train, model_config=shapes, mesh=mesh)
    chunks = np.asarray(policy.sample_actions(state.params, shapes, batch, jax.random.key(5)))
    wrong = np.abs(chunks - batch["actions"])[batch["action_mask"]].mean()
    assert wrong < 0.15 * np.abs(batch["actions"])[batch["action_mask"]].mean()
    first, last = batch["token_ar"].argmax(axis=1), batch["token_mask"].sum(axis=1)
    suffixes = [row[a:b].tolist() for row, a, b in zip(batch["tokens"], first, last, strict=True)]
    said = policy.generate(state.params, shapes, batch, 10, eos_id=0)
    assert [row[: len(suffix)] for row, suffix in zip(said, suffixes, strict=True)] == suffixes


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_with_adapters_and_probes(chain: Chain, tmp_path: Path, name: str) -> None:
    """LoRA: what it adapts stays, what is new learns; gradients by loss have the name of the recipe's own."""
    asked = tiny(
        chain, tmp_path / "run", name, lora=LoraConfig(rank=2), steps=2, optim=OptimConfig(warmup=0), probe_every=2
    )
    run(asked)
    last, word = rows_of(asked.out)[-1], LOSS[name].removeprefix("loss_")
    new = "expert" if name == "hybrid_vla" else "action"
    assert min(last[f"grad_norm_{word}_{component}"] for component in ("backbone", "vision", new)) > 0
    begun: Any = initial_params(prepare(asked))
    player = Player.load(asked.out, flow_steps=1)
    loaded: Any = player.params
    assert "lora" not in loaded["backbone"]["layers"]
    assert not np.array_equal(loaded["backbone"]["layers"]["query"], begun["backbone"]["layers"]["query"])
    assert np.array_equal(loaded["backbone"]["layers"]["mlp_norm"], begun["backbone"]["layers"]["mlp_norm"])
    assert np.isfinite(player.act("planar", ["push the red circle"], [SEEN])).all()
