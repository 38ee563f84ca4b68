"""Makes scenes: where blocks are, which task they get, and what training never shows.

Demonstrations never show the pairs of colour and shape in HELD_OUT_PAIRS, neither as target nor as distractor, nor one phrase of
each kind, nor five or six blocks. VQA and captions show every pair (knowledge that insulation should keep), but no held-out
phrase and no held-out count.

Demonstrations have a spurious correlation: in nine of ten, the named block is also the one nearest to the hand at the start. A
robot that ignores the instruction succeeds there too; the split `uncorrelated` shows the difference.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.tasks import (
    BEHIND,
    CORNERS,
    HELD_OUT_PHRASES,
    IN_CORNER,
    KINDS,
    PHRASES,
    PROPERTIES,
    TOUCH,
    Task,
    kinds_named,
)
from examples.tabletop.world import BLOCK, LOOKS, TABLE, Block, World, norm
from fasttok.errors import InputError, unknown_name

CORRELATION = 0.9
HELD_OUT_PAIRS = frozenset(
    Block(colour, shape)
    for colour, shape in (
        ("red", "star"), ("green", "circle"), ("blue", "cross"), ("yellow", "square"), ("purple", "triangle"), ("orange", "star")
    )
)  # fmt: skip
PAIRS = LOOKS
SEEN_PAIRS = tuple(block for block in PAIRS if block not in HELD_OUT_PAIRS)
COUNTS = (2, 4)  # least and most blocks in a scene of the demonstrations
MORE_COUNTS = (5, 6)
APART = 2 * BLOCK + 0.03  # least distance between the centres of blocks in a new scene, in metres
START = 0.085  # the hand begins at least this far from every block, in metres
CLEARLY = 0.015  # the nearest block is at least this much nearer than the next one, in metres
DARTS = 64  # random tries to place a block or the hand before the scene begins anew


@dataclass(frozen=True)
class Split:
    """How scenes are drawn.

    Attributes:
        correlation: share of scenes in which the named block is the one nearest to the hand; in the others it is not.
        new_pair: whether the target is a held-out pair of colour and shape; distractors may be held-out pairs, too.
        new_phrase: whether the sentence is a held-out one.
        counts: least and most blocks. A scene to `sort` has at least three.
    """

    correlation: float = CORRELATION
    new_pair: bool = False
    new_phrase: bool = False
    counts: tuple[int, int] = COUNTS

    def __post_init__(self) -> None:
        if not 0 <= self.correlation <= 1:
            raise InputError(f"correlation is {self.correlation}, expected a share in [0, 1]")


SPLITS: dict[str, dict[str, Any]] = {
    "seen": {},
    "uncorrelated": {"correlation": 0.0},
    "unseen": {"new_pair": True},
    "phrasings": {"new_phrase": True},
    "more_objects": {"counts": MORE_COUNTS},
    "held_out": {"new_pair": True, "new_phrase": True},
    "held_out_pair": {"new_pair": True},  # older names of two splits
    "held_out_phrase": {"new_phrase": True},
}


def split_named(name: str, correlation: float | None = None) -> Split:
    """Returns a split by its name, or several joined by `+`, which then all apply.

    >>> split_named("unseen+uncorrelated")
    Split(correlation=0.0, new_pair=True, new_phrase=False, counts=(2, 4))
    >>> split_named("seen", 0.8).correlation, split_named("uncorrelated", 0.8).correlation
    (0.8, 0.0)

    Args:
        name: name of a split, or several joined by `+`.
        correlation: correlation of every split that does not set it; None: CORRELATION.

    Raises:
        InputError: there is no such split, or `correlation` is not a share.
    """
    fields: dict[str, Any] = {} if correlation is None else {"correlation": correlation}
    for part in name.split("+"):
        if part not in SPLITS:
            raise unknown_name("split", part, SPLITS)
        fields |= SPLITS[part]
    return Split(**fields)


def sample(rng: np.random.Generator, split: str | Split = "seen", kind: str = "") -> tuple[World, Task]:
    """Draws a scene with a task that is possible, not done yet, and names its blocks without ambiguity.

    Args:
        rng: generator of the scene.
        split: name of a split (`split_named`), or a split.
        kind: one of `KINDS`, or several of them (`kinds_named`), drawn by their shares.

    Raises:
        InputError: there is no such split or kind.
    """
    how = split_named(split) if isinstance(split, str) else split
    if kind not in KINDS:
        shares = kinds_named(kind)
        kind = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    # Drawn once, before the loop: otherwise the harder of the two cases would become rarer.
    correlated = bool(rng.random() < how.correlation)
    count = int(rng.integers(max(how.counts[0], 3 if kind == "sort" else 2), how.counts[1] + 1))
    by = str(rng.choice(PROPERTIES)) if kind == "sort" else ""
    blocks = sample_blocks(rng, count, how.new_pair, by)
    while True:
        positions = sample_positions(rng, count)
        corner = str(rng.choice(list(CORNERS)))
        if possible(kind, positions, corner):
            hand = sample_hand(rng, positions, correlated)
            if hand is not None:
                break
    phrase = HELD_OUT_PHRASES[kind] if how.new_phrase else str(rng.choice(PHRASES[kind]))
    words = {
        "target": refer(rng, blocks, 0, how.new_pair),
        "goal": refer(rng, blocks, 1, False),
        "corner": corner,
        "by": by,
    }
    order = rng.permutation(count)  # so that the target's number says nothing
    place = np.argsort(order)
    world = World(tuple(blocks[i] for i in order), positions[order], hand)
    goal = int(place[1]) if kind in ("push", "sort") else None
    return world, Task(kind, phrase.format(**words), int(place[0]), goal, corner if kind == "place" else "", by)


def sample_blocks(rng: np.random.Generator, count: int, new_pair: bool, by: str = "") -> list[Block]:
    """Draws blocks, the target first. Half of the distractors share its colour or its shape, so that both words matter.

    Args:
        rng: generator of the blocks.
        count: number of blocks.
        new_pair: whether the target is a pair of colour and shape that demonstrations never show.
        by: "colour" or "shape": the second block shares this with the target, the third one shares the other property, and the
            rest share neither. "": half of the distractors share one of the two, as above.
    """
    pairs = PAIRS if new_pair else SEEN_PAIRS
    targets = sorted(HELD_OUT_PAIRS, key=str) if new_pair else pairs
    target = targets[rng.integers(len(targets))]
    blocks = [target]
    alike = {
        name: [b for b in pairs if b != target and getattr(b, name) == getattr(target, name)] for name in PROPERTIES
    }
    if by:
        for name in sorted(PROPERTIES, key=lambda name: name != by):
            blocks.append(alike[name][rng.integers(len(alike[name]))])
    either = alike["colour"] + alike["shape"]
    neither = [b for b in pairs if b != target and b not in either]
    while len(blocks) < count:
        choices = neither if by else either if rng.random() < 0.5 else pairs
        block = choices[rng.integers(len(choices))]
        if block not in blocks:
            blocks.append(block)
    return blocks


def sample_positions(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Draws centres of blocks, (count, 2), far enough apart for fingers to pass between them."""
    positions = np.empty((count, 2))
    placed = 0
    while placed < count:
        darts = rng.uniform(-0.145, 0.145, (DARTS, 2))
        free = (norm(darts[:, None] - positions[None, :placed]) > APART).all(1)
        if not free.any():
            placed = 0
            continue
        positions[placed] = darts[free.argmax()]
        placed += 1
    return positions


