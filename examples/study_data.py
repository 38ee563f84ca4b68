"""Stages of a study's data: each is the public command that a user would type, and what is there is left alone."""

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
        folder: where everything lies; commands run in it.
        seconds: length of a chunk.
        vocab_size: of the FAST tokenizers.
    """

    folder: Path
    seconds: float
    vocab_size: int

    def generate(self, name: str, command: str) -> None:
        """Datasets FOLDER/NAME, in place when they are complete; the command takes `--out`."""
        if (self.folder / name).exists():
            return
        hidden = self.folder / f".{name}.part"
        shutil.rmtree(hidden, ignore_errors=True)
        self._run(f"{command} --out {hidden.name}")
        hidden.rename(self.folder / name)

    def link(self, name: str, target: Path) -> None:
        """FOLDER/NAME is another name of FOLDER/TARGET."""
        place = self.folder / name
        if not place.exists() and not place.is_symlink():
            place.symlink_to(target)

    def index(self, name: str, datasets: Sequence[str]) -> None:
        """An INDEX of some datasets."""
        if not (self.folder / name / "index.json").is_file():
            self._run(f"fasttok-pipelines index {' '.join(datasets)} --out {name}")

    def tokenizer(self, name: str, index: str, flags: str = "") -> None:
        """A FAST tokenizer of an INDEX."""
        if not (self.folder / name).exists():
            self._run(
                f"fasttok fit {index} --out {name} --seconds {self.seconds} --vocab-size {self.vocab_size} {flags}".rstrip()
            )

    def shards(
        self, name: str, weights: Mapping[str, int], index: str, tokenizer: str, samples: int, split: str = "train"
    ) -> None:
        """Shards of a mixture: NAME.yaml says what is in FOLDER/NAME.

        Args:
            name: of the shards.
            weights: share of each dataset's rows, in per cent; those with 0 are left out.
            index: with these datasets.
            tokenizer: of the robot's chunks.
            samples: rows.
            split: of the datasets.
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
