"""Makes questions, answers and captions about scenes. Every pair of colour and shape appears, including the held-out ones.

Answers are balanced within each kind of question: yes is about as frequent as no, and so are all colours, shapes and quadrants.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.scenes import PAIRS, refer, sample_positions
from examples.tabletop.tasks import PHRASES, PROPERTIES
from examples.tabletop.world import TABLE, Block, World
from fasttok.errors import unknown_name

NUMBERS = ("one", "two", "three", "four")
ENDS = {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, -1), "bottommost": (1, 1)}  # axis, sign to minimise
CLEAR = 0.03  # least difference in metres that decides an answer, so that no answer depends on a single pixel


@dataclass(frozen=True)
class Question:
    """A question with its one right answer."""

    kind: str
    prompt: str
    target: str


def scene(rng: np.random.Generator) -> World:
    """Makes a table with one to four different blocks and a resting hand."""
    count = int(rng.integers(1, 5))
    chosen = rng.choice(len(PAIRS), count, replace=False)
    world = World(tuple(PAIRS[i] for i in chosen), sample_positions(rng, count), rng.uniform(-0.17, 0.17, 2))
    world.opening = float(rng.integers(2))
    return world


def ask(rng: np.random.Generator, kinds: Collection[str] = ()) -> tuple[World, Question]:
    """Returns a scene and a question that has a clear answer in it; one of `kinds`, or any kind if `kinds` is empty."""
    askers = [asker for kind, asker in ASKERS if not kinds or kind in kinds]
    maker = askers[rng.integers(len(askers))]
    while True:
        world = scene(rng)
        question = maker(world, rng)
        if question is not None:
            return world, question


def check_kinds(kinds: Collection[str]) -> None:
    """Refuses unknown kinds of questions.

    Raises:
        InputError: a kind is unknown; the message lists all kinds.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of question", kind, KINDS)


def count_blocks(world: World, _rng: np.random.Generator) -> Question:
    """Asks for the number of blocks: "how many blocks are there?"."""
    return Question("count", "how many blocks are there?", NUMBERS[len(world.blocks) - 1])


def colour_of_end(world: World, rng: np.random.Generator) -> Question | None:
    """Asks for a colour by place: "what colour is the leftmost block?"."""
    if len(world.blocks) < 2:
        return None
    word = list(ENDS)[rng.integers(len(ENDS))]
    axis, sign = ENDS[word]
    order = np.argsort(sign * world.positions[:, axis])
    if abs(world.positions[order[0], axis] - world.positions[order[1], axis]) < CLEAR:
        return None
    return Question("colour", f"what colour is the {word} block?", world.blocks[order[0]].colour)


def shape_of_colour(world: World, rng: np.random.Generator) -> Question | None:
    """Asks for a shape: "what shape is the red block?"."""
    block = world.blocks[rng.integers(len(world.blocks))]
    if sum(other.colour == block.colour for other in world.blocks) > 1:
        return None
    return Question("shape", f"what shape is the {block.colour} block?", block.shape)


def colour_of_shape(world: World, rng: np.random.Generator) -> Question | None:
    """Asks for a colour by shape: "what colour is the star?"."""
    block = world.blocks[rng.integers(len(world.blocks))]
    if sum(other.shape == block.shape for other in world.blocks) > 1:
        return None
    return Question("colour", f"what colour is the {block.shape}?", block.colour)


def exists(world: World, rng: np.random.Generator) -> Question:
    """Asks whether a block is there: "is there a green star?". Absent ones share a word with a block that is there."""
    present = bool(rng.integers(2))
    block = world.blocks[rng.integers(len(world.blocks))]
    if not present:
        alike = [p for p in PAIRS if p not in world.blocks and (p.colour == block.colour) != (p.shape == block.shape)]
        block = alike[rng.integers(len(alike))]
    return Question("exists", f"is there a {block}?", "yes" if present else "no")


def quadrant(world: World, rng: np.random.Generator) -> Question | None:
    """Asks for a quadrant: "where is the blue square?"."""
    number = int(rng.integers(len(world.blocks)))
    where = place_word(world.positions[number])
    return None if where is None else Question("where", f"where is the {world.blocks[number]}?", where)


def side(world: World, rng: np.random.Generator) -> Question | None:
    """Asks for a relation of two blocks: "is the red circle left of the blue square?"."""
    if len(world.blocks) < 2:
        return None
    a, b = rng.choice(len(world.blocks), 2, replace=False)
    words, axis = ((("left of", "right of"), 0), (("below", "above"), 1))[rng.integers(2)]
    gap = world.positions[b, axis] - world.positions[a, axis]
    if abs(gap) < CLEAR:
        return None
    asked = int(rng.integers(2))
    answer = "yes" if (gap > 0) == (asked == 0) else "no"
    return Question("relation", f"is the {world.blocks[a]} {words[asked]} the {world.blocks[b]}?", answer)


