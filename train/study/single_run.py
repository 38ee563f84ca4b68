"""Makes one run of a study in a process of its own: trains, measures at a few checkpoints, and writes the result.

    python -m train.study.single_run FOLDER DIGEST     # does what FOLDER/spec-DIGEST.json says

If the process is killed and started again, training resumes from the last checkpoint. All measurements are made again, and give
the same numbers: the step at which a run was stopped has a checkpoint, too, but it is not measured.
"""

import dataclasses
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fasttok.common import json_files
from fasttok.common.console import log, run, write_text
from fasttok.common.machine import hardware
from fasttok.common.urls import as_typed
from fasttok.errors import InputError
from train.config import TrainConfig
from train.devices.jax_setup import set_up_jax
from train.judging.measurements import WorldResult
from train.rollouts import Film
from train.runs.run_folder import CONFIG, METRICS, load_config
from train.study.run_result import CurvePoint, RunResult, RunSeconds
from train.study.run_spec import MODEL, RunFiles, RunSpec

EXECUTE = 0.5  # share of each predicted chunk that is executed before the next prediction


class StepCost(NamedTuple):
    """The cost of one training step.

    Attributes:
        robot_samples: number of robot rows, on average.
        tflop: number of TFLOP.
    """

    robot_samples: float
    tflop: float


def accelerators() -> str:
    """Returns the number and kind of the accelerators, or the processor if there are none."""
    import jax

    return f"{jax.device_count()} x {jax.devices()[0].device_kind}" if jax.default_backend() != "cpu" else hardware()


def main(files: RunFiles) -> None:
    """Trains and measures what the spec says.

    Raises:
        InputError: training or evaluation raises it.
    """
    set_up_jax()
    spec = json_files.read(RunSpec, files.spec.read_bytes(), str(files.spec))
    config, cost = train(spec, files.folder)
    began = time.monotonic()
    curve = measure(spec, config, cost, files)
    seconds = RunSeconds(round(seconds_of(config), 1), round(time.monotonic() - began, 1))
    result = RunResult(spec, accelerators(), config.steps, cost.robot_samples, cost.tflop, tuple(curve), seconds)
    write_text(files.result, json.dumps(json_files.encode(result)) + "\n")


def train(spec: RunSpec, folder: Path) -> tuple[TrainConfig, StepCost]:
    """Trains or resumes the run, and returns its configuration and the cost of a step."""
    from pipelines.shards import ShardReader
    from train.costs.dry_run import per_sample
    from train.loop import run as train_run
    from train.runs.checkpoint import Checkpoints
    from train.setup import prepare

    out = folder / MODEL
    config = dataclasses.replace(spec.train, out=out)
    rows = [(s.kind, s.written) for s in ShardReader(as_typed(config.shards)).manifest.sources.values()]
    chosen = [(kind, n) for kind, n in rows if kind in config.data.kinds]
    share = sum(n for kind, n in chosen if kind == "robot") / max(sum(n for _, n in chosen), 1)
    setup = prepare(config)
    config = dataclasses.replace(config, data=setup.resolved.data)  # so that the rows' lengths are measured once
    cost = StepCost(share * config.batch_size, per_sample(setup).total * config.batch_size / 1e12)
    if spec.tflop is not None:
        config = dataclasses.replace(config, steps=max(1, round(spec.tflop / cost.tflop)))
    elif spec.robot_samples is not None:
        if not share:
            raise InputError(
                f"{config.shards} contains no robot rows of the kinds asked for; a budget of robot samples needs some"
            )
        config = dataclasses.replace(config, steps=max(1, round(spec.robot_samples / cost.robot_samples)))
    every = max(1, -(-config.steps // spec.evaluate.checkpoints))
    # All are kept: a run that is stopped adds a checkpoint of that step, which must not push out one that is measured.
    config = dataclasses.replace(config, checkpoint_every=every, keep=config.steps)
    started = (out / CONFIG).is_file()
    if started and dataclasses.replace(load_config(out), resume=False).steps != config.steps:
        raise InputError(f"{out} is a run of other steps; remove it, or give the study another --out")
    if started:
        checkpoints = Checkpoints(out)
        last = checkpoints.last_step
        checkpoints.close()
        if last == config.steps:
            return config, cost
        begun = load_config(out).init_from if last is not None else config.init_from  # where it was then
        config = dataclasses.replace(config, init_from=begun, overwrite=last is None, resume=last is not None)
    train_run(config)
    return config, cost


def seconds_of(config: TrainConfig) -> float:
    """Returns the seconds that all steps took according to the run's own log, in all processes if it was interrupted."""
    lines = (config.out / METRICS).read_text(encoding="utf-8").splitlines()
    rows: dict[int, dict[str, float]] = {row["step"]: row for row in map(json.loads, lines)}
    steps, seconds = sorted(rows), 0.0
    for before, step in zip([0, *steps[:-1]], steps, strict=True):
        seconds += rows[step].get("compile_seconds", 0.0)
        if rate := rows[step].get("samples_per_second"):  # the first step after each start has none
            seconds += (step - before) * config.batch_size / rate
    return seconds


def measure(spec: RunSpec, config: TrainConfig, cost: StepCost, files: RunFiles) -> list[CurvePoint]:
    """Measures the curve over the checkpoints, and everything at the last checkpoint."""
    from train.judging import rollout_videos
    from train.judging.open_loop import action_errors
    from train.judging.vqa_accuracy import answer_questions
    from train.player import Player
    from train.rollouts import RolloutOptions, load_factory, play
    from train.runs.checkpoint import Checkpoints

    e = spec.evaluate
    checkpoints = Checkpoints(config.out)
    steps = [step for step in checkpoints.steps if step % config.checkpoint_every == 0 or step == config.steps]
    checkpoints.close()
    robot = "robot" in config.data.kinds
    factory = partial(load_factory(spec.env), **spec.world) if spec.env else None
    filmed: dict[str, list[Film]] = {}
    curve = []
    for step in steps if robot and spec.measure == "all" else steps[-1:]:
        last = step == steps[-1]
        player = Player.load(config.out, batch=e.batch, step=step, temperature=e.temperature)
        decode = player.usual_decode
        log(f"measuring step {step} of {config.steps}")
        world: list[WorldResult] = []
        if robot and factory is not None and spec.measure == "all":
            episodes = e.episodes if last else e.curve_episodes
            options = RolloutOptions(decode, EXECUTE, batch=episodes, films=e.films if last else 0)
            for split in e.splits if last else e.splits[:1]:
                for embodiment in player.embodiments:
                    seeds = range(e.seed, e.seed + episodes)
                    result, films = play(player, factory, embodiment, split, seeds, options)
                    world.append(result)
                    if films:
                        filmed[f"{embodiment}/{split}"] = films
        actions = []
        if robot and spec.held_out:
            actions += action_errors(player, Path(spec.held_out), e.rows, decode)
            whole = config.data.discrete != "none" and not player.encoder.left_out
            if last and decode == "flow" and whole and spec.measure == "all":
                actions += action_errors(player, Path(spec.held_out), e.rows, "tokens")
        vqa = None
        if last and spec.vqa and spec.measure != "actions":
            vqa = answer_questions(player, Path(spec.vqa), e.questions)
        samples, tflop = step * cost.robot_samples, step * cost.tflop
        curve.append(CurvePoint(step, tuple(world), tuple(actions), vqa, samples, tflop))
    if filmed:
        rollout_videos.save(files.film_file, filmed)
    return curve


if __name__ == "__main__":
    sys.exit(run(lambda: main(RunFiles(Path(sys.argv[1]), sys.argv[2]))))
