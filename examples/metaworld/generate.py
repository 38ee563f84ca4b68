"""Writes MetaWorld's datasets: demonstrations of its experts as RLDS, questions and captions as JSON lines.

python -m examples.metaworld.generate --out data
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from examples.metaworld import questions
from examples.metaworld.recorder import Recorder, demonstrate, look, recorder
from examples.metaworld.robot import (
    ACTION_DIM,
    CAMERAS,
    DATASET,
    ENTRY,
    FEATURES,
    SIZE,
    STATE_DIM,
)
from examples.metaworld.simulator import check_package
from examples.metaworld.tasks import DEFAULT_TASKS, task_names
from examples.rlds_writer import DatasetKind, Demonstration, DemonstrationCount, write_rlds
from examples.web_data import WEB_FILES, web_entry, write_web
from fasttok.common.console import emit_json, log, progress, run, table
from fasttok.common.next_command import beside, command
from fasttok.common.output_folder import Mark, OutputFolder, OutputKind, check_output
from fasttok.episodes.tfds import tfds as tensorflow_datasets
from fasttok.errors import InputError

VAL_SHARE = 0.1
# Seeds of layouts: evaluation and baselines use seeds below these; each split of each dataset has a million seeds of its own.
FIRST_SEED, SEEDS = 100_000_000, 1_000_000
MOST_FAILURES = 50  # failures in a row after which a task's expert is given up
VQA_ENTRY = web_entry(f"{DATASET}_vqa", "MIT")
CAPTION_ENTRY = web_entry(f"{DATASET}_captions", "MIT", questions.CAPTION_PROMPT)
WEB_NAMES = (f"{DATASET}_vqa", f"{DATASET}_captions")
KIND = "dataset of MetaWorld"
ROBOT_FILES = ("1.0.0/*.tfrecord-*", "1.0.0/features.json", "1.0.0/dataset_info.json", "1.0.0/dataset.yaml")
DATASETS = {
    DATASET: OutputKind(KIND, (Mark("1.0.0/dataset.yaml", text=ENTRY),), ROBOT_FILES),
    f"{DATASET}_vqa": OutputKind(KIND, (Mark("dataset.yaml", text=VQA_ENTRY),), WEB_FILES),
    f"{DATASET}_captions": OutputKind(KIND, (Mark("dataset.yaml", text=CAPTION_ENTRY),), WEB_FILES),
}


@dataclass(frozen=True)
class MetaWorldData:
    """Makes the datasets of MetaWorld: demonstrations (RLDS), and questions and captions (JSON lines and images).

    They are metaworld, metaworld_vqa and metaworld_captions.

    Example: python -m examples.metaworld.generate --out data --tasks reach push drawer-open --episodes 50
    """

    out: Path
    """Folder for the datasets."""
    tasks: tuple[str, ...] = DEFAULT_TASKS
    """Names of tasks, with or without -v3. mt10 stands for ten of them, all for all fifty of the package."""
    episodes: int = 50
    """Number of successful training episodes for each task. A tenth as many are added for validation."""
    scatter: int = 10
    """Maximum number of steps that the hand moves in a random direction before a recording begins.
    With more steps, a robot learns to act from more places."""
    vqa: int = 2000
    """Number of training questions. A tenth as many are added for validation."""
    captions: int = 500
    """Number of training captions. A tenth as many are added for validation."""
    workers: int = 2
    """Number of processes that simulate and draw. Each needs some 300 MB, and 100 MB more for each task.
    The data does not depend on this number."""
    seed: int = 0
    """Seed of all random choices."""
    resume: bool = False
    """Keep complete datasets in --out, and make only the others."""
    overwrite: bool = False
    """Replace the datasets in --out."""
    json: bool = False
    """Print the counts as JSON on stdout."""


@dataclass
class Tally:
    """Numbers of demonstrations of a split, by task."""

    tasks: dict[str, DemonstrationCount] = field(default_factory=dict)

    def of(self, task: str) -> DemonstrationCount:
        """Returns a task's count."""
        return self.tasks.setdefault(task, DemonstrationCount())


