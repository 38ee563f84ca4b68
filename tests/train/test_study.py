"""Studies: files are checked, runs are found again, intervals are right, and the whole thing runs in small."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fasttok.errors import InputError
from pipelines.shards.manifest import Manifest, RowCounts
from tests.chain import Chain
from tests.train.tiny_runs import config as tiny_run
from train import loop
from train.__main__ import main as train_main
from train.config import TrainConfig
from train.judging import rollout_videos
from train.judging.measurements import ActionErrors, WorldResult
from train.rollouts import Film, closed_loop
from train.study import single_run
from train.study.arm_config import parse, training
from train.study.grid import RunGrid, StudyRun
from train.study.intervals import difference, estimate
from train.study.processes import Pool
from train.study.run_result import CurvePoint, RunResult, RunSeconds
from train.study.run_spec import RunFiles, RunSpec
from train.study.runner import carry_out
from train.study.spec import CHOOSING_EPISODES, CHOOSING_SEED, Evaluation
from train.study.study_data import StudyInputs, prepare_data
from train.study.study_file import load_study
from train.study.study_result import read_result
from train.study.summary import steps_to, values_of
from train.study.tables import markdown

ROOT = Path(__file__).resolve().parents[2]
TABLETOP = {"env": "examples.tabletop.env:make_vector", "data": "examples.tabletop.study:prepare"}
CONFIGS = sorted((ROOT / "train" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_studies_that_come_with_us(path: Path) -> None:
    study = load_study(path)
    if study.purpose == "choose":
        assert min(study.seeds) >= CHOOSING_SEED
        assert study.evaluate.seed >= CHOOSING_EPISODES
    else:
        assert len(study.seeds) >= 3
        assert max(study.seeds) < CHOOSING_SEED
        assert study.tune is None or study.tune.seed >= CHOOSING_SEED
        assert study.evaluate.seed + study.evaluate.episodes < CHOOSING_EPISODES
    assert study.arm(study.reference)
    small = study.smoke()
    assert study.reference in [arm.name for arm in small.arms]
    assert all(not arm.start or small.arm(arm.start) for arm in small.arms)
    for arm in study.arms:
        found = training(study, arm, Path("DATA"), Path("OUT"), seed=7)
        assert (found.seed, found.shards) == (7, Path("DATA") / arm.shards)


def test_arms_are_one_change_from_the_reference() -> None:
    study = load_study(next(p for p in CONFIGS if p.stem == "insulation"))
    made = {arm.name: training(study, arm, Path("D"), Path("O"), seed=0) for arm in study.arms}
    assert made["insulation 0.1"].model.insulation == (0.1,)
    assert made["first half insulated"].model.shares == (0.0, 0.0, 1.0, 1.0)
    same = replace(made["insulation 1 (joint)"], preset="ki", model=made["insulation 0"].model)
    assert same == made["insulation 0"]


GOOD = """
name: s
question: q
base: --preset vlm
common: --batch-size 8
robot_samples: 100
seeds: [0]
arms: {ki: --preset ki, joint: --preset joint}
"""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("arms: {ki: --preset ki, joint: --preset joint}", "arms: {ki: --preset kii}"), "kii"),
        (("arms: {ki: --preset ki, joint: --preset joint}", "arms: []"), "arms is"),
        (("joint: --preset joint", "joint: {flag: x}"), "flag"),
        (("joint: --preset joint", "joint: --bogus 3"), "bogus"),
        (("joint: --preset joint", "joint: {flags: --preset joint, match: time}"), "match"),
        (("seeds: [0]", "seeds: many"), "seeds"),
        (("seeds: [0]", "seeds: [3000000000]"), "seeds: a seed is 3000000000, expected -2147483648 to 2147483647"),
        (("name: s", "name: s\nevaluate: {splits: []}"), "splits is empty"),
        (("name: s", "name: s\nevaluate: {checkpoints: 0}"), "evaluate: checkpoints is 0, expected at least 1"),
        (("name: s", "name: s\nevaluate: {curve_episodes: 0}"), "evaluate: curve_episodes is 0, expected at least 1"),
        (("name: s", "name: s\nevaluate: {questions: -1}"), "questions is -1"),
        (("name: s", "name: s\nevaluate: {seed: -1}"), "evaluate: seed is -1, expected at least 0"),
        (("name: s", "name: s\nevaluate: {threshold: 50}"), "threshold is 50.0, expected a share"),
        (("name: s", "name: s\nevaluate: {temperature: -1.0}"), "temperature is -1.0"),
        (("name: s", "name: s\ntune: {flag: --optim.learning-rate, values: []}"), "tune: values is empty"),
        (("name: s", "name: s\ntune: {flag: --optim.learning-rate, values: [x]}"), "learning-rate x"),
        (("name: s", "name: s\ntune: {flag: --nonsense, values: [1]}"), "does not understand.*--nonsense 1"),
        (("name: s", "name: s\ntune: {flag: --alpha, values: [1], share: 0.0}"), "tune: share is 0.0"),
        (("robot_samples: 100", "robot_samples: 0"), "robot_samples"),
        (("name: s", "name: s\nreference: pi0"), "pi0"),
        (("name: s", "name: s\nspeed: 3"), "speed"),
        (("base: --preset vlm\n", ""), "base|missing"),
        (("name: s", "name: s\nlike: ../other.yaml"), "beside it"),
        (("name: s", "name: s\nlike: other.yaml"), "other.yaml is not there"),
        (("seeds: [0]", "seeds: [0"), "not YAML"),
        (
            ("joint: --preset joint", "ki: --preset joint"),
            r"s\.yaml: line \d: 'ki' is given twice \(first on line \d\)",
        ),
        (("name: s", "name: s\nevaluate: {splits: [seen], episode: 3}"), "episode"),
        (("name: s", "name: s\npurpose: win"), "purpose is 'win'"),
        (("name: s", "name: s\npurpose: choose"), "seeds from 1000 on"),
        (("seeds: [0]", "seeds: [1000]\npurpose: choose"), "episodes begin at 1000000"),
        (("joint: --preset joint", "joint: {flags: --preset joint, start: kii}"), "kii"),
        (("joint: --preset joint", "joint: {flags: --preset joint, start: joint}"), "wait for each other: joint"),
        (("joint: --preset joint", "joint: {flags: --preset joint, robot_samples: 0}"), "robot_samples is 0"),
        (("joint: --preset joint", "joint: {flags: --preset joint, held_out: ../x}"), "held_out|shards"),
    ],
)
def test_bad_studies_are_refused(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD)
    load_study(path)
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change))
    with pytest.raises(InputError, match=says):
        load_study(path)


@pytest.mark.parametrize(
    "flags", ["--preset=joint", "--preset joint", "--preset pi0 --preset=joint", "--preset=ki --preset joint"]
)
def test_an_arm_trains_the_preset_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    """However it is spelt, in a study as at the command line: what config.json and tables call joint is joint training."""
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace("joint: --preset joint", f"joint: {flags} --size=small"))
    study = load_study(path)
    config = training(study, study.arm("joint"), Path("D"), Path("O"), seed=0)
    assert (config.preset, config.size, config.model.insulation, config.model.width) == ("joint", "small", (1.0,), 384)
    written = config.to_json()
    assert (written["preset"], written["size"], written["model"]["insulation"]) == ("joint", "small", [1.0])
    typed: list[TrainConfig] = []
    monkeypatch.setattr(loop, "run", typed.append)
    train_main([*study.common, *flags.split(), "--size=small", "--seed=0", "--shards=D/shards", "--out", "O"])
    assert typed == [config]
    assert RunSpec(config, Evaluation()).training_digest == RunSpec(typed[0], Evaluation()).training_digest


def test_a_split_counts_once(tmp_path: Path) -> None:
    """The episodes of a split that is named twice would count as twice as many, and intervals would be too narrow."""
    path = tmp_path / "s.yaml"
    path.write_text(GOOD.replace("name: s", "name: s\nevaluate: {splits: [seen, far, seen]}"))
    assert load_study(path).evaluate.splits == ("seen", "far")


def test_a_study_like_another(tmp_path: Path) -> None:
    """Takes what it does not say, and nothing that is the other's own."""
    (tmp_path / "s.yaml").write_text(GOOD + "reference: joint\nworld: {task: reach}\n")
    (tmp_path / "t.yaml").write_text("like: s.yaml\nname: t\nquestion: q\narms: {a: --preset pi0}\nseeds: [5]\n")
    one, other = load_study(tmp_path / "s.yaml"), load_study(tmp_path / "t.yaml")
    assert (other.base, other.common, other.world) == (one.base, one.common, one.world)
    assert (other.name, other.reference, other.seeds) == ("t", "a", (5,))


