"""The mixture `all`: every dataset of an INDEX, in proportion to its steps."""

import pytest

from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from mixtures.registry import load_mixture
from mixtures.shares import allocate
from mixtures.summary import from_index
from tests.chain import Chain


def test_all_is_every_dataset_by_its_steps(chain: Chain) -> None:
    mixture = load_mixture("all", str(chain.index))
    datasets = open_index(str(chain.index)).datasets
    assert [source.dataset for source in mixture.sources] == list(datasets)
    steps = {name: dataset.splits["train"].steps for name, dataset in datasets.items()}
    assert set(from_index(mixture, str(chain.index))) == set(steps)
    quotas = allocate(mixture, 10_000, steps).quotas
    for quota, count in zip(quotas.tolist(), steps.values(), strict=True):
        assert abs(quota - 10_000 * count / sum(steps.values())) < 1


def test_all_needs_an_index() -> None:
    with pytest.raises(InputError, match="give it with --index"):
        load_mixture("all")
