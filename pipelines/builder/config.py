"""The command line of `build`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from fasttok.common.choices import Constants


@dataclass(frozen=True)
class BuildConfig:
    """Builds interleaved shards from a mixture and an INDEX: plan, then one Beam job a shard, then the manifest.

    Example: fasttok-pipelines build demo --index INDEX --tokenizer TOKENIZER --out SHARDS --samples 16000

    Unknown flags go to Beam, such as --direct_num_workers=2 --direct_running_mode=multi_processing.
    """

    mixture: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MIXTURE")]
    """A preset (`fasttok-mixtures list`), a mixture's YAML file, or `all` for every dataset of the INDEX."""
    out: str
    """The SHARDS folder; any fsspec URL."""
    samples: int
    """Rows in all shards together."""
    index: Annotated[str | None, tyro.conf.arg(metavar="INDEX")] = None
    """INDEX of `fasttok-pipelines index`; overrides the mixture's."""
    tokenizer: Annotated[str | None, tyro.conf.arg(metavar="TOKENIZER|fit")] = None
    """Tokenizer folder, or `fit` to fit one on the mixture's robot data; overrides the mixture's."""
    seed: int | None = None
    """Seed of every choice; overrides the mixture's."""
    shards: int | None = None
    """Output files; about 128 MB each by default."""
    resume: bool = False
    """Go on with an interrupted build; finished shards are kept after checking their digests."""
    overwrite: bool = False
    """Replace earlier shards in OUT."""
    dry_run: bool = False
    """Print the plan and stop."""
    array: Annotated[str | None, tyro.conf.arg(metavar="I/N|finish")] = None
    """I/N: do every N-th job, beside N - 1 other such commands with this OUT (I from 0); then `finish` puts all together."""
    json: bool = False
    """Print the summary as JSON on stdout."""
    fit_constants: Constants = "zero"
    """With `--tokenizer fit`, as `fasttok fit --constants`: what dims that never move become."""
    fit_clip: bool = False
    """With `--tokenizer fit`, as `fasttok fit --clip`: cut values to the range that maps to [-1, 1], such as glitches."""
