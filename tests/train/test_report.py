"""`fasttok-train report`: a page of runs that are done, still training, killed or damaged; nothing in it comes from elsewhere."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from fasttok.errors import InputError
from tests.html_checks import assert_whole, without_scripts
from train.command import main
from train.config import TrainConfig
from train.presets import get_preset
from train.report.command import ReportConfig, report
from train.report.run_log import read_runs
from train.runs.run_folder import RUN
from train.runs.sessions import add_session, sessions_of
from train.runs.settings import settings


def make_run(folder: Path, steps: int = 100, **more: Any) -> Path:
    """A run that has logged every 10 of its steps, without having trained."""
    config = dataclasses.replace(get_preset(), shards=Path("SHARDS"), out=folder, steps=100, **more)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_json()))
    rows = []
    for step in range(10, steps + 1, 10):
        row: dict[str, Any] = {
            "step": step,
            "loss": 5 / step,
            "loss_flow": 1 / step,
            "ce_fast": 2.0,
            "learning_rate": 1e-3,
        }
        row |= {
            "grad_norm_backbone": 10.0 / step,
            "grad_norm_flow_backbone": 0.0,
            "samples_per_second": 90.0,
            "data_wait": 0.02,
        }
        if step % 20 == 0:
            row |= {
                "held_out_loss": 6 / step,
                "held_out_ce_fast": 2.5,
                "held_out_nrmse": 20 / step,
                "held_out_nrmse/arm": 20 / step,
            }
            row |= {"held_out_error/arm/x (m)": 0.5, "held_out_error_raw/arm/x (m)": 0.125}
        rows.append(json.dumps(row))
    (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    add_session(folder, 0)
    return folder


def page(*runs: Path, **more: Any) -> str:
    return report(ReportConfig(runs, **more)).read_text(encoding="utf-8")


def test_a_page_of_one_run_has_its_numbers_settings_and_command(tmp_path: Path) -> None:
    run = make_run(tmp_path / "ki", alpha=3.0)
    said = page(run)
    for words in (
        "100 of 100", "finished", "L_FLOW", "action tokens (nats per token)", "held-out loss", "action error of arm", "x (m)",
        "0.125", "gradient norm of the backbone", "gradient norm of L_FLOW&#x27;s share on the backbone", "rows per second",
        "learning rate", "waiting for data (% of the time)", "alpha", "3.0", "jax 0.", "lowest action error, at step",
        "from the start",
    ):  # fmt: skip
        assert words in said, words
    assert "http" not in said.replace("http-equiv", "")
    assert_whole(said)
    assert "nan" not in re.sub(r"<(style|script|footer)>.*?</\1>|default-src[^>]*>", "", said, flags=re.S).lower()
    assert (run / "report.html").is_file()
    assert RUN.wrote("report.html")
    assert page(run) == said  # replaces its own page


@pytest.mark.parametrize("steps", [0, 10, 30])
def test_runs_that_are_training_or_were_killed(tmp_path: Path, steps: int) -> None:
    run = make_run(tmp_path / "run", steps)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "loss": 0.')
    said = page(run)
    assert f"{steps} of 100" in said
    assert "finished" not in said
    assert ("last row" in said) == (steps > 0)
    assert ("No numbers yet: run." in said) == (steps == 0)
    (run / "metrics.jsonl").unlink()
    assert "No numbers yet" in page(run)


def test_means_of_nothing_are_no_points(tmp_path: Path) -> None:
    """A batch without questions has logged 0 for them, which would draw the curve down."""
    run = make_run(tmp_path / "run", 0)
    rows: list[dict[str, float]] = [
        {"step": 1, "ce_vlm": 3.0, "n_vlm": 4, "loss_vlm": 1.0, "loss_flow": 0.0, "n_flow": 0},
        {"step": 2, "ce_vlm": 0.0, "n_vlm": 0, "loss_vlm": 0.0, "loss_flow": 2.0, "n_flow": 9},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    [log] = read_runs([run])
    assert [log.curve(name)[1].tolist() for name in ("ce_vlm", "loss_vlm", "loss_flow")] == [[3.0], [1.0, 0.0], [2.0]]


def test_several_runs_are_compared(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a" / "ki"), make_run(tmp_path / "b" / "ki", 30, alpha=2.0, batch_size=64)
    said = page(one, other, out=tmp_path / "page.html")
    for words in (
        "2 runs",
        "a/ki",
        "b/ki",
        "What differs between the runs",
        "batch_size",
        "rows seen (batches differ)",
    ):
        assert words in said, words
    assert not (one / "report.html").exists()
    with pytest.raises(InputError, match="given twice"):
        page(one, one / ".." / "ki")


def test_what_a_run_says_is_text_and_damage_is_left_out(tmp_path: Path) -> None:
    """RUN is as trustworthy as who made it."""
    run = make_run(tmp_path / "run", 20, preset="<script>alert(1)</script>")
    rows = [
        '{"step": 30, "loss": NaN, "loss_flow": Infinity, "<script>": 1.0, "held_out_error/<b>/<i>": 1.0, "text": "x"}',
        '{"step": 40, "<script>": 2.0, "loss": true, "n_flow": {}, "ce_fast": null, '
        '"held_out_error_raw/a": 3.0, "held_out_error/b": 3.0}',
        '{"step": ' + "9" * 400 + "}", '{"step": -5}', "[" * 100_000, "null", '"step"',
        '{"step": 20, "loss": 0.25, "held_out_error/<b>/<i>": 2.0}',
    ]  # fmt: skip
    with (run / "metrics.jsonl").open("a") as file:
        file.write("\n".join(rows) + "\n")
    (run / "sessions.jsonl").write_text(
        '{"date": 1}\n{"date": "<u>", "from_step": 3, "command": "<u>", "devices": "<u>"}\n'
    )
    (log,) = read_runs([run])
    assert [row["step"] for row in log.rows] == [10, 20, 30, 40]
    assert log.last("loss") == 0.25
    assert math.isnan(log.rows[2]["loss"])
    assert math.isnan(log.rows[3]["ce_fast"])
    said = page(run)
    assert "40 of 100" in said
    assert "action error of &lt;b&gt; per dimension" in said
    said = without_scripts(said)
    for tag in ("<script>", "<i>", "<u>", "of <b>"):
        assert tag not in said


def test_files_that_lead_out_of_the_run_are_not_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    elsewhere = (run / "metrics.jsonl").rename(tmp_path / "elsewhere.jsonl")
    (run / "metrics.jsonl").symlink_to(elsewhere)
    with pytest.raises(InputError, match="leads out of"):
        page(run)


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(InputError, match="is not a run"):
        page(tmp_path)
    with pytest.raises(InputError, match="example: fasttok-train report RUN"):
        report(ReportConfig(()))
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(InputError, match="--overwrite"):
        page(run, out=tmp_path / "mine.html")
    for read in ("config.json", "metrics.jsonl"):
        with pytest.raises(InputError, match="is also what the command reads"):
            page(run, out=run / read, overwrite=True)
    assert "ki" in page(run, out=tmp_path / "mine.html", overwrite=True)


def test_the_command_stands_beside_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    main(["report", str(run), "--out", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").is_file()
    main(["--help"])
    assert "fasttok-train report RUN" in capsys.readouterr().out
    with pytest.raises(InputError, match="did you mean 'report'"):
        main(["reprot", str(run)])
    with pytest.raises(InputError, match="fasttok-train report RUN"):
        main(["--steps", "3"])


def test_starts_of_a_run_are_kept(tmp_path: Path) -> None:
    for step in (0, 20, 40):
        add_session(tmp_path, step)
    assert [session.from_step for session in sessions_of(tmp_path)] == [0, 20, 40]
    assert "jax" in sessions_of(tmp_path)[0].versions
    add_session(tmp_path, 0)
    assert [session.from_step for session in sessions_of(tmp_path)] == [0]
    (tmp_path / "file").mkdir()
    (tmp_path / "sessions.jsonl").unlink()
    (tmp_path / "sessions.jsonl").mkdir()
    add_session(tmp_path, 0)  # a warning
    assert sessions_of(tmp_path) == []


def test_settings_that_differ_from_the_preset(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", alpha=3.0)
    (log,) = read_runs([run])
    assert log.own_settings() == {
        "alpha": ("3.0", "1.0"),
        "steps": ("100", str(TrainConfig(Path("s"), Path("o")).steps)),
    }
    assert settings(log.config)["optim.clip"] == 1.0
