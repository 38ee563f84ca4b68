"""Recipes: how actions enter the model and what is learned from them, one file each; `--model.recipe` names the file.

A file says what it is, from which paper, and contains `RECIPE`, a `train.recipe.Recipe`. Nothing else names it: a new file is a
new recipe. This package's own module imports no JAX, so that a configuration can check the name.
"""

import importlib
import pkgutil
from types import ModuleType

from fasttok.errors import unknown_name

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def check_name(name: str) -> None:
    """Only files of this folder are recipes: config.json, which names one, may come from anywhere.

    Raises:
        InputError: there is none of this name, with the closest match.
    """
    if name not in NAMES:
        raise unknown_name("recipe", name, NAMES)


def module(name: str) -> ModuleType:
    """The file of a recipe.

    Raises:
        InputError: as `check_name`.
    """
    check_name(name)
    return importlib.import_module(f"{__name__}.{name}")
