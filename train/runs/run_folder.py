"""RUN: the folder that `fasttok-train` writes, and that evaluation, export and studies read.

    config.json          the configuration, with nothing left to the shards: the keys of `TrainConfig`, and `format_version`
    text_tokenizer.json  ids of text
    robots.json          what the shards say of the robots: chunks, columns, cameras (`train.acting.robots`)
    tokenizer/           FAST tokenizer, with the statistics that bring actions back to raw units
    metrics.jsonl        one line of numbers per logged step (`train.runs.tracker`)
    sessions.jsonl       which commands trained it, when and on what (`train.runs.sessions`)
    report.html          of `fasttok-train report` (`train.report`)
    checkpoints/         parameters and training state (`train.runs.checkpoint`)
    best/                parameters of the lowest held-out number, with --keep-best (`train.runs.best_checkpoint`)

The first four are what inference needs besides the parameters: `SavedRun`. So RUN can be copied elsewhere, and its shards be
deleted; config.json still says where those were and what the run began with, and nobody follows that. Imports no JAX.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from fasttok import ActionTokenizer
from fasttok.common import json_files
from fasttok.common.console import write_text
from fasttok.common.given_paths import did_you_mean
from fasttok.common.output_folder import Mark, OutputKind
from fasttok.errors import InputError
from fasttok.storage.folder import TOKENIZER as TOKENIZER_FOLDER
from pipelines.shards.manifest import Manifest
from train.acting.robots import FILE as ROBOTS
from train.acting.robots import Robots
from train.config import TrainConfig
from train.tokens import TextTokenizer

CONFIG = "config.json"
TEXT_TOKENIZER = "text_tokenizer.json"
TOKENIZER = "tokenizer"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
BEST = "best"
SESSIONS = "sessions.jsonl"
REPORT = "report.html"
FORMAT_VERSION = 1  # of config.json; a run without a version has this one
RUN = OutputKind(
    "run",
    marks=(Mark(CONFIG, ("shards", "model", "data", "optim"), FORMAT_VERSION),),
    files=(
        CONFIG,
        TEXT_TOKENIZER,
        ROBOTS,
        METRICS,
        SESSIONS,
        REPORT,
        "not_finite_step_*.npz",
        f"{CHECKPOINTS}/[0-9]*/**",
        f"{BEST}/[0-9]*/**",
        "tensorboard/**",
        "wandb/**",
        "wandb_id",
    ),
    resume="flag",
    inner={TOKENIZER: TOKENIZER_FOLDER},
)


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A run but for its parameters.

    Attributes:
        config: with nothing left to the shards.
        text: the text tokenizer.
        tok: the FAST tokenizer.
        robots: what its shards say of the robots.
    """

    config: TrainConfig
    text: TextTokenizer
    tok: ActionTokenizer
    robots: Robots

    @classmethod
    def load(cls, run: Path, shards: Path | None = None) -> "SavedRun":
        """Reads RUN.

        Args:
            run: the folder.
            shards: that a run without robots.json was trained on; None: where its config.json says.

        Raises:
            InputError: not a run's folder, or a file in it is damaged or of another version.
        """
        config = load_config(run)
        robots = load_robots(run, config, shards)
        return cls(config, TextTokenizer.load(run / TEXT_TOKENIZER), ActionTokenizer.load(run / TOKENIZER), robots)

    def save(self, run: Path) -> None:
        """Writes RUN; what other files it contains stay."""
        run.mkdir(parents=True, exist_ok=True)
        about = {json_files.VERSION_KEY: FORMAT_VERSION} | self.config.to_json()
        write_text(run / CONFIG, json.dumps(about, indent=2) + "\n")
        self.text.save(run / TEXT_TOKENIZER)
        self.tok.save(run / TOKENIZER, overwrite=True)
        self.robots.save(run / ROBOTS)


def load_config(run: Path) -> TrainConfig:
    """The configuration of a run, with nothing left to the shards.

    Raises:
        InputError: not a run's folder, unknown or missing keys, or a newer format.
    """
    path = run / CONFIG
    if not path.is_file():
        near = did_you_mean(run) if not run.exists() else ""
        raise InputError(
            f"{run} is not a run (no {CONFIG}){near}; train one with: fasttok-train --shards SHARDS --out {run}"
        )
    return json_files.read(TrainConfig, path.read_text(encoding="utf-8"), str(path), FORMAT_VERSION)


def load_robots(run: Path, config: TrainConfig, shards: Path | None = None) -> Robots:
    """What the shards of a run say of the robots: of its own file, or, where it was written before there was one, of the shards.

    Args:
        run: the folder.
        config: of the run.
        shards: that a run without the file was trained on; None: where the configuration says.

    Raises:
        InputError: the file is damaged, or there is none and the shards are gone.
    """
    file = run / ROBOTS
    if file.exists():
        return Robots.load(file, config.model)
    asked = shards or config.shards
    try:
        return Robots.of(Manifest.load(str(asked)), config.data.kinds)
    except InputError as error:
        at = "" if asked.is_absolute() else ", looked for from the current folder"
        raise InputError(
            f"{run} was trained on {asked}{at}: {error}. It is of a time when runs kept no {ROBOTS}, so only these shards say "
            "what its robots are; say where they are now with --shards"
        ) from None


def check_resumed(run: Path, tok: ActionTokenizer, given: Path | None) -> None:
    """Refuses to go on with another FAST tokenizer: the parameters know the ids and the normalised units of the one in RUN.

    Args:
        run: RUN, which may be new.
        tok: the tokenizer to go on with.
        given: the folder that `--data.tokenizer` names; None for that of the shards.

    Raises:
        InputError: RUN was begun with another one.
    """
    folder = run / TOKENIZER
    if not folder.is_dir():
        return
    began = ActionTokenizer.load(folder).fingerprint
    if began != tok.fingerprint:
        raise InputError(
            f"{run} was begun with tokenizer {began}, but {given or 'the tokenizer of the shards'} is {tok.fingerprint}: its ids "
            f"mean other actions. Resume with --data.tokenizer {folder}, or train in another --out"
        )
