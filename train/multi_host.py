"""A run of several processes: joining them, and waiting for each other. One process needs neither."""

import jax
from jax.experimental import multihost_utils

from fasttok.errors import InputError


def join_processes(how: str) -> None:
    """Makes this process one of several, before any device is touched.

    Raises:
        InputError: not "auto" or ADDRESS:PORT,PROCESSES,ID.
    """
    if not how or jax.distributed.is_initialized():
        return
    if how == "auto":
        jax.distributed.initialize()
        return
    address, *numbers = how.split(",")
    if len(numbers) != 2 or not all(n.isdigit() for n in numbers) or ":" not in address:
        raise InputError(
            f"--distributed is {how!r}, expected auto or ADDRESS:PORT,PROCESSES,ID such as 10.0.0.1:1234,2,0"
        )
    jax.distributed.initialize(address, int(numbers[0]), int(numbers[1]))


def together(what: str) -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
