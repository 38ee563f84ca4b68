"""Resumes a run: compares the command's settings with those of the run, and reads its newest checkpoint. Changes nothing on disk.

The settings in RUN/config.json apply. If the command gives another value, `--resume-with` must name that setting, or the command
fails. Bookkeeping settings may change freely, and `steps` may grow.
"""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from jax.sharding import Mesh

from fasttok.common.urls import as_typed
from fasttok.errors import InputError, unknown_name
from pipelines.shards import ReadState, ShardReader
from train.config import ModelConfig, TrainConfig
from train.costs.dry_run import abstract_state
from train.runs.checkpoint import Checkpoints
from train.runs.run_folder import CONFIG, load_config
from train.runs.settings import Settings, as_words, settings
from train.setup import Setup
from train.step import State

logger = logging.getLogger(__name__)
FREE = {
    "out", "resume", "resume_with", "overwrite", "dry_run", "log_every", "probe_every", "checkpoint_every", "keep", "trackers",
    "distributed", "fsdp", "data.threads", "held_out", "held_out_every", "held_out_rows", "keep_best", "optim.high_rate",
}  # fmt: skip
"""Bookkeeping settings: what is computed does not depend on them."""
CHECKED = {"data.tokenizer", "shards"}
"""Folders that may have moved: their contents are compared, not their paths."""
ONCE = {
    "init_from",
    "init_from_expert",
    "weights",
    "weights_strict",
    "weights_resample",
    "data.text_tokenizer",
    "data.text_vocab",
    "lora.rank",
    "lora.alpha",
    "lora.paths",
}
"""Settings that only decide how a run begins."""
ORDERS_ROWS = {"seed", "data.kinds"}
"""Settings that decide the order of the rows: with another value, the rows begin anew."""
WHY = {
    "seed": "it orders the rows and draws the noise, so with another one the rows begin anew",
    "data.kinds": "they decide which rows are drawn, so with others the rows begin anew",
}
LONGER = "--steps is {} and the run was begun with {}: it goes on for longer, by the schedule of the longer run"
SHORTER = (
    "--steps is {asked}, fewer than the {there} that {run} was begun with, so its schedule would be another; give at least "
    "{there}, or say that it is meant: --resume-with steps"
)


def go_on(config: TrainConfig) -> TrainConfig:
    """Returns the command's configuration, with the sizes that it leaves to the shards taken from RUN.

    If nothing is resumed, the configuration is returned unchanged.

    Raises:
        InputError: a setting differs from RUN's, and is neither bookkeeping nor named by `resume_with`.
    """
    if not config.resume or not (config.out / CONFIG).is_file():
        return config
    saved = load_config(config.out)
    config = _filled(config, saved)
    there, asked = settings(saved), settings(config)
    named = _named(config.resume_with, asked)
    differs = [n for n in asked if n not in FREE | CHECKED and not _same(there.get(n), asked[n])]
    if "steps" in differs and config.steps > saved.steps:
        differs.remove("steps")
        logger.info(LONGER.format(config.steps, saved.steps))
    if "steps" in differs and "steps" not in named:
        raise InputError(SHORTER.format(asked=config.steps, there=saved.steps, run=config.out))
    if begun := [n for n in differs if n in ONCE]:
        lines = "\n".join(_line(n, there, asked) for n in begun)
        raise InputError(
            f"{config.out} was begun otherwise (there -> asked):\n{lines}\nThese say only how a run begins: give what it has, or "
            "train in another --out"
        )
    if refused := [n for n in differs if n not in named]:
        lines = "\n".join(_line(n, there, asked) for n in refused)
        raise InputError(
            f"{config.out} was begun with other settings (there -> asked):\n{lines}\nGive the old settings, or allow the new "
            f"ones: --resume-with {' '.join(refused)}"
        )
    if differs:
        lines = "\n".join(_line(n, there, asked) for n in differs)
        logger.info(f"going on with other settings, as --resume-with says (there -> from here on):\n{lines}")
    return config


