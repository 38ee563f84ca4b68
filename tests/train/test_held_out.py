"""Held-out numbers: the same rows and noise each time, training untouched, errors before the first step, the best one kept."""

import json
import logging
import math
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasttok.actions.normalize import NormStats
from fasttok.common.kinds import RecordKind
from fasttok.errors import InputError
from pipelines.builder.config import BuildConfig
from pipelines.builder.run import run_build
from pipelines.shards import ShardReader
from tests.chain import Chain
from tests.shared_folders import once
from tests.train.tiny_runs import command, config, ended, losses, rows_of, two_processes
from train.config import OptimConfig, TrainConfig
from train.devices import sharding
from train.examples import Example
from train.initial_params import initial_params
from train.judging.held_out import HeldOutNumbers
from train.judging.held_out_rows import (
    HeldOutRow,
    even_parts,
    read_rows,
    refuse_trained_on,
    spread_rows,
    warn_of_training_rows,
)
from train.judging.measurements import DRAWS
from train.judging.open_loop import action_errors
from train.loop import run
from train.player import Player
from train.runs.best_checkpoint import BestCheckpoint, kept
from train.runs.checkpoint import load_params
from train.setup import prepare
from train.step import State, begin

MIXTURE = """
sources:
  - {dataset: tabletop_planar, split: val, weight: 3}
  - {dataset: tabletop_arm, split: val, weight: 3}
  - {dataset: tabletop_vqa, split: val, weight: 1}
  - {dataset: tabletop_captions, split: val, weight: 1}
"""


