"""Blocks and a hand on a table. Metres, x to the right, y up in the picture, the origin in the middle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star", "cross")
TABLE = 0.2  # half of the table's side
BLOCK = 0.033  # radius of a block
HAND = 0.016  # radius of the closed fingers
GRASP = 0.026  # closing fingers take a block whose centre is this near
LOW = 0.03  # below this height the fingers are among the blocks
SUBSTEPS = 4
FRICTION = 0.6  # share of the fingers' sideways motion that a pushed block follows


@dataclass(frozen=True)
class Block:
    """What a block looks like."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


class World:
    """The state of a table.

    Open fingers straddle blocks without touching them, closed fingers push, and fingers that close around a block carry it
    until they open. Blocks never overlap and never leave the table.

    Attributes:
        blocks: looks of the n blocks. positions: (n, 2) float64 centres.
        hand: (2,) float64. height: of the fingers above the table. yaw: of the hand, radians.
        tilt: (2,) its roll and pitch, radians: felt, but without effect.
        opening: 1 open .. 0 closed. held: number of the carried block, or None.
    """

    def __init__(self, blocks: tuple[Block, ...], positions: NDArray[np.float64], hand: NDArray[np.float64]) -> None:
        self.blocks = blocks
        self.positions = np.array(positions, np.float64)
        self.hand = np.array(hand, np.float64)
        self.height = 0.0
        self.yaw = 0.0
        self.tilt = np.zeros(2)
        self.opening = 1.0
        self.held: int | None = None

    @property
    def distances(self) -> NDArray[np.float64]:
        """(n,) from the hand to each block's centre."""
        return np.hypot(*(self.positions - self.hand).T)

    def advance(self, to: NDArray[np.float64], height: float, yaw: float, opening: float) -> None:
        """One control step: the hand goes to `to` in a straight line, the fingers to `height`, `yaw` and `opening`."""
        closes = self.opening >= 0.5 > opening
        self.height, self.yaw, self.opening = max(height, 0.0), yaw, float(np.clip(opening, 0.0, 1.0))
        if self.opening >= 0.5:
            self.held = None
        elif closes and self.height < LOW:
            nearest = int(np.argmin(self.distances))
            self.held = nearest if self.distances[nearest] < GRASP else None
        move = (np.clip(to, -TABLE, TABLE) - self.hand) / SUBSTEPS
        for _ in range(SUBSTEPS):
            self.hand = self.hand + move
            if self.held is not None:
                self.positions[self.held] = self.hand
            elif self.opening < 0.5 and self.height < LOW:
                self._push(move)
            self._separate()

    def _push(self, move: NDArray[np.float64]) -> None:
        for i in np.flatnonzero(self.distances < BLOCK + HAND):
            away = self.positions[i] - self.hand
            distance = float(np.hypot(*away))
            normal = away / distance if distance > 1e-9 else np.array([1.0, 0.0])
            sideways = move - (move @ normal) * normal if move @ normal > 0 else np.zeros(2)
            self.positions[i] += (BLOCK + HAND - distance) * normal + FRICTION * sideways

    def _separate(self) -> None:
        """Moves overlapping blocks apart, a carried one not at all; a lifted one touches nobody."""
        lifted = self.held if self.height >= LOW else None
        for i in range(len(self.blocks)):
            for j in range(i):
                gap = self.positions[i] - self.positions[j]
                distance = float(np.hypot(*gap))
                if distance >= 2 * BLOCK or lifted in (i, j):
                    continue
                normal = gap / distance if distance > 1e-9 else np.array([0.0, 1.0])
                share = {i: 0.0, j: 1.0}.get(self.held, 0.5) if self.held is not None else 0.5
                self.positions[i] += share * (2 * BLOCK - distance) * normal
                self.positions[j] -= (1 - share) * (2 * BLOCK - distance) * normal
        edge = TABLE - BLOCK
        free = [i for i in range(len(self.blocks)) if i != self.held]
        self.positions[free] = np.clip(self.positions[free], -edge, edge)
