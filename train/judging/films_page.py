"""Makes the page of films: the first failures and successes of a policy, beside an expert and one that acts blindly."""

from collections.abc import Sequence
from dataclasses import dataclass

from fasttok.common import html
from fasttok.common.html import Markup, tag
from train.judging import sprite, wilson
from train.judging.film_recorder import Film
from train.judging.played_world import PlayedWorld
from train.judging.rollout_videos import place

CSS = """
.films { grid-template-columns:repeat(auto-fill,minmax(min(100%,500px),1fr)) }
.scene { min-width:0; content-visibility:auto; contain-intrinsic-size:auto 260px } .scene p { margin:0 0 8px }
.scene .said { font-weight:600; overflow-wrap:anywhere }
.beside { display:grid; grid-template-columns:repeat(3,minmax(0,1fr)); gap:10px } .beside figure { margin:0; min-width:0 }
.beside figcaption { margin-top:5px; line-height:1.45 } .beside figcaption b { color:var(--ink); display:block }
.beside .badge { font-size:11.5px; padding:0 8px }
.pause { display:inline-flex; gap:8px; align-items:center; font-size:13.5px; margin:4px 0 }
@media (max-width:520px) { .card.scene { padding:12px } .beside { gap:6px } }
@media (prefers-reduced-motion:reduce) { .pause { display:none } }
@media print { .scene { break-inside:avoid } .pause { display:none } }
"""
STYLE = sprite.CSS + CSS  # for pages that show a `scene`
NAMES = {"policy": "policy", "expert": "expert", "blind": "acts blindly"}


@dataclass(frozen=True)
class PageFacts:
    """Where the films come from.

    Attributes:
        policy: the run or the server.
        step: step of the checkpoint; None if not known.
        environment: factory of the environments.
        command: command line that made the page; "" if there was none.
    """

    policy: str
    step: int | None
    environment: str
    command: str


def document(worlds: Sequence[PlayedWorld], about: PageFacts) -> str:
    """Returns the whole page: one file without a script, which needs no network.

    Args:
        worlds: the episodes that were played, one item per embodiment and split.
        about: where the films come from.
    """
    rules: dict[str, None] = {}
    sections = [part for world in worlds for part in _world(world, rules)]
    step = "" if about.step is None else f", step {about.step:,}"
    return html.page(
        f"Films of {about.policy}",
        tag("h1", "The same episodes side by side"),
        tag(
            "p",
            f"{about.policy}{step}, in {about.environment}.",
            class_="soft",
        ),
        *_counts(worlds),
        pause_box(),
        *sections,
        css=STYLE + "".join(rules),
        command=about.command,
    )


def pause_box() -> Markup:
    """Returns the checkbox that stops all films of a page."""
    return tag(
        "label",
        Markup('<input type="checkbox" id="pause"> '),
        "Stop all films. A pointer over a row stops that row, and so does the keyboard's focus (Tab).",
        class_="pause",
    )


def _counts(worlds: Sequence[PlayedWorld]) -> list[Markup]:
    """Returns the table of successes of the policy and its companions, with 95 % intervals."""
    whom = list(dict.fromkeys(player.who for world in worlds for player in world.players))
    rows = []
    for world in worlds:
        cells: list[str | None] = []
        for who in whom:
            done = [player.success for player in world.players if player.who == who]
            cells.append(_count(done[0]) if done else None)
        rows.append([world.embodiment, world.split.replace("_", " "), *cells])
    missing = [who for who in ("expert", "blind") if who not in whom]
    notes = ["Successes of all episodes, which have the same seeds for everybody; brackets: 95 % Wilson intervals."]
    if missing:
        notes.append(
            f"The environment offers no method {' and no method '.join(missing)}, so nobody acts so beside the policy."
        )
    columns = ["embodiment", "split", *(NAMES[who] for who in whom)]
    return [html.table(columns, rows), tag("p", " ".join(notes), class_="soft")]


def _count(done: Sequence[bool | int]) -> str:
    successes = sum(map(bool, done))
    return f"{successes} of {len(done)}: {wilson.percent(successes, len(done))}" if done else "no episode"


def _world(world: PlayedWorld, rules: dict[str, None]) -> list[Markup]:
    """Returns the films of one embodiment and split, failures first."""
    policy = world.players[0]
    parts = [tag("h2", place(f"{world.embodiment}/{world.split}"))]
    for title, none, wanted in (
        ("First failures of the policy", "The policy never failed", False),
        ("First successes of the policy", "The policy never succeeded", True),
    ):
        chosen = [film for film in policy.films.values() if film.success == wanted]
        parts.append(tag("h3", title))
        if chosen:
            parts.append(tag("div", *[scene(film, world, rules) for film in chosen], class_="cards films"))
        else:
            many = len(policy.success)
            parts.append(tag("p", f"{none} in {many} episode{'s' if many != 1 else ''}.", class_="soft"))
    return parts


def scene(film: Film, world: PlayedWorld, rules: dict[str, None]) -> Markup:
    """Returns the films of one episode, played by the policy and its companions; the page needs `STYLE`.

    Args:
        film: the policy's film of the episode.
        world: the episodes to which it belongs.
        rules: CSS rules of the page's moving pictures; those of these films are added.
    """
    shown = [(player.who, player.films[film.seed]) for player in world.players if film.seed in player.films]
    times = max((one.steps for _, one in shown), key=lambda steps: int(steps[-1]))  # of the longest film
    figures = []
    for who, one in shown:
        drawn = sprite.sprite(one, times)
        rules[sprite.keyframes(drawn)] = None
        outcome, steps = ("success" if one.success else "failure"), int(one.steps[-1])
        after = f"{steps} step{'s' if steps != 1 else ''}"
        colour = html.GOOD if one.success else html.BAD
        label = f"{NAMES[who]}: {one.instruction}, seed {one.seed}, {outcome} after {after}"
        caption = tag("figcaption", tag("b", NAMES[who]), html.badge(outcome, colour), Markup(" "), after)
        figures.append(tag("figure", sprite.moving(drawn, label), caption))
    head = tag("p", tag("span", film.instruction, class_="said"), tag("span", f" · seed {film.seed}", class_="soft"))
    return tag(
        "div",
        head,
        tag("div", *figures, class_="beside"),
        class_="card scene",
        tabindex="0",
        role="group",
        aria_label=f"{film.instruction}, seed {film.seed}",
    )