def nearest(world: World, _rng: np.random.Generator) -> Question | None:
    """Asks for the nearest block: "which block is nearest to the gripper?"."""
    if len(world.blocks) < 2:
        return None
    order = np.argsort(world.distances)
    if world.distances[order[1]] - world.distances[order[0]] < CLEAR:
        return None
    return Question("nearest", "which block is nearest to the gripper?", str(world.blocks[order[0]]))


def alike(world: World, rng: np.random.Generator) -> Question | None:
    """Asks for a similar block: "which block has the colour of the red star?". A robot must know this for the task `sort`."""
    number, by = int(rng.integers(len(world.blocks))), PROPERTIES[rng.integers(len(PROPERTIES))]
    block, others = world.blocks[number], world.blocks[:number] + world.blocks[number + 1 :]
    same = [other for other in others if getattr(other, by) == getattr(block, by)]
    return Question("alike", f"which block has the {by} of the {block}?", str(same[0])) if len(same) == 1 else None


def point(world: World, rng: np.random.Generator) -> Question:
    """Asks for a place: "point to the red star". The answer is a column and a row of a grid of 10 x 10, as of a detector."""
    number = int(rng.integers(len(world.blocks)))
    return Question("point", f"point to the {world.blocks[number]}", cell(world.positions[number]))


def destination(world: World, rng: np.random.Generator) -> Question:
    """Asks where a task leads: "Task: reach the red star; where?".

    The answer is the cell of the block to which a robot with this task goes. So a task becomes a question about the scene, like
    the boxes and subtasks with which people label pictures of robots.
    """
    number = int(rng.integers(len(world.blocks)))
    phrase = PHRASES["reach"][rng.integers(len(PHRASES["reach"]))]
    instruction = phrase.format(target=refer(rng, list(world.blocks), number, False))
    return Question("destination", f"Task: {instruction}; where?", cell(world.positions[number]))


def at(world: World, rng: np.random.Generator) -> Question | None:
    """Asks for the block at a place: "which block is at 3 7?"."""
    number, cells = int(rng.integers(len(world.blocks))), [cell(position) for position in world.positions]
    if cells.count(cells[number]) > 1:
        return None
    return Question("at", f"which block is at {cells[number]}?", str(world.blocks[number]))


def cell(position: NDArray[np.float64]) -> str:
    """Formats a position as a column from the left and a row from the top, each 0 to 9."""
    share = (np.array([position[0], -position[1]]) + TABLE) / (2 * TABLE)
    column, row = np.clip(np.floor(10 * share), 0, 9).astype(int)
    return f"{column} {row}"


ASKERS: tuple[tuple[str, Callable[[World, np.random.Generator], Question | None]], ...] = (
    ("count", count_blocks), ("colour", colour_of_end), ("shape", shape_of_colour), ("colour", colour_of_shape),
    ("exists", exists), ("where", quadrant), ("relation", side), ("nearest", nearest), ("alike", alike), ("point", point),
    ("point", point), ("at", at), ("destination", destination), ("destination", destination),
)  # fmt: skip
KINDS = tuple(dict.fromkeys(kind for kind, _ in ASKERS))


def place_word(position: NDArray[np.float64]) -> str | None:
    """Returns the quadrant of a position, such as "top left"; None near the middle lines."""
    words = place_words(position)
    return " ".join(words) if len(words) == 2 else None


def place_words(position: NDArray[np.float64]) -> list[str]:
    """Returns on which side of each middle line a position is, such as ["top", "left"]; without a word if it is near the line."""
    x, y = position
    up = [] if abs(y) < CLEAR / 2 else ["top" if y > 0 else "bottom"]
    across = [] if abs(x) < CLEAR / 2 else ["left" if x < 0 else "right"]
    return up + across


def caption(world: World) -> str:
    """Names all blocks from left to right, each with its place."""
    order = np.argsort(world.positions[:, 0])
    parts = [described(world.blocks[i], world.positions[i]) for i in order]
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def described(block: Block, position: NDArray[np.float64]) -> str:
    """Describes a block and its place, such as "a red circle at the top left", or "at the top" near a middle line."""
    where = " ".join(place_words(position))
    article = "an" if block.colour[0] in "aeiou" else "a"
    return f"{article} {block} at the {where}" if where else f"{article} {block} in the middle"
