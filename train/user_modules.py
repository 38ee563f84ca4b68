"""Imports objects of the user's own modules by `module:attribute`: the environment of --env, the function of --data."""

import importlib
import sys
from pathlib import Path
from typing import Any


def load_attribute(name: str) -> Any:
    """Imports the attribute that `module:attribute` names.

    Modules in the folder in which the command runs are found, too. That folder comes last on the path, because a file `train.py`
    or `queue.py` in it must not replace the module of that name that we import.

    Args:
        name: module and attribute, such as "examples.tabletop.env:make_vector".

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such attribute.
        ValueError: `name` contains no module.

    >>> load_attribute("math:floor")(2.5)
    2
    """
    module, _, attribute = name.partition(":")
    folder = str(Path.cwd())
    if not {"", folder} & set(sys.path):
        sys.path.append(folder)
    return getattr(importlib.import_module(module), attribute)


def where_examples_are(error: Exception) -> str:
    """Returns what to add to an error if `examples`, which pip does not install, was not found; "" for other errors.

    >>> where_examples_are(ModuleNotFoundError("No module named 'examples'", name="examples"))
    '; `examples` is in a checkout of this project, so run the command there: git clone the repository, then cd into it'
    """
    if isinstance(error, ModuleNotFoundError) and error.name == "examples":
        where = "in a checkout of this project, so run the command there"
        return f"; `examples` is {where}: git clone the repository, then cd into it"
    return ""
