"""Moves blocks and hands on N tables at once. Units are metres, x is to the right, y is up in the picture, the origin is central.

The state is a structure of arrays, and a step is arithmetic on whole arrays. It uses only additions, products, quotients and
square roots, which IEEE 754 rounds in exactly one way. So a table moves the same, to the last bit, alone or among thousands.
`World` is a view of one table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross")
TABLE = 0.2  # half the length of the table's side
BLOCK = 0.033  # radius of a block
HAND = 0.016  # radius of the closed fingers
GRASP = 0.026  # closing fingers take a block whose centre is this near
LOW = 0.03  # below this height the fingers are among the blocks
SUBSTEPS = 4
FRICTION = 0.6  # share of the fingers' sideways motion that a pushed block follows
MOST_BLOCKS = 6
FAR = 1e3  # distance of places without a block from the table: nothing reaches them


@dataclass(frozen=True)
class Block:
    """What a block looks like."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


LOOKS = tuple(Block(colour, shape) for colour in COLOURS for shape in SHAPES)
LOOK_NUMBER = {block: number for number, block in enumerate(LOOKS)}


class Tables:
    """The state of N tables with room for M blocks each.

    Open fingers straddle blocks without touching them, closed fingers push, and fingers that close around a block carry it
    until they open. Blocks never overlap and never leave the table.

    Attributes:
        count: (N,) int64, number of blocks on each table; they use the first of the M places.
        looks: (N, M) int64, indices in `LOOKS`.
        positions: (N, M, 2) float64, centres of the blocks.
        hand: (N, 2) float64, position of the hand.
        height: (N,) height of the fingers above the table, in metres.
        yaw: (N,) yaw of the hand in radians.
        tilt: (N, 2) roll and pitch of the hand in radians; the robot feels them, but they have no effect.
        opening: (N,) opening of the gripper from 0 (closed) to 1 (open).
        held: (N,) int64, number of the carried block, or -1.
    """

    FIELDS = ("count", "looks", "positions", "hand", "height", "yaw", "tilt", "opening", "held")

    def __init__(self, n: int, room: int = MOST_BLOCKS) -> None:
        self.count = np.zeros(n, np.int64)
        self.looks = np.zeros((n, room), np.int64)
        self.positions = np.empty((n, room, 2))
        self.hand = np.zeros((n, 2))
        self.height, self.yaw, self.opening = np.zeros(n), np.zeros(n), np.ones(n)
        self.tilt = np.zeros((n, 2))
        self.held = np.full(n, -1)
        self.positions[:] = _nowhere(room)

    def __len__(self) -> int:
        return len(self.count)

    @property
    def room(self) -> int:
        """Maximum number M of blocks on a table."""
        return self.looks.shape[1]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(N, M) whether each place has a block."""
        return np.arange(self.room) < self.count[:, None]

    @property
    def distances(self) -> NDArray[np.float64]:
        """(N, M) distances from the hand to each block's centre; about `FAR` or more for places without a block."""
        return norm(self.positions - self.hand[:, None])

    def put(self, row: int, blocks: Sequence[Block], positions: NDArray, hand: NDArray) -> None:
        """Sets table `row` up anew with n <= M blocks at `positions` (n, 2), and open fingers at `hand` (2,)."""
        n = len(blocks)
        self.count[row] = n
        self.looks[row] = 0
        self.looks[row, :n] = [LOOK_NUMBER[block] for block in blocks]
        self.positions[row] = _nowhere(self.room)
        self.positions[row, :n] = positions
        self.hand[row], self.tilt[row] = hand, 0.0
        self.height[row], self.yaw[row], self.opening[row], self.held[row] = 0.0, 0.0, 1.0, -1

    def take(self, rows: NDArray | slice) -> "Tables":
        """Returns a copy of some tables."""
        part = Tables.__new__(Tables)
        for name in self.FIELDS:
            setattr(part, name, getattr(self, name)[rows].copy())
        return part

    @classmethod
    def joined(cls, parts: Sequence["Tables"]) -> "Tables":
        """Returns a copy of the tables of all parts, in order."""
        whole = cls.__new__(cls)
        for name in cls.FIELDS:
            setattr(whole, name, np.concatenate([getattr(part, name) for part in parts]))
        return whole

    def place(self, rows: NDArray | slice, part: "Tables") -> None:
        """Overwrites some tables with those of `part`."""
        for name in self.FIELDS:
            getattr(self, name)[rows] = getattr(part, name)

    def advance(self, to: NDArray, height: NDArray, yaw: NDArray, opening: NDArray) -> None:
        """Does one control step: hands go to `to` (N, 2) in straight lines, fingers to `height`, `yaw` and `opening` (N,)."""
        closes = (self.opening >= 0.5) & (opening < 0.5)
        self.height[:], self.yaw[:], self.opening[:] = np.maximum(height, 0.0), yaw, np.clip(opening, 0.0, 1.0)
        closed, low = self.opening < 0.5, self.height < LOW
        self.held[~closed] = -1
        rows = np.flatnonzero(closes & closed & low)
        if rows.size:
            distances = norm(self.positions[rows] - self.hand[rows, None])
            nearest = distances.argmin(1)
            self.held[rows] = np.where(distances[np.arange(len(rows)), nearest] < GRASP, nearest, -1)
        carrying, pushing = np.flatnonzero(self.held >= 0), np.flatnonzero(closed & low & (self.held < 0))
        fixed = ~self.present  # places that the table's edge does not limit: those without a block, and carried blocks
        fixed[carrying, self.held[carrying]] = True
        move = (np.clip(to, -TABLE, TABLE) - self.hand) / SUBSTEPS
        for _ in range(SUBSTEPS):
            self.hand += move
            if carrying.size:
                self.positions[carrying, self.held[carrying]] = self.hand[carrying]
            if pushing.size:
                self._push(pushing, move)
            self._separate(fixed)

    def _push(self, rows: NDArray, move: NDArray) -> None:
        """Moves blocks that closed fingers touch out of their way, and drags them along sideways."""
        away = self.positions[rows] - self.hand[rows, None]
        distance = norm(away)
        row, block = np.nonzero(distance < BLOCK + HAND)
        if not row.size:
            return
        gap, distance = away[row, block], distance[row, block]
        row = rows[row]
        normal = _direction(gap, distance, (1.0, 0.0))
        towards = move[row, 0] * normal[:, 0] + move[row, 1] * normal[:, 1]
        sideways = np.where((towards > 0)[:, None], move[row] - towards[:, None] * normal, 0.0)
        self.positions[row, block] += (BLOCK + HAND - distance)[:, None] * normal + FRICTION * sideways

    def _separate(self, fixed: NDArray[np.bool_]) -> None:
        """Moves overlapping blocks apart. A carried block does not move, and a lifted one touches no other block.

        Only tables with overlapping blocks are computed, one pair of blocks after the other.
        """
        first, second = _pairs(self.room)
        close = norm(self.positions[:, first] - self.positions[:, second]) < 2 * BLOCK
        rows = np.flatnonzero(close.any(1))
        if rows.size:
            positions, held = self.positions[rows], self.held[rows]
            lifted = np.where(self.height[rows] >= LOW, held, -1)
            for i, j in zip(first, second, strict=True):
                if i < self.count[rows].max():
                    _part(positions, held, lifted, i, j)
            self.positions[rows] = positions
        edge = TABLE - BLOCK
        beyond = (np.abs(self.positions) > edge) & ~fixed[..., None]
        if beyond.any():
            self.positions[beyond] = np.clip(self.positions[beyond], -edge, edge)


