"""How the expert moves besides what it has to do: what makes its demonstrations look like a person's, and hard to predict."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """What of a person's manner the expert has; without one of them its actions follow more closely from the scene.

    Attributes:
        tremor: the hand trembles (and the arm's other dims with it).
        bends: paths are bent sideways, by a random amount.
        paces: each reach has a pace of its own; without, all have the mean one.
        pauses: it waits for a random time before it moves and when it is done; without, it moves at once, and at the end it waits
            as long as a task must have been done to count.
    """

    tremor: bool = True
    bends: bool = True
    paces: bool = True
    pauses: bool = True


HUMAN = Manner()
PREDICTABLE = Manner(tremor=False, bends=False, paces=False, pauses=False)
