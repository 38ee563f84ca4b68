"""Checks the numbers that decide how a run acts, before the run is loaded. Imports no JAX."""

from fasttok.errors import InputError

LARGEST_SEED = 2**63 - 1


def check_sampling(flow_steps: int, batch: int, temperature: float) -> None:
    """Checks that a run can act with these numbers.

    Args:
        flow_steps: number of Euler steps.
        batch: rows per call.
        temperature: temperature of action tokens.

    Raises:
        InputError: there is no step or no row, or the temperature is negative or not finite.
    """
    for name, number in (("flow_steps", flow_steps), ("batch", batch)):
        if number < 1:
            raise InputError(f"{name} is {number}; expected at least 1")
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature is {temperature}; expected 0 (the likeliest tokens), 1 (as trained) or near it")


def check_noise_seed(seed: int, where: str) -> None:
    """Checks that noise and tokens can be drawn with a seed.

    Args:
        seed: seed of noise and of sampled tokens.
        where: what gives the seed, for the message, such as "--seed".

    Raises:
        InputError: the seed is not in [0, `LARGEST_SEED`].
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"{where} is {seed}; expected 0 to {LARGEST_SEED}")
