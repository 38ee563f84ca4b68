"""Episodes that a policy and its companions played."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from train.judging.film_recorder import Film


@dataclass(frozen=True, eq=False)
class Played:
    """The episodes of the policy, or of one companion.

    Attributes:
        who: "policy", "expert" or "blind".
        success: success of each episode.
        films: films of some of the episodes, by seed.
    """

    who: str
    success: Sequence[bool | int]
    films: dict[int, Film]


@dataclass(frozen=True, eq=False)
class PlayedWorld:
    """The same episodes, played by the policy and by its companions.

    Attributes:
        embodiment: embodiment that acted.
        split: split of the environment.
        players: the policy first; the page shows the episodes that the policy has films of.
    """

    embodiment: str
    split: str
    players: tuple[Played, ...]


def by_seed(films: Iterable[Film]) -> dict[int, Film]:
    """Returns the films by their seeds."""
    return {film.seed: film for film in films}
