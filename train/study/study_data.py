"""Finds or makes a study's data: a folder that the user gives, or one that module:function fills. Imports no JAX."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fasttok.common.console import write_text
from fasttok.common.next_command import command
from fasttok.errors import InputError
from train.study.spec import Study
from train.user_modules import load_attribute, where_examples_are

VQA = "vqa"  # folder of the VQA dataset in a study's data


@dataclass(frozen=True)
class StudyInputs:
    """The data and the world of a study.

    Attributes:
        data: folder of the shards, the held-out shards and the VQA dataset.
        env: module:factory of the environment.
    """

    data: Path
    env: str


def prepare_data(study: Study, data: str, made: Path, smoke: bool) -> Path:
    """Returns the folder of the study's data: `data` itself, or `made`, which module:function fills.

    The function is called as `prepare(folder, shards, smoke, **world)`. It makes a folder of shards for each name in `shards`,
    shards `held_out` of other episodes, and a VQA dataset `vqa` with a val split. It leaves existing data alone.

    Args:
        study: names the shards and the world.
        data: folder, or module:function.
        made: folder for data that the function makes.
        smoke: whether the function should make as little as possible.

    Raises:
        InputError: `data` is neither a folder nor an importable function, `made` has data of another world, or shards are
            missing.
    """
    folder = Path(data)
    if prepare := _function(data):
        folder = made
        _same_world(folder, study.world)
        prepare(folder, study.shards, smoke, **study.world)
    _check_shards(study, folder)
    return folder


def check_data(study: Study, data: str) -> None:
    """Checks that the data exists or can be made, before any run begins.

    Args:
        study: names the shards.
        data: folder, or module:function.

    Raises:
        InputError: `data` is neither a folder nor an importable function, or shards are missing.
    """
    if _function(data) is None:
        _check_shards(study, Path(data))


def _function(data: str) -> Callable[..., None] | None:
    """Returns the function that makes the data; None if `data` is a folder."""
    if ":" not in data or Path(data).exists():
        return None
    try:
        prepare: Callable[..., None] = load_attribute(data)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"--data {data!r}: {error}; expected a folder or module:function{where_examples_are(error)}"
        ) from None
    return prepare


def _check_shards(study: Study, folder: Path) -> None:
    for name in study.shards:
        if not (folder / name / "manifest.json").is_file():
            raise InputError(
                f"{folder} has no shards {name!r}; build them with: fasttok-pipelines build ... {command('--out', folder / name)}"
            )


def _same_world(folder: Path, world: Mapping[str, Any]) -> None:
    """Refuses data that was made for another world. The world's options are stored in the folder, in world.json."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "world.json"
    if not kept.is_file():
        if strange := next(iter(sorted(folder.iterdir())), None):
            raise InputError(
                f"{folder} contains {strange.name} and no {kept.name}, so no study made it, and it will not be overwritten; "
                "choose another --out"
            )
        write_text(kept, json.dumps(world) + "\n")
        return
    try:
        before = json.loads(kept.read_bytes())
    except ValueError as error:
        raise InputError(f"{kept} is damaged ({error}); give the study another --out") from None
    if before != world:
        raise InputError(f"{folder} was made with {before}, this study's world is {world}; give it another --out")
