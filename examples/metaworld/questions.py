"""Makes questions, answers and captions about moments of MetaWorld from what the simulator knows. It needs no simulator itself.

All answers are clear: no answer depends on a single pixel or on what a thing is called, and yes is as likely as no. A button
box is a box, too, so no question asks for a box if there is a button box.
"""

import re
from collections.abc import Callable

import numpy as np

from examples.metaworld.scene import Place, Scene, SeenThing, cell
from examples.metaworld.tasks import TASKS
from examples.tabletop.questions import Question

CLEAR = 0.06  # least distance, as a share of the picture's width, of two things that a question calls left and right
OPEN, CLOSED = 0.75, 0.55  # the gripper is called open above the first share of its opening, closed below the second
PARTS = ("handle",)  # doors, windows, drawers and mugs have one, too, so no answer says that it is absent
CAPTION_PROMPT = "describe the picture"
Asker = Callable[[Scene, np.random.Generator], Question | None]


def ask(scene: Scene, rng: np.random.Generator) -> Question:
    """Returns a question of a random kind that has a clear answer in the scene."""
    while True:
        question = ASKERS[rng.integers(len(ASKERS))](scene, rng)
        if question is not None:
            return question


def colour(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Asks for a colour: "what colour is the drawer?"."""
    thing = _one_of(scene.things, rng)
    return None if thing is None else Question("colour", f"what colour is the {thing.noun}?", thing.colour)


def exists(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Asks whether a thing is there: "is there a drawer?". Absent things are those of other tasks; present ones are visible."""
    present = bool(rng.integers(2))
    seen = [thing.noun for thing in scene.things if thing.place is not None]
    others = sorted(
        {thing.noun for task in TASKS.values() for thing in task.things if not _spoken_of(thing.noun, scene)}
    )
    among = seen if present else others
    if not among:
        return None
    return Question("exists", f"is there a {among[rng.integers(len(among))]}?", "yes" if present else "no")


def point(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Asks for a place: "point to the drawer". The answer is a column and a row of a grid of 10 x 10."""
    thing = _one_of(scene.things, rng)
    return (
        None
        if thing is None or thing.place is None
        else Question("point", f"point to the {thing.noun}", cell(thing.place))
    )


def hand(scene: Scene, _rng: np.random.Generator) -> Question | None:
    """Asks for the hand's place: "point to the gripper"."""
    return None if scene.hand is None else Question("hand", "point to the gripper", cell(scene.hand))


def opening(scene: Scene, _rng: np.random.Generator) -> Question | None:
    """Asks for the gripper's state: "is the gripper open or closed?"."""
    if CLOSED <= scene.opening <= OPEN:
        return None
    return Question("opening", "is the gripper open or closed?", "open" if scene.opening > OPEN else "closed")


def side(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Asks on which side a thing is in the picture: "is the drawer left of the gripper?"."""
    thing = _one_of(scene.things, rng)
    if thing is None or thing.place is None or scene.hand is None or _near(thing.place, scene.hand):
        return None
    left = thing.place[0] < scene.hand[0]
    word = ("left", "right")[rng.integers(2)]
    return Question("side", f"is the {thing.noun} {word} of the gripper?", "yes" if left == (word == "left") else "no")


def destination(scene: Scene, rng: np.random.Generator) -> Question | None:
    """Asks where a task takes place: "Task: open the drawer; where?". The answer is the cell of what the task is about."""
    place = scene.things[0].place
    if place is None:
        return None
    phrases = TASKS[scene.task].phrases
    return Question("destination", f"Task: {phrases[rng.integers(len(phrases))]}; where?", cell(place))


def which_task(scene: Scene, rng: np.random.Generator) -> Question:
    """Asks whether a task is possible: "can the robot open the drawer here?". Impossible tasks are about absent things."""
    others = sorted(
        name for name, task in TASKS.items() if not any(_spoken_of(thing.noun, scene) for thing in task.things)
    )
    possible = bool(rng.integers(2)) or not others
    phrases = TASKS[scene.task if possible else others[rng.integers(len(others))]].phrases
    return Question(
        "possible", f"can the robot {phrases[rng.integers(len(phrases))]} here?", "yes" if possible else "no"
    )


ASKERS: tuple[Asker, ...] = (
    colour, exists, point, point, hand, opening, side, destination, destination, which_task,
)  # fmt: skip


def caption(scene: Scene) -> str:
    """Names all visible things from left to right, each with its cell, and the gripper with its cell.

    >>> caption(Scene("drawer-open", (SeenThing("drawer", "green", (0.7, 0.5)),), (0.5, 0.4), 1.0))
    'a green drawer at 7 5; the open gripper at 5 4'
    """
    seen = sorted((t for t in scene.things if t.place is not None), key=lambda t: t.place or (0.0, 0.0))
    parts = [f"{'an' if str(t)[0] in 'aeiou' else 'a'} {t} at {cell(t.place)}" for t in seen if t.place is not None]
    things = " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]])) or "an empty table"
    if scene.hand is None:
        return things
    state = "open " if scene.opening > OPEN else "closed " if scene.opening < CLOSED else ""
    return f"{things}; the {state}gripper at {cell(scene.hand)}"


def _spoken_of(noun: str, scene: Scene) -> bool:
    """Returns whether a thing may be there.

    It may be there if it is one of `PARTS`, or if the scene's things or its task's sentences have a word of its name.
    """
    said = " ".join([*(thing.noun for thing in scene.things), *TASKS[scene.task].phrases])
    return noun in PARTS or not {*noun.split()}.isdisjoint(re.findall("[a-z]+", said))


def _one_of(things: tuple[SeenThing, ...], rng: np.random.Generator) -> SeenThing | None:
    """Draws a thing; None if another thing has the same noun."""
    thing = things[rng.integers(len(things))]
    return thing if sum(other.noun == thing.noun for other in things) == 1 else None


def _near(a: Place, b: Place) -> bool:
    return abs(a[0] - b[0]) < CLEAR
