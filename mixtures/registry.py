"""Finds mixtures: the packaged presets by name, and any YAML file by its path."""

import os
from functools import cache
from pathlib import Path

from fasttok.errors import InputError, unknown_name
from mixtures.parse import read_mixture
from mixtures.spec import Mixture
from mixtures.whole_index import ALL, whole_index

PRESETS = Path(__file__).parent / "presets"


@cache
def preset_names() -> tuple[str, ...]:
    """Returns the names of the packaged mixtures, sorted; mixtures of another project are PROJECT/NAME.

    >>> "demo" in preset_names()
    True
    """
    return tuple(sorted(path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.rglob("*.yaml")))


def preset_path(name: str) -> Path:
    """Returns the YAML file of a preset.

    Raises:
        InputError: there is no preset of that name; names the closest ones.

    >>> preset_path("openvla/bridge").name
    'bridge.yaml'
    """
    if name not in preset_names():
        raise unknown_name("mixture", name, preset_names(), "A file is given by its path, ending in .yaml.")
    return PRESETS / f"{name}.yaml"


def find_mixture(said: str, folder: Path = Path()) -> Path:
    """Returns the file of a preset; or of a path that ends in .yaml or .yml, relative to `folder`.

    Raises:
        InputError: there is no such preset or file.

    >>> find_mixture("demo").name
    'demo.yaml'
    """
    if not said.endswith((".yaml", ".yml")):
        return preset_path(said)
    path = folder / said
    if not path.is_file():
        raise InputError(f"mixture file {path} does not exist; give a YAML file, or a preset: fasttok-mixtures list")
    return path


def load_mixture(path_or_preset: str | os.PathLike[str], index: str | None = None) -> Mixture:
    """Loads a mixture from a YAML file or by the name of a preset.

    Args:
        path_or_preset: path or name; `all` for every dataset of an INDEX.
        index: INDEX whose datasets `all` mixes.

    Raises:
        InputError: the name is unknown, the file is missing, or it has a mistake (names the line).

    >>> [source.name for source in load_mixture("demo").sources][:2]
    ['tabletop_planar', 'tabletop_arm']
    """
    if os.fspath(path_or_preset) == ALL:
        return whole_index(index)
    return read_mixture(find_mixture(os.fspath(path_or_preset)), find_mixture)
