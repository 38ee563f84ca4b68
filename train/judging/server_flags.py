"""Checks the flags of a command that asks a server instead of a run: it cannot set what the server decides. Imports no JAX."""

import dataclasses
from collections.abc import Collection
from typing import Any

from fasttok.errors import InputError


def check_server_flags(config: Any, theirs: Collection[str]) -> None:
    """Refuses flags that would have no effect on a server.

    Args:
        config: dataclass with the flags of a command, among them --policy.
        theirs: names of the fields that the server decides: how a run is loaded and asked.

    Raises:
        InputError: one of these fields does not have its default value.
    """
    changed = [
        f"--{one.name.replace('_', '-')}"
        for one in dataclasses.fields(config)
        if one.name in theirs and getattr(config, one.name) != one.default
    ]
    if changed:
        raise InputError(
            f"{', '.join(changed)} with --policy: that is the server's; give it to fasttok-serve, or ask a folder with --run"
        )
