"""Names of mixtures: the packaged presets, and any YAML file by its path."""

import os
from functools import cache
from pathlib import Path

from fasttok.errors import InputError, unknown_name
from mixtures.spec import Mixture, read_mixture

PRESETS = Path(__file__).parent / "presets"


@cache
def preset_names() -> tuple[str, ...]:
    """The packaged mixtures, sorted.

    >>> "demo" in preset_names()
    True
    """
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def preset_path(name: str) -> Path:
    """The YAML file of a preset.

    Raises:
        InputError: no preset of that name; names the closest ones.
    """
    if name not in preset_names():
        raise unknown_name("mixture", name, preset_names(), "A file is given by its path, ending in .yaml.")
    return PRESETS / f"{name}.yaml"


def load_mixture(path_or_preset: str | os.PathLike[str]) -> Mixture:
    """Loads a mixture from a YAML file or by the name of a preset.

    Raises:
        InputError: unknown name, missing file, or a file with an error in it (names the line).

    >>> [source.name for source in load_mixture("demo").sources][:2]
    ['tabletop_planar', 'tabletop_arm']
    """
    text = os.fspath(path_or_preset)
    if text.endswith((".yaml", ".yml")) or os.sep in text:
        path = Path(text)
        if not path.is_file():
            raise InputError(
                f"mixture file {text} does not exist; give a YAML file, or a preset: {', '.join(preset_names())}"
            )
        return read_mixture(path)
    return read_mixture(preset_path(text))
