"""RUN: the folder that `fasttok-train` writes, and that evaluation, export and studies read.

    config.json          the configuration, with the sizes of the shards filled in: `TrainConfig`'s keys and `format_version`
    text_tokenizer.json  the text tokenizer
    robots.json          what the shards say about the robots: chunks, columns, cameras (`train.acting.robots`)
    tokenizer/           FAST tokenizer, with the statistics that turn actions back into raw units
    metrics.jsonl        one line of numbers per logged step (`train.runs.tracker`)
    sessions.jsonl       the commands that trained it, with their dates and devices (`train.runs.sessions`)
    report.html          page that `fasttok-train report` writes (`train.report`)
    checkpoints/         parameters and training state (`train.runs.checkpoint`)
    best/                parameters with the lowest held-out number, with --keep-best (`train.runs.best_checkpoint`)

Inference needs the first four and the parameters (`SavedRun`). So RUN can be copied elsewhere, and its shards can be deleted:
config.json still says where the shards were and what the run began with, but nothing opens those paths, unless robots.json is
missing (older runs). Imports no JAX.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from fasttok import ActionTokenizer
from fasttok.common import json_files
from fasttok.common.console import write_text
from fasttok.common.given_paths import did_you_mean
from fasttok.common.names import check_utf8
from fasttok.common.next_command import command
from fasttok.common.output_folder import Mark, OutputKind
from fasttok.common.urls import as_typed
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
FORMAT_VERSION = 1  # version of config.json; a file without a version has this one
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
    alone=True,
)


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A run without its parameters.

    Attributes:
        config: the configuration, with the sizes of the shards filled in.
        text: the text tokenizer.
        tok: the FAST tokenizer.
        robots: what the run's shards say about the robots.
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
            shards: the shards of a run without robots.json; None: those that its config.json names.

        Raises:
            InputError: the folder is not a run, or a file in it is damaged or of another version.
        """
        config = load_config(run)
        robots = load_robots(run, config, shards)
        return cls(config, TextTokenizer.load(run / TEXT_TOKENIZER), ActionTokenizer.load(run / TOKENIZER), robots)

    def save(self, run: Path) -> None:
        """Writes RUN. Other files in the folder stay."""
        run.mkdir(parents=True, exist_ok=True)
        about = {json_files.VERSION_KEY: FORMAT_VERSION} | self.config.to_json()
        write_text(run / CONFIG, json.dumps(about, indent=2) + "\n")
        self.text.save(run / TEXT_TOKENIZER)
        self.tok.save(run / TOKENIZER, overwrite=True)
        self.robots.save(run / ROBOTS)


def load_config(run: Path) -> TrainConfig:
    """Reads the configuration of a run, in which the sizes of the shards are filled in.

    Raises:
        InputError: the folder is not a run, or its config.json has unknown or missing keys or a newer format.
    """
    check_utf8(str(run), "so its checkpoints cannot be opened")
    path = run / CONFIG
    if not path.is_file():
        near = did_you_mean(run) if not run.exists() else ""
        raise InputError(
            f"{run} is not a run (no {CONFIG}){near}; train one with: "
            f"{command('fasttok-train', '--shards', 'SHARDS', '--out', run)}"
        )
    return json_files.read(TrainConfig, path.read_bytes(), str(path), FORMAT_VERSION)


def load_robots(run: Path, config: TrainConfig, shards: Path | None = None) -> Robots:
    """Reads what a run's shards say about the robots: from RUN/robots.json, or from the shards if an older run lacks that file.

    Args:
        run: the folder.
        config: configuration of the run.
        shards: the shards of a run without robots.json; None: those that the configuration names.

    Raises:
        InputError: robots.json is damaged, or both it and the shards are missing.
    """
    file = run / ROBOTS
    if file.exists():
        return Robots.load(file, config.model)
    asked = shards or config.shards
    try:
        return Robots.of(Manifest.load(as_typed(asked)), config.data.kinds)
    except InputError as error:
        at = "" if asked.is_absolute() else ", looked for from the current folder"
        raise InputError(
            f"{run} was trained on {asked}{at}: {error}. It is of a time when runs kept no {ROBOTS}, so only these shards say "
            "what its robots are; say where they are now with --shards"
        ) from None


def check_resumed(run: Path, tok: ActionTokenizer, given: Path | None) -> None:
    """Refuses to resume with another FAST tokenizer: the parameters learned the ids and the normalised units of the one in RUN.

    Args:
        run: folder of the run, which may be new.
        tok: the tokenizer to resume with.
        given: the folder that `--data.tokenizer` names; None if the tokenizer is that of the shards.

    Raises:
        InputError: RUN was begun with another tokenizer.
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