def norm(vectors: NDArray) -> NDArray:
    """Returns lengths of 2D vectors (last axis). Each step rounds correctly, so a vector gives the same alone or among many."""
    x, y = vectors[..., 0], vectors[..., 1]
    return np.sqrt(x * x + y * y)


def _direction(gaps: NDArray, lengths: NDArray, otherwise: tuple[float, float]) -> NDArray:
    """Returns unit vectors (n, 2) along gaps; `otherwise` for gaps of length 0."""
    far = (lengths > 1e-9)[:, None]
    return np.where(far, gaps / np.where(far, lengths[:, None], 1.0), np.array(otherwise))


def _part(positions: NDArray, held: NDArray, lifted: NDArray, i: int, j: int) -> None:
    """Moves blocks i and j apart on the tables on which they overlap; changes `positions` (n, M, 2) in place."""
    gap = positions[:, i] - positions[:, j]
    distance = norm(gap)
    rows = np.flatnonzero((distance < 2 * BLOCK) & (lifted != i) & (lifted != j))
    if not rows.size:
        return
    gap, distance, held = gap[rows], distance[rows], held[rows]
    share = np.where(held == i, 0.0, np.where(held == j, 1.0, 0.5))[:, None]
    whole = (2 * BLOCK - distance)[:, None] * _direction(gap, distance, (0.0, 1.0))
    positions[rows, i] += share * whole
    positions[rows, j] -= (1.0 - share) * whole


