"""Whole runs under what happens to them: other forms, other ranks, kills while a checkpoint is written, numbers that overflow."""

import contextlib
import json
import logging
import shutil
import signal
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import multihost_utils
from numpy.typing import NDArray

from fasttok.errors import InputError
from pipelines.shards import ReadState
from tests.chain import Chain
from tests.train.tiny_runs import TINY, FakeEnv, command, config, ended, losses, rows_of, two_processes
from train.config import OptimConfig, TrainConfig
from train.devices.multi_host import SAID_BYTES, all_or_none, join_processes
from train.initial_params import initial_params
from train.loop import run
from train.params import components
from train.prefetch import PrefetchedBatch, prefetch
from train.presets import PRESETS
from train.recipe import recipe_of
from train.runs.checkpoint import Checkpoints, load_params
from train.runs.checkpoint_items import reading
from train.runs.finite_losses import FiniteLosses
from train.runs.run_folder import load_config
from train.runs.speed import Clock
from train.setup import prepare


def preset(chain: Chain, out: Path, name: str, **more: Any) -> TrainConfig:
    """A preset at the tests' size."""
    base = PRESETS[name]
    plain = config(chain, out, steps=2, **more)
    return replace(
        plain,
        preset=name,
        model=replace(base.model, **TINY),
        data=replace(base.data, text_vocab=600),
        optim=base.optim,
        flow_draws=base.flow_draws,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains(chain: Chain, tmp_path: Path, name: str) -> None:
    """Each loss is there exactly where the preset has it, and what is frozen stays to the bit."""
    asked = preset(chain, tmp_path / "run", name)
    run(asked)
    row = rows_of(tmp_path / "run")[-1]
    word = recipe_of(asked.model).loss
    assert {name for name in row if name in ("loss_flow", "loss_l1")} == (
        {f"loss_{word}"} if asked.model.flow else set()
    )
    assert (row["n_vlm"] > 0) == (asked.data.kinds != ("robot",))
    assert (row["n_fast"] > 0) == (asked.data.discrete != "none" and "robot" in asked.data.kinds)
    start: Any = initial_params(prepare(asked))
    end: Any = load_params(tmp_path / "run")[1]
    still = set(asked.optim.freeze)
    for name, before in components(start).items():
        after = components(end)[name]
        same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)]
        assert all(same) if name in still else not all(same), name


@pytest.mark.slow
def test_what_is_frozen_stays_and_the_moving_average_resumes(chain: Chain, tmp_path: Path) -> None:
    """The average lags behind the parameters, is what is loaded, and goes on where it was."""
    optim = OptimConfig(ema=0.9, freeze=("vision", "backbone/embedding"), warmup=0)
    whole = config(chain, tmp_path / "whole", optim=optim, steps=4, checkpoint_every=2)
    run(whole)
    cut = replace(whole, out=tmp_path / "cut")
    run(cut)
    (tmp_path / "cut" / "checkpoints" / "4").rename(tmp_path / "4")
    run(replace(cut, resume=True))
    start = initial_params(prepare(whole))
    _, end, step = load_params(whole.out)
    _, again, _ = load_params(cut.out)
    assert step == 4
    jax.tree.map(np.testing.assert_array_equal, end, again)
    jax.tree.map(np.testing.assert_array_equal, end["vision"], start["vision"])
    assert np.array_equal(end["backbone"]["embedding"], start["backbone"]["embedding"])
    assert not np.array_equal(end["backbone"]["layers"]["query"], start["backbone"]["layers"]["query"])
    assert losses(whole.out) == losses(cut.out)


@pytest.mark.slow
def test_killed_while_a_checkpoint_is_written(chain: Chain, tmp_path: Path) -> None:
    """What is half-written is neither seen nor in the way; the resumed run repeats the undisturbed one."""
    more = ("--steps=40", "--checkpoint-every=1")
    subprocess.run(command(chain, tmp_path / "whole", *more), check=True, capture_output=True)
    cut = tmp_path / "cut"

    def writing() -> list[Path]:
        """Steps that have no name yet, once some are whole."""
        done = [p for p in (cut / "checkpoints").glob("*") if p.name.isdigit()]
        return [p for p in (cut / "checkpoints").glob("*tmp*") if p.is_dir()] if done else []

    while not writing():  # on a busy machine a kill may come too late: once more, from nothing
        shutil.rmtree(cut, ignore_errors=True)
        process = subprocess.Popen(command(chain, cut, *more), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not writing():
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert losses(cut)[-1][0] < 40
    subprocess.run(command(chain, cut, *more, "--resume"), check=True, capture_output=True)
    assert losses(cut) == losses(tmp_path / "whole")
    assert not writing()


def test_sample_order_does_not_depend_on_the_number_of_ranks(chain: Chain, tmp_path: Path) -> None:
    setup = prepare(config(chain, tmp_path / "run"))

    def some(rank: int, world: int, state: Any = None) -> list[Any]:
        batches = prefetch(setup.reader, setup.encoder, setup.batcher, 8, seed=3, rank=rank, world=world, state=state)
        found = [next(batches) for _ in range(3)]
        batches.close()
        return found

    one = some(0, 1)
    two = [some(rank, 2) for rank in range(2)]
    for whole, *parts in zip(one, *two, strict=True):
        assert whole.sample_ids == [i for part in parts for i in part.sample_ids]
        assert np.array_equal(whole.batch["tokens"], np.concatenate([part.batch["tokens"] for part in parts]))
        assert len({json.dumps(part.state.to_json()) for part in (whole, *parts)}) == 1
    after = some(0, 1, one[-1].state)  # two ranks stopped here, one goes on
    assert after[0].sample_ids == [i for rank in range(2) for i in some(rank, 2, two[rank][-1].state)[0].sample_ids]


@pytest.mark.slow
def test_two_processes_are_one(chain: Chain, tmp_path: Path) -> None:
    """jax.distributed over two processes: the losses of one, and both resume after one checkpoint."""
    more = ("--steps=4", "--checkpoint-every=2", "--keep=5")
    subprocess.run(command(chain, tmp_path / "one", *more), check=True, capture_output=True)
    ended(two_processes(chain, tmp_path / "two", *more))
    np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / "two"), rtol=1e-4)
    assert sorted(p.name for p in (tmp_path / "two" / "checkpoints").iterdir()) == ["2", "4"]
    subprocess.run(command(chain, tmp_path / "two", "--steps=5", "--resume"), check=True, capture_output=True)


