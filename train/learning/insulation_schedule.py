"""Insulation that changes while a run trains. The word 1000:1 means a share of 1 from step 1000 on. Imports no JAX."""

from collections.abc import Sequence

from fasttok.errors import InputError

Shares = tuple[float, ...]
FORM = "expected STEP:SHARE, or STEP:SHARE,SHARE,... with one share per layer, such as 1000:1 or 5000:0,0,1,1"


def phases(words: Sequence[str], depth: int) -> list[tuple[int, Shares]]:
    """Returns the first step and the shares of each phase after the first phase.

    Args:
        words: as in `TrainConfig.insulation_schedule`.
        depth: layers of the backbone.

    Raises:
        InputError: a word has another form, shares are not in [0, 1] or not 1 or `depth` of them, or steps do not rise.

    >>> phases(["1000:1", "5000:0,0.5"], 2)
    [(1000, (1.0,)), (5000, (0.0, 0.5))]
    """
    found: list[tuple[int, Shares]] = []
    for word in words:
        step, _, shares = word.partition(":")
        try:
            phase = int(step), tuple(float(share) for share in shares.split(","))
        except ValueError:
            raise InputError(f"--insulation-schedule {word}: {FORM}") from None
        if phase[0] < 1 or (found and phase[0] <= found[-1][0]):
            after = f" after {found[-1][0]}" if found else ", from 1 on"
            raise InputError(f"--insulation-schedule {word}: expected a step{after}; steps must rise")
        if len(phase[1]) not in (1, depth):
            raise InputError(
                f"--insulation-schedule {word}: {len(phase[1])} shares, expected 1 or one per layer ({depth})"
            )
        if not all(0.0 <= share <= 1.0 for share in phase[1]):
            raise InputError(f"--insulation-schedule {word}: shares must be in [0, 1]")
        found.append(phase)
    return found


def shares_at(step: int, first: Shares, words: Sequence[str], depth: int) -> Shares:
    """Returns the shares at a step.

    Args:
        step: from 1.
        first: shares of the first phase.
        words: the later phases, as in `phases`.
        depth: layers of the backbone.

    >>> [shares_at(step, (0.0,), ["3:1", "5:0.5"], 2) for step in (1, 2, 3, 4, 5, 6)]
    [(0.0,), (0.0,), (1.0,), (1.0,), (0.5,), (0.5,)]
    """
    return next((shares for start, shares in reversed(phases(words, depth)) if step >= start), first)


def unreached(words: Sequence[str], depth: int, steps: int) -> str:
    """Returns a note about the phases that a run of `steps` steps never reaches; "" if it reaches all.

    >>> unreached(["1000:1"], 2, 1000)
    ''
    """
    late = [str(start) for start, _ in phases(words, depth) if start > steps]
    return (
        f"note: the run ends at step {steps}, before the insulation from step {' and '.join(late)} on" if late else ""
    )


def in_words(first: Shares, words: Sequence[str], depth: int) -> str:
    """Describes the shares over the run, as the plan of a run shows them.

    >>> in_words((0.0,), ["1000:1"], 2)
    '0; from step 1000: 1'
    """
    said = [f"from step {start}: {_shown(shares)}" for start, shares in phases(words, depth)]
    return "; ".join([_shown(first), *said])


def _shown(shares: Shares) -> str:
    return ", ".join(f"{share:g}" for share in shares)