@lru_cache
def _pairs(room: int) -> tuple[NDArray, NDArray]:
    """Returns all pairs (i, j) with j < i, ordered by i."""
    pairs = sorted((j, i) for i, j in combinations(range(room), 2))
    return np.array([i for i, _ in pairs], np.int64), np.array([j for _, j in pairs], np.int64)


def _nowhere(room: int) -> NDArray:
    """Returns places (M, 2) far from the table and from each other."""
    return FAR * (1.0 + np.arange(room))[:, None] * np.ones(2)


def _number(name: str) -> Any:
    """Makes a property of a `World` that reads and writes one number of its table."""

    def read(self: "World") -> float:
        return float(getattr(self.tables, name)[self.row])

    def write(self: "World", value: float) -> None:
        getattr(self.tables, name)[self.row] = value

    return property(read, write)


class World:
    """A view of one table: it reads and writes row `row` of `tables`.

    Attributes:
        blocks: looks of its n blocks.
        positions: (n, 2) float64, centres of the blocks.
        hand: (2,) float64, as in `Tables`.
        tilt: (2,) float64, as in `Tables`.
        height: as in `Tables`.
        yaw: as in `Tables`.
        opening: as in `Tables`.
        held: number of the carried block, or None.
    """

    height, yaw, opening = _number("height"), _number("yaw"), _number("opening")

    def __init__(self, blocks: Sequence[Block], positions: NDArray, hand: NDArray) -> None:
        self.tables, self.row = Tables(1, max(MOST_BLOCKS, len(blocks))), 0
        self.tables.put(0, blocks, positions, hand)

    @classmethod
    def of(cls, tables: Tables, row: int) -> "World":
        """Returns a view of one of many tables."""
        world = cls.__new__(cls)
        world.tables, world.row = tables, row
        return world

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The n blocks on the table."""
        return tuple(LOOKS[i] for i in self.tables.looks[self.row, : self.tables.count[self.row]])

    @property
    def positions(self) -> NDArray[np.float64]:
        """(n, 2) centres of the blocks, in metres."""
        return self.tables.positions[self.row, : self.tables.count[self.row]]

    @property
    def hand(self) -> NDArray[np.float64]:
        """(2,) position of the hand, in metres."""
        return self.tables.hand[self.row]

    @property
    def tilt(self) -> NDArray[np.float64]:
        """(2,) roll and pitch of the hand, in rad."""
        return self.tables.tilt[self.row]

    @property
    def held(self) -> int | None:
        """Number of the block in the gripper, or None."""
        number = int(self.tables.held[self.row])
        return None if number < 0 else number

    @property
    def distances(self) -> NDArray[np.float64]:
        """(n,) distances from the hand to each block's centre, in metres."""
        return norm(self.positions - self.hand)

    def advance(self, to: NDArray, height: float, yaw: float, opening: float) -> None:
        """Does one control step on this table alone."""
        rows = slice(self.row, self.row + 1)
        alone = self.tables.take(rows)
        alone.advance(np.array(to, np.float64)[None], np.array([height]), np.array([yaw]), np.array([opening]))
        self.tables.place(rows, alone)
