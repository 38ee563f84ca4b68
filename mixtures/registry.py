"""Names of mixtures: the packaged presets, and any YAML file by its path."""

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
    """The packaged mixtures, sorted; those of a project are PROJECT/NAME.

    >>> "demo" in preset_names()
    True
    """
    return tuple(sorted(path.relative_to(PRESETS).with_suffix("").as_posix() for path in PRESETS.rglob("*.yaml")))


def preset_path(name: str) -> Path:
    """The YAML file of a preset.

    Raises:
        InputError: no preset of that name; names the closest ones.

    >>> preset_path("openvla/bridge").name
    'bridge.yaml'
    """
    if name not in preset_names():
        raise unknown_name("mixture", name, preset_names(), "A file is given by its path, ending in .yaml.")
    return PRESETS / f"{name}.yaml"


def find_mixture(said: str, folder: Path = Path()) -> Path:
    """The file of a preset, or of a path, relative to a folder, that ends in .yaml.

    Raises:
        InputError: neither.

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
        index: the INDEX that `all` is made of.

    Raises:
        InputError: unknown name, missing file, or a file with an error in it (names the line).

    >>> [source.name for source in load_mixture("demo").sources][:2]
    ['tabletop_planar', 'tabletop_arm']
    """
    if os.fspath(path_or_preset) == ALL:
        return whole_index(index)
    return read_mixture(find_mixture(os.fspath(path_or_preset)), find_mixture)
