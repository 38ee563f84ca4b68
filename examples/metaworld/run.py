"""Runs the whole chain on MetaWorld: demonstrations, index, tokenizer, shards, a `ki` run, and its evaluation in the world.

    python -m examples.metaworld.run --out metaworld

Every step is a public command. If you run the same command again, it continues where it stopped.
"""

import json
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from examples.commands import call
from examples.metaworld.baselines import POLICIES
from examples.metaworld.generate import DATASETS
from examples.metaworld.simulator import check_package
from examples.metaworld.tasks import DEFAULT_TASKS, task_names
from fasttok.common.console import err, log, run, table, write_text
from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.errors import InputError
from fasttok.storage.folder import TOKENIZER
from pipelines.builder.output_kind import SHARDS
from pipelines.index.output_kind import INDEX
from train.judging.wilson import percent
from train.runs.run_folder import RUN

MARKER = "metaworld.json"
COUNTS = ("episodes", "vqa", "captions", "samples", "steps", "batch_size", "eval_episodes")
CHAIN = OutputKind(
    "chain of MetaWorld",
    marks=(Mark(MARKER, ("settings", "steps")),),
    files=(MARKER, "eval.json", "baselines.json", "films.html"),
    inner={"index": INDEX, "tokenizer": TOKENIZER, "shards": SHARDS, "ki": RUN}
    | {f"data/{name}": kind for name, kind in DATASETS.items()},
)


@dataclass(frozen=True)
class MetaWorldRun:
    """Runs the whole chain on MetaWorld: makes data, trains with knowledge insulation, and evaluates the run.

    The run is compared with an expert and with a blind robot.

    Example: python -m examples.metaworld.run --out metaworld --tasks reach drawer-open --episodes 20 --steps 200
    """

    out: Path = Path("metaworld")
    """Folder for everything that the command makes.
    If it has an unfinished chain with the same settings, the command continues that."""
    tasks: tuple[str, ...] = DEFAULT_TASKS
    """Names of tasks, with or without -v3. mt10 stands for ten of them, all for all fifty of the package."""
    episodes: int = 50
    """Number of demonstrations for each task."""
    vqa: int = 2000
    """Number of questions about pictures."""
    captions: int = 500
    """Number of captions of pictures."""
    samples: int = 12_000
    """Number of samples in the shards. A fifth of them are questions and captions."""
    steps: int = 1500
    """Number of training steps."""
    batch_size: int = 16
    """Number of rows in a training step."""
    eval_episodes: int = 20
    """Number of episodes for each task. The run, the expert and the blind robot each play them."""
    seed: int = 0
    """Seed of the data, the shards and the training."""
    overwrite: bool = False
    """Start again and replace what is in --out."""


@dataclass(frozen=True)
class ChainStep:
    """One command of the chain.

    Attributes:
        title: what the command is for.
        command: the command as a user would type it.
        outputs: files and folders that it makes in OUT.
        again: flag with which the command continues or begins anew, if an interrupted one has left some of its outputs.
    """

    title: str
    command: str
    outputs: tuple[str, ...]
    again: str


def steps(config: MetaWorldRun) -> list[ChainStep]:
    """Returns the steps of the chain, in order.

    >>> steps(MetaWorldRun())[2].command
    'fasttok fit metaworld/index --out metaworld/tokenizer --seconds 0.25 --vocab-size 256'
    """

    def at(name: str) -> str:
        return shlex.quote(str(config.out / name))

    tasks, seed = " ".join(task_names(config.tasks)), f"--seed {config.seed}"
    datasets = f"{at('data/metaworld/1.0.0')} {at('data/metaworld_vqa')} {at('data/metaworld_captions')}"
    plan = [
        ("demonstrations, questions and captions",
         f"python -m examples.metaworld.generate --out {at('data')} --tasks {tasks} --episodes {config.episodes} "
         f"--vqa {config.vqa} --captions {config.captions} {seed}", ("data",), "--resume"),
        ("index: one row per episode, standardised actions",
         f"fasttok-pipelines index {datasets} --out {at('index')}", ("index",), "--overwrite"),
        ("fit the FAST tokenizer on the indexed actions",
         f"fasttok fit {at('index')} --out {at('tokenizer')} --seconds 0.25 --vocab-size 256", ("tokenizer",), "--overwrite"),
        ("build interleaved shards",
         f"fasttok-pipelines build metaworld --index {at('index')} --tokenizer {at('tokenizer')} --out {at('shards')} "
         f"--samples {config.samples} {seed}", ("shards",), "--resume"),
        ("train with knowledge insulation: L_VLM + L_FAST + L_FLOW",
         f"fasttok-train --preset ki --shards {at('shards')} --out {at('ki')} --steps {config.steps} "
         f"--batch-size {config.batch_size} --checkpoint-every 200 {seed}", ("ki",), "--resume"),
        ("the run in the world, and its answers to questions",
         f"fasttok-evaluate --run {at('ki')} --env examples.metaworld.env:make --splits {tasks} "
         f"--episodes {config.eval_episodes} --vqa {at('data/metaworld_vqa')} --out {at('eval.json')} "
         f"--films-page {at('films.html')}", ("eval.json", "films.html"), "--overwrite"),
        ("the expert and a blind robot, on the same episodes",
         f"python -m examples.metaworld.baselines --tasks {tasks} --episodes {config.eval_episodes} "
         f"--out {at('baselines.json')}", ("baselines.json",), "--overwrite"),
    ]  # fmt: skip
    return [ChainStep(*words) for words in plan]