def main(config: MetaWorldData) -> None:
    """Writes all datasets.

    Raises:
        InputError: a number is too small, there is no such task, a dataset exists already, or MetaWorld is missing or cannot
            draw.
    """
    for name in ("episodes", "vqa", "captions", "workers"):
        if getattr(config, name) < 1:
            raise InputError(f"--{name} is {getattr(config, name)}, expected at least 1")
    if config.scatter < 0 or config.seed < 0:
        raise InputError(f"--scatter is {config.scatter} and --seed {config.seed}, expected none below 0")
    if config.resume and config.overwrite:
        raise InputError("--resume and --overwrite exclude each other")
    tasks = task_names(config.tasks)
    check_package()
    tensorflow_datasets()
    wanted = {
        name: kind
        for name, kind in DATASETS.items()
        if not (config.resume and (config.out / name / kind.marks[0].file).is_file())
    }
    places = {name: check_output(config.out / name, kind, overwrite=config.overwrite) for name, kind in wanted.items()}
    config.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with recorder(config.workers) as record:
        if DATASET in places:
            for split, tally in demonstrations(config, tasks, record, places[DATASET]).items():
                for task, count in tally.tasks.items():
                    row = {"dataset": DATASET, "split": split, "task": task}
                    rows.append({**row, "written": count.written, "failed": count.failed})
        for number, name in enumerate(WEB_NAMES):
            if name in places:
                for split, written in pictures(config, tasks, number, record, places[name]).items():
                    rows.append({"dataset": name, "split": split, "task": "all", "written": written, "failed": 0})
    if config.json:
        emit_json(rows)
        return
    columns = ["dataset", "split", "task", "written", "demonstrations that failed and were left out"]
    table("", columns, [list(row.values()) for row in rows])
    datasets = [config.out / DATASET / "1.0.0", *(config.out / name for name in WEB_NAMES)]
    log(f"next: {command('fasttok-pipelines', 'index', *datasets, '--out', beside(config.out, 'index'))}")


def splits(total: int) -> dict[str, int]:
    """Returns the number of records of each split."""
    return {"train": total, "val": max(1, round(VAL_SHARE * total))}


def demonstrations(
    config: MetaWorldData, tasks: tuple[str, ...], record: Recorder, place: OutputFolder
) -> dict[str, Tally]:
    """Writes the RLDS dataset. Its folder appears when it is complete."""
    f = tensorflow_datasets().features
    image = partial(f.Image, shape=(SIZE, SIZE, 3), encoding_format="jpeg")
    kind = DatasetKind(
        name=DATASET,
        description="Demonstrations by MetaWorld's scripted experts.",
        observation={
            **{FEATURES[slot]: image() for slot in CAMERAS},
            "state": f.Tensor(shape=(STATE_DIM,), dtype=np.float32),
        },
        action_dim=ACTION_DIM,
        metadata={
            "episode_id": f.Text(),
            "seed": f.Scalar(dtype=np.int64),
            "task": f.Text(),
            "success": f.Scalar(dtype=np.bool_),
        },
    )
    counts = splits(config.episodes)
    tallies = {split: Tally() for split in counts}
    hidden = place.aside()
    try:
        with progress("demonstrations", sum(counts.values()) * len(tasks), "episodes") as advance:
            makers = {
                split: partial(_of_all, config, tasks, split, record, tallies[split], advance) for split in counts
            }
            written = write_rlds(hidden, kind, makers, counts["val"] * len(tasks))
        (written / "dataset.yaml").write_text(ENTRY, encoding="utf-8")
        place.install(written.parent, last="1.0.0/dataset.yaml")
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return tallies


def _of_all(
    config: MetaWorldData,
    tasks: tuple[str, ...],
    split: str,
    record: Recorder,
    tally: Tally,
    advance: Callable[..., None],
) -> Iterator[Demonstration]:
    """Yields the split's number of successful demonstrations of each task."""
    seed = first_seed(config.seed, list(splits(1)).index(split))
    for task in tasks:
        count, in_a_row = tally.of(task), 0
        found = record.each(demonstrate, seed, task, config.scatter)
        while count.written < splits(config.episodes)[split]:
            demonstration = next(found)
            if demonstration is None:
                count.failed, in_a_row = count.failed + 1, in_a_row + 1
                if in_a_row == MOST_FAILURES:
                    raise InputError(f"the expert of {task} failed {in_a_row} times in a row; leave it out of --tasks")
                continue
            count.written, in_a_row = count.written + 1, 0
            advance(note=task)
            yield demonstration
        found.close()


def first_seed(seed: int, number: int) -> int:
    """Returns the first layout seed of a split. No other split, dataset or evaluation uses the seeds from there on.

    Args:
        seed: seed of the command.
        number: number of the split and dataset, 0 to 9.
    """
    return FIRST_SEED + (10 * seed + number) * SEEDS


def pictures(
    config: MetaWorldData, tasks: tuple[str, ...], number: int, record: Recorder, place: OutputFolder
) -> dict[str, int]:
    """Writes questions (`number` 0) or captions (1) about moments of experts' episodes. The folder appears when complete."""
    ask = number == 0
    counts = splits(config.vqa if ask else config.captions)
    makers = {}
    for which, split in enumerate(counts):
        seed = first_seed(config.seed, 2 + 2 * number + which)
        makers[split] = partial(next, chain.from_iterable(record.each(look, seed, tasks, config.scatter, ask)))
    write_web(place, WEB_NAMES[number], VQA_ENTRY if ask else CAPTION_ENTRY, counts, makers)
    return counts


if __name__ == "__main__":
    sys.exit(run(lambda: main(tyro.cli(MetaWorldData, prog="python -m examples.metaworld.generate"))))
