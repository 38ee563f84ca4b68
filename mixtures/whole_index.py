"""The mixture `all`, which needs no file: every dataset of an INDEX, each with a share in proportion to its steps."""

from fasttok.episodes.index_file import open_index
from fasttok.errors import InputError
from mixtures.spec import Group, Mixture, Source

ALL = "all"
SPLIT = "train"


def whole_index(index: str | None) -> Mixture:
    """Returns the mixture of all datasets of an INDEX.

    Args:
        index: path or URL of the INDEX; None raises an error that asks for one.

    Raises:
        InputError: no INDEX is given, or it has no usable data of the split `train`.
    """
    if index is None:
        raise InputError(f"the mixture {ALL!r} is every dataset of an INDEX: give it with --index INDEX")
    found = open_index(index).datasets
    names = [name for name, dataset in found.items() if SPLIT in dataset.splits and dataset.splits[SPLIT].indexed]
    if not names:
        raise InputError(
            f"{index} has no usable data of the split {SPLIT}, of which the mixture {ALL!r} is made; write a mixture"
        )
    sources = tuple(Source(name, name, where=f"the mixture {ALL!r} of {index}") for name in names)
    return Mixture(ALL, Group(ALL, sources, policy="proportional"), index=index)