def main(config: MetaWorldRun) -> list[dict[str, Any]]:
    """Runs the steps that are not done yet, stops at the first command that fails, and returns the rows of the table.

    Raises:
        InputError: a number is too small, MetaWorld is missing or cannot draw, OUT may not be replaced or was begun with other
            settings, or a step failed (it has printed its own message).
    """
    for name in COUNTS:
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(config, name)}, expected at least 1")
    if config.seed < 0:
        raise InputError(f"--seed is {config.seed}, expected none below 0")
    plan = steps(config)
    check_package()
    settings = {
        key: value
        for key, value in json.loads(json.dumps(asdict(config), default=str)).items()
        if key not in ("out", "overwrite")  # the path of OUT changes nothing
    }
    marker = config.out / MARKER
    done: list[dict[str, Any]] = []
    if marker.is_file() and not config.overwrite:
        kept = json.loads(marker.read_text(encoding="utf-8"))
        differing = [key for key in settings if kept["settings"].get(key) != settings[key]]
        if differing:
            raise InputError(
                f"{config.out} was begun with other settings of {', '.join('--' + key.replace('_', '-') for key in differing)}; "
                "give the same ones to go on, another --out, or --overwrite"
            )
        done = kept["steps"]
        log(f"{config.out}: {len(done)} of {len(plan)} steps are done")
    else:
        check_output(config.out, CHAIN, overwrite=config.overwrite).begin()
        _save(marker, settings, done)
    for number, step in enumerate(plan[len(done) :], len(done) + 1):
        begun = any((config.out / output).exists() for output in step.outputs)
        command = f"{step.command} {step.again}" if begun else step.command
        err.rule(f"[bold]{number}/{len(plan)} {step.title}", align="left")
        log(f"$ {command}")
        began = time.monotonic()
        try:
            call(command)
        except InputError as error:
            raise InputError(f"step {number} {error}") from None
        done.append({"title": step.title, "command": step.command, "seconds": round(time.monotonic() - began, 1)})
        _save(marker, settings, done)
    rows = results(config.out)
    columns = ["task", "policy", "episodes", "success [95 % interval]"]
    table("MetaWorld", columns, [[row[name] for name in ("task", "policy", "episodes", "success")] for row in rows])
    log(f"the first failures and successes as films: {config.out / 'films.html'}")
    return rows


def results(out: Path) -> list[dict[str, Any]]:
    """Reads the results of a finished chain: a row for each task and policy, with 95 % Wilson intervals."""
    found = {(row["task"], row["policy"]): row for row in json.loads((out / "baselines.json").read_text("utf-8"))}
    rows = []
    for world in json.loads((out / "eval.json").read_text("utf-8"))["world"]:
        task, successes = world["split"], sum(world["each"]["success"])
        for who in (*POLICIES, "ki"):
            n, done = (
                (world["episodes"], successes)
                if who == "ki"
                else (found[task, who][k] for k in ("episodes", "success"))
            )
            rows.append({"task": task, "policy": who, "episodes": n, "successes": done, "success": percent(done, n)})
    return rows


def _save(marker: Path, settings: dict[str, Any], done: list[dict[str, Any]]) -> None:
    write_text(marker, json.dumps({"settings": settings, "steps": done}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(MetaWorldRun, prog="python -m examples.metaworld.run"))))
