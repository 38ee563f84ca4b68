"""Scenes and instructions: what is asked, how it is said, when it is done, and what training never shows.

    reach   the hand rests next to the named block
    push    the named block touches another named block
    place   the named block lies in a corner, let go

Held out from demonstrations: the (colour, shape) pairs of HELD_OUT_PAIRS, as target and as distractor, and one phrase a kind.
VQA and captions show every pair (knowledge that insulation is meant to keep), no held-out phrase.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.world import BLOCK, COLOURS, HAND, SHAPES, TABLE, Block, World
from fasttok.errors import unknown_name

HELD_OUT_PAIRS = frozenset(
    Block(colour, shape)
    for colour, shape in (
        ("red", "star"), ("green", "circle"), ("blue", "cross"), ("yellow", "square"), ("purple", "triangle"), ("orange", "star")
    )
)  # fmt: skip
PAIRS = tuple(Block(colour, shape) for colour in COLOURS for shape in SHAPES)
SEEN_PAIRS = tuple(block for block in PAIRS if block not in HELD_OUT_PAIRS)
KINDS = {"reach": 0.5, "push": 0.25, "place": 0.25}  # shares of the demonstrations
PHRASES = {
    "reach": ("move next to the {target}", "go to the {target}", "reach the {target}"),
    "push": ("push the {target} to the {goal}", "slide the {target} against the {goal}"),
    "place": ("put the {target} in the {corner} corner", "move the {target} to the {corner} corner"),
}
HELD_OUT_PHRASES = {
    "reach": "go next to the {target}",
    "push": "slide the {target} to the {goal}",
    "place": "push the {target} in the {corner} corner",
}
CORNERS = {
    "top left": (-0.13, 0.13),
    "top right": (0.13, 0.13),
    "bottom left": (-0.13, -0.13),
    "bottom right": (0.13, -0.13),
}
SPLITS = ("seen", "held_out", "held_out_pair", "held_out_phrase")
NEAR = BLOCK + HAND + 0.012  # the hand is next to a block
TOUCH = 2 * BLOCK + 0.012  # two blocks touch
IN_CORNER = 0.055
APART = 2 * BLOCK + 0.03  # between the blocks of a new scene
BEHIND = BLOCK + HAND + 0.012  # where the hand starts to push
MOVED = 0.02  # a block that moved this far was meant


@dataclass(frozen=True)
class Task:
    """What is asked of the robot.

    Attributes:
        target: number of the named block. goal: number of the block to push it to, None except for `push`.
        corner: name of the corner, "" except for `place`.
    """

    kind: str
    instruction: str
    target: int
    goal: int | None = None
    corner: str = ""

    def satisfied(self, world: World) -> bool:
        """Whether the state of the world, at this moment, is what was asked for."""
        if self.kind == "reach":
            distances = world.distances
            return bool(distances[self.target] < NEAR and np.argmin(distances) == self.target)
        if self.goal is not None:
            return float(np.hypot(*(world.positions[self.target] - world.positions[self.goal]))) < TOUCH
        gap = world.positions[self.target] - np.array(CORNERS[self.corner])
        return world.held is None and float(np.hypot(*gap)) < IN_CORNER

    def meant(self, world: World, start: NDArray[np.float64]) -> int:
        """Number of the block that the behaviour was about, given the blocks' positions (n, 2) at the start.

        The one that was moved farthest, in a push or a place; else the one that the hand is nearest to.
        """
        moved = np.hypot(*(world.positions - start).T)
        if self.kind != "reach" and moved.max() > MOVED:
            return int(np.argmax(moved))
        return int(np.argmin(world.distances))


def sample(rng: np.random.Generator, split: str = "seen") -> tuple[World, Task]:
    """A scene with a task that is possible, not done yet, and names its blocks without ambiguity.

    Args:
        split: `seen` (what demonstrations show); `held_out_pair`: the target is a pair never demonstrated; `held_out_phrase`:
            a sentence never demonstrated; `held_out`: both.

    Raises:
        InputError: no such split.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    new_pair, new_phrase = split in ("held_out", "held_out_pair"), split in ("held_out", "held_out_phrase")
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    while True:
        blocks = sample_blocks(rng, int(rng.integers(2, 5)), new_pair)
        positions = sample_positions(rng, len(blocks))
        corner = str(rng.choice(list(CORNERS)))
        if possible(kind, positions, corner):
            break
    hand = far_from(rng, positions[0])
    phrase = HELD_OUT_PHRASES[kind] if new_phrase else str(rng.choice(PHRASES[kind]))
    words = {"target": refer(rng, blocks, 0, new_pair), "goal": refer(rng, blocks, 1, False), "corner": corner}
    order = rng.permutation(len(blocks))  # so that the target's number says nothing
    place = np.argsort(order)
    world = World(tuple(blocks[i] for i in order), positions[order], hand)
    goal = int(place[1]) if kind == "push" else None
    return world, Task(kind, phrase.format(**words), int(place[0]), goal, corner if kind == "place" else "")


