"""Draws 64 x 64 pictures of tables from signed distances: a pixel's share of a shape depends on how far it is inside the edge.

Many tables are drawn together. All blocks of one shape are one array of small windows. For each window, the module computes what
it keeps of the picture below and what it adds; then it draws the windows in order. A pixel needs only additions, products, minima
and square roots (and the sine of the wood's grain, over whole pictures), so a table looks the same, to the last bit, whether it
is drawn alone or among others.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.world import BLOCK, COLOURS, HAND, SHAPES, TABLE, Tables

SIZE = 64
TOGETHER = 16  # number of tables whose pictures fit in the cache together
RGB = {
    "red": (214, 48, 49),
    "green": (38, 162, 82),
    "blue": (38, 108, 222),
    "yellow": (247, 201, 33),
    "purple": (142, 68, 190),
    "orange": (243, 122, 28),
}
Grid = NDArray[np.float32]
Stamp = tuple[int, int, Grid, Grid]  # first row and column, then what to keep (k, k) and to add (3, k, k)


def _rgb(values: object) -> Grid:
    """Returns colours (..., 3) as (..., 3, 1, 1), which broadcast over pictures (n, 3, rows, columns)."""
    return np.array(values, np.float32)[..., None, None]


PALETTE = _rgb([RGB[colour] for colour in COLOURS])
WOOD, FLOOR, STEEL = _rgb((222, 205, 180)), _rgb((96, 104, 116)), _rgb((52, 58, 70))
WHITE, SHADOW = _rgb((235, 238, 242)), _rgb((70, 56, 40))


@dataclass(frozen=True)
class Views:
    """Cameras that look straight down on n tables.

    Attributes:
        centres: (n, 2) float64, centres of the pictures in metres.
        spans: (n,) metres that a picture covers.
        angles: (n,) rotations in radians; None for cameras that never turn.
    """

    centres: NDArray
    spans: NDArray
    angles: NDArray | None = None

    def take(self, rows: NDArray | slice) -> "Views":
        """Returns some of the cameras."""
        return Views(self.centres[rows], self.spans[rows], None if self.angles is None else self.angles[rows])

    @property
    def turn(self) -> tuple[Grid, Grid]:
        """Cosine and sine of the rotation, (n, 1, 1) each."""
        return turn(np.zeros(len(self.spans)) if self.angles is None else self.angles)

    @property
    def pixel(self) -> Grid:
        """Metres per pixel, (n, 1, 1)."""
        return each(self.spans / SIZE)

    def grid(self, rows: NDArray, columns: NDArray, origin: NDArray) -> tuple[Grid, Grid]:
        """Returns the world coordinates of pixels.

        Args:
            rows: (n, r) rows of the picture.
            columns: (n, c) columns of the picture.
            origin: (n, 2) points in metres to which the result is relative.

        Returns:
            x and y, (n, r, c) float32 each; arrays that broadcast to this shape if the cameras do not turn.
        """
        step, half = each(self.spans / SIZE), np.float32(0.5 * SIZE - 0.5)
        u = (columns.astype(np.float32)[:, None, :] - half) * step
        v = (half - rows.astype(np.float32)[:, :, None]) * step
        x, y = (each(self.centres[:, axis] - origin[:, axis]) for axis in (0, 1))
        if self.angles is None:
            return u + x, v + y
        c, s = self.turn
        return c * u - s * v + x, s * u + c * v + y

    def window(self, points: NDArray, reach: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Finds the pixels within `reach` (n,) metres of points (n, 2).

        Returns:
            Indices of the m pictures that show such pixels, and their rows and columns, (m, k) each. k is the same for all
            pictures; windows that would leave a picture are moved inside.
        """
        dx, dy = (points - self.centres).T
        c, s = (part[:, 0, 0].astype(np.float64) for part in self.turn)
        pixel = self.spans / SIZE
        column, row = SIZE / 2 + (c * dx + s * dy) / pixel, SIZE / 2 - (c * dy - s * dx) / pixel
        pixels = reach / pixel + 1
        shown = np.flatnonzero(np.maximum(np.abs(row - SIZE / 2), np.abs(column - SIZE / 2)) < SIZE / 2 + pixels)
        k = min(SIZE, 2 * math.ceil(pixels[shown].max(initial=0.0)) + 1)
        first = (np.clip((at[shown] - k / 2).astype(np.int64), 0, SIZE - k)[:, None] for at in (row, column))
        rows, columns = (at + np.arange(k) for at in first)
        return shown, rows, columns


def each(values: NDArray) -> Grid:
    """Returns one number per picture, (n,), as (n, 1, 1) float32."""
    return values.astype(np.float32)[:, None, None]


def turn(angles: NDArray) -> tuple[Grid, Grid]:
    """Returns cosines and sines, (n, 1, 1) each, one by one: numpy's kernels may round differently by place in the array."""
    return each(np.array([math.cos(a) for a in angles])), each(np.array([math.sin(a) for a in angles]))


