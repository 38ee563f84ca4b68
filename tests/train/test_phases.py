"""Runs whose steps differ: insulation that changes at given steps, and an expert that learns alone at first."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fasttok.errors import InputError
from tests.chain import Chain
from tests.train import tiny_runs
from tests.train.small import ROWS, SMALL, config, make_batch
from train import model
from train.config import ModelConfig, OptimConfig, TrainConfig
from train.devices import sharding
from train.learning import expert_first
from train.learning.insulation_schedule import phases, unreached
from train.loop import for_step, run
from train.recipe import recipe_of
from train.step import begin, train_step
from train.study.arm_config import parse

JOINT = replace(SMALL, insulation=(1.0,))


def plain(**more: Any) -> TrainConfig:
    return TrainConfig(Path("SHARDS"), Path("RUN"), **more)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("1000",), r"1000: expected STEP:SHARE, or STEP:SHARE,SHARE"),
        (("1000:",), "expected STEP:SHARE"),
        ((":1",), "expected STEP:SHARE"),
        (("a:1",), "expected STEP:SHARE"),
        (("10:b",), "expected STEP:SHARE"),
        (("10:1:2",), "expected STEP:SHARE"),
        (("10:0,,1",), "expected STEP:SHARE"),
        (("1.5:1",), "expected STEP:SHARE"),
        (("0:1",), "expected a step, from 1 on"),
        (("-5:1",), "expected a step, from 1 on"),
        (("10:1", "10:0"), "expected a step after 10; steps must rise"),
        (("10:1", "5:0"), "expected a step after 10"),
        (("10:1.5",), r"10:1\.5: shares must be in \[0, 1\]"),
        (("10:-0.1",), "shares must be"),
        (("10:nan",), "shares must be"),
        (("10:0,1",), r"2 shares, expected 1 or one per layer \(4\)"),
    ],
)
def test_schedules_that_mean_nothing(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=f"--insulation-schedule .*{says}"):
        plain(insulation_schedule=words)


def test_phases_need_an_expert_that_learns() -> None:
    for more in ({"insulation_schedule": ("5:1",)}, {"optim": OptimConfig(expert_first=5)}):
        with pytest.raises(InputError, match="needs an action expert"):
            plain(model=ModelConfig(flow=False), **more)
    oft = parse(("--preset", "oft"), Path("S"), Path("R"))
    for flags in ({"insulation_schedule": ("5:1",)}, {"optim": OptimConfig(expert_first=5)}):
        asked: Any = replace(oft, **flags)
        with pytest.raises(InputError, match=r"has no expert, so --.* has nothing to act on"):
            recipe_of(asked.model).check(asked)
    for start in ("expert", "*"):
        with pytest.raises(InputError, match="lets only the expert learn"):
            plain(optim=OptimConfig(expert_first=5, freeze=(start,)))
    with pytest.raises(InputError, match=r"--optim\.expert-first is -1"):
        OptimConfig(expert_first=-1)


def test_the_shares_of_each_step() -> None:
    asked = parse(("--insulation-schedule", "3:1", "5:0,0.5,0,1", "--model.insulation", "0.1"), Path("S"), Path("R"))
    found = {step: asked.insulation_at(step) for step in (1, 2, 3, 4, 5, 6, 10**6)}
    assert found[1] == found[2] == (0.1,)
    assert found[3] == found[4] == (1.0,)
    assert found[5] == found[6] == found[10**6] == (0.0, 0.5, 0.0, 1.0)
    assert asked.said_of(5) == {"insulation": 0.375}
    assert plain(model=ModelConfig(flow=False)).said_of(5) == {}
    assert for_step(asked).insulation_schedule == ()
    assert "insulation_schedule" not in plain().to_json()
    assert "expert_first" not in plain().to_json()["optim"]
    assert phases((), 4) == []
    assert unreached(asked.insulation_schedule, 4, 5) == ""
    assert "ends at step 2, before the insulation from step 3 and 5 on" in unreached(asked.insulation_schedule, 4, 2)


def rows_of(out: Path) -> list[dict[str, Any]]:
    timed = ("samples_per_second", "data_wait", "compile_seconds", "insulation")
    return [{k: v for k, v in row.items() if k not in timed} for row in tiny_runs.rows_of(out)]


@pytest.mark.slow
def test_a_phase_is_a_run_with_its_shares_and_resumes_at_its_boundary(chain: Chain, tmp_path: Path) -> None:
    """0 until step 2, then 1: the first half is a run of ki, the second what joint training makes of its checkpoint."""
    whole = tiny_runs.config(chain, tmp_path / "whole", insulation_schedule=("3:1",), checkpoint_every=2)
    run(whole)
    assert [row["insulation"] for row in tiny_runs.rows_of(whole.out)] == [0.0, 0.0, 1.0, 1.0]
    ki = tiny_runs.config(chain, tmp_path / "ki", checkpoint_every=2)
    run(ki)
    assert rows_of(ki.out)[:3] != rows_of(whole.out)[:3]
    joint = replace(ki, model=replace(ki.model, insulation=(1.0,)), resume_with=("model.insulation",), resume=True)
    for cut in (joint, replace(whole, resume=True)):
        (cut.out / "checkpoints" / "4").rename(tmp_path / f"4 of {cut.out.name}")
        before = rows_of(whole.out)
        run(cut)
        assert rows_of(cut.out) == before


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_only_the_expert_learns_at_first(accumulate: int) -> None:
    """Vision and backbone wait with moments, counts and average, to the bit, and then begin as if the run began."""
    optim = OptimConfig(expert_first=2, warmup=0, ema=0.5, weight_decay=0.1, schedule="constant")
    asked = config(model=JOINT, optim=optim, accumulate=accumulate)
    mesh = sharding.make_mesh(1, ROWS, accumulate)
    params: Any = jax.tree.map(lambda x: np.asarray(x) + np.float32(0.01), model.init(jax.random.key(0), JOINT))
    rows = sharding.put_rows(make_batch(ROWS), mesh)

    def steps(asked: TrainConfig, count: int) -> tuple[list[Any], list[Any]]:
        state, states, logged = begin(params, asked, mesh), [], []
        for step in range(1, count + 1):
            state, metrics = train_step(state, rows, jnp.int32(step), config=asked, model_config=JOINT, mesh=mesh)
            states.append(jax.tree.map(np.asarray, state))
            logged.append({name: float(value) for name, value in metrics.items()})
        return states, logged

    start = jax.tree.map(np.asarray, begin(params, asked, mesh))
    states, logged = steps(asked, 3)
    for state, metrics in zip(states[:2], logged[:2], strict=True):
        for part in expert_first.WAITING:
            for now, then in ((state.params, start.params), (state.ema, start.ema)):
                jax.tree.map(np.testing.assert_array_equal, now[part], then[part])
            assert metrics[f"grad_norm_{part}"] == 0.0
        kept, had = (waiting(s.optimizer) for s in (state, start))
        assert len(kept) > 20
        jax.tree.map(np.testing.assert_array_equal, kept, had)
    alone, their_logs = steps(replace(asked, optim=replace(optim, expert_first=0, freeze=expert_first.WAITING)), 2)
    for state, other in zip(states[:2], alone, strict=True):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params["expert"], other.params["expert"]
        )
        assert not np.array_equal(
            state.params["expert"]["action_out"]["kernel"], params["expert"]["action_out"]["kernel"]
        )
    np.testing.assert_allclose(
        [m["grad_norm_expert"] for m in logged[:2]], [m["grad_norm_expert"] for m in their_logs], rtol=1e-4
    )
    moved = np.abs(states[2].params["backbone"]["norm"] - params["backbone"]["norm"])
    np.testing.assert_allclose(
        moved, optim.learning_rate, rtol=0.02
    )  # AdamW's first step, whatever the gradient's size


def waiting(optimizer: Any) -> list[Any]:
    """Moments and counts of the components that wait."""
    found = jax.tree_util.tree_leaves_with_path(optimizer)
    return [leaf for path, leaf in found if expert_first.LATER in [getattr(key, "key", None) for key in path]]


@pytest.mark.slow
def test_a_run_whose_expert_begins_alone_resumes_bit_for_bit(chain: Chain, tmp_path: Path) -> None:
    """Within the first phase, and after it; the moving average and LoRA go along."""
    optim = OptimConfig(expert_first=2, ema=0.9, warmup=0)
    whole = tiny_runs.config(
        chain, tmp_path / "whole", model={"insulation": (1.0,)}, optim=optim, checkpoint_every=1, keep=9
    )
    run(whole)
    wanted = rows_of(whole.out)
    for step in (1, 3):
        for later in range(step + 1, 5):
            (whole.out / "checkpoints" / str(later)).rename(tmp_path / f"{later} before {step}")
        run(replace(whole, resume=True))
        assert rows_of(whole.out) == wanted
    assert [row["grad_norm_backbone"] > 0 for row in wanted] == [False, False, True, True]
