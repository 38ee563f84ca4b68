"""Films of a demo: the robot, the expert and a blind robot play the same episodes side by side, as moving pictures."""

from collections.abc import Sequence
from pathlib import Path

from examples.demo_page.headings import heading
from examples.tabletop.env import make_reach
from fasttok.common.html import Markup, tag
from fasttok.errors import InputError
from train.judging import films_page, rollout_videos
from train.judging.chosen_films import SmallFilms
from train.judging.companions import COMPANIONS, play_companion
from train.judging.film_recorder import Film
from train.judging.played_world import Played, PlayedWorld, by_seed


def played(path: Path) -> list[PlayedWorld]:
    """Reads the filmed episodes of a demo, and plays them again with the expert and with a blind robot, in the same scenes.

    Raises:
        InputError: the demo has no films.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: the demo did not finish; run: make demo")
    return [beside(where, films) for where, films in rollout_videos.load(path).items()]


def beside(where: str, films: Sequence[Film]) -> PlayedWorld:
    """Plays the filmed episodes of a robot and split with all companions, and returns everybody's films.

    Args:
        where: "EMBODIMENT/SPLIT".
        films: films of the policy.
    """
    embodiment, split = where.split("/", 1)
    wanted = [film.seed for film in films]
    players = [Played("policy", [film.success for film in films], by_seed(films))]
    seeds = range(min(wanted), max(wanted) + 1)
    for who in COMPANIONS:
        watched = SmallFilms(wanted)
        done = play_companion(who, make_reach, embodiment, split, seeds, len(seeds), watched)
        players.append(Played(who, done.success, by_seed(watched.films)))
    return PlayedWorld(embodiment, split, tuple(players))


def best(worlds: Sequence[PlayedWorld]) -> tuple[Film, PlayedWorld] | None:
    """Returns the first success of the policy, or else its first episode; None if there are no films."""
    every = [(film, world) for world in worlds for film in world.players[0].films.values()]
    return next((one for one in every if one[0].success), every[0] if every else None)


def hero(worlds: Sequence[PlayedWorld], rules: dict[str, None]) -> list[Markup]:
    """Returns one episode for the top of the page.

    Args:
        worlds: the played episodes.
        rules: CSS rules of the page's moving pictures; this function adds its own.
    """
    shown = best(worlds)
    return [] if shown is None else [tag("div", films_page.scene(*shown, rules), class_="hero")]


def section(worlds: Sequence[PlayedWorld], rules: dict[str, None]) -> list[Markup]:
    """Returns all filmed episodes: the first ones of each robot and split, without any choice.

    Args:
        worlds: the played episodes.
        rules: as in `hero`.
    """
    out = [
        heading("films"),
        tag("p", "The first episodes of each robot and split: none is chosen. All three begin in the same scene with the same "
                 "instruction. Seen: scenes like the demonstrations. Held out: pairs of colour and shape, and sentences, that no "
                 "demonstration has.", class_="soft"),
        films_page.pause_box(),
    ]  # fmt: skip
    for world in worlds:
        scenes = [films_page.scene(film, world, rules) for film in world.players[0].films.values()]
        place = rollout_videos.place(f"{world.embodiment}/{world.split}")
        out += [tag("h3", place), tag("div", *scenes, class_="cards films")]
    return out
