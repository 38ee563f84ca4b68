"""One run of a study in a process of its own: trains, measures at a few checkpoints, writes its result.

    python -m train.study.single_run FOLDER DIGEST     # FOLDER/spec-DIGEST.json says what

Killed and started again, it goes on from its last checkpoint; what was measured before is measured again, to the same numbers.
"""

import dataclasses
import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fasttok.common import json_files
from fasttok.common.console import log, run, write_text
from fasttok.common.machine import hardware
from fasttok.errors import InputError
from train.config import TrainConfig
from train.measurements import Decoding
from train.rollouts import Film
from train.run_folder import CONFIG, METRICS, load_config
from train.study.plan import Evaluation

MODEL, LOG = "model", "log.txt"
EXECUTE = 0.5  # share of each predicted chunk that is carried out


@dataclass(frozen=True)
class Spec:
    """What a run is. A result counts for exactly the spec that it was made from.

    Attributes:
        train: configuration. robot_samples: rows of robots to learn from, or tflop: to spend; else as many steps as it says.
        env: module:factory, or "" where nothing acts. world: its options. held_out: shards, vqa: dataset; "" where there is none.
        measure: "all", "actions" (held-out error only, for a search) or "vqa" (of a VLM).
    """

    train: dict[str, Any]
    evaluate: Evaluation
    env: str = ""
    world: dict[str, Any] = field(default_factory=dict)
    held_out: str = ""
    vqa: str = ""
    measure: str = "all"
    robot_samples: int | None = None
    tflop: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def training_digest(self) -> str:
        """Of all that decides what is trained; it names the run's folder."""
        training = {name: value for name, value in self.train.items() if name not in ("out", "preset")}
        return _digest([training, self.robot_samples, self.tflop, self.evaluate.checkpoints])

    @property
    def digest(self) -> str:
        """Of everything, how it is measured too; it names the result."""
        return _digest(self.to_json())


@dataclass(frozen=True)
class Files:
    """A run's folder, besides `model` (of `fasttok-train`) and log.txt; several studies may measure one run."""

    folder: Path
    digest: str

    @property
    def spec(self) -> Path:
        """What was asked for."""
        return self.folder / f"spec-{self.digest}.json"

    @property
    def result(self) -> Path:
        """What came of it; there only when all is done."""
        return self.folder / f"result-{self.digest}.json"

    @property
    def films(self) -> Path:
        """Frames of episodes."""
        return self.folder / f"films-{self.digest}.npz"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def accelerators() -> str:
    """The accelerators, or the processor where there is none."""
    import jax

    return f"{jax.device_count()} x {jax.devices()[0].device_kind}" if jax.default_backend() != "cpu" else hardware()


def main(files: Files) -> None:
    """Trains and measures what the spec says.

    Raises:
        InputError: as training and evaluation do.
    """
    found = json.loads(files.spec.read_text(encoding="utf-8"))
    spec = Spec(**found | {"evaluate": json_files.decode(Evaluation, found["evaluate"], str(files.spec))})
    config, cost = train(spec, files.folder)
    began = time.monotonic()
    result = {
        "spec": spec.to_json(),
        "device": accelerators(),
        "steps": config.steps,
        **cost,
        **measure(spec, config, cost, files),
    }
    result["seconds"] = {
        "train": round(seconds_of(config), 1),
        "measure": round(time.monotonic() - began, 1),
    }
    write_text(files.result, json.dumps(result) + "\n")


