"""Which parameters, and which of their layers, a path of `--optim.freeze` names. Imports no JAX.

Layers are stacked: backbone/layers/query contains the queries of all layers. A number or a range after the stack's name
picks some:

    backbone/layers            all layers of the backbone
    backbone/layers/0-8        the first nine
    vision/blocks/26           one block of the vision encoder
    expert/layers/2/query      the queries of one layer
    */layers/0-3               the first four of backbone and expert
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from fasttok.errors import InputError

STACKED = ("layers", "blocks")  # keys whose arrays have the layer as their first axis
MOST_LAYERS = 1000
RANGE = re.compile(r"(\d+)-(\d+)")
NUMBER = re.compile(r"\d+")


def below(path: str, start: str) -> bool:
    """Returns whether a parameter is at or below the path `start`, which may contain wildcards."""
    return fnmatchcase(path, start) or fnmatchcase(path, f"{start}/*")


def is_stacked(path: str) -> bool:
    """Returns whether the first axis of a parameter is the layer.

    >>> is_stacked("backbone/layers/query"), is_stacked("backbone/embedding")
    (True, False)
    """
    return any(key in STACKED for key in path.split("/"))


def expand(start: str) -> list[str]:
    """Returns one path for each number in the range of a path.

    Args:
        start: a path that may contain wildcards and a range of layers.

    Raises:
        InputError: the range is empty, or far too long.

    >>> expand("*/layers/0-2/query")
    ['*/layers/0/query', '*/layers/1/query', '*/layers/2/query']
    """
    keys = start.split("/")
    for place, key in enumerate(keys):
        if found := RANGE.fullmatch(key):
            first, last = int(found[1]), int(found[2])
            if not first <= last < MOST_LAYERS:
                raise InputError(
                    f"--optim.freeze {start}: {key} is no range of layers; expected FIRST-LAST, such as 0-8 for the first nine"
                )
            return ["/".join([*keys[:place], str(i), *keys[place + 1 :]]) for i in range(first, last + 1)]
    return [start]


def stays(path: str, layers: int, freeze: Iterable[str]) -> list[bool]:
    """Returns whether each layer of a parameter is frozen.

    Args:
        path: path of the parameter.
        layers: number of layers in its stack; 1 if it is not stacked.
        freeze: paths as in `OptimConfig.freeze`.

    Returns:
        One value per layer.

    >>> stays("backbone/layers/query", 3, ["backbone/layers/0-1"])
    [True, True, False]
    """
    starts = [one for start in freeze for one in expand(start)]
    return [any(below(name, start) for start in starts for name in names) for names in _names(path, layers)]


def _names(path: str, layers: int) -> list[tuple[str, ...]]:
    """Returns the names of each layer of a parameter: the parameter's path, and the path with the layer's number in it."""
    keys = path.split("/")
    if not is_stacked(path):
        return [(path,)]
    place = next(i for i, key in enumerate(keys) if key in STACKED) + 1
    return [(path, "/".join([*keys[:place], str(layer), *keys[place:]])) for layer in range(layers)]


def check_freeze(paths: Mapping[str, int], freeze: Sequence[str]) -> None:
    """Checks that each path names a parameter, and each number in it a layer.

    Args:
        paths: paths of all parameters, with their numbers of layers.
        freeze: as in `OptimConfig.freeze`.

    Raises:
        InputError: a path names nothing; if it has the number of a layer, the message says how many layers there are.
    """
    known = {name for path, layers in paths.items() for names in _names(path, layers) for name in names}
    stacks = {path[: path.index(f"/{key}/") + len(key) + 1]: layers for path, layers in paths.items() for key in STACKED
              if f"/{key}/" in path}  # fmt: skip
    for start in freeze:
        for one in expand(start):
            if any(below(name, one) for name in known):
                continue
            keys = one.split("/")
            number = next((i for i, key in enumerate(keys) if NUMBER.fullmatch(key)), None)
            if number is None:
                some = ", ".join(list(paths)[:4])
                raise InputError(f"--optim.freeze {start}: no parameter has this path; expected one of, say, {some}")
            asked = [name for name in stacks if fnmatchcase(name, "/".join(keys[:number]))] or list(stacks)
            have = ", ".join(f"{name} has {stacks[name]} layers, 0 to {stacks[name] - 1}" for name in asked)
            raise InputError(f"--optim.freeze {start}: no parameter has the path {one}; {have}")
