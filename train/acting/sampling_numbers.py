"""The numbers by which a run acts, checked before it is loaded. Imports no JAX."""

from fasttok.errors import InputError


def check_sampling(flow_steps: int, batch: int, temperature: float) -> None:
    """Refuses numbers that nothing can be computed with.

    Args:
        flow_steps: of Euler.
        batch: rows of every call.
        temperature: of action tokens.

    Raises:
        InputError: no step, no row, or a temperature that is negative or not finite.
    """
    for name, number in (("flow_steps", flow_steps), ("batch", batch)):
        if number < 1:
            raise InputError(f"{name} is {number}; expected at least 1")
    if not 0 <= temperature < float("inf"):
        raise InputError(f"temperature is {temperature}; expected 0 (the likeliest tokens), 1 (as trained) or near it")
