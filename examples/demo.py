"""Runs the whole chain on generated data, with the same commands that a user would type: `make demo`.

    python -m examples.demo --out demo

Every step runs a public command as a subprocess. OUT/steps.json has the commands and their times, OUT/report.html shows
everything, and OUT/summary.json has the results in a few numbers.
"""

import json
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from examples import demo_summary
from examples.commands import call
from examples.tabletop.env import REACH_CORRELATION, REACH_TASK
from examples.tabletop.generate import DATASETS
from examples.tabletop.study import MANNERS
from fasttok.common.console import err, log, run
from fasttok.common.output_folder import Mark, OutputKind, check_output
from fasttok.errors import InputError
from fasttok.storage.folder import TOKENIZER
from pipelines.builder.output_kind import SHARDS
from pipelines.index.output_kind import INDEX
from train.runs.run_folder import RUN

MARKER = "steps.json"
DEMO = OutputKind(
    "demo",
    marks=(Mark(MARKER, ("title", "command", "seconds")),),
    files=(MARKER, demo_summary.EVALUATED, demo_summary.BASELINES, "rollouts.npz", "report.html", demo_summary.SUMMARY),
    inner={"index": INDEX, "tokenizer": TOKENIZER, "shards": SHARDS, "vlm": RUN, "ki": RUN}
    | {f"data/{name}": kind for name, kind in DATASETS.items()},
)


@dataclass(frozen=True)
class DemoConfig:
    """Runs the whole chain on generated data: tokenizer, shards, training with knowledge insulation, evaluation and a report.

    Example: python -m examples.demo --out demo
    """

    out: Path = Path("demo")
    """Folder for everything that the demo makes."""
    overwrite: bool = False
    """Replace an earlier demo in --out. Only a folder that a demo made is replaced."""
    episodes: int = 800
    """Number of demonstrations of the planar robot, which is the one that is evaluated. The arm gets a tenth as many."""
    vqa: int = 9000
    """Number of questions about where blocks are."""
    samples: int = 30_000
    """Number of samples in the shards."""
    vlm_steps: int = 500
    """Number of pretraining steps, in which the tiny vision-language model learns from questions and captions."""
    steps: int = 1000
    """Number of training steps with all three losses: text answers, action tokens and flow matching."""
    eval_episodes: int = 200
    """Number of episodes in each split that the trained planar robot plays."""
    seed: int = 0
    """Seed of the data, the shards and the training."""


@dataclass(frozen=True)
class Step:
    """One command of the chain.

    Attributes:
        title: what the command is for.
        command: the command as a user would type it, in the folder in which the demo runs.
    """

    title: str
    command: str


def steps(config: DemoConfig) -> list[Step]:
    """Returns the steps of the chain, in order.

    >>> steps(DemoConfig(out=Path("demo")))[-1].command
    'python -m examples.report --demo demo'
    """

    def at(name: str) -> str:
        return shlex.quote(str(config.out / name))

    world = f"--task {REACH_TASK} --correlation {REACH_CORRELATION}"
    rates = "--optim.learning-rate 1e-3 --optim.warmup 50"
    robots = f"{at('data/tabletop_planar/1.0.0')} {at('data/tabletop_arm/1.0.0')}"
    web = f"{at('data/tabletop_vqa')} {at('data/tabletop_captions')}"
    seed = f"--seed {config.seed}"
    return [
        Step("generate demonstrations of a planar robot and a few of an arm, questions and captions",
             f"python -m examples.tabletop.generate --out {at('data')} --episodes {config.episodes} "
             f"--arm-episodes {-(-config.episodes // 10)} --vqa {config.vqa} --questions where point destination "
             f"{world} {MANNERS['predictable']} {seed}"),
        Step("index: one row per episode, standardised actions",
             f"fasttok-pipelines index {robots} {web} --out {at('index')}"),
        Step("fit the FAST tokenizer on the indexed actions",
             f"fasttok fit {at('index')} --out {at('tokenizer')} --horizon 10 --vocab-size 512"),
        Step("explain the mixture",
             f"fasttok-mixtures explain demo --index {at('index')} --samples {config.samples}"),
        Step("build interleaved shards",
             f"fasttok-pipelines build demo --index {at('index')} --tokenizer {at('tokenizer')} --out {at('shards')} "
             f"--samples {config.samples} {seed}"),
        Step("look at two rows", f"fasttok-pipelines inspect {at('shards')} --rows 2"),
        Step("pretrain the tiny VLM on questions and captions",
             f"fasttok-train --preset vlm --shards {at('shards')} --out {at('vlm')} --steps {config.vlm_steps} {rates} {seed}"),
        Step("train with knowledge insulation: L_VLM + L_FAST + L_FLOW",
             f"fasttok-train --preset ki --shards {at('shards')} --init-from {at('vlm')} --out {at('ki')} "
             f"--steps {config.steps} {rates} --optim.expert-learning-rate 3e-3 --model.state continuous "
             f"--model.state-in backbone --flow-draws 1 {seed}"),
        Step("evaluate in the world",
             f"fasttok-evaluate --run {at('ki')} --env examples.tabletop.env:make_reach --embodiments planar "
             f"--splits {demo_summary.SPLIT} uncorrelated --episodes {config.eval_episodes} --batch 50 "
             f"--vqa {at('data/tabletop_vqa')} --out {at('eval.json')} --rollouts {at('rollouts.npz')}"),
        Step("play the same episodes with the expert, and blindly",
             f"python -m examples.tabletop.baselines --policies expert blind --embodiments planar "
             f"--splits {demo_summary.SPLIT} uncorrelated {world} --episodes {config.eval_episodes} "
             f"--out {at(demo_summary.BASELINES)}"),
        Step("write the report", f"python -m examples.report --demo {shlex.quote(str(config.out))}"),
    ]  # fmt: skip


def main(config: DemoConfig) -> None:
    """Runs the chain, and stops at the first command that fails.

    Raises:
        InputError: OUT may not be replaced, or a step failed (it has printed its own message).
    """
    check_output(config.out, DEMO, overwrite=config.overwrite).begin()
    plan = steps(config)
    done: list[dict[str, object]] = []
    start = time.monotonic()
    (config.out / MARKER).write_text("[]\n", encoding="utf-8")
    for number, step in enumerate(plan, 1):
        err.rule(f"[bold]{number}/{len(plan)} {step.title}", align="left")
        log(f"$ {step.command}")
        began = time.monotonic()
        try:
            call(step.command)
        except InputError as error:
            raise InputError(f"step {number} {error}") from None
        done.append({**asdict(step), "seconds": round(time.monotonic() - began, 1)})
        (config.out / MARKER).write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
    seconds = time.monotonic() - start
    found = demo_summary.write(config.out, seconds)
    log(
        f"\nIn {found.policy.episodes} episodes like those it learned from, the robot succeeded {found.policy.successes} times, "
        f"acting blindly {found.blind.successes} times, the expert {found.expert.successes} times "
        f"({config.out / demo_summary.SUMMARY})."
    )
    log(f"The whole chain took {seconds:.0f} s. Open {config.out / 'report.html'}")


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(DemoConfig, prog="python -m examples.demo"))))
