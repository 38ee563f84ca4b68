"""The same episodes, played by a policy and by whom it is compared with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from train.judging.film_recorder import Film


@dataclass(frozen=True, eq=False)
class Played:
    """What one of them did in some episodes.

    Attributes:
        who: policy, expert or blind.
        success: of all its episodes.
        films: of some of them, by seed.
    """

    who: str
    success: Sequence[bool | int]
    films: dict[int, Film]


@dataclass(frozen=True, eq=False)
class PlayedWorld:
    """The same episodes, played by each.

    Attributes:
        embodiment: who acted.
        split: of the environment.
        players: the policy first; its films are those of the page.
    """

    embodiment: str
    split: str
    players: tuple[Played, ...]


def by_seed(films: Iterable[Film]) -> dict[int, Film]:
    """Films by their seeds."""
    return {film.seed: film for film in films}
