"""The options of `fasttok-export`. Imports no JAX, so that --help and errors in the options appear at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fasttok.common.flags import OPTIONAL
from fasttok.common.maybe import Maybe
from fasttok.errors import InputError

ExportLayout = Literal["fasttok", "openpi", "lerobot"]
"""Whose names the tensors get: ours, those of openpi's PyTorch pi0.5, or those of lerobot's pi0.5 and pi0-FAST."""
ExportDtype = Literal["float32", "bfloat16"]
"""Number format of the stored tensors."""


@dataclass(frozen=True)
class ExportConfig:
    """Writes a run's weights as safetensors, with all files that the chosen project needs to run the policy.

    Example: fasttok-export --run RUN --out DIR --layout lerobot
    """

    run: Path
    """Folder of the run to export, from `fasttok-train`."""
    out: Path
    """Folder to write: model.safetensors, config.json, the run's tokenizers and the other files of the layout."""
    layout: ExportLayout = "fasttok"
    """Which project should read the files. fasttok: ours. openpi: its pi0.5 in PyTorch.
    lerobot: its pi0.5, or its pi0-FAST for a run of preset pi0_fast."""
    dtype: ExportDtype = "float32"
    """Number format of the stored weights. float32 stores them exactly; bfloat16 rounds them and takes half the room."""
    vocab_size: int = 0
    """Number of rows of the embedding in the file: rows are cut off, or rows of zeros are added.
    0: as many as trained; for openpi and lerobot at least the 257152 that these projects build."""
    checkpoint: Maybe[int | Literal["best"]] = None
    """Which checkpoint to export: a step, or best for the one that `fasttok-train --keep-best` kept. By default the newest."""
    overwrite: bool = False
    """Replace an earlier export in --out."""
    json: bool = False
    """Print the report as JSON on stdout."""
    embodiment: Annotated[str, OPTIONAL] = ""
    """Robot (embodiment) to export. Layout lerobot needs it if the run was trained on several robots.
    By default, layout openpi gets all robots. Layout fasttok always gets all of them and refuses this option."""
    shards: Maybe[Path] = None
    """Shards that the run was trained on. Only an old run without robots.json needs this, if its shards have moved."""

    def __post_init__(self) -> None:
        if self.vocab_size < 0:
            raise InputError(
                f"--vocab-size is {self.vocab_size}, expected a number of rows, or 0 for those of the layout"
            )
        if self.embodiment and self.layout == "fasttok":
            raise InputError(
                f"--embodiment {self.embodiment} says nothing to --layout fasttok, which has all robots of a run; leave it out"
            )