@pytest.mark.slow
def test_if_one_process_cannot_go_on_all_end(chain: Chain, tmp_path: Path) -> None:
    """Only process 0 looks at --out, in which there is a note of somebody else."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "note").write_text("mine")
    said = ended(two_processes(chain, tmp_path / "run"), status=1)
    assert "process 0 of this run" not in said[0]
    assert "process 0 of this run cannot go on" in said[1]
    assert all(f"{tmp_path / 'run'}" in words for words in said)


@pytest.mark.parametrize("said", ["", "no room", "ä" * SAID_BYTES])
def test_processes_hear_why_another_one_ends(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    sent: list[NDArray[np.uint8]] = []

    def gathered(words: NDArray[np.uint8]) -> NDArray[np.uint8]:
        sent.append(words)
        return np.stack([words] * 2)

    monkeypatch.setattr(multihost_utils, "process_allgather", gathered)
    with pytest.raises(InputError) if said else contextlib.nullcontext(), all_or_none():
        if said:
            raise InputError(said)
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda words: np.stack([words, sent[0]]))
    with (
        pytest.raises(InputError, match=f"process 1 .*: {said[:9]}") if said else contextlib.nullcontext(),
        all_or_none(),
    ):
        pass


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("localhost,2", "expected auto or ADDRESS:PORT,PROCESSES,ID"),
        ("localhost:1,2,²", "expected auto or ADDRESS:PORT,PROCESSES,ID"),
        ("localhost:port,2,0", "expected auto or ADDRESS:PORT,PROCESSES,ID"),
        ("localhost:1,2,2", "the id is 2 of 2 processes, expected 0 to 1"),
        ("auto", "cannot join the others: coordinator_address should be defined.*give ADDRESS:PORT,PROCESSES,ID"),
    ],
)
def test_who_joins_must_say_whom(how: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def joins(*given: object) -> None:
        raise ValueError("coordinator_address should be defined." if not given else f"joined {given}")

    monkeypatch.setattr(jax.distributed, "initialize", joins)
    with pytest.raises(InputError, match=says):
        join_processes(how)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_batch(chain: Chain, tmp_path: Path) -> None:
    asked = config(chain, tmp_path / "run", optim=OptimConfig(learning_rate=1e38, warmup=0), steps=6)
    with pytest.raises(InputError, match=r"is not finite at step \d.*sample ids are in .*Lower --optim\.learning-rate"):
        run(asked)
    (file,) = (tmp_path / "run").glob("not_finite_step_*.npz")
    with np.load(file, allow_pickle=False) as batch:
        assert len(batch["sample_ids"]) == 8
        assert batch["images"].dtype == np.uint8
    assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))  # parameters that are gone are not saved


def test_each_process_keeps_its_own_rows_of_a_batch_that_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all processes of a run would write one file at the same time."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        batch = PrefetchedBatch({"tokens": np.full(2, process)}, ReadState("", 0), ["a", "b"])
        finite = FiniteLosses(tmp_path)
        finite.check(3, {"loss": jnp.float32(np.nan)}, batch)
        with pytest.raises(InputError, match=rf"not_finite_step_3_process_{process}\.npz"):
            finite.check_now()
    for process in range(2):
        with np.load(tmp_path / f"not_finite_step_3_process_{process}.npz") as kept:
            assert kept["tokens"].tolist() == [process, process]


@pytest.mark.parametrize("error", [ValueError(""), KeyError(), TypeError("\n"), ValueError("cut short\nthere")])
def test_a_damaged_checkpoint_is_one_line(error: Exception, tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="checkpoint is damaged, or does not fit this model: "),
        reading(tmp_path, "checkpoint"),
    ):
        raise error


@pytest.mark.parametrize("cause", [ValueError("OUT_OF_RANGE: byte 3"), OSError("gone"), None, ZeroDivisionError()])
def test_what_orbax_wraps_is_one_line_if_it_is_about_a_file(cause: Exception | None, tmp_path: Path) -> None:
    """A checkpoint of which a copy lacks the end ended in a traceback."""
    expected = InputError if isinstance(cause, ValueError | OSError) else Exception
    with pytest.raises(expected) as caught, reading(tmp_path, "checkpoint"):
        raise Exception("Encountered error while reading array index\nthere") from cause
    assert (f"the checkpoint is damaged, or does not fit this model: {cause}" in str(caught.value)) == (
        expected is InputError
    )


@pytest.mark.parametrize("said", [{}, [], {"manifest": "m", "consumed": "many"}])
def test_a_damaged_position_is_one_line(said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "last_step", 1)
    monkeypatch.setattr(Checkpoints, "_read", lambda *_: {"data": said})
    with (
        closing(Checkpoints(tmp_path)) as checkpoints,
        pytest.raises(InputError, match="position in the shards is damaged"),
    ):
        checkpoints.position()


@pytest.mark.slow
def test_dry_run_says_the_cost_and_writes_nothing(
    chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(chain, tmp_path / "run", dry_run=True, accumulate=2))
    said = capsys.readouterr().out
    for words in (
        "parameters: backbone",
        "TFLOP per sample",
        "8 in 2 microbatches",
        "tokens per row",
        "GiB",
        "--lora.rank 16",
        "141 GB",
    ):
        assert words in said
    assert "scaled by the step that was compiled" in said
    assert len([line for line in said.splitlines() if line.startswith("--lora.rank 16")]) == 6
    assert not (tmp_path / "run").exists()


def test_the_log_says_when_the_loader_is_what_the_run_waits_for(
    chain: Chain, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, logger="train")
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(prepare(config(chain, tmp_path / "run")))
    for step in range(1, 6):
        with clock.waiting():
            now += 3.0
        now += 1.0
        lap = clock.lap(step)
    assert (lap["samples_per_second"], lap["data_wait"]) == (2.0, 0.75)
    assert caplog.text.count("the loader is the bottleneck: 75 %") == 1


@pytest.mark.slow
def test_acting_by_tokens(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAST and bins: whatever the backbone says decodes to one chunk; a run without tokens, or without an expert, says so."""
    from train import evaluate

    monkeypatch.setattr(evaluate, "load_factory", lambda name: lambda embodiment, split: FakeEnv(split))
    for name, data, model in (
        ("fast", {}, {"flow": False}),
        ("bins", {"discrete": "bins", "bins_stride": 5}, {}),
        ("none", {"discrete": "none"}, {}),
    ):
        run(config(chain, tmp_path / name, data=data, model=model, steps=1))
        asked = evaluate.EvaluateConfig(
            tmp_path / name,
            env="fake:make",
            embodiments=("planar",),
            splits=("seen",),
            episodes=2,
            batch=2,
            decode=None if name == "fast" else "tokens",  # without an expert, tokens act by themselves
        )
        if name == "none":
            with pytest.raises(InputError, match="predicts no action tokens"):
                evaluate.main(asked)
            continue
        (seen,) = evaluate.main(asked).world
        assert seen.episodes == 2
        if name == "fast":
            with pytest.raises(InputError, match="no action expert"):
                evaluate.main(replace(asked, decode="flow"))