def _filled(config: TrainConfig, saved: TrainConfig) -> TrainConfig:
    """Fills in RUN's number wherever the command leaves a size to the shards."""
    left = [
        f.name for f in dataclasses.fields(ModelConfig) if type(f.default) is int and not getattr(config.model, f.name)
    ]
    model = dataclasses.replace(config.model, **{name: getattr(saved.model, name) for name in left})
    data = dataclasses.replace(config.data, text_length=config.data.text_length or saved.data.text_length)
    return dataclasses.replace(config, model=model, data=data)


def _named(words: Iterable[str], known: Mapping[str, object]) -> set[str]:
    """Returns the settings that `--resume-with` names: single ones, or all of a group such as `data`."""
    named = set()
    for word in words:
        name = word.lstrip("-").replace("-", "_").removesuffix(".*")
        found = {n for n in known if n == name or n.startswith(f"{name}.")}
        if not found:
            raise unknown_name("setting in --resume-with", word, known)
        named |= found
    return named


def _same(there: object, asked: object) -> bool:
    if isinstance(there, Path) and isinstance(asked, Path):
        return there == asked or there.resolve() == asked.resolve()
    return there == asked


def _line(name: str, there: Settings, asked: Settings) -> str:
    why = f" ({WHY[name]})" if name in WHY else ""
    return f"  {name}: {as_words(there.get(name))} -> {as_words(asked[name])}{why}"


def check_shards(config: TrainConfig) -> None:
    """Checks that the shards are those in which the newest checkpoint has its position.

    Raises:
        InputError: they are other shards, and `resume_with` does not name `shards`.
    """
    if not config.resume:
        return
    with closing(Checkpoints(config.out)) as checkpoints:
        position = checkpoints.position()
        if position is None:
            return
        # Not config.json, which may name the shards of a resumed run that was killed before its checkpoint.
        saved = checkpoints.config()
    digest = ShardReader(as_typed(config.shards)).digest
    if digest == position.manifest:
        if not _same(saved.shards, config.shards):
            logger.info(f"{config.shards} contains the shards that were at {saved.shards}: their manifests are equal")
    elif "shards" in _named(config.resume_with, settings(config)):
        logger.info(
            f"{config.shards} contains other shards than the run has read, as --resume-with says: rows begin anew"
        )
    else:
        raise InputError(
            f"{config.shards} contains other shards than {config.out} has read so far (manifest {digest[:12]}, there "
            f"{position.manifest[:12]}): its place among the rows means nothing in them. Give the shards that it has read (they "
            f"were at {saved.shards}), or allow the new ones, whose rows begin anew: --resume-with shards"
        )


def restore(setup: Setup, mesh: Mesh) -> tuple[int, State, ReadState | None] | None:
    """Reads RUN's newest checkpoint.

    Returns:
        Its step, its state and its position in the shards (None: the rows begin anew). None if nothing is resumed or RUN has no
        checkpoint.

    Raises:
        InputError: the checkpoint does not fit the model asked for, or its step is larger than `steps`.
    """
    config = setup.config
    if not config.resume:
        return None
    with closing(Checkpoints(config.out)) as checkpoints:
        last = checkpoints.last_step
        if last is None:
            return None
        if last > config.steps:
            raise InputError(
                f"{config.out} has a checkpoint of step {last}, --steps is {config.steps}: expected at least that"
            )
        start, state, position = checkpoints.restore(abstract_state(setup, config, mesh))
        # Not of config.json, which another resumed run may have written before it was killed, without a checkpoint.
        there = settings(checkpoints.config())
    asked = settings(config)
    anew = position.manifest != setup.reader.digest or any(there[n] != asked[n] for n in ORDERS_ROWS)
    logger.info(f"resuming after step {start}")
    return start, state, None if anew else position
