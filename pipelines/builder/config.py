"""The command line of `build`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fasttok.common.choices import Constants
from fasttok.common.flags import optional
from fasttok.common.maybe import Maybe


@dataclass(frozen=True)
class BuildConfig:
    """Writes the training samples of a mixture as shards, from the data that an INDEX describes.

    Example: fasttok-pipelines build demo --index INDEX --tokenizer TOKENIZER --out SHARDS --samples 16000

    First it plans exactly how many samples come from each source. Then it writes the shards with Beam; in each shard, the samples
    of all sources are interleaved. Last it writes the manifest, which lists the shards.

    Flags that are not listed here go to Apache Beam, which runs the jobs. Write them as --flag=value,
    such as --direct_num_workers=2 --direct_running_mode=multi_processing.
    """

    mixture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MIXTURE")]
    """Preset (`fasttok-mixtures list` shows them), YAML file of a mixture, or `all` for every dataset of the INDEX."""
    out: str
    """SHARDS folder to write: a local path or an fsspec URL."""
    samples: int
    """Number of samples (rows) in all shards together."""
    index: Annotated[str | None, optional("INDEX")] = None
    """INDEX folder that `fasttok-pipelines index` wrote. It replaces the one that the mixture names."""
    tokenizer: Annotated[str | None, optional("TOKENIZER|fit")] = None
    """Tokenizer folder, or `fit` to fit one on the mixture's robot data. It replaces the one that the mixture names."""
    seed: Maybe[int] = None
    """Seed of every random choice. It replaces the mixture's seed."""
    shards: Maybe[int] = None
    """Number of shard files. By default shards have about 128 MB, and a small build has up to 8 smaller ones."""
    resume: bool = False
    """Continue an interrupted build. Finished shards are checked against their digests and kept."""
    overwrite: bool = False
    """Replace earlier shards in OUT, finished or not."""
    dry_run: bool = False
    """Print the plan, its size and how long it would take, and write nothing."""
    array: Annotated[str | None, optional("I/N|finish")] = None
    """Share the work between N commands with the same OUT. Use it when a scheduler such as SLURM starts them (docs/scale.md).
    I/N: do every N-th job, from job I on. Run one command for each I from 0 to N - 1.
    `finish`: when these have ended, do the jobs that are missing and put all parts together."""
    json: bool = False
    """Print the summary as JSON on stdout."""
    fit_constants: Constants = "zero"
    """With --tokenizer fit: the normalised value of a dim that never moves, as `fasttok fit --constants`.
    `zero`: 0.
    `low`: -1, as in openpi and lerobot. Use it if a policy will train there, so that its tokens are the same."""
    fit_clip: bool = False
    """With --tokenizer fit: cut values to the range that maps to [-1, 1], as `fasttok fit --clip`.
    Use it when data has glitches, which can otherwise end the fit."""
