"""--resume: what is refused leaves the run's folder as it was, to the byte; what is named or does not matter goes on."""

import dataclasses
import json
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from pipelines.shards import ReadState
from tests.chain import Chain
from tests.train.tiny_runs import TINY, config, digests, losses
from train import loop
from train.config import OptimConfig, TrainConfig
from train.loop import run
from train.runs.checkpoint import load_params
from train.runs.resume import FREE, go_on
from train.runs.run_folder import load_config
from train.runs.settings import settings


@pytest.fixture
def cut(trained: Path, tmp_path: Path) -> Path:
    """A run of four steps, with what a kill leaves behind, and rows that a resumed run would cut."""
    out = shutil.copytree(trained, tmp_path / "run")
    (out / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir()
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 1.0}\n{"st')
    (out / "wandb_id").write_text("abc")
    return out


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ema": ({"optim": OptimConfig(ema=0.9)}, r"optim\.ema: None -> 0\.9\n.*--resume-with optim\.ema"),
    "batch": ({"batch_size": 16}, r"batch_size: 8 -> 16\n"),
    "rate": ({"optim": OptimConfig(learning_rate=3e-3)}, r"optim\.learning_rate: 0\.001 -> 0\.003\n"),
    "alpha": ({"alpha": 2.0}, r"alpha: 1\.0 -> 2\.0\n"),
    "insulation": ({"model": {"insulation": (1.0,)}}, r"model\.insulation: 0\.0 -> 1\.0\n"),
    "seed": ({"seed": 1}, r"seed: 0 -> 1 \(it orders the rows and draws the noise"),
    "names": ({"preset": "joint", "size": "small"}, r"preset: ki -> joint\n  size: debug -> small\n.*with preset size"),
    "kinds": ({"data": {"kinds": ("robot",)}}, r"data\.kinds: robot, vqa, caption -> robot \(.*begin anew"),
    "length": ({"data": {"text_length": 512}}, r"data\.text_length: \d+ -> 512"),
    "width": ({"model": {"width": 64}}, r"model\.width: 32 -> 64"),
    "cameras": ({"model": {"cameras": 3}}, r"model\.cameras: 2 -> 3"),
    "fewer": ({"steps": 3}, r"--steps is 3, fewer than the 4 .*--resume-with steps"),
    "too few": ({"steps": 3, "resume_with": ("steps",)}, r"a checkpoint of step 4, --steps is 3"),
    "init": ({"init_from": Path("other")}, r"init_from: None -> other\nThese say only how a run begins"),
    "weights": (
        {"weights": Path("w"), "optim": OptimConfig(high_rate=True), "resume_with": ("weights",)},
        r"weights: None -> w\nThese say only",
    ),
    "some named": ({"alpha": 2.0, "batch_size": 16, "resume_with": ("alpha",)}, r":\n  batch_size: 8 -> 16\nGive"),
    "unknown": ({"resume_with": ("optim.learning_rat",)}, r"did you mean 'optim\.learning_rate'"),
    # Named, but the checkpoint has no place for it: refused while it is restored.
    "ema is not there": ({"steps": 6, "optim": OptimConfig(ema=0.9), "resume_with": ("optim.ema",)}, "does not fit this model"),
    "other shapes": ({"steps": 6, "model": {"width": 64}, "resume_with": ("model",)}, "does not fit this model"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_changes_nothing(chain: Chain, cut: Path, case: str) -> None:
    more, says = REFUSED[case]
    before = digests(cut)
    with pytest.raises(InputError, match=says):
        run(config(chain, cut, resume=True, **more))
    assert digests(cut) == before


def test_a_run_that_another_process_trains_is_left_alone(chain: Chain, cut: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fasttok.common.output_folder import check_output; "
        "from train.runs.run_folder import RUN; place = check_output(Path(sys.argv[1]), RUN, resume=True); "
        "place.begin(); print('begun', flush=True); sys.stdin.read()"
    )
    before = digests(cut)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(cut)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(InputError, match="another process is writing"):
            run(config(chain, cut, resume=True, steps=6))
        assert digests(cut) == before
        other.communicate("")


def test_a_damaged_checkpoint_and_other_shards_change_nothing(chain: Chain, cut: Path, tmp_path: Path) -> None:
    others = shutil.copytree(chain.shards, tmp_path / "others")
    manifest = json.loads((others / "manifest.json").read_text())
    (others / "manifest.json").write_text(json.dumps(manifest | {"seed": 12345}))
    before = digests(cut)
    asked = dataclasses.replace(config(chain, cut, resume=True, steps=6), shards=others)
    with pytest.raises(InputError, match=r"contains other shards than .*were at .*shards.*--resume-with shards"):
        run(asked)
    assert digests(cut) == before
    saved = json.loads(
        (cut / "config.json").read_text()
    )  # as after --resume-with shards, and a kill before a checkpoint
    (cut / "config.json").write_text(json.dumps(saved | {"shards": str(others)}))
    with pytest.raises(InputError, match=rf"contains other shards than .*were at {re.escape(str(chain.shards))}\)"):
        run(asked)
    (damaged,) = (cut / "checkpoints").glob("[0-9]*/params/manifest.ocdbt")
    damaged.write_bytes(damaged.read_bytes()[:20])
    before = digests(cut)
    with pytest.raises(InputError, match="checkpoint"):
        run(config(chain, cut, resume=True, steps=6))
    assert digests(cut) == before


def test_a_run_without_a_checkpoint_has_none(cut: Path) -> None:
    shutil.rmtree(cut / "checkpoints")
    with pytest.raises(InputError, match=r"^[^:]* has no checkpoint; train it with"):
        load_params(cut)


def test_a_finished_run_is_left_alone(chain: Chain, cut: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="train")
    before = digests(cut)
    run(config(chain, cut, resume=True))
    assert digests(cut) == before
    assert "has all of its 4 steps; for more, raise --steps" in caplog.text


def test_what_is_named_and_what_is_free_goes_on(
    chain: Chain, cut: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another batch size and seed as named; shards and RUN at other places, more steps and bookkeeping without a word."""
    caplog.set_level(logging.INFO, logger="train")
    moved = shutil.copytree(chain.shards, tmp_path / "moved")
    names = ("--seed", "batch-size", "optim.learning-rate")
    more: dict[str, Any] = {"batch_size": 4, "seed": 1, "optim": OptimConfig(learning_rate=2e-3)}
    asked = config(chain, cut, resume=True, steps=6, resume_with=names, log_every=2, keep=1, checkpoint_every=3, **more)
    run(dataclasses.replace(asked, shards=moved))
    for words in ("batch_size: 8 -> 4", "seed: 0 -> 1", "--steps is 6 and the run was begun with 4", "are equal"):
        assert words in caplog.text
    assert [row[0] for row in losses(cut)] == [1, 2, 3, 4, 5, 6]
    saved = load_config(cut)
    assert (saved.shards, saved.batch_size, saved.seed, saved.steps) == (moved, 4, 1, 6)
    assert [p.name for p in (cut / "checkpoints").iterdir()] == ["6"]  # --keep, and no rest of the killed one


@pytest.mark.parametrize(
    ("named", "more"), [("seed", {"seed": 1}), ("data.kinds", {"data": {"kinds": ("robot", "vqa")}})]
)
def test_a_run_that_was_killed_before_its_next_checkpoint_goes_on_with_other_settings(
    chain: Chain, cut: Path, monkeypatch: pytest.MonkeyPatch, named: str, more: dict[str, Any]
) -> None:
    """Its config.json has the new order of the rows already, its checkpoint has a position in the old one."""
    first, asked = config(chain, cut, resume=True, steps=5), config(chain, cut, resume=True, steps=5, **more)
    begun: list[ReadState | None] = []
    monkeypatch.setattr(loop, "_steps", lambda *given: begun.append(given[4]))  # killed while the step compiles
    run(dataclasses.replace(asked, resume_with=(named,)))
    assert settings(load_config(cut))[named] == settings(asked)[named]
    run(dataclasses.replace(asked, resume_with=(named,)))
    run(asked)
    assert begun == [None, None, None]  # the rows begin anew each time
    run(dataclasses.replace(first, resume_with=(named,)))
    (*_, position) = begun
    assert position is not None
    assert position.consumed == 32  # four steps of eight rows in the old order


def test_every_switch_and_share_is_compared(chain: Chain, cut: Path) -> None:
    """A field that is new tomorrow is refused when it differs, unless somebody writes down that it is bookkeeping."""
    asked, path = config(chain, cut, resume=True), cut / "config.json"
    compared = 0
    for name, value in settings(load_config(cut)).items():
        if name in FREE | {"init_from_expert"} or type(value) not in (float, bool) or name.startswith("model."):
            continue
        saved = json.loads(path.read_text())
        *above, last = name.split(".")
        (saved.setdefault(above[0], {}) if above else saved)[last] = (
            value / 2 if isinstance(value, float) else not value
        )
        before = path.read_text()
        path.write_text(json.dumps(saved))
        with pytest.raises(InputError, match=f"{name}: "):
            go_on(asked)
        path.write_text(before)
        compared += 1
    assert compared > 10


def test_settings_that_differ_are_named_with_resume_only() -> None:
    with pytest.raises(InputError, match="--resume, which is not given"):
        TrainConfig(Path("SHARDS"), Path("RUN"), resume_with=("alpha",))
    assert settings(TrainConfig(Path("SHARDS"), Path("RUN")))["model.width"] != TINY["width"]