@pytest.mark.slow
def test_saved_configuration_is_the_run(chain: Chain, tmp_path: Path) -> None:
    asked = config(chain, tmp_path / "run", steps=1, model={"state": "special"}, optim=OptimConfig(freeze=("vision",)))
    run(asked)
    saved = load_config(tmp_path / "run")
    assert saved == prepare(asked).resolved
    assert (saved.model.cameras, saved.model.state, saved.optim.freeze) == (2, "special", ("vision",))
    path = tmp_path / "run" / "config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written | {"bathc_size": 3}))
    with pytest.raises(InputError, match="bathc_size"):
        load_config(tmp_path / "run")


def test_run_folders_of_other_versions(tmp_path: Path) -> None:
    """Those before `format_version` read as they did, without keys that came later too; newer ones say so."""
    asked = TrainConfig(Path("SHARDS"), tmp_path, optim=OptimConfig(freeze=("vision",)))
    path, values = tmp_path / "config.json", asked.to_json()
    assert "format_version" not in values  # studies find their runs by a digest of these
    path.write_text(json.dumps(values, indent=2))
    assert load_config(tmp_path) == asked
    path.write_text(json.dumps({key: value for key, value in values.items() if key != "augment"}))
    assert load_config(tmp_path) == asked
    for wrong, says in (
        (values | {"format_version": 2, "speed": 3}, "written by a newer fasttok"),
        (values | {"optim": values["optim"] | {"frezee": []}}, r"config\.json: unknown key \$\.optim\.frezee"),
        ({key: value for key, value in values.items() if key != "shards"}, r"missing required field `shards`"),
        (values | {"steps": "many"}, r"\$\.steps"),
        (values | {"steps": 0}, "expected at least 1"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=says):
            load_config(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        load_config(tmp_path)