def train(spec: Spec, folder: Path) -> tuple[TrainConfig, dict[str, float]]:
    """Trains, or goes on; returns the configuration, and what a step costs in robot samples and TFLOP."""
    from pipelines.shards import ShardReader
    from train.checkpoint import Checkpoints
    from train.dry_run import per_sample
    from train.loop import run as train_run
    from train.setup import prepare

    out = folder / MODEL
    config = dataclasses.replace(json_files.decode(TrainConfig, spec.train, f"{folder}: spec"), out=out)
    rows = [(s.kind, s.written) for s in ShardReader(str(config.shards)).manifest.sources.values()]
    chosen = [(kind, n) for kind, n in rows if kind in config.data.kinds]
    share = sum(n for kind, n in chosen if kind == "robot") / max(sum(n for _, n in chosen), 1)
    setup = prepare(config)
    config = dataclasses.replace(config, data=setup.resolved.data)  # so that the rows are measured once
    cost = {
        "robot_samples_per_step": share * config.batch_size,
        "tflop_per_step": per_sample(setup).total * config.batch_size / 1e12,
    }
    if spec.tflop is not None:
        config = dataclasses.replace(config, steps=max(1, round(spec.tflop / cost["tflop_per_step"])))
    elif spec.robot_samples is not None:
        if not share:
            raise InputError(
                f"{config.shards} holds no robot rows of the kinds asked for; a budget of robot samples needs some"
            )
        config = dataclasses.replace(config, steps=max(1, round(spec.robot_samples / cost["robot_samples_per_step"])))
    every = max(1, -(-config.steps // spec.evaluate.checkpoints))
    config = dataclasses.replace(config, checkpoint_every=every, keep=spec.evaluate.checkpoints + 1)
    started = (out / CONFIG).is_file()
    if started and dataclasses.replace(load_config(out), resume=False).steps != config.steps:
        raise InputError(f"{out} is a run of other steps; remove it, or give the study another --out")
    if started:
        checkpoints = Checkpoints(out, config.keep)
        last = checkpoints.last_step
        checkpoints.close()
        if last == config.steps:
            return config, cost
        config = dataclasses.replace(config, overwrite=last is None, resume=last is not None)
    train_run(config)
    return config, cost


def seconds_of(config: TrainConfig) -> float:
    """How long all steps took by the run's own log, over all the processes that it took if it was interrupted."""
    lines = (config.out / METRICS).read_text(encoding="utf-8").splitlines()
    rows = {row["step"]: row["samples_per_second"] for row in map(json.loads, lines)}
    steps = sorted(rows)
    return sum(
        (step - before) * config.batch_size / rows[step] for before, step in zip([0, *steps[:-1]], steps, strict=True)
    )


def measure(spec: Spec, config: TrainConfig, cost: dict[str, float], files: Files) -> dict[str, Any]:
    """The curve over the checkpoints, and all there is to measure at the last one."""
    from train import rollout_videos
    from train.checkpoint import Checkpoints
    from train.open_loop import action_errors
    from train.player import Player
    from train.rollouts import RolloutOptions, load_factory, play
    from train.vqa_accuracy import answer_questions

    e = spec.evaluate
    checkpoints = Checkpoints(config.out, config.keep)
    steps = [step for step in checkpoints.steps if step <= config.steps]
    checkpoints.close()
    robot = "robot" in config.data.kinds
    decode: Decoding = "flow" if config.model.flow else "tokens"
    factory = partial(load_factory(spec.env), **spec.world) if spec.env else None
    shown: dict[str, list[Film]] = {}
    curve = []
    for step in steps if robot and spec.measure == "all" else steps[-1:]:
        last = step == steps[-1]
        player = Player.load(config.out, batch=e.batch, step=step, temperature=e.temperature)
        log(f"measuring step {step} of {config.steps}")
        point: dict[str, Any] = {"step": step, "world": [], "actions": [], "vqa": None}
        point |= {name.removesuffix("_per_step"): step * value for name, value in cost.items()}
        if robot and factory is not None and spec.measure == "all":
            episodes = e.episodes if last else e.curve_episodes
            for split in e.splits if last else e.splits[:1]:
                for embodiment in player.embodiments:
                    options = RolloutOptions(decode, EXECUTE, batch=episodes, films=e.films if last else 0)
                    seeds = range(e.seed, e.seed + episodes)
                    result, filmed = play(player, factory, embodiment, split, seeds, options)
                    point["world"].append(json_files.encode(result))
                    if filmed:
                        shown[f"{embodiment}/{split}"] = filmed
        if robot and spec.held_out:
            point["actions"] += json_files.encode(action_errors(player, Path(spec.held_out), e.rows, decode))
            if last and decode == "flow" and config.data.discrete != "none" and spec.measure == "all":
                point["actions"] += json_files.encode(action_errors(player, Path(spec.held_out), e.rows, "tokens"))
        if last and spec.vqa and spec.measure != "actions":
            point["vqa"] = json_files.encode(answer_questions(player, Path(spec.vqa), e.questions))
        curve.append(point)
    if shown:
        rollout_videos.save(files.films, shown)
    return {"curve": curve}


if __name__ == "__main__":
    sys.exit(run(lambda: main(Files(Path(sys.argv[1]), sys.argv[2]))))
