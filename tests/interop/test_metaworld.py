"""MetaWorld's own release, beside our pins: every task's table, true RLDS, and the chain from its experts to a judged run."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from examples.metaworld.tasks import TASKS
from fasttok.episodes import open_episodes
from tests.interop.environments import ROOT, PackageSet, run_inside

pytestmark = pytest.mark.slow
Built = Callable[[str], PackageSet]


def test_the_chain_from_experts_to_a_judged_run(
    built: Built, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("checked", "MetaWorld: 50 tables, RLDS, questions, and the chain to a judged run")
    run_inside(built("metaworld"), "use_metaworld.py", ROOT, tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["repeats"] == list(TASKS), "the same seed gives the same table, whatever was played before"
    assert found["expert"] == {"reach": True, "push": True}
    assert found["told"] < 0.5, "where the hand begins does not tell where the drawer stands"
    assert found["captions"]["drawer-open"].startswith("a green goal mark at")
    assert "a green drawer" in found["captions"]["drawer-open"]
    assert all("gripper at" in caption for caption in found["captions"].values())
    assert "7 of 7 steps are done" in found["said"]

    episodes = list(open_episodes(str(tmp_path / "chain" / "data" / "metaworld" / "1.0.0")))
    assert len(episodes) == 2
    for episode in episodes:
        actions = np.asarray(episode.steps["action"])
        assert np.abs(actions).max() <= 1
        assert np.asarray(episode.steps["observation/state"]).shape == (len(actions), 4), "no object is in it"
    judged = json.loads((tmp_path / "chain" / "eval.json").read_text())
    assert [world["episodes"] for world in judged["world"]] == [2]
    assert (tmp_path / "chain" / "films.html").is_file()
    baselines = json.loads((tmp_path / "chain" / "baselines.json").read_text())
    assert {row["policy"]: row["success"] for row in baselines}["expert"] == 2
