"""Finds the column of the state that each relative dim of the action is relative to.

The user gives pairs `ACTION=STATE`, by numbers, ranges of numbers or names; `EMBODIMENT:ACTION=STATE` is for one embodiment
only. Without pairs, dims are paired by their names if the data records them for both, else by their numbers if the state has as
many columns as the action.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fasttok.errors import InputError, unknown_name

RANGE = re.compile(r"(\d+)-(\d+)")


@dataclass(frozen=True)
class SideColumns:
    """The columns of an action or of a state.

    Attributes:
        what: "action" or "state".
        dim: how many there are.
        names: name of each column; () if they are not recorded.
    """

    what: str
    dim: int
    names: tuple[str, ...] = ()

    def find(self, word: str) -> list[int]:
        """Returns the columns that a name, a number or a range of numbers stands for.

        Raises:
            InputError: there is no such column.

        >>> SideColumns("state", 4, ("x", "y", "z", "grip")).find("y"), SideColumns("state", 4).find("1-3")
        ([1], [1, 2, 3])
        """
        if self.names.count(word) == 1:
            return [self.names.index(word)]
        if word in self.names:
            raise InputError(
                f"--relative-to: several columns of the {self.what} are called {word!r}; give their numbers"
            )
        span = RANGE.fullmatch(word) or re.fullmatch(r"(\d+)", word)
        if span is None:
            if not self.names:
                raise InputError(
                    f"--relative-to: {word!r} is no number, and the data does not record the names of the {self.what}; give "
                    f"numbers, 0 to {self.dim - 1}"
                )
            raise unknown_name(
                f"{self.what} column", word, self.names, f"(--relative-to; or numbers, 0 to {self.dim - 1})"
            )
        first, last = int(span[1]), int(span[span.lastindex or 1])
        if last < first or last >= self.dim:
            raise InputError(
                f"--relative-to: {word} is not in the {self.what}, which has {self.dim} columns, 0 to {self.dim - 1}"
            )
        return list(range(first, last + 1))


def pairs_of(pairs: Sequence[str], embodiment: str) -> list[str]:
    """Returns the pairs that name an embodiment, without its name; if there are none, the pairs that name no embodiment.

    >>> pairs_of(["arm:0=1", "1=1"], "arm"), pairs_of(["arm:0=1", "1=1"], "other")
    (['0=1'], ['1=1'])
    """
    own = [pair.removeprefix(f"{embodiment}:") for pair in pairs if pair.startswith(f"{embodiment}:")]
    return own or [pair for pair in pairs if not named(pair)]


def named(pair: str) -> str:
    """Returns the embodiment that a pair names, "" if it names none.

    >>> named("arm:0=1"), named("0=1")
    ('arm', '')
    """
    return pair.partition("=")[0].rpartition(":")[0] if "=" in pair else ""


def pairs_given(
    pairs: Sequence[str], action: SideColumns, state: SideColumns, encoding: Sequence[str]
) -> dict[int, int]:
    """Returns action dim -> state column, as the user's pairs say.

    Raises:
        InputError: a pair has another form, there is no such column, or a dim is given twice, is a delta or is a gripper.

    >>> pairs_given(["0-1=3-4", "2=0"], SideColumns("action", 3), SideColumns("state", 5), ())
    {0: 3, 1: 4, 2: 0}
    """
    found: dict[int, int] = {}
    for dim, column in _each(pairs, action, state):
        if dim in found:
            raise InputError(f"--relative-to: action dim {dim} is given twice")
        if encoding and encoding[dim] != "absolute":
            raise InputError(
                f"--relative-to: action dim {dim} is {encoding[dim]}; only absolute dims can be relative to the state"
            )
        found[dim] = column
    return dict(sorted(found.items()))


def _each(pairs: Sequence[str], action: SideColumns, state: SideColumns) -> Iterator[tuple[int, int]]:
    for pair in pairs:
        left, equals, right = pair.partition("=")
        if not (left and equals and right):
            raise InputError(f"--relative-to: {pair!r}, expected ACTION=STATE, such as 0=0, 0-6=7-13 or x=ee_x")
        dims, columns = action.find(left), state.find(right)
        if len(dims) != len(columns):
            raise InputError(f"--relative-to: {pair} pairs {len(dims)} action dims with {len(columns)} state columns")
        yield from zip(dims, columns, strict=True)


def pairs_found(where: str, dims: Sequence[int], action: SideColumns, state: SideColumns) -> dict[int, int]:
    """Returns action dim -> state column, for dims that the user gave no pairs for.

    Raises:
        InputError: neither names nor numbers decide it.

    >>> pairs_found("arm", [0, 1], SideColumns("action", 2, ("x", "y")), SideColumns("state", 3, ("t", "y", "x")))
    {0: 2, 1: 1}
    """
    if action.names and all(state.names.count(action.names[d]) == 1 for d in dims):
        return {d: state.names.index(action.names[d]) for d in dims}
    if action.dim == state.dim:
        return {d: d for d in dims}
    listed = f" ({', '.join(state.names)})" if state.names else ""
    raise InputError(
        f"{where}: the action has {action.dim} dims, the state has {state.dim} columns{listed}; say which column each dim is "
        "relative to, such as --relative-to 0=0 1=1, or 0-5=0-5"
    )
