"""Reads rotations as datasets store them and writes them as users ask for them, through scipy's Rotation.

Datasets store: `euler_` and three axes, as scipy writes them (lower case: extrinsic), in radians and in the order of the columns;
`quaternion_xyzw`, `quaternion_wxyz`; `rotation_vector` (axis times angle); `angle`, one column in radians that jumps by a whole
turn, such as the heading of a mobile base, read as a turn about z. Users ask for: `euler` (extrinsic xyz: roll, pitch, yaw),
`quaternion` (xyzw, w >= 0) and `6d` (the first two columns of the matrix, Zhou et al. 2019, arXiv 1812.07035).
"""

from itertools import permutations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError

if TYPE_CHECKING:  # imported where it is used, since many modules need only the names below
    from scipy.spatial.transform import Rotation

EULER = tuple(f"euler_{''.join(axes)}" for axes in permutations("xyz"))
STORED = (*EULER, "quaternion_xyzw", "quaternion_wxyz", "rotation_vector", "angle")
PARALLEL = 1e-9  # two columns have one direction if the second one's share beside the first is at most this
WIDTHS = {"euler": 3, "quaternion": 4, "6d": 6}


def width(stored: str) -> int:
    """Returns the number of columns of a stored rotation.

    >>> width("euler_xyz"), width("quaternion_wxyz"), width("angle")
    (3, 4, 1)
    """
    if stored == "angle":
        return 1
    return 4 if stored.startswith("quaternion") else 3


def read(values: NDArray[Any], stored: str) -> "Rotation":
    """Reads (n, 1, 3 or 4) columns as rotations. A quaternion of zeros, as in padding, is read as no rotation.

    Raises:
        InputError: there is another number of columns.

    >>> read(np.array([[0.0, 0.0, np.pi / 2]]), "euler_xyz").apply([1.0, 0.0, 0.0]).round(6)
    array([[0., 1., 0.]])
    """
    from scipy.spatial.transform import Rotation

    if values.shape[-1] != width(stored):
        raise InputError(f"rotation {stored} has {values.shape[-1]} columns, expected {width(stored)}")
    values = np.asarray(values, np.float64)
    if stored.startswith("euler"):
        return Rotation.from_euler(stored.removeprefix("euler_"), values)
    if stored == "angle":
        return Rotation.from_euler("z", values)
    if stored == "rotation_vector":
        return Rotation.from_rotvec(values)
    ordered = values if stored.endswith("xyzw") else np.roll(values, -1, axis=-1)
    none = np.linalg.norm(ordered, axis=-1, keepdims=True) < 1e-8
    return Rotation.from_quat(np.where(none, [0.0, 0.0, 0.0, 1.0], ordered))


def write(rotation: "Rotation", form: str) -> NDArray[np.float64]:
    """Writes rotations in a form that users ask for, or in a stored one: (n, 1, 3, 4 or 6).

    >>> write(read(np.zeros((1, 3)), "rotation_vector"), "quaternion")
    array([[0., 0., 0., 1.]])
    """
    if form == "6d":
        matrix = rotation.as_matrix()
        return np.concatenate([matrix[..., 0], matrix[..., 1]], axis=-1)
    if form == "rotation_vector":
        vector: NDArray[np.float64] = rotation.as_rotvec()
        return vector
    if form.startswith("quaternion"):
        quaternion = rotation.as_quat(canonical=True)
        return np.roll(quaternion, 1, axis=-1) if form.endswith("wxyz") else quaternion
    if form == "angle":
        heading: NDArray[np.float64] = rotation.as_euler("xyz")[..., 2:]
        return heading
    angles: NDArray[np.float64] = rotation.as_euler("xyz" if form == "euler" else form.removeprefix("euler_"))
    return angles


def nearest(values: NDArray[Any], to: NDArray[Any], stored: str) -> NDArray[np.float64]:
    """Writes rotations (n, 1, 3 or 4) with the numbers that are nearest to others: 3.2 rad and -3.08 rad are one angle.

    Angles may change by whole turns, quaternions by their sign, and rotation vectors by a whole turn along their axis.

    >>> nearest(np.array([[-3.1, 0.0, 6.0]]), np.array([[3.1, 0.1, 0.0]]), "euler_xyz").round(2)
    array([[ 3.18,  0.  , -0.28]])
    >>> nearest(np.array([[0.0, 0.0, 0.0, 1.0]]), np.array([[0.0, 0.1, 0.0, -1.0]]), "quaternion_xyzw")
    array([[-0., -0., -0., -1.]])
    """
    values, to = np.asarray(values, np.float64), np.asarray(to, np.float64)
    if stored.startswith("quaternion"):
        return np.where((values * to).sum(-1, keepdims=True) < 0, -values, values)
    off, axis = to - values, np.ones(1)
    if stored == "rotation_vector":
        length = np.linalg.norm(values, axis=-1, keepdims=True)
        axis = values / np.where(length > 0, length, 1.0)
        off = (off * axis).sum(-1, keepdims=True)
    found: NDArray[np.float64] = values + axis * 2 * np.pi * np.round(off / (2 * np.pi))
    return found


def from_6d(values: NDArray[Any]) -> "Rotation":
    """Reads (n, 6) as rotations, by Gram-Schmidt, since what a network predicts need not be orthonormal.

    If a column is 0, or both have one direction, they do not decide the rotation; an axis then replaces what is not known.

    >>> from_6d(np.array([[2.0, 0.0, 0.0, 1.0, 3.0, 0.0], [0.0] * 6])).magnitude()
    array([0., 0.])
    """
    from scipy.spatial.transform import Rotation

    first, second = np.split(np.asarray(values, np.float64), 2, axis=-1)
    x = _unit(first, np.eye(3)[0])
    beside = second - (x * second).sum(-1, keepdims=True) * x
    parallel = np.linalg.norm(beside, axis=-1, keepdims=True) <= PARALLEL * np.linalg.norm(
        second, axis=-1, keepdims=True
    )
    other = np.eye(3)[np.where(np.abs(x[..., 1]) < 0.9, 1, 2)]  # an axis that is not parallel to x
    beside = np.where(parallel, other - (x * other).sum(-1, keepdims=True) * x, beside)
    y = _unit(beside, np.eye(3)[1])
    return Rotation.from_matrix(np.stack([x, y, np.cross(x, y)], axis=-1))


def _unit(vectors: NDArray[np.float64], otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns vectors (n, 3) of length 1, with `otherwise` for vectors of length 0."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(lengths > 0, vectors / np.where(lengths > 0, lengths, 1.0), otherwise)
