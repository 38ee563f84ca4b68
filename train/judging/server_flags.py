"""Flags of a command that asks a server in place of a run: what the server decides cannot be asked for here. Imports no JAX."""

import dataclasses
from collections.abc import Collection
from typing import Any

from fasttok.errors import InputError


def check_server_flags(config: Any, theirs: Collection[str]) -> None:
    """Refuses flags that a server would not follow.

    Args:
        config: a dataclass of flags, with --policy.
        theirs: fields that say how a run is loaded and asked.

    Raises:
        InputError: one of them is not as it is by default.
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