def test_keys_that_all_arms_share_are_written_once(tmp_path: Path) -> None:
    """Also by a study that is like this one; an arm's own keys win, and the base has none of them."""
    arms = "{ki: --preset ki, joint: {flags: --preset joint, shards: other}}"
    shared = "arm_defaults: {shards: easy, held_out: held_out_easy}\n"
    (tmp_path / "s.yaml").write_text(GOOD.replace("{ki: --preset ki, joint: --preset joint}", arms) + shared)
    (tmp_path / "t.yaml").write_text("like: s.yaml\nname: t\nquestion: q\narms: {a: --preset pi0}\n")
    study, other = load_study(tmp_path / "s.yaml"), load_study(tmp_path / "t.yaml")
    assert [(arm.shards, arm.held_out) for arm in study.arms] == [("easy", "held_out_easy"), ("other", "held_out_easy")]
    assert [(arm.shards, arm.held_out) for arm in other.arms] == [("easy", "held_out_easy")]
    assert study.base.shards == "shards"
    assert [arm.name for arm in study.smoke().arms] == ["ki"]
    for wrong, said in ((" 3", "expected a mapping"), (" {shrads: easy}", "shrads")):
        (tmp_path / "s.yaml").write_text(GOOD + "arm_defaults:" + wrong + "\n")
        with pytest.raises(InputError, match=said):
            load_study(tmp_path / "s.yaml")


