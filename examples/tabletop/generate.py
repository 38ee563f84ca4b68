"""Writes the tabletop world's datasets: two robots as RLDS, questions and captions as JSON lines beside images.

python -m examples.tabletop.generate --out data
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from examples.rlds_writer import Demonstration, DemonstrationCount
from examples.tabletop import questions, rlds
from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.manner import Manner
from examples.tabletop.render import TOGETHER, primary
from examples.tabletop.scenes import CORRELATION, split_named
from examples.tabletop.tasks import kinds_named
from examples.tabletop.world import Tables
from examples.web_data import WEB_FILES, web_entry, write_web
from fasttok.common.console import emit_json, log, progress, run, table
from fasttok.common.flags import OPTIONAL
from fasttok.common.maybe import Maybe
from fasttok.common.next_command import beside, command
from fasttok.common.output_folder import Mark, OutputFolder, OutputKind, check_output
from fasttok.errors import InputError, unknown_name

VAL_SHARE = 0.1
CAPTION_PROMPT = "describe the table"
VQA_ENTRY = web_entry("tabletop_vqa", "Apache-2.0")
CAPTION_ENTRY = web_entry("tabletop_captions", "Apache-2.0", CAPTION_PROMPT)
ROBOT_FILES = ("1.0.0/*.tfrecord-*", "1.0.0/features.json", "1.0.0/dataset_info.json", "1.0.0/dataset.yaml")
KIND = "dataset of the tabletop world"
DATASETS = {
    f"tabletop_{name}": OutputKind(KIND, (Mark("1.0.0/dataset.yaml", text=rlds.entry(embodiment)),), ROBOT_FILES)
    for name, embodiment in EMBODIMENTS.items()
} | {
    f"tabletop_{name}": OutputKind(KIND, (Mark("dataset.yaml", text=entry),), WEB_FILES)
    for name, entry in (("vqa", VQA_ENTRY), ("captions", CAPTION_ENTRY))
}


@dataclass(frozen=True)
class GenerateConfig:
    """Makes the datasets of the tabletop world: demonstrations (RLDS), and questions and captions (JSON lines and images).

    They are tabletop_planar and tabletop_arm, tabletop_vqa and tabletop_captions.

    Example: python -m examples.tabletop.generate --out data --episodes 200
    """

    out: Path
    """Folder for the datasets."""
    episodes: int = 200
    """Number of training episodes for each robot. A tenth as many are added for validation."""
    arm_episodes: Maybe[int] = None
    """Number of training episodes of the arm. By default as many as --episodes."""
    vqa: int = 6000
    """Number of training questions, each about another scene. A tenth as many are added for validation."""
    questions: Annotated[tuple[str, ...], OPTIONAL] = ()
    """Kinds of questions to ask, such as where, point and destination. By default all kinds."""
    captions: int = 2000
    """Number of training captions. A tenth as many are added for validation."""
    web: bool = True
    """Make questions and captions. --no-web makes only demonstrations."""
    correlation: float = CORRELATION
    """Share of demonstrations in which the named block is also the one nearest to the hand.
    If the share is high, a robot can often succeed without listening to the instruction."""
    embodiments: tuple[str, ...] = tuple(EMBODIMENTS)
    """Robots for which to make demonstrations."""
    task: Annotated[str, OPTIONAL] = ""
    """Kinds of tasks to demonstrate, joined by +, such as reach or reach+push. By default all kinds."""
    tremor: bool = True
    """The expert's hand trembles. --no-tremor makes demonstrations that a small model can predict more easily."""
    bends: bool = True
    """The expert bends its paths sideways by a random amount. --no-bends: paths are straight."""
    pauses: bool = True
    """The expert waits for a random time before it moves and at the end.
    With --no-pauses it moves at once, and waits at the end only as long as a task must stay done to count."""
    constant_pace: bool = False
    """All reaches have the same mean speed. By default each reach has its own."""
    seed: int = 0
    """Seed of all random choices."""
    overwrite: bool = False
    """Replace the datasets in --out."""
    json: bool = False
    """Print the counts as JSON on stdout."""

    @property
    def manner(self) -> Manner:
        """How the expert moves."""
        return Manner(self.tremor, self.bends, not self.constant_pace, self.pauses)

    def episodes_of(self, name: str) -> int:
        """Returns the number of training episodes of an embodiment."""
        return self.arm_episodes if name == "arm" and self.arm_episodes is not None else self.episodes


