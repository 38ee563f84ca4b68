"""Stages that make a study's data. Each runs the public command that a user would type, and skips what exists already."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.commands import call
from fasttok.common.console import err

MIXTURE = """name: {name}
description: {what}
tokenizer: fit
chunk: {{seconds: {seconds}}}
unit: samples
seed: 0
sources:
"""
SOURCE = "  - {{dataset: {dataset}, weight: {weight}, split: {split}}}\n"


@dataclass(frozen=True)
class StudyData:
    """A folder in which a study's data is made.

    Attributes:
        folder: folder for everything; commands run in it.
        seconds: length of a chunk in seconds.
        vocab_size: number of FAST ids of each tokenizer.
    """

    folder: Path
    seconds: float
    vocab_size: int

    def generate(self, name: str, command: str) -> None:
        """Makes the datasets FOLDER/NAME with a command that takes `--out`. The folder appears when they are complete."""
        if (self.folder / name).exists():
            return
        hidden = self.folder / f".{name}.part"
        shutil.rmtree(hidden, ignore_errors=True)
        self._run(f"{command} --out {hidden.name}")
        hidden.rename(self.folder / name)

    def link(self, name: str, target: Path) -> None:
        """Makes FOLDER/NAME another name of FOLDER/TARGET."""
        place = self.folder / name
        if not place.exists() and not place.is_symlink():
            place.symlink_to(target)

    def index(self, name: str, datasets: Sequence[str]) -> None:
        """Makes an INDEX of datasets."""
        if not (self.folder / name / "index.json").is_file():
            self._run(f"fasttok-pipelines index {' '.join(datasets)} --out {name}")

    def tokenizer(self, name: str, index: str, flags: str = "") -> None:
        """Fits a FAST tokenizer on an INDEX."""
        if not (self.folder / name).exists():
            self._run(
                f"fasttok fit {index} --out {name} --seconds {self.seconds} --vocab-size {self.vocab_size} {flags}".rstrip()
            )

    def shards(
        self, name: str, weights: Mapping[str, int], index: str, tokenizer: str, samples: int, split: str = "train"
    ) -> None:
        """Builds the shards FOLDER/NAME of a mixture, which it writes to FOLDER/NAME.yaml.

        Args:
            name: name of the shards.
            weights: share of each dataset's rows in per cent; datasets with 0 are left out.
            index: name of an INDEX with these datasets.
            tokenizer: name of the FAST tokenizer.
            samples: number of rows.
            split: split of the datasets.
        """
        if (self.folder / name / "manifest.json").is_file():
            return
        shares = {dataset: weight for dataset, weight in weights.items() if weight}
        what = ", ".join(f"{weight} % {dataset}" for dataset, weight in shares.items())
        sources = [SOURCE.format(dataset=d, weight=w, split=split) for d, w in shares.items()]
        mixture = MIXTURE.format(name=name, what=what, seconds=self.seconds) + "".join(sources)
        (self.folder / f"{name}.yaml").write_text(mixture, encoding="utf-8")
        what = f"{name}.yaml --index {index} --tokenizer {tokenizer}"
        self._run(f"fasttok-pipelines build {what} --out {name} --samples {samples} --shards 4")

    def _run(self, command: str) -> None:
        err.rule(f"[bold]{command}", align="left")
        call(command, self.folder)
