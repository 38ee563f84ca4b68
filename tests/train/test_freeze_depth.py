"""Freezing by depth: what a path names, what a step then leaves alone, and that the rest learns as it would."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train import tiny_runs
from tests.train.small import ROWS, SMALL, config, make_batch
from train import losses, model, optim
from train.config import OptimConfig
from train.costs import flops
from train.devices import sharding
from train.initial_params import initial_params
from train.learning.layer_paths import STACKED, below, stays
from train.loop import run
from train.params import count, path_name
from train.runs.checkpoint import load_params
from train.setup import prepare
from train.step import begin, ready, shown, train_step

LAYERS = 3
CONFIG = replace(SMALL, vision_depth=LAYERS)
PARAMS: Any = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.01), model.init(jax.random.key(0), CONFIG))
PATHS = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(PARAMS)]


def frozen_layers(path: str, freeze: tuple[str, ...]) -> list[bool]:
    """What a path means, said once more: number every layer, and look."""
    keys = path.split("/")
    if len(keys) < 2 or keys[1] not in STACKED:
        return [any(below(path, start) for start in freeze)]
    found = []
    for layer in range(LAYERS):
        mine = False
        for start in freeze:
            parts = start.split("/")
            if len(parts) > 2 and parts[2][0].isdigit():
                first, _, last = parts[2].partition("-")
                inside = int(first) <= layer <= int(last or first)
                mine |= inside and below(path, "/".join(parts[:2] + parts[3:]))
            else:
                mine |= below(path, start)
        found.append(mine)
    return found


starts = st.builds(
    lambda stack, layers, rest: "/".join([stack, *layers, *rest]),
    st.sampled_from(["backbone/layers", "expert/layers", "vision/blocks", "*/layers", "*/blocks"]),
    st.sampled_from([(), ("0",), ("1",), ("2",), ("0-1",), ("1-2",), ("0-2",), ("1-1",)]),
    st.sampled_from([(), ("query",), ("*_norm",), ("attention_norm",), ("*",)]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(starts, st.sampled_from(["vision", "backbone/embedding", "*/norm", "expert/action_*"])), max_size=4
    )
)
def test_split_cuts_what_the_paths_name_and_merge_joins_it(some: list[str]) -> None:
    freeze = tuple(some)
    moving, still = optim.split(PARAMS, freeze)
    for (path, whole), mine, other in zip(
        jax.tree_util.tree_leaves_with_path(PARAMS), leaves(moving), leaves(still), strict=True
    ):
        mask = np.array(frozen_layers(path_name(path), freeze))
        assert stays(path_name(path), len(mask), freeze) == mask.tolist()
        if mask.all() or not mask.any():
            assert (mine is None) == bool(mask.all())
            assert (other is None) == (not mask.any())
        else:
            np.testing.assert_array_equal(mine, whole[~mask])
            np.testing.assert_array_equal(other, whole[mask])
    jax.tree.map(np.testing.assert_array_equal, optim.merge(moving, still, freeze), PARAMS)
    shapes: Any = jax.eval_shape(lambda: PARAMS)
    for made, real in zip(optim.split(shapes, freeze), (moving, still), strict=True):
        assert jax.tree.map(lambda x: x.shape, made) == jax.tree.map(lambda x: x.shape, real)


def leaves(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=lambda x: x is None)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("backbone/layers/3", "backbone/layers has 3 layers, 0 to 2"),
        ("backbone/layers/0-8", r"no parameter has the path backbone/layers/3; backbone/layers has 3 layers, 0 to 2$"),
        ("vision/blocks/27", "vision/blocks has 3 layers"),
        ("expert/layers/9/query", "expert/layers has 3 layers"),
        ("*/layers/5", "backbone/layers has 3 layers, 0 to 2, expert/layers has 3 layers, 0 to 2"),
        ("vision/layers/0", "vision/blocks has 3 layers"),
        ("backbone/embedding/0", "backbone/layers has 3 layers"),
        ("backbone/layers/0/quarry", "no parameter has the path backbone/layers/0/quarry"),
        ("backbone/layers/quarry", "no parameter has this path; expected one of, say, "),
    ],
)
def test_layers_that_are_not_there(start: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        optim.split(PARAMS, (start,))


@pytest.mark.parametrize("start", ["backbone/layers/2-0", "backbone/layers/0-99999999", "vision/blocks/3-1/query"])
def test_ranges_that_are_none(start: str) -> None:
    with pytest.raises(InputError, match="is no range of layers; expected FIRST-LAST"):
        OptimConfig(freeze=(start,))


def test_all_layers_by_number_are_everything() -> None:
    everything = ("vision", "backbone/embedding", "backbone/norm", "backbone/layers/0-2", "expert")
    with pytest.raises(InputError, match="leaves nothing to learn"):
        optim.split(PARAMS, everything)
    assert leaves(optim.split(PARAMS, ("backbone/layers/0-2",))[0]) == leaves(
        optim.split(PARAMS, ("backbone/layers",))[0]
    )


def test_flops_count_a_component_as_frozen_however_it_is_said() -> None:
    def cost(*freeze: str) -> flops.Flops:
        return flops.train(CONFIG, 12, 6, 1, freeze)

    for whole in (("vision", "backbone"), ("vision/*", "backbone/*"), ("vision", "*/layers", "backbone")):
        assert cost(*whole).vision == cost().vision / 3
        assert cost(*whole).backbone == cost().backbone / 3
    assert cost("*").total == cost().total / 3
    assert cost("backbone/layers/0-1", "vision/blocks", "expert/norm") == cost()


FREEZES = [
    ("backbone/layers/0",),
    ("backbone/layers/0-1", "vision/blocks/0-1", "expert/layers/1/query"),
    ("vision", "*/layers/1", "backbone/embedding"),
]


@pytest.mark.slow
@pytest.mark.parametrize("freeze", FREEZES)
@pytest.mark.parametrize("more", [{}, {"accumulate": 2}, {"fsdp": 2}])
def test_frozen_layers_stay_and_the_others_learn_as_if_only_the_gradient_were_masked(
    freeze: tuple[str, ...], more: dict[str, int]
) -> None:
    """The norm that is clipped is that of what learns. Moments and moving average exist for nothing else."""
    if more.get("fsdp", 1) > jax.device_count():
        pytest.skip("needs two devices")
    optim_config = OptimConfig(freeze=freeze, warmup=0, ema=0.5, clip=0.1, weight_decay=0.1)
    asked = config(model=CONFIG, optim=optim_config, **more)
    mesh = sharding.make_mesh(asked.fsdp, ROWS, asked.accumulate)
    state, rows, norms = begin(PARAMS, asked, mesh), sharding.put_rows(make_batch(ROWS), mesh), []
    kept = count(optim.split(PARAMS, freeze)[0])
    assert count(state.ema) == kept
    assert count(state.optimizer) == pytest.approx(2 * kept, abs=10)  # and some counts
    for step in (1, 2, 3):
        state, metrics = train_step(state, rows, jnp.int32(step), config=asked, model_config=CONFIG, mesh=mesh)
        norms.append(float(metrics["grad_norm_backbone"]))
    wanted, average, their_norms = masked_run(optim_config)
    np.testing.assert_allclose(norms, their_norms, rtol=1e-4)
    for (path, start), after, reference in zip(
        jax.tree_util.tree_leaves_with_path(PARAMS), jax.tree.leaves(state.params), jax.tree.leaves(wanted), strict=True
    ):
        mask = np.array(frozen_layers(path_name(path), freeze))
        mask = mask if len(mask) > 1 else np.broadcast_to(mask, len(start))
        np.testing.assert_array_equal(np.asarray(after)[mask], start[mask])
        np.testing.assert_allclose(after, reference, atol=2e-5, err_msg=path_name(path))
        assert mask.all() or not np.array_equal(np.asarray(after)[~mask], start[~mask])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), shown(state, freeze), average)


@jax.jit
def whole_gradient(params: Any, step: Any) -> Any:
    prepared = ready({k: jnp.asarray(v) for k, v in make_batch(ROWS).items()}, step, config(model=CONFIG), ())
    return jax.grad(lambda p: losses.compute(p, CONFIG, prepared)[0])(params)


@functools.cache
def masked_run(asked: OptimConfig) -> tuple[Any, Any, list[float]]:
    """Three steps of AdamW on the whole tree, where frozen layers have no gradient and no update."""
    masks = jax.tree_util.tree_map_with_path(
        lambda path, x: np.array([not s for s in frozen_layers(path_name(path), asked.freeze)], np.float32).reshape(
            -1, *(1,) * (x.ndim - 1)
        ),
        PARAMS,
    )

    def masked(tree: Any) -> Any:
        return jax.tree.map(lambda x, m: x * m, tree, masks)

    chain = optim.make(replace(asked, freeze=()), config().steps)
    params, state, average, norms = PARAMS, chain.init(PARAMS), PARAMS, []
    for step in (1, 2, 3):
        grads = masked(whole_gradient(params, jnp.int32(step)))
        norms.append(float(optax.global_norm(grads["backbone"])))
        updates, state = chain.update(grads, state, params)
        params = optax.apply_updates(params, masked(updates))
        average = jax.tree.map(lambda a, p: 0.5 * a + 0.5 * p, average, params)
    return params, average, norms


@pytest.mark.slow
def test_a_run_with_frozen_layers_resumes_and_is_loaded(chain: Chain, tmp_path: Path) -> None:
    """Bit for bit as without the break; what is loaded is the average of what learns beside what never moved."""
    freeze = ("vision", "backbone/layers/0", "expert/layers/1/query")
    whole = tiny_runs.config(
        chain, tmp_path / "whole", optim=OptimConfig(ema=0.9, freeze=freeze, warmup=0), steps=4, checkpoint_every=2
    )
    run(whole)
    end: Any = load_params(whole.out)[1]
    (whole.out / "checkpoints" / "4").rename(tmp_path / "4")
    run(replace(whole, resume=True))
    start: Any = initial_params(prepare(whole))
    jax.tree.map(np.testing.assert_array_equal, end, load_params(whole.out)[1])
    for name, kernel in end["backbone"]["layers"].items():
        np.testing.assert_array_equal(kernel[0], start["backbone"]["layers"][name][0])
        assert not np.array_equal(kernel[1], start["backbone"]["layers"][name][1])
    query, before = end["expert"]["layers"]["query"], start["expert"]["layers"]["query"]
    assert np.array_equal(query[1], before[1])
    assert not np.array_equal(query[0], before[0])
    assert json.loads((whole.out / "config.json").read_text())["optim"]["freeze"] == list(freeze)
    with pytest.raises(InputError, match="backbone/layers has 2 layers, 0 to 1"):
        run(replace(whole, out=tmp_path / "no", optim=OptimConfig(freeze=("backbone/layers/2",))))
    assert not (tmp_path / "no").exists()
