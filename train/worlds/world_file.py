"""Loads a world and its settings from a file (`fasttok-evaluate --env WORLD.yaml`), so that an environment needs no code.

    world: gymnasium
    id: gym_pusht/PushT-v0
    images: {primary: pixels}
    state: [agent_pos]
    instruction: push the T onto its mark

`world` is one of WORLDS, or a module:function of your own, which is called with the other keys and returns a factory. Like --env
itself, the file decides which code is imported and run. So read a file from somebody else before you use it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fasttok.common import json_files
from fasttok.common.yaml_once import load_once
from fasttok.errors import InputError, refused, unknown_name
from train.user_modules import load_attribute

ENDINGS = (".yaml", ".yml")
WORLDS = {"gymnasium": "train.worlds.gymnasium:GymnasiumWorld", "libero": "train.worlds.libero:LiberoWorld"}
"""Name of a world in a file -> its settings, a frozen dataclass that is also the factory."""


def is_world_file(name: str) -> bool:
    """Returns whether `--env` names a file of settings, and not a module:factory."""
    return name.endswith(ENDINGS)


def load_world(path: Path) -> Callable[..., Any]:
    """Returns the factory that a file describes.

    Args:
        path: path of the YAML file.

    Raises:
        InputError: the file cannot be read, names no world, or has settings that the world does not have.
        ImportError: `world` is a module:function that does not exist; the error can also be an AttributeError or a ValueError.
    """
    try:
        values = load_once(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise refused(error) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not YAML: {error}") from None
    named = values.get("world") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping) or not isinstance(named, str) or not all(isinstance(key, str) for key in values):
        raise InputError(
            f"{path}: expected a mapping with `world: NAME` and the settings of that world; worlds are {', '.join(WORLDS)}, or "
            "module:function of your own"
        )
    settings = {key: value for key, value in values.items() if key != "world"}
    if ":" not in named and named not in WORLDS:
        raise InputError(f"{path}: {unknown_name('world', named, WORLDS, 'Or module:function of your own')}")
    if named in WORLDS:
        factory: Callable[..., Any] = json_files.decode(load_attribute(WORLDS[named]), settings, str(path))
        return factory
    function = load_attribute(named)
    try:
        inspect.signature(function).bind(**settings)
    except TypeError as error:
        raise InputError(f"{path}: {named} does not take these settings: {error}") from None
    made: Callable[..., Any] = function(**settings)
    return made


def check_splits(factory: Callable[..., Any], splits: Sequence[str], env: str) -> None:
    """Checks that a factory has the given splits, before the first episode is played.

    Args:
        factory: makes environments; if it has an attribute `splits`, it has no other splits.
        splits: splits that the user asked for.
        env: the factory as the user named it, for the message.

    Raises:
        InputError: there is no such split.
    """
    known: Sequence[str] | None = getattr(factory, "splits", None)
    for split in splits:
        if known is not None and split not in known:
            hint = f"Pass --splits {known[0]}, or others" if known else ""
            raise InputError(f"--env {env}: {unknown_name('split', split, known, hint)}")
