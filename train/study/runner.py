"""Carries a study out: the pretrained VLM, the search, then every arm with every seed, one process after the other."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasttok.console import err, log, write_text
from fasttok.errors import InputError
from train.study.one import LOG, MODEL, Files, Spec
from train.study.plan import Arm, Study, parse, training

HELD_OUT, VQA = "held_out", "vqa"  # folders of the data besides those of shards


@dataclass(frozen=True)
class Place:
    """Where a study's data come from and runs go to. Studies with the same `runs` share what they have in common."""

    runs: Path
    data: Path
    env: str


def prepare_data(study: Study, data: str, made: Path, smoke: bool) -> Path:
    """The folder of the study's data: given as such, or made in `made` by module:function.

    It is called as `prepare(folder, shards, smoke, **world)` and makes a folder of shards for each name in `shards`, shards
    `held_out` of other episodes, and a VQA dataset `vqa` with a val split; it leaves alone what is there.

    Raises:
        InputError: neither a folder nor an importable function; or shards are missing.
    """
    folder = Path(data)
    if ":" in data and not folder.exists():
        module, _, name = data.partition(":")
        try:
            prepare = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InputError(f"--data {data!r}: {error}; expected a folder or module:function") from None
        folder = made
        prepare(folder, study.shards, smoke, **study.world)
    for name in study.shards:
        if not (folder / name / "manifest.json").is_file():
            raise InputError(
                f"{folder} has no shards {name!r}; build them with: python -m pipelines build ... --out {folder / name}"
            )
    return folder


def carry_out(study: Study, place: Place) -> dict[str, Any]:
    """Everything that is not done yet.

    Returns:
        base: its result; tuned: arm -> value -> error; runs: arm -> seed -> result; films: arm -> file of its first seed's.

    Raises:
        InputError: a run failed (its log is named).
    """
    vqa = str(place.data / VQA) if (place.data / VQA).exists() else ""
    held_out = str(place.data / HELD_OUT) if (place.data / HELD_OUT).exists() else ""
    base_config = parse(study.base.flags, place.data / study.base.shards, Path(MODEL))
    base_spec = Spec(base_config.to_json(), study.evaluate, vqa=vqa, measure="vqa")
    base_folder, base = one(base_spec, place.runs, "base", "the VLM that all start from")
    start = ("--init-from", str(base_folder / MODEL))

    def spec(arm: Arm, seed: int, robot_samples: int, extra: Iterable[str] = (), **changes: Any) -> Spec:
        config = training(study, arm, place.data, Path(MODEL), seed, (*start, *extra))
        given = Spec(
            config.to_json(), study.evaluate, place.env, study.world, held_out, vqa, robot_samples=robot_samples
        )
        return dataclasses.replace(given, **changes)

    chosen: dict[str, tuple[str, ...]] = {arm.name: () for arm in study.arms}
    tuned: dict[str, dict[str, float]] = {}
    if study.tune is not None:
        t = study.tune
        few = round(t.share * study.robot_samples)
        if not held_out:
            raise InputError(f"a search needs held-out shards in {place.data / HELD_OUT}")
        for arm in study.arms:
            errors = {}
            for value in t.values:
                asked = spec(arm, t.seed, few, (t.flag, value), measure="actions")
                _, result = one(asked, place.runs, f"{arm.name}_search", f"search: {arm.name}, {t.flag} {value}")
                errors[value] = error_of(result)
            tuned[arm.name] = errors
            chosen[arm.name] = (t.flag, min(errors, key=lambda value: errors[value]))
            log(f"{arm.name}: {' '.join(chosen[arm.name])}")

    runs: dict[str, dict[str, Any]] = {arm.name: {} for arm in study.arms}
    films: dict[str, Path] = {}
    todo = [(arm, seed) for seed in study.seeds for arm in sorted(study.arms, key=lambda a: a.name != study.reference)]
    began = time.monotonic()
    for number, (arm, seed) in enumerate(todo, 1):
        changes: dict[str, Any] = {}
        if arm.match == "flops":
            changes = {"robot_samples": None, "tflop": tflop_of(runs[study.reference][str(seed)])}
        asked = spec(arm, seed, study.robot_samples, chosen[arm.name], **changes)
        minutes = (time.monotonic() - began) / 60
        title = f"{number}/{len(todo)} {arm.name}, seed {seed}" + (
            f", about {minutes / (number - 1) * (len(todo) - number + 1):.0f} min left" if number > 1 else ""
        )
        folder, runs[arm.name][str(seed)] = one(asked, place.runs, f"{arm.name}_seed_{seed}", title)
        films.setdefault(arm.name, Files(folder, asked.digest).films)
    return {"base": base, "tuned": tuned, "runs": runs, "films": films}


def one(spec: Spec, runs: Path, name: str, title: str) -> tuple[Path, dict[str, Any]]:
    """A run's folder and result; made now if it is not there. The same spec is the same run, in whichever study it is asked for.

    Raises:
        InputError: it failed.
    """
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    folder = next(iter(runs.glob(f"*-{spec.training_digest}")), runs / f"{plain}-{spec.training_digest}")
    files = Files(folder, spec.digest)
    if not files.result.is_file():
        err.rule(f"[bold]{title}", align="left")
        folder.mkdir(parents=True, exist_ok=True)
        write_text(files.spec, json.dumps(spec.to_json()) + "\n")
        words = [sys.executable, "-m", "train.study.one", str(folder), spec.digest]
        env = {"JAX_COMPILATION_CACHE_DIR": str(runs / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
               "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "TF_CPP_MIN_LOG_LEVEL": "3"}  # fmt: skip
        with (folder / LOG).open("ab") as file:
            child = subprocess.Popen(words, env=env | os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert child.stdout is not None
            for line in child.stdout:
                file.write(line)
                sys.stderr.buffer.write(line)
                sys.stderr.flush()
        if code := child.wait():
            lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise InputError(
                f"{title} failed with exit status {code}: {lines[-1] if lines else ''} (all of it: {folder / LOG})"
            )
    return folder, json.loads(files.result.read_text(encoding="utf-8"))


def error_of(result: dict[str, Any]) -> float:
    """Mean over embodiments of the held-out action error at the end."""
    found = [a["nrmse"] for a in result["curve"][-1]["actions"]]
    return sum(found) / len(found)


def tflop_of(result: dict[str, Any]) -> float:
    """What a run's training took."""
    return result["steps"] * result["tflop_per_step"]