def test_only_arms_that_spend_what_the_reference_spends_wait_for_it(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    arms = "{ki: --preset ki, joint: --preset joint, pi0: {flags: --preset pi0, match: flops}}"
    path.write_text(GOOD.replace("{ki: --preset ki, joint: --preset joint}", arms))
    assert [[arm.name for arm in each] for each in load_study(path).rounds] == [["ki", "joint"], ["pi0"]]


def test_an_arm_may_be_compared_with_another_than_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    arms = "{ki: --preset ki, small: --preset ki --seed 1, joint: {flags: --preset joint, against: small}, pi0: --preset pi0}"
    path.write_text(GOOD.replace("{ki: --preset ki, joint: --preset joint}", arms))
    study = load_study(path)
    assert [arm.name for arm in study.with_arms(("joint",)).arms] == ["ki", "small", "joint"]
    for wrong, said in (("smal", "did you mean 'small'"), ("joint", "expected another arm")):
        path.write_text(GOOD.replace("{ki: --preset ki, joint: --preset joint}", arms.replace(": small", f": {wrong}")))
        with pytest.raises(InputError, match=said):
            load_study(path)


def test_arms_that_start_from_others_come_after_them(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    arms = "{c: {flags: --preset ki, start: b}, b: {flags: --preset ki, start: a}, a: --preset joint, d: --preset pi0}"
    path.write_text(GOOD.replace("{ki: --preset ki, joint: --preset joint}", arms) + "reference: b\n")
    study = load_study(path)
    assert [[arm.name for arm in each] for each in study.rounds] == [["a", "d"], ["b"], ["c"]]
    assert [arm.name for arm in study.with_arms(()).arms] == ["b", "a"]
    assert [arm.name for arm in study.with_arms(("c",)).arms] == ["c", "b", "a"]
    matched = path.read_text().replace("a: --preset joint", "a: {flags: --preset joint, match: flops}")
    path.write_text(matched)
    with pytest.raises(InputError, match="cannot match its FLOPs"):
        load_study(path)
    path.write_text(
        path.read_text().replace(", match: flops", "") + "tune: {flag: --optim.learning-rate, values: [1e-3]}\n"
    )
    with pytest.raises(InputError, match="start does not go with tune"):
        load_study(path)
    path.write_text(path.read_text().replace("values: [1e-3]}", "values: [1e-3], seed: 0}"))
    with pytest.raises(InputError, match="which is one of the study's seeds"):
        load_study(path)


def test_a_run_is_known_by_what_is_trained() -> None:
    def spec(*flags: str, **changes: Any) -> RunSpec:
        config = parse(flags, Path("S"), Path("O"))
        return replace(RunSpec(config, Evaluation(), robot_samples=10), **changes)

    ki = spec("--preset", "ki")
    assert spec("--preset", "joint").training_digest != ki.training_digest
    assert (
        spec("--preset", "ki", "--model.insulation", "1").training_digest == spec("--preset", "joint").training_digest
    )
    assert spec("--preset", "ki", "--seed", "1").training_digest != ki.training_digest
    more = spec("--preset", "ki", evaluate=Evaluation(episodes=7))
    assert more.training_digest == ki.training_digest
    assert more.digest != ki.digest


def shards_of(folder: Path, seed: int) -> None:
    """Shards without rows, which differ by their seed."""
    folder.mkdir(parents=True, exist_ok=True)
    Manifest({}, {}, seed, "", "", None, (), RowCounts(0, 0, 0)).save(str(folder))


def test_a_run_is_known_by_what_its_data_contains_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    study = load_study(tmp_path / "s.yaml")

    def spec(data: Path, env: str = "w:make", out: str = "studies") -> RunSpec:
        start = Path(out) / "runs" / "base-0123456789" / "model"
        return RunGrid(study, StudyInputs(data, env)).run(study.arms[0], 0, start, ()).spec

    for place in ("here", "there"):
        for seed, folder in enumerate(("shards", "held_out")):
            shards_of(tmp_path / place / folder, seed)
        for name, text in (("dataset.yaml", "kind: vqa"), ("val.jsonl", "{}"), ("images/0.png", "012")):
            (tmp_path / place / "vqa" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / "vqa" / name).write_text(text)
    here, there = tmp_path / "here", tmp_path / "there"
    first = spec(here)
    assert first.digest == spec(there, out="elsewhere").digest
    assert first.training_digest == spec(there, out="elsewhere").training_digest
    shards_of(there / "held_out", 7)
    assert spec(there).training_digest == first.training_digest
    assert spec(there).digest != first.digest
    shards_of(there / "held_out", 1)
    for name, text in (("val.jsonl", "[]"), ("images/0.png", "0123")):
        before = (there / "vqa" / name).read_text()
        (there / "vqa" / name).write_text(text)
        assert spec(there).training_digest == first.training_digest
        assert spec(there).digest != first.digest
        (there / "vqa" / name).write_text(before)
    assert spec(there).digest == first.digest
    shards_of(there / "shards", 7)
    assert spec(there).training_digest != first.training_digest
    world = tmp_path / "world.yaml"
    digests = set()
    for size in (96, 64):
        world.write_text(f"world: gymnasium\nsize: {size}\n")
        digests.add(spec(here, str(world)).digest)
    assert len(digests) == 2
    (here / "shards" / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"manifest\.json"):
        spec(here)


def test_intervals_cover() -> None:
    """Of many studies with known truth, about 95 % of the intervals hold it, given enough seeds."""
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(60):
        rates = np.clip(0.5 + 0.1 * rng.standard_normal(12), 0, 1)
        each = [(rng.random(80) < rate).astype(float) for rate in rates]
        found = estimate(each, rng_seed=trial)
        assert found.low <= found.mean <= found.high
        inside += found.low <= 0.5 <= found.high
    assert 50 <= inside <= 60


def test_intervals_cover_what_seeds_share() -> None:
    """All seeds play the same episodes, of which some are hard for all of them: which these are is chance, too."""
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(100):
        hard = rng.standard_normal(100)
        each = [
            (rng.random(100) < 1 / (1 + np.exp(-2 * (hard + 0.1 * rng.standard_normal())))).astype(float)
            for _ in range(10)
        ]
        found = estimate(each, rng_seed=trial)
        inside += found.low <= 0.5 <= found.high
    assert inside >= 90  # 77 % if each seed's episodes are drawn on their own


def test_pairs_take_out_what_episodes_share() -> None:
    rng = np.random.default_rng(1)
    hard = [rng.random(200) for _ in range(3)]
    ours, theirs = [(h < 0.6).astype(float) for h in hard], [(h < 0.5).astype(float) for h in hard]
    found = difference(ours, theirs)
    assert found is not None
    assert 0.05 < found.low < found.mean < found.high < 0.16
    assert found.high - found.low < 0.7 * (estimate(ours).high - estimate(ours).low)
    assert difference(ours, [h[:9] for h in hard]) is None


def done(*curve: CurvePoint, spec: RunSpec | None = None) -> RunResult:
    """A run that took 7 steps of 3 TFLOP each."""
    spec = spec or RunSpec(parse((), Path("S"), Path("O")), Evaluation())
    return RunResult(spec, "a CPU", 7, 8.0, 3.0, curve, RunSeconds(1.0, 1.0))


def test_samples_to_a_threshold() -> None:
    def run(*successes: int) -> RunResult:
        points = []
        for i, success in enumerate(successes):
            seen = WorldResult(
                embodiment="planar",
                split="seen",
                episodes=4,
                each={"success": (1,) * success + (0,) * (4 - success)},
                ms_per_prediction=1.0,
            )
            points.append(CurvePoint(i + 1, (seen,), (), None, 100.0 * (i + 1), 1.0))
        return done(*points)

    assert steps_to(run(0, 1, 3), 0.5, "seen") == 250
    assert steps_to(run(4, 4), 0.5, "seen") == 50
    assert np.isnan(steps_to(run(0, 1), 0.5, "seen"))


def test_tasks_are_counted_if_all_robots_tell_them() -> None:
    def seen(embodiment: str, task: tuple[str, ...] | None) -> WorldResult:
        each: dict[Any, tuple[int, ...]] = {"success": (1, 0)}
        return WorldResult(embodiment=embodiment, split="seen", episodes=2, each=each, task=task, ms_per_prediction=1.0)

    def found(*worlds: WorldResult) -> dict[str, list[float]]:
        return {
            name: values.tolist() for name, values in values_of(done(CurvePoint(1, worlds, (), None, 1, 1))).items()
        }

    both = found(seen("planar", ("a", "b")), seen("arm", ("b", "b")))
    assert both == {"success/seen": [1, 0, 1, 0], "success/seen/a": [1], "success/seen/b": [0, 1, 0]}
    assert found(seen("planar", ("a", "b")), seen("arm", None)) == {"success/seen": [1, 0, 1, 0]}


def test_single_environments_and_vectors_are_one_to_the_loop() -> None:
    """The same policy in the same episodes: success, following, tasks and films alike, alone or in a vector."""
    from examples.tabletop.baselines import POLICIES
    from examples.tabletop.env import make, make_vector

    def act(tasks: list[str], seen: list[Any]) -> np.ndarray:
        # Towards the corner that the state and the instruction hash to: any function of what a policy may see.
        steps = [
            0.01 * np.sign(np.sin(len(t) + 50 * np.asarray(o["state"], float)[:2]))
            for t, o in zip(tasks, seen, strict=True)
        ]
        return np.stack([np.tile(np.append(step, 1.0), (10, 1)) for step in steps])

    assert POLICIES
    both = [
        closed_loop(act, factory, "planar", "seen", range(5, 11), execute=5, batch=4, films=2)
        for factory in (make, make_vector)
    ]
    (one, films), (many, others) = both
    assert (one.success, one.followed, one.shortcut, one.task) == (
        many.success,
        many.followed,
        many.shortcut,
        many.task,
    )
    assert len(one.task) == 6
    for a, b in zip(films, others, strict=True):
        assert (a.instruction, a.success, a.seed) == (b.instruction, b.success, b.seed)
        assert np.array_equal(a.frames, b.frames)
        assert a.steps[0] == 0


def test_films_come_back(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    made = {
        "arm/seen": [
            Film("reach the star", True, 7, frames[:2], np.array([0, 3])),
            Film("push", False, 8, frames, np.arange(5)),
        ],
        "arm/held_out": [Film("sort", False, 9, frames[:1], np.array([0]))],
    }
    rollout_videos.save(tmp_path / "rollout_videos.npz", made)
    found = rollout_videos.load(tmp_path / "rollout_videos.npz")
    assert list(found) == list(made)
    for where, shown in made.items():
        for a, b in zip(shown, found[where], strict=True):
            assert (a.instruction, a.success, a.seed) == (b.instruction, b.success, b.seed)
            assert np.array_equal(a.frames, b.frames)
            assert np.array_equal(a.steps, b.steps)
    html = "".join(rollout_videos.strip(made["arm/seen"][1], "a < b", frames=3))
    assert html.count("<img") == 3
    assert "a &lt; b" in html


def test_a_run_that_fails_says_where_its_log_is(tmp_path: Path) -> None:
    config = parse(("--preset", "vlm"), tmp_path / "no_shards", Path("model"))
    runs = [StudyRun(f"arm {i}", f"arm {i}", RunSpec(replace(config, seed=i), Evaluation())) for i in range(2)]
    pool = Pool(tmp_path, 2) if len(os.sched_getaffinity(0)) > 1 else Pool(tmp_path)
    with pytest.raises(InputError, match=r"failed with exit status 1.*no_shards.*log.txt"):
        pool.carry_out(runs)
    assert not list(tmp_path.rglob("result-*.json"))
    with pytest.raises(InputError, match="--jobs is 1000"):
        Pool(tmp_path, 1000)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A user's folder: its train.py, pipelines.py, ... are not ours, and its world and data are modules in it."""
    folder = tmp_path / "lab"
    folder.mkdir()
    for name in ("fasttok", "mixtures", "pipelines", "train"):
        (folder / f"{name}.py").write_text(f"raise RuntimeError('this is the {name}.py of the lab')\n")
    (folder / "my_world.py").write_text("from examples.tabletop.env import make_vector as make\n")
    (folder / "my_data.py").write_text("from examples.tabletop.study import prepare\n")
    return folder


def in_lab(lab: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python as a console script starts it, in the user's folder: that folder is not on the path."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, "-P", *words], cwd=lab, env=env, capture_output=True, text=True, check=False)


def test_modules_of_the_users_folder_are_found_and_replace_none_of_ours(lab: Path) -> None:
    done = in_lab(
        lab, "-c", "import train.rollouts as r; r.load_factory('my_world:make'); import pipelines, mixtures, fasttok"
    )
    assert done.returncode == 0, done.stderr
    done = in_lab(lab, "-c", "import train.rollouts as r; r.load_factory('my_world:absent')")
    assert "has no attribute 'absent'; expected module:factory" in done.stderr


def test_runs_start_in_a_folder_that_holds_other_modules_of_our_names(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab)
    config = parse(("--preset", "vlm"), tmp_path / "no_shards", Path("model"))
    with pytest.raises(InputError, match="no_shards"):
        Pool(tmp_path / "runs").carry_out([StudyRun("arm", "arm", RunSpec(config, Evaluation()))])
    (said,) = (tmp_path / "runs").rglob("log.txt")
    assert "of the lab" not in said.read_text()


@pytest.mark.slow
def test_a_study_from_a_folder_that_holds_other_modules_of_our_names(lab: Path) -> None:
    (lab / "study.yaml").write_text(
        "name: s\nquestion: q\nbase: {flags: --preset vlm, shards: web}\ncommon: --batch-size 8\nrobot_samples: 100\n"
        "seeds: [0]\narms: {ki: --preset ki}\n"
    )
    words = ("study.yaml", "--env", "my_world:make", "--data", "my_data:prepare", "--smoke")
    done = in_lab(lab, "-m", "train.study", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (lab / "studies" / "smoke" / "study" / "study.html").is_file()
    assert "of the lab" not in done.stderr


def test_data_of_one_world_are_never_anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fake_data.py").write_text(
        "def prepare(out, shards, smoke, task):\n"
        "    for name in shards:\n"
        "        (out / name).mkdir(exist_ok=True)\n"
        "        (out / name / 'manifest.json').write_text('{}')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "study.yaml").write_text(GOOD + "world: {task: reach}\n")
    study, made = load_study(tmp_path / "study.yaml"), tmp_path / "data"
    for _ in range(2):
        assert prepare_data(study, "fake_data:prepare", made, smoke=True) == made
    with pytest.raises(InputError, match="another --out"):
        prepare_data(replace(study, world={"task": "push"}), "fake_data:prepare", made, smoke=True)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_what_each_study_asks_of_its_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[StudyRun] = []

    def answer(self: Pool, runs: list[StudyRun]) -> list[RunResult]:
        asked.extend(runs)
        nrmse = {"0.0005": 0.9, "0.001": 0.8, "0.002": 0.7}  # of a search: the largest rate is best
        out = []
        for run in runs:
            error = nrmse[str(run.spec.train.optim.learning_rate)]
            errors = ActionErrors("planar", "flow", 1, 1, ("x",), (error,), (error,), (1.0,), error, 1.0)
            out.append(done(CurvePoint(7, (), (errors,), None, 56.0, 21.0), spec=run.spec))
        return out

    monkeypatch.setattr(Pool, "carry_out", answer)
    study = load_study(path)
    for folder in (*study.shards, *(arm.held_out for arm in study.arms)):
        shards_of(tmp_path / folder, 0)
    found = carry_out(study, StudyInputs(tmp_path, "module:factory"), Pool(tmp_path / "runs"))
    base, runs = asked[0].spec, [run for run in asked[1:] if run.spec.measure == "all"]
    assert base.measure == "vqa"
    assert set(found.runs) == {arm.name for arm in study.arms}
    assert all(set(results) == set(map(str, study.seeds)) for results in found.runs.values())
    for arm in study.arms:
        specs = [run.spec for run in runs if run.title.startswith(f"{arm.name}, seed ")]
        assert [spec.train.seed for spec in specs] == list(study.seeds)
        budget = (
            (None, 21.0) if arm.match == "flops" else (arm.robot_samples or study.robot_samples, None)
        )  # 7 steps of the reference, 3 TFLOP each
        assert {(spec.robot_samples, spec.tflop) for spec in specs} == {budget}
        begun = [asked[0].spec.training_digest] * len(specs)
        if arm.start:  # from the run of the same seed
            begun = [run.spec.training_digest for run in runs if run.title.startswith(f"{arm.start}, seed ")]
        assert all(digest in str(spec.train.init_from) for digest, spec in zip(begun, specs, strict=True))
        if study.tune is not None:
            assert {spec.train.optim.learning_rate for spec in specs} == {0.002}
        assert {spec.held_out for spec in specs} == {str(tmp_path / arm.held_out)}
    searches = [run.spec for run in asked[1:] if run.spec.measure == "actions"]
    tries = 0 if study.tune is None else len(study.arms) * len(study.tune.values)
    assert len(searches) == tries
    assert all(spec.robot_samples == 0.3 * study.robot_samples for spec in searches)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("study_*.json")), ids=lambda p: p.stem)
def test_results_that_were_written_before_are_read(path: Path) -> None:
    """Their tables come out again, and written again they are the same file."""
    command, result = read_result(path)
    assert markdown(result, command).splitlines()[:8] == path.with_suffix(".md").read_text().splitlines()[:8]
    written = TABLETOP | json.loads(path.read_text())  # older files say env and data in their command alone
    assert {"command": command} | result.to_json() == written
    metrics = {arm.arm: arm.metrics for arm in result.arms}
    for arm in result.arms:
        other = metrics[arm.compared_with or result.reference]
        for name in set(arm.against) & set(other):
            mine, theirs = arm.metrics[name].mean, other[name].mean
            difference = arm.against[name].mean
            rounded = 5.1e-5 * (abs(mine) + abs(theirs) + abs(difference))  # files have five digits of each number
            assert abs(difference - (mine - theirs)) <= rounded


@pytest.mark.slow
def test_a_run_that_was_stopped_has_the_curve_of_one_that_was_not(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stop leaves a checkpoint of its step; seeds are compared point by point, so it must not be one more point."""
    stops, begun = [1, 4, 5], 0

    class Stopping(contextlib.nullcontext[Any]):
        def __enter__(self) -> Any:
            return self

        def after_step(self) -> bool:
            nonlocal begun
            begun += 1
            return begun in stops

        def end(self, saved: str) -> None:
            raise SystemExit(143)

    monkeypatch.setattr(loop, "Stopping", Stopping)
    spec = RunSpec(tiny_run(chain, tmp_path, steps=6), Evaluation(checkpoints=2))
    for _ in stops:
        with pytest.raises(SystemExit):
            single_run.train(spec, tmp_path)
    config, cost = single_run.train(spec, tmp_path)
    curve = single_run.measure(spec, config, cost, RunFiles(tmp_path, "0"))
    assert [point.step for point in curve] == [3, 6]


@pytest.mark.slow
def test_a_study_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--smoke`: data, base VLM, arms, seeds, table and page; done again, nothing is trained again."""
    from train.study.__main__ import StudyConfig, main

    asked = StudyConfig(
        next(p for p in CONFIGS if p.stem == "presets"), "examples.tabletop.env:make_vector", "examples.tabletop.study:prepare",
        out=tmp_path, smoke=True, jobs=min(2, len(os.sched_getaffinity(0))),
    )  # fmt: skip
    main(asked)
    out = tmp_path / "smoke" / "presets"
    found = json.loads((out / "results.json").read_text())
    assert [arm["arm"] for arm in found["arms"]] == ["ki", "joint"]
    ki = found["arms"][0]
    assert set(ki["metrics"]) >= {
        "success/seen",
        "followed/uncorrelated",
        "vqa",
        "error/flow",
        "error/tokens",
        "ms/tokens",
    }
    assert len(ki["metrics"]["success/seen"]["seeds"]) == 2
    assert len(ki["curve"]) == 2
    page = (out / "study.html").read_text()
    assert page.count("<svg") >= 8
    assert "data:image/png" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "smoke" / "runs").rglob("result-*.json")}
    assert len(made) == 5
    capsys.readouterr()
    main(replace(asked, json=True))
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert json.loads(capsys.readouterr().out)["reference"] == "ki"