def primary(tables: Tables) -> NDArray[np.uint8]:
    """Draws the tables from above: (N, 64, 64, 3) uint8."""
    n = len(tables)
    return pictures(tables, Views(np.zeros((n, 2)), np.full(n, 2.2 * TABLE)))


def wrist(tables: Tables) -> NDArray[np.uint8]:
    """Draws what cameras beside the fingers see, which turn with the hand: (N, 64, 64, 3) uint8."""
    return pictures(tables, Views(tables.hand, 0.16 + 0.6 * tables.height, tables.yaw))


CAMERAS = {"primary": primary, "wrist": wrist}


def pictures(tables: Tables, views: Views) -> NDArray[np.uint8]:
    """Draws pictures of N tables through N views, `TOGETHER` at a time."""
    out = np.empty((len(tables), SIZE, SIZE, 3), np.uint8)
    for first in range(0, len(tables), TOGETHER):
        rows = slice(first, first + TOGETHER)
        # All values are in 0..255, as they are mixtures of the colours above.
        out[rows] = draw(tables.take(rows), views.take(rows)).transpose(0, 2, 3, 1)
    return out


def draw(tables: Tables, views: Views) -> Grid:
    """Draws pictures (n, 3, 64, 64) of n tables: the wood, the blocks, a carried block over the others, and the hand."""
    picture = background(views)
    stamps: list[tuple[int, int, Stamp]] = []  # table, place in the order of drawing, what to draw
    table, block = np.nonzero(tables.present)
    shape = tables.looks[table, block] % len(SHAPES)
    for number in np.unique(shape):
        of_shape = shape == number
        some = stamp_blocks(SHAPES[number], tables, table[of_shape], block[of_shape], views)
        stamps += [(t, tables.room if tables.held[t] == b else b, stamp) for t, b, stamp in some]
    stamps += [(t, tables.room + 1, stamp) for t, stamp in stamp_hands(tables, views)]
    for t, _, (row, column, keep, add) in sorted(stamps, key=lambda s: s[:2]):
        part = picture[t, :, row : row + len(keep), column : column + len(keep)]
        part *= keep
        part += add
    return picture


def background(views: Views) -> Grid:
    """Draws the floor and the wood, only once for cameras that do not move."""
    n = len(views.spans)
    if views.angles is None:
        return np.repeat(_still(float(views.spans[0]), *map(float, views.centres[0])), n, axis=0)
    return _wood(views)


@lru_cache(maxsize=1)
def _still(span: float, x: float, y: float) -> Grid:
    return _wood(Views(np.array([[x, y]]), np.array([span])))


def _wood(views: Views) -> Grid:
    n = len(views.spans)
    line = np.broadcast_to(np.arange(SIZE), (n, SIZE))
    x, y = (np.ascontiguousarray(g) for g in np.broadcast_arrays(*views.grid(line, line, np.zeros((n, 2)))))
    grain = np.float32(5) * np.sin(np.float32(90) * y + np.float32(3) * np.sin(np.float32(11) * x))
    alpha = cover(box(x, y, np.float32(TABLE), np.float32(TABLE)) - np.float32(0.004), views.pixel)[:, None]
    return FLOOR + alpha * ((WOOD - FLOOR) + grain[:, None])