@pytest.fixture(scope="session")
def val_shards(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 rows of the episodes, questions and captions that `chain` holds out."""

    def make(out: Path) -> None:
        (out / "val.yaml").parent.mkdir(parents=True, exist_ok=True)
        (out / "val.yaml").write_text(MIXTURE)
        run_build(
            BuildConfig(
                str(out / "val.yaml"), str(out / "shards"), 120, str(chain.index), str(chain.tokenizer), shards=2
            ),
            [],
        )

    return once(tmp_path_factory, "val_shards", make) / "shards"


def wide(chain: Chain, out: Path, **more: Any) -> TrainConfig:
    """A small run whose rows have room for held-out ones, of which some are longer than all that it trains on."""
    return config(chain, out, data={"text_length": 112, **more.pop("data", {})}, **more)


def held(row: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith("held_out")}


@pytest.fixture(scope="session")
def unmeasured(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps. Do not write into it."""
    return once(tmp_path_factory, "unmeasured", lambda out: run(wide(chain, out / "run"))) / "run"


@pytest.fixture(scope="session")
def measured(chain: Chain, val_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `unmeasured` with held-out numbers at steps 2 and 4. Do not write into it."""
    more: dict[str, Any] = {"held_out": val_shards, "held_out_every": 2, "held_out_rows": 20, "keep_best": True}
    made = once(
        tmp_path_factory, "measured", lambda out: run(wide(chain, out / "run", checkpoint_every=2, keep=5, **more))
    )
    return made / "run"


def test_training_is_the_same_to_the_bit_and_its_rows_have_the_numbers(unmeasured: Path, measured: Path) -> None:
    assert losses(measured) == losses(unmeasured)
    rows = rows_of(measured)
    assert [bool(held(row)) for row in rows] == [False, True, False, True]
    last = held(rows[-1])
    assert all(math.isfinite(value) for value in last.values())
    total = sum(last[f"held_out_loss_{name}"] for name in ("vlm", "fast", "flow"))
    assert np.isclose(last["held_out_loss"], total)
    for name in ("held_out_ce_vlm", "held_out_ce_fast", "held_out_nrmse/planar", "held_out_nrmse/arm"):
        assert last[name] > 0
    for name in ("held_out_error/planar/dx (m)", "held_out_error_raw/arm/yaw (rad)", "held_out_error/arm/gripper"):
        assert last[name] > 0
    assert last["held_out_nrmse"] == (last["held_out_nrmse/planar"] + last["held_out_nrmse/arm"]) / 2
    assert held(rows[1])["held_out_loss_flow"] > last["held_out_loss_flow"]


def test_an_evaluation_on_the_rows_of_the_training_says_so(
    chain: Chain, val_shards: Path, unmeasured: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="train")
    warn_of_training_rows(unmeasured, ShardReader(str(val_shards)).manifest, val_shards)
    assert not caplog.text
    warn_of_training_rows(unmeasured, ShardReader(str(chain.shards)).manifest, chain.shards)
    assert "learned them by heart" in caplog.text


def test_a_resumed_run_has_the_same_numbers_and_the_same_best(
    chain: Chain, val_shards: Path, measured: Path, tmp_path: Path
) -> None:
    cut = shutil.copytree(measured, tmp_path / "run")
    shutil.rmtree(cut / "checkpoints" / "4")
    more: dict[str, Any] = {"held_out": val_shards, "held_out_every": 2, "held_out_rows": 20, "keep_best": True}
    before = [(order, step) for order, step, _ in kept(cut / "best")]
    run(wide(chain, cut, checkpoint_every=2, keep=5, resume=True, **more))
    assert [held(row) for row in rows_of(cut)] == [held(row) for row in rows_of(measured)]
    assert losses(cut) == losses(measured)
    assert [(order, step) for order, step, _ in kept(cut / "best")] == before


def prepared(chain: Chain, shards: Path, out: Path, **more: Any) -> tuple[HeldOutNumbers, State]:
    setup = prepare(wide(chain, out, **{"held_out": shards, "held_out_rows": 14, **more}))
    mesh = sharding.make_mesh(1, setup.config.batch_size)
    return HeldOutNumbers(setup, mesh), begin(initial_params(setup), setup.config, mesh)


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_batch_size(chain: Chain, val_shards: Path, tmp_path: Path) -> None:
    """14 rows in batches of 8, the last of which is filled, and of 14: a row's noise is its own."""
    (some, state), (all_, _) = (prepared(chain, val_shards, tmp_path / "run", batch_size=n) for n in (8, 14))
    one, other = some.measure(state), all_.measure(state)
    assert list(one) == list(other)
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=1e-4)
    assert some.measure(state) == one
    again, _ = prepared(chain, val_shards, tmp_path / "run", batch_size=8, loss_norm="samples", seed=7)
    other = again.measure(state)
    assert other["held_out_nrmse"] == one["held_out_nrmse"]
    assert other["held_out_ce_fast"] == one["held_out_ce_fast"]
    assert not np.isclose(other["held_out_loss_fast"], one["held_out_loss_fast"], rtol=1e-3)


def test_the_moving_average_is_measured(chain: Chain, val_shards: Path, tmp_path: Path) -> None:
    plain, state = prepared(chain, val_shards, tmp_path / "run")
    averaged, _ = prepared(chain, val_shards, tmp_path / "run", optim=OptimConfig(ema=0.9))
    other = jax.tree.map(lambda x: x * 1.1, state.params)
    assert averaged.measure(State(other, None, state.params)) == plain.measure(state)


@pytest.mark.slow
def test_errors_are_those_of_evaluation(chain: Chain, val_shards: Path, measured: Path, tmp_path: Path) -> None:
    """Other noise and a mean of four samples: near, not equal."""
    player = Player.load(measured, batch=10)
    by_hand = {e.embodiment: e for e in action_errors(player, val_shards, 45, "flow")}
    setup = prepare(replace(wide(chain, tmp_path / "run"), held_out=val_shards, held_out_rows=120))
    numbers = HeldOutNumbers(setup, sharding.make_mesh(1, 8)).measure(State(player.params, None))
    for name in ("planar", "arm"):
        assert np.isclose(numbers[f"held_out_nrmse/{name}"], by_hand[name].nrmse, rtol=0.1)
        ours = [value for key, value in numbers.items() if key.startswith(f"held_out_error_raw/{name}/")]
        np.testing.assert_allclose(ours, by_hand[name].rmse, rtol=0.3)


def test_rows_are_of_every_kind_and_source(chain: Chain, val_shards: Path, tmp_path: Path) -> None:
    reader = ShardReader(str(val_shards))
    setup = prepare(wide(chain, tmp_path / "run"))
    for most in (4, 21, 10_000):
        shards, rows = spread_rows(reader, ("robot", "vqa", "caption"), most, val_shards)
        sources = [row["source"] for row in reader.take(shards, rows).rows()]
        counts = {name: sources.count(name) for name in reader.manifest.sources}
        assert min(counts.values()) >= min(most // 6, 15)
        assert len(set(zip(shards.tolist(), rows.tolist(), strict=True))) == len(sources) == min(most, 120)
        read, digest = read_rows(setup, val_shards, most)
        assert digest == read_rows(setup, val_shards, most)[1]
        assert sum(bool(row.embodiment) for row in read) == counts["tabletop_planar"] + counts["tabletop_arm"]


def test_a_row_that_the_shards_repeat_is_measured_once(chain: Chain, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "chunk: {seconds: 1.0}\nsources:\n  - {dataset: tabletop_planar, split: val, weight: 1, filters: {records: 1}}\n"
    )
    index, tokenizer, shards = str(chain.index), str(chain.tokenizer), tmp_path / "shards"
    run_build(BuildConfig(str(tmp_path / "m.yaml"), str(shards), 90, index, tokenizer, shards=1), [])
    reader = ShardReader(str(shards))
    steps = {reader.row(i)["sample_id"].rpartition("/")[0] for i in range(90)}  # without the number of the repeat
    assert len(steps) < 90
    assert len(read_rows(prepare(wide(chain, tmp_path / "run")), shards, 90)[0]) == len(steps)


def test_as_many_rows_as_sources_are_one_row_of_each(val_shards: Path) -> None:
    """Without questions, captions have a half of the rows; three robots need three of four."""
    reader = ShardReader(str(val_shards))
    names = list(reader.manifest.sources)
    kinds: dict[str, RecordKind] = dict(zip(names, ("robot", "robot", "robot", "caption"), strict=True))
    told = {name: replace(source, kind=kinds[name]) for name, source in reader.manifest.sources.items()}
    reader.manifest = replace(reader.manifest, sources=told)
    for most, parts in ((4, [1, 1, 1, 1]), (5, [1, 1, 1, 2]), (6, [1, 1, 1, 3]), (8, [2, 1, 1, 4])):
        rows = reader.take(*spread_rows(reader, ("robot", "caption"), most, val_shards)).rows()
        sources = [row["source"] for row in rows]
        assert [sources.count(name) for name in names] == parts
    with pytest.raises(InputError, match=r"--held-out-rows is 3, fewer than the 4 sources .* give at least 4"):
        spread_rows(reader, ("robot", "caption"), 3, val_shards)


@given(total=st.integers(0, 60), room=st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_parts_are_as_equal_as_their_room(total: int, room: list[int]) -> None:
    parts = even_parts(total, room)
    assert sum(parts) == min(total, sum(room))
    assert all(part <= most for part, most in zip(parts, room, strict=True))
    unfilled = [part for part, most in zip(parts, room, strict=True) if part < most]
    assert all(part <= min(unfilled, default=part) + 1 for part in parts)


def other_manifest(folder: Path, out: Path, **source: Any) -> Path:
    """A copy of shards whose manifest says something else of their arm."""
    shutil.copytree(folder, out)
    about = json.loads((out / "manifest.json").read_text())
    about["sources"]["tabletop_arm"] |= source
    (out / "manifest.json").write_text(json.dumps(about))
    return out


def parts_manifest(folder: Path, out: Path, part: tuple[float, float]) -> Path:
    """A copy of shards whose manifest says that each source takes a part of its split."""
    shutil.copytree(folder, out)
    about = json.loads((out / "manifest.json").read_text())
    nodes = [about["mixture"]["root"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("members", [])
        if "dataset" in node:
            node["filters"] = {"part": part}
    (out / "manifest.json").write_text(json.dumps(about))
    return out


def test_what_does_not_fit_is_refused_before_anything_is_written(
    chain: Chain, val_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(match: str, shards: Path = val_shards, **more: Any) -> None:
        with pytest.raises(InputError, match=match):
            run(wide(chain, tmp_path / "run", held_out=shards, **more))
        assert not (tmp_path / "run").exists()

    refused("contains the rows that the run trains on", chain.shards)
    refused("contains the rows that the run trains on", shutil.copytree(chain.shards, tmp_path / "copy"))
    rebuilt = other_manifest(chain.shards, tmp_path / "rebuilt", license="other")
    refused("contains the rows that the run trains on", rebuilt)
    refused("nowhere", tmp_path / "nowhere")
    refused("held-out-rows is 3, fewer than the 4 sources", held_out_rows=3)
    stranger = other_manifest(val_shards, tmp_path / "stranger", embodiment="crane")
    refused(r"not trained on embodiment 'crane' of source tabletop_arm; it knows planar, arm", stranger)
    longer = other_manifest(val_shards, tmp_path / "longer", horizon=21)
    refused(r"horizon of arm is 21 in source tabletop_arm, the run's 20", longer)
    arm = json.loads((val_shards / "manifest.json").read_text())["sources"]["tabletop_arm"]["action_encoding"]
    turned = other_manifest(val_shards, tmp_path / "turned", action_encoding=["absolute"] * len(arm))
    refused(r"action_encoding of arm is \('absolute', .* the run's \('absolute', .* 'gripper'\)", turned)
    with pytest.raises(InputError, match="give shards of other episodes with --held-out"):
        wide(chain, tmp_path / "run", keep_best=True)
    with pytest.raises(InputError, match="expected at least 0 and 1"):
        wide(chain, tmp_path / "run", held_out=val_shards, held_out_rows=0)
    same_split = other_manifest(val_shards, tmp_path / "same", split="train")
    caplog.set_level(logging.WARNING, logger="train")
    read_rows(prepare(wide(chain, tmp_path / "run")), same_split, 20)
    assert "tabletop_arm of --held-out" in caplog.text
    caplog.clear()
    for part, said in (((0.0, 0.5), True), ((0.5, 1.0), False)):  # the run itself takes the first 0.5
        caplog.clear()
        ours = prepare(wide(chain, tmp_path / "run"))
        half = parts_manifest(same_split, tmp_path / f"held {part[0]}", part)
        mine = replace(
            ours, reader=ShardReader(str(parts_manifest(chain.shards, tmp_path / f"own {part[0]}", (0.0, 0.5))))
        )
        refuse_trained_on(mine, ShardReader(str(half)).manifest, half)
        assert ("tabletop_arm of --held-out" in caplog.text) == said


def test_a_text_that_is_too_long_is_found_before_the_first_step(
    chain: Chain, val_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = prepare(wide(chain, tmp_path / "run"))
    short = replace(setup, batcher=replace(setup.batcher, length=40))
    with pytest.raises(
        InputError, match=r"row .* of source .* has \d+ tokens of text, more than the 40 .*--data.text-length"
    ):
        read_rows(short, val_shards, 20)


@pytest.mark.parametrize("held_steps", [False, True])
def test_the_flow_loss_counts_the_steps_that_training_counts(
    chain: Chain, val_shards: Path, tmp_path: Path, held_steps: bool
) -> None:
    setup = prepare(wide(chain, tmp_path, held_out=val_shards, held_out_rows=40, data={"held_steps": held_steps}))
    numbers = HeldOutNumbers(setup, sharding.make_mesh(1, 8))
    text, weight = numbers._weights()
    with ThreadPoolExecutor(1) as pool:
        batches = [numbers._batch(first, text, weight, pool) for first in range(0, len(numbers.rows), numbers.size)]
    counted = sum(int(batch["action_mask"].sum()) for batch in batches)
    acting = [row.example for row in numbers.rows if row.example.actions is not None]
    assert counted == sum((e.horizon if held_steps else e.steps) * e.dim for e in acting)
    assert DRAWS * counted * weight == pytest.approx(1)  # a mean over the errors that count


def test_robots_of_nearly_one_name_have_numbers_of_their_own() -> None:
    stats = NormStats.fit(np.array([[-1.0], [1.0]]), mode="min_max")
    acts = [replace(Example({}, [], []), actions=np.full((2, 1), value, np.float32)) for value in (0.0, 1.0)]
    rows = [
        HeldOutRow(i, one, name, np.asarray(one.actions))
        for i, (one, name) in enumerate(zip(acts, ("a/b", "a_b"), strict=True))
    ]
    robots = {name: SimpleNamespace(embodiment=name, action_names=("x/y",)) for name in ("a/b", "a_b")}
    encoder = SimpleNamespace(
        robots=SimpleNamespace(robots=robots), tok=SimpleNamespace(stats=dict.fromkeys(robots, stats))
    )
    measured: Any = SimpleNamespace(rows=rows, setup=SimpleNamespace(encoder=encoder))
    out = HeldOutNumbers._errors(measured, {0: np.zeros((2, 1), np.float32), 1: np.zeros((2, 1), np.float32)})
    assert (out["held_out_error/a_b/x_y"], out["held_out_error/a_b 1/x_y"]) == (0.0, 1.0)


@pytest.mark.slow
def test_a_recipe_that_draws_no_flow_times_has_its_whole_loss(chain: Chain, val_shards: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"insulation": (1.0,), "recipe": "oft", "state": "continuous", "state_in": "backbone"}
    data = {"kinds": ("robot",), "discrete": "none"}
    held_out, state = prepared(chain, val_shards, tmp_path / "run", model=more, data=data, flow_draws=1)
    numbers = held_out.measure(state)
    errors = [value for name, value in numbers.items() if name.startswith("held_out_error/")]
    assert (
        0.5 * np.mean(errors) < numbers["held_out_loss_l1"] < max(errors)
    )  # a mean of absolute errors beside their rmse
    assert numbers["held_out_loss"] == pytest.approx(numbers["held_out_loss_l1"])


@pytest.mark.slow
def test_runs_without_an_expert_or_robots_are_measured_by_their_loss(
    chain: Chain, val_shards: Path, tmp_path: Path
) -> None:
    for name, more in (
        ("tokens", {"model": {"flow": False}}),
        ("vlm", {"model": {"flow": False}, "data": {"kinds": ("vqa", "caption")}}),
    ):
        run(wide(chain, tmp_path / name, steps=1, held_out=val_shards, held_out_rows=20, keep_best=True, **more))
        last = held(rows_of(tmp_path / name)[-1])
        assert ("held_out_ce_fast" in last) == (name == "tokens")
        assert not [key for key in last if "nrmse" in key or "error" in key or "flow" in key]
        (_, step, _), *_ = kept(tmp_path / name / "best")
        assert load_params(tmp_path / name, "best")[2] == step == 1


def test_the_best_of_a_run_stays(chain: Chain, measured: Path, tmp_path: Path) -> None:
    """Lower values replace, one after the other; others rows begin anew; what a kill leaves is no checkpoint."""
    out = shutil.copytree(measured, tmp_path / "run")
    shutil.rmtree(out / "best")
    saved, params, _ = load_params(out)

    def offered(values: list[float], rows: str = "a", first: int = 1) -> tuple[int, float]:
        best = BestCheckpoint(out, rows)
        for step, value in enumerate(values, first):
            state = State(jax.tree.map(lambda x, step=step: jnp.full_like(x, step), params), None)
            best.offer(step, state, "held_out_nrmse", value, saved)
        best.close()
        assert len(kept(out / "best")) == 1
        _, loaded, step = load_params(out, "best")
        return step, float(loaded["backbone"]["norm"][0])

    with pytest.raises(InputError, match="keeps no best checkpoint"):
        load_params(out, "best")
    assert offered([3.0, 2.0, 2.5, float("nan"), 2.0]) == (2, 2.0)
    half = out / "best" / "9_9.orbax-checkpoint-tmp-1"
    half.mkdir()
    (out / "best" / "mine").mkdir()
    assert offered([2.0, 2.1], first=6) == (2, 2.0)  # a process that resumes
    assert not half.exists()
    assert (out / "best" / "mine").is_dir()
    assert offered([1.9], first=1) == (1, 1.0)  # resumed with other settings: an earlier step, and better
    assert offered([7.0], rows="b", first=8) == (8, 8.0)  # measured on other rows: not to be compared
    assert load_params(out)[2] == 4
    shutil.copytree(out / "best" / "4_8", out / "best" / "3_2")  # killed before the one before was removed
    assert load_params(out, "best")[2] == 8


def test_only_the_named_robots_are_measured(measured: Path, val_shards: Path, tmp_path: Path) -> None:
    from train import evaluate

    asked = evaluate.EvaluateConfig(measured, held_out=val_shards, held_out_rows=4, embodiments=("arm",))
    assert [errors.embodiment for errors in evaluate.main(asked).actions] == ["arm"]
    with pytest.raises(InputError, match=r"unknown embodiment of the run 'leg'.*arm, planar"):
        evaluate.main(replace(asked, embodiments=("arm", "leg")))
    without = other_manifest(val_shards, tmp_path / "other", embodiment="planar")
    with pytest.raises(InputError, match=r"unknown embodiment of --held-out .*other 'arm'.*Known: planar"):
        evaluate.main(replace(asked, held_out=without))


def test_the_best_is_evaluated_and_exported_by_name(measured: Path, val_shards: Path, tmp_path: Path) -> None:
    from train import evaluate, export

    (_, step, _), *_ = kept(measured / "best")
    best = min((row for row in rows_of(measured) if held(row)), key=lambda row: row["held_out_nrmse"])
    assert step == best["step"]
    asked = evaluate.EvaluateConfig(measured, held_out=val_shards, held_out_rows=4, checkpoint="best")
    assert evaluate.main(asked).step == step
    export.export(export.ExportConfig(measured, tmp_path / "out", checkpoint="best"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["fasttok"]["step"] == step


@pytest.mark.slow
def test_two_processes_have_the_numbers_of_one(chain: Chain, val_shards: Path, tmp_path: Path) -> None:
    more = ("--steps=2", "--data.text-length=112", "--held-out", str(val_shards), "--held-out-rows=14", "--keep-best")
    subprocess.run(command(chain, tmp_path / "one", *more), check=True, capture_output=True)
    ended(two_processes(chain, tmp_path / "two", *more))
    one, two = (held(rows_of(tmp_path / name)[-1]) for name in ("one", "two"))
    assert list(one) == list(two)
    np.testing.assert_allclose(list(one.values()), list(two.values()), rtol=1e-3)
    assert load_params(tmp_path / "two", "best")[2] == load_params(tmp_path / "two")[2] == 2
