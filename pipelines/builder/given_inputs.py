"""Checks that the inputs of a `build` command exist, before Beam and the tokenizer's kernels are imported."""

from pathlib import Path

from fasttok.common.given_paths import check_tokenizer
from fasttok.common.urls import is_url
from fasttok.episodes.index_file import open_index
from mixtures.registry import load_mixture
from mixtures.spec import with_overrides
from pipelines.builder.config import BuildConfig


def check_there(config: BuildConfig) -> None:
    """Checks that the mixture, the INDEX and the tokenizer exist. URLs are checked when they are read.

    Raises:
        InputError: the mixture does not exist, or there is no finished INDEX or no tokenizer at the path that it names.
    """
    mixture = with_overrides(load_mixture(config.mixture, config.index), config.index, config.tokenizer, config.seed)
    if mixture.index is not None and not is_url(mixture.index):
        open_index(mixture.index)
    if mixture.tokenizer != "fit" and not is_url(mixture.tokenizer):
        check_tokenizer(Path(mixture.tokenizer), [mixture.index] if mixture.index is not None else ["DATA"])
