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
        InputError: `how` is neither "auto" nor ADDRESS:PORT,PROCESSES,ID.
    """
    if not how or jax.distributed.is_initialized():
        return
    if hasattr(jax.config, "jax_enable_preemption_service"):  # it would keep SIGTERM from `train.runs.stopping`
        jax.config.update("jax_enable_preemption_service", False)
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
    """Waits until every process has come to this point."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def anywhere(said: bool, mesh: Mesh) -> jax.Array:
    """Returns whether `said` is True in any process: () bool, equal in all. Nothing waits for the others until it is read."""
    words = jax.make_array_from_process_local_data(of_rows(mesh), np.full(jax.local_device_count(), said))
    return cast(jax.Array, jax.jit(jnp.any)(words))
