"""Writes shares in percent, on pages and in terminals."""


def percent(share: float, digits: int = 1, *, sign: bool = False) -> str:
    """Returns a share as text in percent.

    >>> percent(0.125), percent(0.5, 0), percent(0.1, sign=True)
    ('12.5 %', '50 %', '+10.0 %')
    """
    return f"{100 * share:{'+' if sign else ''}.{digits}f} %"