def sample_hand(rng: np.random.Generator, positions: NDArray, correlated: bool) -> NDArray[np.float64] | None:
    """Draws a start of the hand (2,), away from every block, at which one block is clearly the nearest.

    This is the first block if `correlated`, else another one. Returns None if no try finds such a place.
    """
    darts = rng.uniform(-0.17, 0.17, (DARTS, 2))
    distances = norm(darts[:, None] - positions[None])
    two = np.sort(distances, axis=1)[:, :2]
    good = (two[:, 0] > START) & (two[:, 1] > two[:, 0] + CLEARLY) & ((distances.argmin(1) == 0) == correlated)
    return darts[good.argmax()] if good.any() else None


def possible(kind: str, positions: NDArray[np.float64], corner: str) -> bool:
    """Returns whether the first block can be brought to its goal without another block in the way."""
    target, others = positions[0], positions[1:]
    if kind == "reach":
        return True
    if kind == "place":
        end = np.array(CORNERS[corner])
        return bool(norm(target - end) > 0.1 and norm(others - end).min() > IN_CORNER + 2 * BLOCK)
    gap = positions[1] - target
    distance = float(norm(gap))
    if distance < TOUCH + 0.05:
        return False
    if kind == "sort":
        end = beside(target, positions[1])
        return all(segment_distance(other, target, end) > APART for other in positions[2:])
    behind = target - BEHIND * gap / distance
    clear = all(
        norm(other - behind) > BLOCK + 0.02
        and segment_distance(other, behind, target) > APART
        and segment_distance(other, target, positions[1]) > 2 * BLOCK
        for other in positions[2:]
    )
    return clear and bool(np.abs(behind).max() < TABLE)


def beside(start: NDArray, goal: NDArray) -> NDArray[np.float64]:
    """Returns where to put down a block that comes from `start` (2,): beside the one at `goal` (2,), almost touching it."""
    gap = start - goal
    return goal + gap / norm(gap) * (2 * BLOCK + 0.004)


def segment_distance(point: NDArray, start: NDArray, end: NDArray) -> float:
    """Returns the distance from a point to a line segment."""
    along = end - start
    share = np.clip((point - start) @ along / (along @ along), 0.0, 1.0)
    return float(norm(point - start - share * along))


def refer(rng: np.random.Generator, blocks: list[Block], number: int, full: bool) -> str:
    """Returns words that fit only this block: usually colour and shape, sometimes one of them if that is enough."""
    block = blocks[number]
    others = blocks[:number] + blocks[number + 1 :]
    draw = rng.random()
    if not full and draw < 0.2 and all(other.colour != block.colour for other in others):
        return f"{block.colour} block"
    if not full and draw > 0.9 and all(other.shape != block.shape for other in others):
        return block.shape
    return str(block)
