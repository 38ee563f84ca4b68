"""Carries a study out: the pretrained VLM, the search, then every arm with every seed."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasttok.common.console import log, write_text
from fasttok.errors import InputError
from train.study.plan import Arm, Study, parse, training
from train.study.processes import Job, Pool
from train.study.single_run import MODEL, Spec
from train.user_modules import load_attribute

HELD_OUT, VQA = "held_out", "vqa"  # folders of the data besides those of shards


@dataclass(frozen=True)
class Place:
    """Where a study's data lie, and the world that it acts in."""

    data: Path
    env: str


def prepare_data(study: Study, data: str, made: Path, smoke: bool) -> Path:
    """The folder of the study's data: given as such, or made in `made` by module:function.

    It is called as `prepare(folder, shards, smoke, **world)` and makes a folder of shards for each name in `shards`, shards
    `held_out` of other episodes, and a VQA dataset `vqa` with a val split; it leaves alone what is there.

    Raises:
        InputError: neither a folder nor an importable function; data of another world are there; or shards are missing.
    """
    folder = Path(data)
    if ":" in data and not folder.exists():
        try:
            prepare = load_attribute(data)
        except (ImportError, AttributeError) as error:
            raise InputError(f"--data {data!r}: {error}; expected a folder or module:function") from None
        folder = made
        _same_world(folder, study.world)
        prepare(folder, study.shards, smoke, **study.world)
    for name in study.shards:
        if not (folder / name / "manifest.json").is_file():
            raise InputError(
                f"{folder} has no shards {name!r}; build them with: fasttok-pipelines build ... --out {folder / name}"
            )
    return folder


def _same_world(folder: Path, world: dict[str, Any]) -> None:
    """Data of one world are never taken for another's: what they were made with is kept beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "world.json"
    if not kept.is_file():
        write_text(kept, json.dumps(world) + "\n")
    elif (found := json.loads(kept.read_text(encoding="utf-8"))) != world:
        raise InputError(f"{folder} was made with {found}, this study's world is {world}; give it another --out")


def carry_out(study: Study, place: Place, pool: Pool) -> dict[str, Any]:
    """Everything that is not done yet: the VLM, the search, the reference with every seed, the other arms.

    Args:
        pool: makes the runs; studies whose pools have one folder share what they have in common.

    Returns:
        base: its result; tuned: arm -> value -> error; runs: arm -> seed -> result; films: arm -> file of its first seed's.

    Raises:
        InputError: a run failed (its log is named).
    """
    vqa = str(place.data / VQA) if (place.data / VQA).exists() else ""
    held_out = str(place.data / HELD_OUT) if (place.data / HELD_OUT).exists() else ""
    if study.tune is not None and not held_out:
        raise InputError(f"a search needs held-out shards in {place.data / HELD_OUT}")
    base_config = parse(study.base.flags, place.data / study.base.shards, Path(MODEL))
    base_job = Job("base", "base VLM", Spec(base_config.to_json(), study.evaluate, vqa=vqa, measure="vqa"))
    (base,) = Pool(pool.runs).carry_out([base_job])  # everything waits for it: all cores
    start = ("--init-from", str(pool.folder(base_job) / MODEL))

    def spec(arm: Arm, seed: int, extra: Iterable[str] = (), **changes: Any) -> Spec:
        config = training(study, arm, place.data, Path(MODEL), seed, (*start, *extra))
        given = Spec(
            config.to_json(), study.evaluate, place.env, study.world, held_out, vqa, robot_samples=study.robot_samples
        )
        return dataclasses.replace(given, **changes)

    chosen: dict[str, tuple[str, ...]] = {arm.name: () for arm in study.arms}
    tuned: dict[str, dict[str, float]] = {}
    if study.tune is not None:
        t, few = study.tune, round(study.tune.share * study.robot_samples)
        tries = [(arm, value) for arm in study.arms for value in t.values]
        searches = [
            Job(
                f"{arm.name}_search",
                f"{arm.name}, {value}",
                spec(arm, t.seed, (t.flag, value), robot_samples=few, measure="actions"),
            )
            for arm, value in tries
        ]
        for (arm, value), result in zip(tries, pool.carry_out(searches), strict=True):
            tuned.setdefault(arm.name, {})[value] = error_of(result)
        for name, errors in tuned.items():
            chosen[name] = (t.flag, min(errors, key=lambda value: errors[value]))
            log(f"{name}: {' '.join(chosen[name])}")

    runs: dict[str, dict[str, Any]] = {arm.name: {} for arm in study.arms}
    films: dict[str, Path] = {}
    reference = study.arm(study.reference)
    others = [arm for arm in study.arms if arm is not reference]
    for arms in ([reference], others):  # what others are to spend, the reference's runs tell
        todo = []
        for seed in study.seeds:
            for arm in arms:
                changes: dict[str, Any] = {}
                if arm.match == "flops":
                    changes = {"robot_samples": None, "tflop": tflop_of(runs[study.reference][str(seed)])}
                asked = spec(arm, seed, chosen[arm.name], **changes)
                todo.append((arm, seed, Job(f"{arm.name}_seed_{seed}", f"{arm.name}, seed {seed}", asked)))
        for (arm, seed, job), result in zip(todo, pool.carry_out([job for *_, job in todo]), strict=True):
            runs[arm.name][str(seed)] = result
            films.setdefault(arm.name, pool.files(job).films)
    return {"base": base, "tuned": tuned, "runs": runs, "films": films}


def error_of(result: dict[str, Any]) -> float:
    """Mean over embodiments of the held-out action error at the end."""
    found = [a["nrmse"] for a in result["curve"][-1]["actions"]]
    return sum(found) / len(found)


def tflop_of(result: dict[str, Any]) -> float:
    """What a run's training took."""
    return result["steps"] * result["tflop_per_step"]
