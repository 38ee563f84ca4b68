"""Joins the processes of a run, and lets them wait for each other. A run of one process needs neither."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from fasttok.errors import InputError
from train.devices.sharding import of_rows


def join_processes(how: str) -> None:
    """Makes this process one of several. No device may be used before; with `how` "", it does nothing.

    Raises:
        InputError: `how` is neither "auto" nor ADDRESS:PORT,PROCESSES,ID, or JAX cannot join the processes.
    """
    if not how or jax.distributed.is_initialized():
        return
    if hasattr(jax.config, "jax_enable_preemption_service"):  # it would keep SIGTERM from `train.runs.stopping`
        jax.config.update("jax_enable_preemption_service", False)
    given = () if how == "auto" else _process(how)
    try:
        jax.distributed.initialize(*given)
    except (ValueError, RuntimeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        hint = (
            "give ADDRESS:PORT,PROCESSES,ID instead of auto"
            if how == "auto"
            else "look at ADDRESS:PORT, which is process 0's"
        )
        raise InputError(f"--distributed {how}: this process cannot join the others: {why}; {hint}") from None


def _process(how: str) -> tuple[str, int, int]:
    """Reads ADDRESS:PORT,PROCESSES,ID.

    Raises:
        InputError: it has another form, or the id is not below the number of processes.
    """
    address, *numbers = how.split(",")
    host, _, port = address.rpartition(":")
    if len(numbers) != 2 or not all(n.isdecimal() for n in (port, *numbers)) or not host:
        raise InputError(
            f"--distributed is {how!r}, expected auto or ADDRESS:PORT,PROCESSES,ID such as 10.0.0.1:1234,2,0"
        )
    processes, number = map(int, numbers)
    if number >= processes:
        raise InputError(
            f"--distributed is {how!r}: the id is {number} of {processes} processes, expected 0 to {max(processes, 1) - 1}"
        )
    return address, processes, number


def together(what: str) -> None:
    """Waits until every process has come to this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def anywhere(said: bool, mesh: Mesh) -> jax.Array:
    """Returns whether `said` is True in any process: () bool, equal in all. Nothing waits for the others until it is read."""
    words = jax.make_array_from_process_local_data(of_rows(mesh), np.full(jax.local_device_count(), said))
    return cast(jax.Array, jax.jit(jnp.any)(words))
