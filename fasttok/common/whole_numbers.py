"""Takes ids and tokens as whole numbers, and never makes them so."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError


def whole_numbers(values: Any, what: str) -> NDArray[np.int64]:
    """Returns whole numbers as an int64 array. numpy alone would cut 38.9 to 38, and read "38".

    Raises:
        InputError: a value is not a whole number; `what` names the values.

    >>> whole_numbers([7, 8], "ids")
    array([7, 8])
    """
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iub":
        raise InputError(f"{what} are {array.dtype}, such as {array.reshape(-1)[0]!r}, expected whole numbers")
    return array.astype(np.int64, copy=False)
