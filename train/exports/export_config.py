"""What `fasttok-export` can be asked. Imports no JAX, so that its --help and its refusals come at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fasttok.errors import InputError

ExportLayout = Literal["fasttok", "openpi", "lerobot"]
ExportDtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ExportConfig:
    """Writes a run's weights as safetensors, with all that the layout's project needs to run the policy.

    Example: fasttok-export --run RUN --out DIR --layout lerobot
    """

    run: Path
    """Folder of `fasttok-train`."""
    out: Path
    """Folder to write: model.safetensors, config.json, the run's tokenizers, and what else the layout has."""
    layout: ExportLayout = "fasttok"
    """Names of the tensors: ours, openpi's PyTorch pi0.5, or lerobot's pi0.5; of a run of preset pi0_fast, lerobot's pi0-FAST."""
    dtype: ExportDtype = "float32"
    """Stored dtype; float32 loses nothing."""
    vocab_size: int = 0
    """Rows of the embedding in the file, cut or filled with zeros; 0: as trained, and the 257152 that openpi and lerobot build in
    their layouts."""
    checkpoint: int | Literal["best"] | None = None
    """Step of the checkpoint to export, or best: the one that `fasttok-train --keep-best` kept; the newest by default."""
    overwrite: bool = False
    """Replace an export in OUT."""
    json: bool = False
    """Report as JSON on stdout."""
    embodiment: str = ""
    """The robot to export for, in a layout that contains one; only needed if the run was trained on several."""
    shards: Path | None = None
    """Shards that the run was trained on; only needed for runs without robots.json whose shards have moved."""

    def __post_init__(self) -> None:
        if self.vocab_size < 0:
            raise InputError(
                f"--vocab-size is {self.vocab_size}, expected a number of rows, or 0 for those of the layout"
            )
        if self.embodiment and self.layout == "fasttok":
            raise InputError(
                f"--embodiment {self.embodiment} says nothing to --layout fasttok, which has all robots of a run; leave it out"
            )
