"""Converts actions to the form that a mixture asks for, and back: stored, relative to a chunk's first state, or step differences.

A chunk is first cut and padded as it is stored, and then converted, so padding always means "stay where you are". A gripper is
never made relative. Rotations compose in the base frame: the relative form is R_k R_0^-1, a difference is R_k R_(k-1)^-1. The
relative form of stored deltas is their running sum or, for rotations, their running product. Velocities are first multiplied by
the time of a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fasttok.actions.rotations import WIDTHS, from_6d, read, write
from fasttok.common.action_forms import ACTION_FORMS, ROTATION_FORMS, ActionForm, RotationForm
from fasttok.common.kinds import Encoding
from fasttok.errors import InputError

ROTATION_NAMES = {
    "euler": ("roll", "pitch", "yaw"),
    "quaternion": ("qx", "qy", "qz", "qw"),
    "6d": ("r11", "r21", "r31", "r12", "r22", "r32"),
}


@dataclass(frozen=True)
class ActionColumns:
    """Columns [start, start + width) of stored actions that belong together.

    Attributes:
        start: the first column.
        width: number of columns.
        encoding: whether they are absolute, a delta or a gripper.
        rotation: how they store a rotation, see `fasttok.actions.rotations`; "" if they store none.
        rate: whether they are velocities, per second.
        state: the columns of the proprio that store the same thing; () if none do.
    """

    start: int
    width: int
    encoding: Encoding
    rotation: str = ""
    rate: bool = False
    state: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Representation:
    """The form to which the actions of one source are converted.

    Attributes:
        form: how actions are represented.
        rotation: how the rotations in them are represented.
        step: seconds per step, for rates.
        pieces: the columns of stored actions.

    Raises:
        InputError: an unknown form, or one that the pieces do not allow.

    >>> moves = Representation(form="delta", pieces=(ActionColumns(0, 1, "absolute", state=(0,)),))
    >>> moves(np.array([[[1.0], [3.0]]]), np.array([[0.5]]))[0, :, 0]
    array([0.5, 2. ], dtype=float32)
    """

    form: ActionForm = "stored"
    rotation: RotationForm = "stored"
    step: float = 1.0
    pieces: tuple[ActionColumns, ...]

    def __post_init__(self) -> None:
        if self.form not in ACTION_FORMS or self.rotation not in ROTATION_FORMS:
            raise InputError(
                f"action form {self.form!r} with rotation {self.rotation!r}; forms are {', '.join(ACTION_FORMS)}, rotations "
                f"{', '.join(ROTATION_FORMS)}"
            )
        if self.form == "relative":
            for piece in self.pieces:
                if piece.encoding == "absolute" and not piece.state:
                    stop = piece.start + piece.width
                    raise InputError(
                        f"form relative needs the state of action dims {piece.start} to {stop - 1}, which the proprio does not "
                        "have under the same names and rotation; name it in the entry (`state:`), or use form: stored"
                    )

    @property
    def name(self) -> str:
        """Name of the form, such as "relative, 6d rotations". It also shows whether a tokenizer was fitted on the same form."""
        return f"{self.form}, {self.rotation} rotations"

    @property
    def stored(self) -> bool:
        """Whether actions stay as they are stored."""
        return self.form == "stored" and self.rotation == "stored"

    @property
    def lost(self) -> tuple[int, ...]:
        """Stored columns that a state cannot bring back: differences of positions whose state the proprio does not have.

        >>> Representation(form="delta", pieces=(ActionColumns(0, 2, "absolute"), ActionColumns(2, 1, "gripper"))).lost
        (0, 1)
        """
        moved = [p for p in self.pieces if self.form != "stored" and p.encoding == "absolute" and not p.state]
        return tuple(column for piece in moved for column in range(piece.start, piece.start + piece.width))

    @property
    def dim(self) -> int:
        """Number of columns after the conversion."""
        return sum(self._width(piece) for piece in self.pieces)

    @property
    def encoding(self) -> tuple[str, ...]:
        """Encoding of each column after the conversion: "absolute", "delta", "relative" or "gripper"."""
        columns: list[str] = []
        for piece in self.pieces:
            columns += [self.form if self._moves(piece) else piece.encoding] * self._width(piece)
        return tuple(columns)

    @property
    def stored_encoding(self) -> tuple[Encoding, ...]:
        """Encoding of each stored column, in which a robot takes actions: "absolute", "delta" or "gripper"."""
        return tuple(piece.encoding for piece in self.pieces for _ in range(piece.width))

    def names(self, stored: Sequence[str]) -> tuple[str, ...]:
        """Returns the names of the columns after the conversion, from those of the stored columns."""
        columns: list[str] = []
        for piece in self.pieces:
            same = not piece.rotation or self.rotation == "stored"
            columns += stored[piece.start : piece.start + piece.width] if same else ROTATION_NAMES[self.rotation]
        return tuple(columns)

    def reference(
        self, actions: NDArray[Any], proprio: NDArray[Any], ends: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Returns (T, D): the reference of the chunk at each step of an episode.

        For the relative form it is the state at that step. For the delta form it is the action before; at the first step of a
        run it is the state, or that step's own action in columns that the proprio does not have.

        Args:
            actions: (T, D) as stored.
            proprio: (T, S).
            ends: (T,) for each step, where its run of steps ends (`fasttok.actions.chunks.run_ends`); None if no steps are left
                out, so that the episode is one run.

        >>> moves = Representation(form="delta", pieces=(ActionColumns(0, 1, "absolute", state=(0,)),))
        >>> moves.reference(np.array([[1.0], [2.0], [8.0]]), np.array([[0.0], [1.0], [7.0]]), np.array([2, 2, 3]))[:, 0]
        array([0., 1., 7.])
        """
        state = self.state(proprio, np.asarray(actions, np.float64))
        if self.form != "delta":
            return state
        starts = np.zeros(1, np.int64) if ends is None else np.flatnonzero(np.diff(ends, prepend=0))
        before = np.concatenate([state[:1], np.asarray(actions[:-1], np.float64)])
        before[starts] = state[starts]
        return before

    def state(self, proprio: NDArray[Any], otherwise: NDArray[Any]) -> NDArray[np.float64]:
        """Returns (n, D): the proprio (n, S) in the action's columns, and `otherwise` (n, D) in columns that it does not have."""
        state = np.array(otherwise, np.float64)
        for piece in self.pieces:
            if piece.state:
                state[:, piece.start : piece.start + piece.width] = np.asarray(proprio)[:, list(piece.state)]
        return state

    def __call__(self, chunks: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float32]:
        """Converts stored chunks (n, T, D) with their references (n, D) to this form, (n, T, dim)."""
        parts = [self._forward(piece, *self._columns(piece, chunks, reference)) for piece in self.pieces]
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def restore(self, values: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float32]:
        """Converts values of this form back to what a robot takes, (n, T, D)."""
        parts, at = [], 0
        for piece in self.pieces:
            width = self._width(piece)
            first = np.asarray(reference, np.float64)[:, piece.start : piece.start + piece.width]
            parts.append(self._backward(piece, np.asarray(values[..., at : at + width], np.float64), first))
            at += width
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def _moves(self, piece: ActionColumns) -> bool:
        """Returns whether the form makes these columns relative to something; a gripper never is."""
        return self.form != "stored" and piece.encoding != "gripper"

    def _as_stored(self, piece: ActionColumns) -> bool:
        """Returns whether these columns keep the values that are stored."""
        if piece.rotation and self.rotation != "stored":
            return False
        return not self._moves(piece) or (self.form == "delta" and piece.encoding == "delta")

    def _seconds(self, piece: ActionColumns) -> float:
        """Returns what turns stored values into those of one step: velocities are per second."""
        return self.step if piece.rate else 1.0

    def _width(self, piece: ActionColumns) -> int:
        return WIDTHS[self.rotation] if piece.rotation and self.rotation != "stored" else piece.width

    def _columns(
        self, piece: ActionColumns, chunks: NDArray[Any], reference: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        columns = slice(piece.start, piece.start + piece.width)
        return np.asarray(chunks[..., columns], np.float64), np.asarray(reference, np.float64)[:, columns]

    def _forward(self, piece: ActionColumns, values: NDArray[Any], first: NDArray[Any]) -> NDArray[Any]:
        if self._as_stored(piece):
            return values
        moves = self._moves(piece)
        if not piece.rotation:
            if self.form == "relative" and piece.encoding == "delta":
                return np.cumsum(values * self._seconds(piece), axis=1)
            before = first[:, None]
            if self.form == "delta":
                before = np.concatenate([before, values[:, :-1]], axis=1)
            moved: NDArray[Any] = values - before
            return moved
        turns = [read(values[:, k] * self._seconds(piece), piece.rotation) for k in range(values.shape[1])]
        if moves and self.form == "relative":
            start = read(first, piece.rotation) if piece.encoding == "absolute" else None
            turns = [turn * start.inv() for turn in turns] if start is not None else _products(turns)
        elif moves and piece.encoding == "absolute":
            turns = _quotients(turns, read(first, piece.rotation))
        return self._written(piece, turns)

    def _backward(self, piece: ActionColumns, values: NDArray[Any], first: NDArray[Any]) -> NDArray[Any]:
        if self._as_stored(piece):
            return values
        moved = self._moves(piece)
        if not piece.rotation:
            if self.form == "relative" and piece.encoding == "delta":
                return np.diff(values, axis=1, prepend=0.0) / self._seconds(piece)
            changes = values if self.form == "relative" else np.cumsum(values, axis=1)
            restored: NDArray[Any] = first[:, None] + changes
            return restored
        form = piece.rotation if self.rotation == "stored" else self.rotation
        turns = [_read_form(values[:, k], form) for k in range(values.shape[1])]
        if moved and self.form == "relative":
            start = read(first, piece.rotation) if piece.encoding == "absolute" else None
            turns = [turn * start for turn in turns] if start is not None else _quotients(turns)
        elif moved and piece.encoding == "absolute":
            turns = _products(turns, read(first, piece.rotation))
        return np.stack([write(turn, piece.rotation) / self._seconds(piece) for turn in turns], axis=1)

    def _written(self, piece: ActionColumns, turns: list[Rotation]) -> NDArray[Any]:
        form = piece.rotation if self.rotation == "stored" else self.rotation
        return np.stack([write(turn, form) for turn in turns], axis=1)


def _products(turns: list[Rotation], first: Rotation | None = None) -> list[Rotation]:
    """Returns the running products in the base frame: each turn comes after those before it."""
    products: list[Rotation] = []
    for turn in turns:
        before = products[-1] if products else first
        products.append(turn if before is None else turn * before)
    return products


def _quotients(turns: list[Rotation], first: Rotation | None = None) -> list[Rotation]:
    """Computes the inverse of `_products`."""
    before = [first, *turns[:-1]]
    return [turn if last is None else turn * last.inv() for turn, last in zip(turns, before, strict=True)]


def _read_form(values: NDArray[Any], form: str) -> Rotation:
    if form == "6d":
        return from_6d(values)
    return read(values, {"euler": "euler_xyz", "quaternion": "quaternion_xyzw"}.get(form, form))
