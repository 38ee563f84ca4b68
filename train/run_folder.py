"""RUN: the folder that `fasttok-train` writes, and that evaluation, export and studies read.

    config.json          the configuration, with nothing left to the shards: the keys of `TrainConfig`, and `format_version`
    text_tokenizer.json  ids of text
    tokenizer/           FAST tokenizer, with the statistics that bring actions back to raw units
    metrics.jsonl        one line of numbers per logged step (`train.tracker`)
    checkpoints/         parameters and training state (`train.checkpoint`)

The first three are what inference needs besides the parameters: `SavedRun`. Imports no JAX.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from fasttok import ActionTokenizer
from fasttok.common import json_files
from fasttok.errors import InputError
from train.config import TrainConfig
from train.tokens import TextTokenizer

CONFIG = "config.json"
TEXT_TOKENIZER = "text_tokenizer.json"
TOKENIZER = "tokenizer"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
FORMAT_VERSION = 1  # of config.json; runs that do not say theirs have this one


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A run but for its parameters.

    Attributes:
        config: with nothing left to the shards.
        text: the text tokenizer.
        tok: the FAST tokenizer.
    """

    config: TrainConfig
    text: TextTokenizer
    tok: ActionTokenizer

    @classmethod
    def load(cls, run: Path) -> "SavedRun":
        """Reads RUN.

        Raises:
            InputError: not a run's folder, or a file in it is damaged or of another version.
        """
        return cls(load_config(run), TextTokenizer.load(run / TEXT_TOKENIZER), ActionTokenizer.load(run / TOKENIZER))

    def save(self, run: Path) -> None:
        """Writes RUN; what other files it holds stay."""
        run.mkdir(parents=True, exist_ok=True)
        about = {json_files.VERSION_KEY: FORMAT_VERSION} | self.config.to_json()
        (run / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        self.text.save(run / TEXT_TOKENIZER)
        self.tok.save(run / TOKENIZER, overwrite=True)


def load_config(run: Path) -> TrainConfig:
    """The configuration of a run, with nothing left to the shards.

    Raises:
        InputError: not a run's folder, unknown or missing keys, or a newer format.
    """
    path = run / CONFIG
    if not path.is_file():
        raise InputError(f"{run} is not a run (no {CONFIG}); train one with: fasttok-train --shards SHARDS --out {run}")
    return json_files.read(TrainConfig, path.read_text(encoding="utf-8"), str(path), FORMAT_VERSION)


def open_run(config: TrainConfig) -> None:
    """Makes way for the run; only a run's folder is ever replaced.

    Raises:
        InputError: OUT holds a run and neither --resume nor --overwrite was given, or is something else.
    """
    if config.dry_run or not config.out.exists() or not any(config.out.iterdir()):
        return
    if not (config.out / CONFIG).is_file():
        raise InputError(f"{config.out} exists and is not a run; choose another --out")
    if config.overwrite:
        shutil.rmtree(config.out)
    elif not config.resume:
        raise InputError(
            f"{config.out} holds a run; pass --resume to go on, --overwrite to replace it, or another --out"
        )
