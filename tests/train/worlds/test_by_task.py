"""A world with several tasks: the table says how each of them went."""

import pytest

from train.evaluate import EvaluationResult, show
from train.rollouts import EpisodeOutcomes


def test_success_is_shown_by_task(capsys: pytest.CaptureFixture[str]) -> None:
    done = EpisodeOutcomes(success=[True, False, True, False], task=["open", "close", "open", "close"])
    show(EvaluationResult("RUN", 3, (done.result("franka", "libero_goal"),), None, ()), as_json=False)
    printed = " ".join(capsys.readouterr().out.split())
    assert "franka, libero_goal: by task" in printed
    assert "open 2 100 % [34, 100]" in printed
    assert "close 2 0 % [0, 66]" in printed


def test_the_time_of_a_prediction_is_without_compiling() -> None:
    """One prediction of 13 s, in which the program was compiled, made 16 predictions of 50 ms look like 900 ms each."""
    done = EpisodeOutcomes(success=[True], seconds=[13.0, 0.5, 0.25, 0.5])
    assert done.result("arm", "seen").ms_per_prediction == 500


def test_one_task_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    done = EpisodeOutcomes(success=[True, False], task=["open", "open"])
    show(EvaluationResult("RUN", 3, (done.result("franka", "libero_goal"),), None, ()), as_json=False)
    assert "by task" not in capsys.readouterr().out