def sample_blocks(rng: np.random.Generator, count: int, new_pair: bool) -> list[Block]:
    """The target first. Half of the distractors share its colour or its shape, so that both words matter."""
    pairs = PAIRS if new_pair else SEEN_PAIRS
    targets = sorted(HELD_OUT_PAIRS, key=str) if new_pair else pairs
    blocks = [targets[rng.integers(len(targets))]]
    while len(blocks) < count:
        alike = [b for b in pairs if (b.colour == blocks[0].colour) != (b.shape == blocks[0].shape)]
        choices = alike if rng.random() < 0.5 else pairs
        block = choices[rng.integers(len(choices))]
        if block not in blocks:
            blocks.append(block)
    return blocks


def sample_positions(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(count, 2) centres, far enough apart for fingers to pass between."""
    while True:
        positions = rng.uniform(-0.145, 0.145, (count, 2))
        gaps = np.hypot(*(positions[:, None] - positions[None]).transpose(2, 0, 1)) + np.eye(count)
        if gaps.min() > APART:
            return positions


def far_from(rng: np.random.Generator, target: NDArray[np.float64]) -> NDArray[np.float64]:
    """A start of the hand at which no task is done yet."""
    while True:
        hand = rng.uniform(-0.17, 0.17, 2)
        if np.hypot(*(hand - target)) > 0.11:
            return hand


def possible(kind: str, positions: NDArray[np.float64], corner: str) -> bool:
    """Whether the first block can be brought where it should go without another one in the way."""
    target, others = positions[0], positions[1:]
    if kind == "reach":
        return True
    if kind == "place":
        end = np.array(CORNERS[corner])
        return bool(np.hypot(*(target - end)) > 0.1 and np.hypot(*(others - end).T).min() > IN_CORNER + 2 * BLOCK)
    gap = positions[1] - target
    distance = float(np.hypot(*gap))
    towards = gap / distance
    behind = target - BEHIND * towards
    clear = all(
        np.hypot(*(other - behind)) > BLOCK + 0.02
        and segment_distance(other, behind, target) > APART
        and segment_distance(other, target, positions[1]) > 2 * BLOCK
        for other in positions[2:]
    )
    return clear and distance > TOUCH + 0.05 and bool(np.abs(behind).max() < TABLE)


def segment_distance(point: NDArray, start: NDArray, end: NDArray) -> float:
    """From a point to a line segment."""
    along = end - start
    share = np.clip((point - start) @ along / (along @ along), 0.0, 1.0)
    return float(np.hypot(*(point - start - share * along)))


def refer(rng: np.random.Generator, blocks: list[Block], number: int, full: bool) -> str:
    """Words for a block that fit no other: colour and shape mostly, or one of them where that is enough."""
    block = blocks[number]
    others = blocks[:number] + blocks[number + 1 :]
    draw = rng.random()
    if not full and draw < 0.2 and all(other.colour != block.colour for other in others):
        return f"{block.colour} block"
    if not full and draw > 0.9 and all(other.shape != block.shape for other in others):
        return block.shape
    return str(block)
