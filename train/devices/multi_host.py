"""Joins the processes of a run, and lets them wait for each other. A run of one process needs neither."""

import contextlib
from collections.abc import Iterator
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from fasttok.errors import InputError
from train.devices.sharding import of_rows

SAID_BYTES = 2048  # longest part of an error that the other processes read


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


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
    """A context in which each process checks or writes something, without the others. If one of them fails, all of them end.

    Without it, a process that fails alone would leave the others waiting for it until JAX gives up, which takes minutes.

    Raises:
        InputError: another process failed; the message has that of its error.
    """
    try:
        yield
    except Exception as error:
        _exchange(str(error) or type(error).__name__)
        raise
    for process, said in enumerate(_exchange("")):
        if said:
            raise InputError(f"process {process} of this run cannot go on, so this one ends, too: {said}")


def _exchange(said: str) -> list[str]:
    """Tells the other processes what this one has to say, "" for nothing, and returns the words of each process."""
    if jax.process_count() == 1:
        return [said]
    words = np.zeros(SAID_BYTES, np.uint8)
    sent = np.frombuffer(said.encode(errors="replace")[:SAID_BYTES], np.uint8)
    words[: len(sent)] = sent
    every = np.asarray(multihost_utils.process_allgather(words))
    return [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in every]


def anywhere(said: bool, mesh: Mesh) -> jax.Array:
    """Returns whether `said` is True in any process: () bool, equal in all. Nothing waits for the others until it is read."""
    words = jax.make_array_from_process_local_data(of_rows(mesh), np.full(jax.local_device_count(), said))
    return cast(jax.Array, jax.jit(jnp.any)(words))