def main(config: GenerateConfig) -> None:
    """Writes all datasets.

    Raises:
        InputError: a number is too small, a share is outside [0, 1], a name is unknown, or a dataset exists already.
    """
    for name in ("episodes", "arm_episodes", "vqa", "captions"):
        found = getattr(config, name)
        if found is not None and found < 1:
            raise InputError(f"--{name.replace('_', '-')} is {found}, expected at least 1")
    if config.seed < 0:
        raise InputError(f"--seed is {config.seed}, expected at least 0")
    questions.check_kinds(config.questions)
    split_named("seen", config.correlation)  # refuses a wrong share before anything is written
    kinds_named(config.task)
    for name in config.embodiments:
        if name not in EMBODIMENTS:
            raise unknown_name("embodiment", name, EMBODIMENTS)
    embodiments = tuple(dict.fromkeys(config.embodiments))
    asked = {"vqa": config.vqa, "captions": config.captions} if config.web else {}
    robots = [f"tabletop_{name}" for name in embodiments]
    names = [*robots, *(f"tabletop_{name}" for name in asked)]
    places = {name: check_output(config.out / name, DATASETS[name], overwrite=config.overwrite) for name in names}
    config.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in embodiments:
        for split, count in robot(config, name, places[f"tabletop_{name}"]).items():
            rows.append(
                {"dataset": f"tabletop_{name}", "split": split, "written": count.written, "failed": count.failed}
            )
    for number, (name, total) in enumerate(asked.items()):
        for split, written in web(config, name, total, number, places[f"tabletop_{name}"]).items():
            rows.append({"dataset": f"tabletop_{name}", "split": split, "written": written, "failed": 0})
    if config.json:
        emit_json(rows)
        return
    columns = ["dataset", "split", "written", "demonstrations that failed and were left out"]
    table("", columns, [list(row.values()) for row in rows])
    datasets = [config.out / name / ("1.0.0" if name in robots else "") for name in names]
    log(f"next: {command('fasttok-pipelines', 'index', *datasets, '--out', beside(config.out, 'index'))}")


def splits(total: int) -> dict[str, int]:
    """Returns the number of records of each split."""
    return {"train": total, "val": max(4, round(VAL_SHARE * total))}


def robot(config: GenerateConfig, name: str, place: OutputFolder) -> dict[str, DemonstrationCount]:
    """Writes one embodiment's RLDS dataset. Its folder appears when it is complete."""
    episodes = splits(config.episodes_of(name))
    counts = {split: DemonstrationCount() for split in episodes}
    hidden = place.aside()
    try:
        with progress(f"demonstrations of {name}", sum(episodes.values()), "episodes") as advance:
            makers = {
                split: partial(demonstrations, config, name, number, total, counts[split], advance)
                for number, (split, total) in enumerate(episodes.items())
            }
            written = rlds.write(hidden, EMBODIMENTS[name], makers, min(episodes.values()))
        (written / "dataset.yaml").write_text(rlds.entry(EMBODIMENTS[name]), encoding="utf-8")
        place.install(written.parent, last="1.0.0/dataset.yaml")
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return counts


def demonstrations(
    config: GenerateConfig, name: str, number: int, total: int, count: DemonstrationCount, advance: Callable[..., None]
) -> Iterator[Demonstration]:
    """Yields `total` successful demonstrations. No scene is in two splits, or in episodes of an evaluation (`first_seed`)."""
    seed = first_seed(config.seed, number)
    while count.written < total:
        seeds = range(seed, seed + min(TOGETHER, total - count.written))
        seed = seeds.stop
        for demonstration in rlds.demonstrate(
            name, seeds, correlation=config.correlation, task=config.task, manner=config.manner
        ):
            if demonstration is None:
                count.failed += 1
                continue
            count.written += 1
            advance()
            yield demonstration


def first_seed(seed: int, number: int) -> int:
    """Returns the first seed of the demonstrations of a split. Evaluations begin at round millions: val begins between two.

    Args:
        seed: of the command.
        number: 0 for train, 1 for val.

    >>> first_seed(0, 0), first_seed(0, 1), first_seed(2, 1)
    (0, 1500000, 21500000)
    """
    return (seed * 10 + number) * 1_000_000 + (500_000 if number else 0)


def web(config: GenerateConfig, name: str, total: int, number: int, place: OutputFolder) -> dict[str, int]:
    """Writes a JSON-lines dataset with its images. Its folder appears when it is complete."""
    makers = {
        split: partial(next, records(name, np.random.default_rng([config.seed, number, which]), config.questions))
        for which, split in enumerate(splits(total))
    }
    write_web(place, name, VQA_ENTRY if name == "vqa" else CAPTION_ENTRY, splits(total), makers)
    return splits(total)


def records(
    name: str, rng: np.random.Generator, kinds: tuple[str, ...] = ()
) -> Iterator[tuple[NDArray, dict[str, str]]]:
    """Yields questions or captions without end: the picture of each, and the fields of its line."""
    while True:
        worlds, fields = [], []
        for _ in range(TOGETHER):  # pictures of some tables at once: three times faster than one by one
            if name == "vqa":
                world, question = questions.ask(rng, kinds)
                fields.append({"kind": question.kind, "question": question.prompt, "answer": question.target})
            else:
                world = questions.scene(rng)
                fields.append({"caption": questions.caption(world)})
            worlds.append(world.tables.take(slice(world.row, world.row + 1)))
        yield from zip(primary(Tables.joined(worlds)), fields, strict=True)


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(GenerateConfig, prog="python -m examples.tabletop.generate"))))
