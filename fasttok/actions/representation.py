"""Actions in the form that a mixture asks for: as stored, relative to a chunk's first state, or per-step differences; and back.

A chunk is first cut and padded as it is stored, then represented, so padding always means "stay where you are". A gripper is
never made relative. Rotations compose in the base frame: relative is R_k R_0^-1, a difference R_k R_(k-1)^-1; a relative form
of stored deltas is their running sum or product (velocities times the time of a step).
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
        start: the first of them.
        width: how many there are.
        encoding: whether they are absolute, a delta or a gripper.
        rotation: how they store a rotation, see `fasttok.actions.rotations`; "" if they store none.
        rate: whether they are per second.
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
    """One source's form of actions.

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
                        "have under the same names and rotation; name it in the entry (`state:`), or use form: delta or stored"
                    )

    @property
    def name(self) -> str:
        """For people, and to tell whether a tokenizer was fitted on the same: "relative, 6d"."""
        return f"{self.form}, {self.rotation} rotations"

    @property
    def stored(self) -> bool:
        """Whether there is nothing to do."""
        return self.form == "stored" and self.rotation == "stored"

    @property
    def dim(self) -> int:
        """Columns of what is represented."""
        return sum(self._width(piece) for piece in self.pieces)

    @property
    def encoding(self) -> tuple[str, ...]:
        """Per column "absolute", "delta", "relative" or "gripper"."""
        columns: list[str] = []
        for piece in self.pieces:
            moved = self.form if self.form != "stored" and piece.encoding != "gripper" else piece.encoding
            columns += [moved] * self._width(piece)
        return tuple(columns)

    @property
    def stored_encoding(self) -> tuple[Encoding, ...]:
        """Per column of the stored actions, which are what a robot takes, "absolute", "delta" or "gripper"."""
        return tuple(piece.encoding for piece in self.pieces for _ in range(piece.width))

    def names(self, stored: Sequence[str]) -> tuple[str, ...]:
        """Names of the columns out of those of the stored ones."""
        columns: list[str] = []
        for piece in self.pieces:
            same = not piece.rotation or self.rotation == "stored"
            columns += stored[piece.start : piece.start + piece.width] if same else ROTATION_NAMES[self.rotation]
        return tuple(columns)

    def reference(self, actions: NDArray[Any], proprio: NDArray[Any]) -> NDArray[np.float64]:
        """(T, D): what the chunk that begins at each step refers to, from an episode's actions (T, D) and proprio (T, S).

        Relative: the state at that step. Delta: the action before it; at the first step the state, or the first action where the
        proprio does not hold it.
        """
        state = self.state(proprio, np.asarray(actions, np.float64))
        if self.form != "delta":
            return state
        return np.concatenate([state[:1], np.asarray(actions[:-1], np.float64)])

    def state(self, proprio: NDArray[Any], otherwise: NDArray[Any]) -> NDArray[np.float64]:
        """(n, D): the proprio (n, S) in the columns of the action; `otherwise` (n, D) where it does not hold them."""
        state = np.array(otherwise, np.float64)
        for piece in self.pieces:
            if piece.state:
                state[:, piece.start : piece.start + piece.width] = np.asarray(proprio)[:, list(piece.state)]
        return state

    def __call__(self, chunks: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float32]:
        """Stored chunks (n, T, D) and what each refers to (n, D) -> represented (n, T, dim)."""
        parts = [self._forward(piece, *self._columns(piece, chunks, reference)) for piece in self.pieces]
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def restore(self, values: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.float32]:
        """The inverse: what a robot takes, (n, T, D)."""
        parts, at = [], 0
        for piece in self.pieces:
            width = self._width(piece)
            first = np.asarray(reference, np.float64)[:, piece.start : piece.start + piece.width]
            parts.append(self._backward(piece, np.asarray(values[..., at : at + width], np.float64), first))
            at += width
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def _width(self, piece: ActionColumns) -> int:
        return WIDTHS[self.rotation] if piece.rotation and self.rotation != "stored" else piece.width

    def _columns(
        self, piece: ActionColumns, chunks: NDArray[Any], reference: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        columns = slice(piece.start, piece.start + piece.width)
        return np.asarray(chunks[..., columns], np.float64), np.asarray(reference, np.float64)[:, columns]

    def _forward(self, piece: ActionColumns, values: NDArray[Any], first: NDArray[Any]) -> NDArray[Any]:
        moves = self.form != "stored" and piece.encoding != "gripper"
        if not piece.rotation:
            if not moves or (self.form == "delta" and piece.encoding == "delta"):
                return values
            if self.form == "relative" and piece.encoding == "delta":
                return np.cumsum(values * (self.step if piece.rate else 1.0), axis=1)
            before = first[:, None]
            if self.form == "delta":
                before = np.concatenate([before, values[:, :-1]], axis=1)
            moved: NDArray[Any] = values - before
            return moved
        if not moves and self.rotation == "stored":
            return values
        turns = [read(values[:, k], piece.rotation) for k in range(values.shape[1])]
        if moves and self.form == "relative":
            start = read(first, piece.rotation) if piece.encoding == "absolute" else None
            turns = [turn * start.inv() for turn in turns] if start is not None else _products(turns)
        elif moves and piece.encoding == "absolute":
            turns = _quotients(turns, read(first, piece.rotation))
        return self._written(piece, turns)

    def _backward(self, piece: ActionColumns, values: NDArray[Any], first: NDArray[Any]) -> NDArray[Any]:
        moved = self.form != "stored" and piece.encoding != "gripper"
        if not piece.rotation:
            if not moved or (self.form == "delta" and piece.encoding == "delta"):
                return values
            if self.form == "relative" and piece.encoding == "delta":
                return np.diff(values, axis=1, prepend=0.0) / (self.step if piece.rate else 1.0)
            changes = values if self.form == "relative" else np.cumsum(values, axis=1)
            restored: NDArray[Any] = first[:, None] + changes
            return restored
        if not moved and self.rotation == "stored":
            return values
        form = piece.rotation if self.rotation == "stored" else self.rotation
        turns = [_read_form(values[:, k], form) for k in range(values.shape[1])]
        if moved and self.form == "relative":
            start = read(first, piece.rotation) if piece.encoding == "absolute" else None
            turns = [turn * start for turn in turns] if start is not None else _quotients(turns)
        elif moved and piece.encoding == "absolute":
            turns = _products(turns, read(first, piece.rotation))
        return np.stack([write(turn, piece.rotation) for turn in turns], axis=1)

    def _written(self, piece: ActionColumns, turns: list[Rotation]) -> NDArray[Any]:
        form = piece.rotation if self.rotation == "stored" else self.rotation
        return np.stack([write(turn, form) for turn in turns], axis=1)


def _products(turns: list[Rotation], first: Rotation | None = None) -> list[Rotation]:
    """Running products in the base frame: each turn comes after those before it."""
    products: list[Rotation] = []
    for turn in turns:
        before = products[-1] if products else first
        products.append(turn if before is None else turn * before)
    return products


def _quotients(turns: list[Rotation], first: Rotation | None = None) -> list[Rotation]:
    """The inverse of `_products`."""
    before = [first, *turns[:-1]]
    return [turn if last is None else turn * last.inv() for turn, last in zip(turns, before, strict=True)]


def _read_form(values: NDArray[Any], form: str) -> Rotation:
    if form == "6d":
        return from_6d(values)
    return read(values, {"euler": "euler_xyz", "quaternion": "quaternion_xyzw"}.get(form, form))
