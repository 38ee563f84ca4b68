"""Recipes: how actions enter the model and what is learned from them. Each is a file, which `--model.recipe` names.

A file explains its recipe, says which paper it is from, and contains `RECIPE`, a `train.recipe.Recipe`. There is no list of
recipes: a new file is a new recipe. This `__init__` imports no JAX, so that a configuration can check the name of a recipe.
"""

import importlib
import pkgutil
from types import ModuleType

from fasttok.errors import unknown_name

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def check_name(name: str) -> None:
    """Checks that a file of this folder has the name: config.json, which names a recipe, may come from anywhere.

    Raises:
        InputError: there is no recipe of this name; the message has the closest match.
    """
    if name not in NAMES:
        raise unknown_name("recipe", name, NAMES)


def module(name: str) -> ModuleType:
    """Imports the file of a recipe.

    Raises:
        InputError: as in `check_name`.
    """
    check_name(name)
    return importlib.import_module(f"{__name__}.{name}")