def stamp_blocks(
    shape: str, tables: Tables, table: NDArray, block: NDArray, views: Views
) -> Iterator[tuple[int, int, Stamp]]:
    """Draws the blocks of one shape, each with its table and number. A carried block is larger, and far from its shadow."""
    lift = np.where(tables.held[table] == block, tables.height[table], 0.0)
    radius, centres = BLOCK * (1 + 1.5 * lift), tables.positions[table, block]
    views = views.take(table)
    shown, row, column = views.window(centres, EXTENT[shape] * radius + 0.01 + lift / 2)
    if not shown.size:
        return
    table, block, views = table[shown], block[shown], views.take(shown)
    x, y = views.grid(row, column, centres[shown])
    size, up, pixel, distance = each(radius[shown]), each(lift[shown] / 4), views.pixel, SHAPE[shape]
    shadow = distance(x - np.float32(0.003) - up, y + np.float32(0.004) + up, size)
    inside, colour = distance(x, y, size), PALETTE[tables.looks[table, block] // len(SHAPES)]
    keep, add = layered(
        (np.float32(0.35) * cover(shadow, pixel), SHADOW),
        (cover(inside, pixel), np.float32(0.72) * colour),
        (cover(inside + np.float32(0.0035), pixel), colour),
    )
    yield from zip(table, block, zip(row[:, 0], column[:, 0], keep, add, strict=True), strict=True)


def stamp_hands(tables: Tables, views: Views) -> Iterator[tuple[int, Stamp]]:
    """Draws two fingers and the bar between them, turned by yaw and larger if they are higher; each hand with its table."""
    height = tables.height
    shown, row, column = views.window(tables.hand, 0.055 * (1 + 2 * height) + 0.01 + height / 2)
    if not shown.size:
        return
    views, height = views.take(shown), height[shown]
    dx, dy = views.grid(row, column, tables.hand[shown])
    c, s = turn(tables.yaw[shown])
    u, v = c * dx + s * dy, c * dy - s * dx
    scale, pixel = each(1 + 2.0 * height), views.pixel
    apart = scale * each(HAND * 0.55 + tables.opening[shown] * BLOCK * 1.05)

    def fingers(offset: Grid | np.float32) -> Grid:
        p, q = np.abs(u - offset), np.abs(v + offset)
        bar = np.maximum(p - apart, q - np.float32(0.0035) * scale)
        tips = np.maximum(np.abs(p - apart) - np.float32(0.006) * scale, q - np.float32(0.017) * scale)
        return cover(np.minimum(bar, tips), pixel)

    keep, add = layered(
        (np.float32(0.35) * fingers(each(0.004 + height / 3)), SHADOW),
        (fingers(np.float32(0)), STEEL),
        (cover(length(u, v) - np.float32(0.0065) * scale, pixel), WHITE),
    )
    yield from zip(shown, zip(row[:, 0], column[:, 0], keep, add, strict=True), strict=True)


def cover(distance: Grid, pixel: Grid) -> Grid:
    """Returns the share of each pixel inside a shape, with an edge softened over one pixel. `distance`: metres, < 0 inside."""
    return np.minimum(np.maximum(np.float32(0.5) - distance / pixel, np.float32(0)), np.float32(1))


def layered(*layers: tuple[Grid, Grid]) -> tuple[Grid, Grid]:
    """Combines layers that cover one another into one.

    Args:
        layers: alpha (m, k, k) and colour of each layer, the lowest first.

    Returns:
        What to keep of the picture (m, k, k), and what to add to it (m, 3, k, k).
    """
    (alpha, colour), *rest = layers
    keep, add = np.float32(1) - alpha, alpha[:, None] * colour
    for alpha, colour in rest:
        through = np.float32(1) - alpha
        keep *= through
        add *= through[:, None]
        add += alpha[:, None] * colour
    return keep, add


def length(x: Grid, y: Grid) -> Grid:
    """Returns the distance from the origin."""
    return np.sqrt(x * x + y * y)


def box(x: Grid, y: Grid, half_width: Grid | np.float32, half_height: Grid | np.float32) -> Grid:
    """Returns the signed distance to a rectangle."""
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def circle(x: Grid, y: Grid, radius: Grid) -> Grid:
    """Returns the signed distance to a round block; all shapes cover about the same area."""
    return length(x, y) - np.float32(0.92) * radius


def square(x: Grid, y: Grid, radius: Grid) -> Grid:
    """Returns the signed distance to a block with four edges."""
    side = np.float32(0.82) * radius
    return box(x, y, side, side)


def triangle(x: Grid, y: Grid, radius: Grid) -> Grid:
    """Returns the signed distance to a block with a corner at the top: the larger one of its base and its folded side."""
    y, size = y + np.float32(0.15) * radius, np.float32(0.625) * radius  # centre to edge
    slope = np.float32(math.sqrt(0.75)) * np.abs(x) + np.float32(0.5) * y
    return np.maximum(slope, -y) - size


def star(x: Grid, y: Grid, radius: Grid) -> Grid:
    """Returns the signed distance to a five-pointed block. Folded into one tenth of itself, it has a single edge."""
    tenth = math.pi / 5
    x = np.abs(x)
    for side in (1, -1):  # mirrors: at 36 degrees from the tip, on either side
        a, b = np.float32(side * math.cos(tenth)), np.float32(-math.sin(tenth))
        behind = np.float32(2) * np.maximum(a * x + b * y, np.float32(0))
        x, y = x - behind * a, y - behind * b
    x = np.abs(x)
    notch = np.array([math.sin(tenth), math.cos(tenth)]) * 0.45
    along = (notch - (0, 1)) / np.hypot(*(notch - (0, 1)))
    return (y - np.float32(1.25) * radius) * np.float32(along[0]) - x * np.float32(along[1])


def cross(x: Grid, y: Grid, radius: Grid) -> Grid:
    """Returns the signed distance to a block of two bars."""
    long, short = np.float32(1.05) * radius, np.float32(0.36) * radius
    return np.minimum(box(x, y, long, short), box(x, y, short, long))


SHAPE = {"circle": circle, "square": square, "triangle": triangle, "star": star, "cross": cross}
EXTENT = {
    "circle": 0.95,
    "square": 1.2,
    "triangle": 1.4,
    "star": 1.4,
    "cross": 1.15,
}  # reach of each shape in radii, with its soft edge
