"""The expert's manner: details of its motion that no task needs. They make demonstrations human-like and hard to predict."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """The human details of the expert's motion. Without one of them, its actions follow more closely from the scene.

    Attributes:
        tremor: the hand trembles, and so do the arm's other dims.
        bends: paths bend sideways by a random amount.
        paces: each reach has its own pace; without it, all reaches have the mean pace.
        pauses: the expert waits for a random time before it moves and when it is done. Without it, it moves at once, and waits at
            the end only as long as a task must stay done to count.
    """

    tremor: bool = True
    bends: bool = True
    paces: bool = True
    pauses: bool = True


HUMAN = Manner()
PREDICTABLE = Manner(tremor=False, bends=False, paces=False, pauses=False)
