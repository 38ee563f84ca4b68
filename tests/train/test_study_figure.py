"""The figure over all studies: pairs follow from recipes, the line is right, and too little is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.common.html import Dot, ScatterAxes, scatter
from fasttok.errors import InputError
from train.judging.measurements import WorldResult
from train.study import command as study_command
from train.study import figure, figure_command
from train.study.arm_config import parse
from train.study.figure_command import FigureConfig
from train.study.intervals import Estimate
from train.study.pairs import FoundPairs, find_pairs, newcombe
from train.study.regression import fit_line
from train.study.run_result import CurvePoint, RunResult, RunSeconds
from train.study.run_spec import RunSpec
from train.study.spec import Evaluation
from train.study.study_file import load_study
from train.study.study_result import ArmResult, StudyResult, read_result
from train.study.summary import summarize_arm, values_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS, CONFIGS = ROOT / "benchmarks" / "results", ROOT / "train" / "configs"


def committed(name: str) -> StudyResult:
    """A study that was carried out."""
    return read_result(RESULTS / f"study_{name}.json")[1]


def arm_like(arm: ArmResult, name: str, flags: str, **changes: Any) -> ArmResult:
    """The same numbers under another recipe."""
    return replace(arm, arm=name, flags=flags, **changes)


def names(found: FoundPairs) -> set[tuple[str, str]]:
    """Arms of the pairs."""
    return {(pair.insulated, pair.joint) for pair in found.pairs}


def test_which_arms_are_a_pair_follows_from_their_recipes_not_their_names() -> None:
    result = committed("longer")
    ours, theirs = result.arms
    arms = (
        arm_like(ours, "a", "--preset ki"),
        arm_like(theirs, "b", "--preset ki --model.insulation 1 1 1 1"),
        arm_like(theirs, "half", "--preset ki --model.insulation 0.5"),
        arm_like(theirs, "upper", "--preset ki --model.insulation 0 0 1 1"),
        arm_like(theirs, "later", "--preset ki --insulation-schedule 100:1"),
        arm_like(theirs, "other data", "--preset joint", shards="vlm_10"),
        arm_like(theirs, "other budget", "--preset joint", robot_samples=2 * theirs.robot_samples),
        arm_like(theirs, "other rate", "--preset joint --optim.learning-rate 2e-3"),
        arm_like(theirs, "fast expert", "--preset joint --optim.expert-learning-rate 3e-3"),
        arm_like(ours, "fast expert, insulated", "--preset ki --optim.expert-learning-rate 3e-3"),
    )
    found = find_pairs([replace(result, arms=arms)])
    assert names(found) == {("a", "b"), ("fast expert, insulated", "fast expert")}
    assert sorted(pair.seed for pair in found.pairs) == [0, 0, 1, 1, 2, 2]
    pair = next(p for p in found.pairs if p.insulated == "a" and p.seed == 1)
    split = "uncorrelated"
    expected = ours.metrics[f"success/{split}"].seeds[1] - theirs.metrics[f"success/{split}"].seeds[1]
    assert pair.success[split].difference == pytest.approx(expected)
    assert pair.success[split].low < expected < pair.success[split].high
    assert pair.token_error == ours.metrics["error/tokens"].seeds[1]


def test_arms_without_tokens_are_no_pair() -> None:
    result = committed("longer")
    ours, theirs = result.arms
    arms = tuple(
        replace(a, metrics={k: v for k, v in a.metrics.items() if k != "error/tokens"}) for a in (ours, theirs)
    )
    assert not find_pairs([replace(result, arms=arms)]).pairs


def test_the_same_condition_and_seed_counts_once_and_the_newest_is_taken() -> None:
    old = committed("longer")
    metrics = {**old.arms[0].metrics, "error/tokens": Estimate(0.5, 0.5, 0.5, (0.5, 0.5, 0.5))}
    new = replace(old, date="2027-01-01", arms=(replace(old.arms[0], metrics=metrics), old.arms[1]))
    for order in ([old, new], [new, old]):
        found = find_pairs(order)
        assert (len(found.pairs), found.repeats) == (3, 3)
        assert {pair.token_error for pair in found.pairs} == {0.5}


def test_another_world_or_stage_is_another_condition() -> None:
    result = committed("longer")
    other = replace(result, world="correlation 0.5, task reach")
    assert len(find_pairs([result, other]).pairs) == 6
    for elsewhere in (replace(result, env="another_world:make"), replace(result, data="another_data")):
        found = find_pairs([result, replace(elsewhere, date="2027-01-01")])
        assert (len(found.pairs), found.repeats) == (6, 0)
    ours, theirs = result.arms
    stage = arm_like(theirs, "stage", "--preset joint --model.state text")
    late = [replace(arm, start="stage") for arm in (ours, theirs)]
    staged = replace(result, arms=(stage, *late))
    assert {pair.condition for pair in find_pairs([result]).pairs}.isdisjoint(
        pair.condition for pair in find_pairs([staged]).pairs
    )
    assert names(find_pairs([replace(result, arms=(stage, late[0], theirs))])) == set()


def test_the_interval_counts_the_episodes_of_all_robots() -> None:
    result = committed("longer")
    study = load_study(CONFIGS / "longer.yaml")

    def arm(like: ArmResult, *successes: int) -> ArmResult:
        """An arm whose runs have so many successes in 100 episodes of each robot."""
        world = tuple(
            WorldResult(
                embodiment=f"robot {robot}",
                split="seen",
                episodes=100,
                each={"success": (1,) * n + (0,) * (100 - n)},
                ms_per_prediction=1.0,
            )
            for robot, n in enumerate(successes)
        )
        spec = RunSpec(parse((), Path("S"), Path("O")), Evaluation())
        run = RunResult(spec, "a CPU", 1, 1.0, 1.0, (CurvePoint(1, world, (), None, 1.0, 1.0),), RunSeconds(1.0, 1.0))
        values = {study.reference: [values_of(run)] * 3}
        made = summarize_arm(study, study.arm(study.reference), [run] * 3, values, None)
        return replace(like, metrics=like.metrics | made.metrics, counts=made.counts)

    arms = (arm(result.arms[0], 61, 40), arm(result.arms[1], 50, 50))
    assert arms[0].counts == {"success/seen": 200}
    pairs = find_pairs([replace(result, arms=arms, splits=("seen",))]).pairs
    assert [pair.success["seen"] for pair in pairs] == [newcombe(101, 200, 100, 200)] * 3


def test_arms_that_a_search_drove_apart_are_a_pair_only_if_asked_for() -> None:
    result = committed("presets")
    found = find_pairs([result])
    assert not found.pairs
    assert any("ki and joint" in said for said in found.searched)
    assert ("ki", "joint") in names(find_pairs([result], own_values=True))
    with pytest.raises(InputError, match=r"found 0 pairs.*at least 3.*left out"):
        figure.panels(found)


def test_the_line_is_the_one_that_made_the_points() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(40):
        x = rng.uniform(0.6, 1.1, 60)
        line = fit_line(x, 0.5 - 0.6 * x + 0.05 * rng.standard_normal(60), np.arange(60) // 3)
        assert line is not None
        assert line.slope.value == pytest.approx(np.polyfit(x, 0.5 - 0.6 * x, 1)[0], abs=0.2)
        inside += line.slope.low <= -0.6 <= line.slope.high
        assert line.slope_by_group is not None
        assert line.slope_by_group.low <= line.slope.value <= line.slope_by_group.high
        assert all(low <= line.at(at) <= high for at, low, high in zip(line.x, line.low, line.high, strict=True))
    assert inside >= 34
    assert fit_line(np.ones(5), np.arange(5.0), np.arange(5)) is None


@pytest.mark.parametrize(
    ("x", "groups", "enough"),
    [
        ([0.9, 1.0, 1.1, 1.2], [0, 0, 0, 0], False),  # seeds of one condition
        ([0.6, 0.6, 0.6, 0.5, 0.5, 0.5], [0, 0, 0, 1, 1, 1], False),  # two conditions
        ([0.6, 0.6, 0.1 + 0.5, 0.5, 0.5, 0.5], [0, 0, 1, 1, 2, 2], True),
        ([0.6, 0.6, 0.6, 0.6, 0.5, 0.5], [0, 0, 1, 1, 2, 2], False),  # three conditions, two base VLMs
        ([0.6, 0.6, 0.5, 0.5, 0.4, 0.4], [0, 0, 1, 1, 2, 2], True),
    ],
)
def test_too_few_conditions_have_no_interval(x: list[float], groups: list[int], enough: bool) -> None:
    y = np.random.default_rng(0).normal(size=len(x))
    line = fit_line(np.array(x), y, np.array(groups))
    assert line is not None
    assert line.slope.low < line.slope.high
    found = line.slope_by_group
    assert found is None or found.low < found.high
    assert (found is not None) == (figure.points(found) != "-") == enough


def test_the_figure_of_the_committed_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figure"
    files = tuple(sorted(RESULTS.glob("study_*.json")))
    figure_command.main(FigureConfig(files, out, json=True), "fasttok-study figure")
    numbers = json.loads((out / "figure.json").read_text())
    assert json.loads(capsys.readouterr().out) == numbers
    assert len(numbers["pairs"]) >= 15
    assert {(line["against"], line["split"]) for line in numbers["lines"]} >= {
        ("token_error", "seen"),
        ("token_error", "uncorrelated"),
        ("base_vqa", "seen"),
    }
    most = {"seen", "uncorrelated"}  # the splits that half of the pairs have
    assert {line["split"] for line in numbers["lines"]} == most
    page, text, picture = ((out / name).read_text() for name in ("figure.html", "figure.md", "figure.svg"))
    said = f"{len(numbers['pairs'])} pairs"
    assert said in page
    assert said in text
    assert page.count("<svg") == picture.count("<svg") - 1 == len(numbers["lines"])
    drawn = sum(line["pairs"] for line in numbers["lines"])
    assert page.count("<circle") == picture.count("<circle") == drawn
    assert picture.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "http://" not in page.replace("http://www.w3.org", "")
    with pytest.raises(InputError, match="--overwrite"):
        figure_command.main(FigureConfig(files, out), "again")
    figure_command.main(FigureConfig(files, out, overwrite=True), "again")
    assert "again" in (out / "figure.md").read_text()


def test_too_few_results_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"give results\.json"):
        figure_command.files((), tmp_path)
    with pytest.raises(InputError, match="found 0 pairs"):
        figure_command.main(FigureConfig((RESULTS / "study_targets.json",), tmp_path / "out"), "c")
    assert not (tmp_path / "out").exists()
    (tmp_path / "study").mkdir()
    assert figure_command.files((tmp_path / "study",)) == [tmp_path / "study" / "results.json"]


def test_the_verb_run_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[study_command.StudyConfig] = []
    monkeypatch.setattr(study_command, "main", asked.append)
    words = ["s.yaml", "--env", "m:f", "--data", "d", "--smoke"]
    study_command.command(words)
    study_command.command(["run", *words])
    assert asked[0] == asked[1]
    assert asked[0].smoke
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"--seeds is -3; expected how many"):
        study_command.command(["presets", "--env", "m:f", "--data", "d", "--seeds", "-3"])
    with pytest.raises(
        InputError, match=r"--seeds is 99, and .*presets\.yaml has \d+: 0, 1.*expected at most that many"
    ):
        study_command.command(["presets", "--env", "m:f", "--data", "d", "--seeds", "99"])
    with pytest.raises(InputError, match="nowhere"):
        study_command.command(["figure", "nowhere.json"])


def test_a_scatter_plot_escapes_and_keeps_its_points_inside() -> None:
    made = scatter(
        [Dot(1.0, 0.2, 0.1, 0.4, "red", "a < b"), Dot(2.0, -0.3, -0.4, -0.2, "blue")],
        ScatterAxes("x", "y"),
        title="t & u",
    )
    assert "a &lt; b" in made
    assert "t &amp; u" in made
    assert made.count("<circle") == 2
