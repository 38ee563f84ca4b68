"""64 x 64 pictures of a table, drawn from signed distances: a pixel's share of a shape is how far it lies inside its edge."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.world import BLOCK, HAND, TABLE, World

SIZE = 64
RGB = {
    "red": (214, 48, 49),
    "green": (38, 162, 82),
    "blue": (38, 108, 222),
    "yellow": (247, 201, 33),
    "purple": (142, 68, 190),
    "orange": (243, 122, 28),
}
WOOD = np.array([222, 205, 180], np.float32)
FLOOR = np.array([96, 104, 116], np.float32)
STEEL = np.array([52, 58, 70], np.float32)
WHITE = np.array([235, 238, 242], np.float32)
SHADOW = np.array([70, 56, 40], np.float32)
Grid = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """A camera that looks straight down: its centre (2,), the metres its picture spans, its rotation in radians."""

    centre: tuple[float, float]
    span: float
    angle: float = 0.0

    @property
    def pixel(self) -> float:
        """Metres per pixel."""
        return self.span / SIZE

    def grid(self) -> tuple[Grid, Grid]:
        """World coordinates (x, y) of all pixels, each (SIZE, SIZE) float32."""
        line = ((np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE - 0.5) * np.float32(self.span)
        u, v = np.meshgrid(line, -line)
        c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return np.float32(self.centre[0]) + c * u - s * v, np.float32(self.centre[1]) + s * u + c * v

    def window(self, point: NDArray, reach: float) -> tuple[slice, slice]:
        """The pixels within `reach` metres of a point: drawing only there is five times faster."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        dx, dy = point[0] - self.centre[0], point[1] - self.centre[1]
        column, row = ((c * dx + s * dy) / self.span + 0.5) * SIZE, (0.5 - (c * dy - s * dx) / self.span) * SIZE
        pixels = reach / self.pixel + 1
        return (
            slice(max(int(row - pixels), 0), max(int(row + pixels) + 1, 0)),
            slice(max(int(column - pixels), 0), max(int(column + pixels) + 1, 0)),
        )


def primary(world: World) -> NDArray[np.uint8]:
    """The table from above: (64, 64, 3) uint8."""
    return draw(world, View((0.0, 0.0), 2.2 * TABLE))


def wrist(world: World) -> NDArray[np.uint8]:
    """What a camera beside the fingers sees, turning with the hand: (64, 64, 3) uint8."""
    return draw(world, View((float(world.hand[0]), float(world.hand[1])), 0.16 + 0.6 * world.height, world.yaw))


CAMERAS = {"primary": primary, "wrist": wrist}


def draw(world: World, view: View) -> NDArray[np.uint8]:
    """A picture through a view."""
    (x, y), picture = view.grid(), background(view).copy()
    order = [i for i in range(len(world.blocks)) if i != world.held] + ([] if world.held is None else [world.held])
    for i in order:
        lift = world.height if i == world.held else 0.0
        radius, centre = BLOCK * (1 + 1.5 * lift), world.positions[i]
        place = view.window(centre, 1.4 * radius + 0.01 + lift / 2)
        at_x, at_y, part = x[place] - np.float32(centre[0]), y[place] - np.float32(centre[1]), picture[place]
        if not part.size:
            continue
        block = world.blocks[i]
        paint(part, shape(block.shape, at_x - 0.003 - lift / 4, at_y + 0.004 + lift / 4, radius), view, SHADOW, 0.35)
        colour, inside = np.array(RGB[block.colour], np.float32), shape(block.shape, at_x, at_y, radius)
        paint(part, inside, view, 0.72 * colour)
        paint(part, inside + 0.0035, view, colour)
    place = view.window(world.hand, 0.08 + world.height)
    draw_hand(picture[place], world, view, x[place] - np.float32(world.hand[0]), y[place] - np.float32(world.hand[1]))
    return np.clip(picture, 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def background(view: View) -> Grid:
    """Floor and wood; kept for the camera that does not move."""
    x, y = view.grid()
    picture = np.broadcast_to(FLOOR, (SIZE, SIZE, 3)).copy()
    grain = 5 * np.sin(90 * y + 3 * np.sin(11 * x))[..., None]
    paint(picture, box(x, y, TABLE, TABLE) - 0.004, view, WOOD + grain)
    return picture


def draw_hand(picture: Grid, world: World, view: View, dx: Grid, dy: Grid) -> None:
    """Two fingers and the bar between them, turned by yaw, drawn larger when they are higher."""
    c, s = np.float32(np.cos(world.yaw)), np.float32(np.sin(world.yaw))
    u, v = c * dx + s * dy, -s * dx + c * dy
    scale = 1 + 2.0 * world.height
    apart = scale * (HAND * 0.55 + world.opening * BLOCK * 1.05)
    for offset, colour, share in ((0.004 + world.height / 3, SHADOW, 0.35), (0.0, STEEL, 1.0)):
        p, q = u - np.float32(offset), v + np.float32(offset)
        bar = box(p, q, apart, 0.0035 * scale)
        fingers = box(np.abs(p) - np.float32(apart), q, 0.006 * scale, 0.017 * scale)
        paint(picture, np.minimum(bar, fingers), view, colour, share)
    paint(picture, np.hypot(u, v) - 0.0065 * scale, view, WHITE)


def paint(picture: Grid, distance: Grid, view: View, colour: Grid, share: float = 1.0) -> None:
    """Covers the inside of a shape (negative signed distance, metres), its edge softened over one pixel; in place."""
    alpha = (np.float32(share) * np.minimum(np.maximum(0.5 - distance / np.float32(view.pixel), 0), 1))[..., None]
    picture += alpha * (colour - picture)


def box(x: Grid, y: Grid, half_width: float, half_height: float) -> Grid:
    """Signed distance to a rectangle."""
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def polygon(x: Grid, y: Grid, corners: NDArray) -> Grid:
    """Signed distance to a convex polygon, corners counter-clockwise, as the farthest of its edges' half planes."""
    distance = np.full_like(x, -np.inf)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = (b - a) / np.hypot(*(b - a))
        distance = np.maximum(distance, along[1] * (x - a[0]) - along[0] * (y - a[1]))
    return distance


def star(x: Grid, y: Grid, radius: float) -> Grid:
    """Signed distance to a five-pointed star: folded into one tenth of itself, it is one edge."""
    turn = np.float32(2 * np.pi / 5)
    angle = np.mod(np.arctan2(x, y) + turn / 2, turn) - turn / 2
    r = np.hypot(x, y)
    p, q = np.abs(r * np.sin(angle)), r * np.cos(angle)
    tip, notch = np.array([0.0, radius]), 0.45 * radius * np.array([np.sin(turn / 2), np.cos(turn / 2)])
    along = (notch - tip) / np.hypot(*(notch - tip))
    return (p - tip[0]) * -along[1] + (q - tip[1]) * along[0]


def shape(name: str, x: Grid, y: Grid, radius: float) -> Grid:
    """Signed distance to a block; all shapes cover about the same area."""
    if name == "circle":
        return np.hypot(x, y) - 0.92 * radius
    if name == "square":
        return box(x, y, 0.82 * radius, 0.82 * radius)
    if name == "triangle":
        turns = np.pi / 2 + 2 * np.pi / 3 * np.arange(3)
        return polygon(x, y + 0.15 * radius, 1.25 * radius * np.stack([np.cos(turns), np.sin(turns)], 1))
    if name == "star":
        return star(x, y, 1.25 * radius)
    if name == "cross":
        return np.minimum(box(x, y, 1.05 * radius, 0.36 * radius), box(x, y, 0.36 * radius, 1.05 * radius))
    raise KeyError(name)
