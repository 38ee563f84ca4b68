"""ActionTokenizer: normalise -> DCT -> round -> BPE, and back (FAST, arXiv 2501.09747).

The tokenizer holds no state between calls, so threads may share it. What the user sees is raw units whenever statistics are
held; several embodiments share one vocabulary, each with its own statistics, horizon and dimensions.
"""

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok import bpe, dct, folder
from fasttok.bpe import Bpe, Mode
from fasttok.embodiment import Embodiment
from fasttok.errors import InputError, unknown_name
from fasttok.normalize import NormStats

OnError = Literal["raise", "mask", "pad", "hold"]
OnRange = Literal["clamp", "raise"]


class ClampWarning(UserWarning):
    """Coefficients outside the tokenizer's range were moved to its edge; the message says how many."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What `encode_report` returns.

    Attributes:
        ids: one int32 array of ids a chunk.
        clamped: (batch,) int64: coefficients of each chunk that were moved to the edge of the range.
    """

    ids: list[NDArray[np.int32]]
    clamped: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Decoded:
    """What `decode` returns.

    Attributes:
        actions: (batch, horizon, action_dim) float64, raw units when statistics are held.
        ok: (batch,) bool: the tokens meant exactly this chunk.
        errors: one message a row, "" where ok.
    """

    actions: NDArray[np.float64]
    ok: NDArray[np.bool_]
    errors: list[str]


@dataclass(frozen=True, eq=False)
class ActionTokenizer:
    """A FAST tokenizer. Make one with `fit` or `load`.

    Attributes:
        scale: factor before rounding. min_token, max_token: smallest and largest coefficient that has a code; None where a
            published folder does not say.
        stats, state_stats: action and proprio statistics by embodiment. embodiments: what each one is.
    """

    bpe: Bpe
    scale: float
    min_token: int
    max_token: int | None
    stats: Mapping[str, NormStats] = field(default_factory=dict)
    state_stats: Mapping[str, NormStats] = field(default_factory=dict)
    embodiments: Mapping[str, Embodiment] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        chunks: NDArray | Iterable[NDArray] | Mapping[str, Iterable[NDArray]],
        vocab_size: int = 1024,
        scale: float = 10.0,
        mode: Mode = "native",
        stats: NormStats | Mapping[str, NormStats] | None = None,
    ) -> "ActionTokenizer":
        """Learns a vocabulary.

        Args:
            chunks: (n, T, D), an iterable of (T, D) in raw units, or {embodiment: either} when there are several.
            stats: None (chunks are normalised already), one NormStats, or {embodiment: NormStats}.
            mode: `native` covers every code that normalised chunks in [-1, 1] can have, and all that the fit saw;
                `published` repeats the published code to the byte.

        Raises:
            InputError: no chunks, NaN or inf, or a vocabulary smaller than the coefficient range.
        """
        if mode not in bpe.MODES:
            raise unknown_name("fit mode", mode, bpe.MODES)
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"scale is {scale}, expected a positive number (10 is FAST's default)")
        by_name: Mapping[str, NormStats] = {"": stats} if isinstance(stats, NormStats) else stats or {}
        groups = chunks if isinstance(chunks, Mapping) else {"": chunks}
        coefs: list[NDArray] = []
        reach = 0.0  # largest |coefficient| that a chunk in [-1, 1] (or the fit's smaller range) can have
        for name, group in groups.items():
            if by_name and name not in by_name:
                raise unknown_name("embodiment", name, by_name)
            for batch in _batches(group):
                x = _checked(batch, by_name.get(name))
                coefs.append(dct.coefficients(x, scale).reshape(len(x), -1))
                reach = max(reach, scale * x.shape[1] ** 0.5 * min(1.0, float(np.abs(x).max())))
        if not coefs:
            raise InputError("ActionTokenizer.fit: no chunks; nothing to learn from")
        low, high = int(min(c.min() for c in coefs)), int(max(c.max() for c in coefs))
        if mode == "native":
            edge = int(np.ceil(reach))
            low, high = min(low, -edge), max(high, edge)
        strings = (bpe.to_string(row) for c in coefs for row in (c - low).astype(np.int64))
        learned = Bpe(bpe.train(strings, mode, vocab_size, high - low), mode)
        return cls(learned, float(scale), low, high, dict(by_name))

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.bpe.size

    @property
    def mode(self) -> Mode:
        """`native` or `published`."""
        return self.bpe.mode

    def embodiment(self, name: str | None) -> str | None:
        """The embodiment meant: `name`, or the only one there is; None when no statistics are held.

        Raises:
            InputError: unknown, or several and none named.
        """
        known = self.stats or self.embodiments
        if not known:
            if name:
                raise InputError(f"embodiment {name!r} was asked for, but this tokenizer holds no statistics")
            return None
        if name is None:
            if len(known) > 1:
                raise InputError(f"this tokenizer holds several embodiments ({', '.join(known)}): say embodiment=")
            return next(iter(known))
        if name not in known:
            raise unknown_name("embodiment", name, known)
        return name

    def coefficients(self, chunks: NDArray, embodiment: str | None = None) -> NDArray[np.int64]:
        """Rounded DCT coefficients of raw-unit chunks, not clamped: (B, T, D) or (T, D) -> (B, T, D) int64.

        Raises:
            InputError: wrong shape, wrong number of dims, NaN or inf (with its position).
        """
        name = self.embodiment(embodiment)
        x = np.asarray(chunks)
        if x.ndim == 2:
            x = x[None]
        x = _checked(x, self.stats.get(name) if name is not None else None)
        coefs = dct.coefficients(x, self.scale)
        if np.abs(coefs).max(initial=0) > 2**31:
            raise InputError(
                f"a coefficient of {np.abs(coefs).max():.3g} is far outside any vocabulary; are the actions normalised?"
            )
        return coefs.astype(np.int64)

    def encode(
        self, chunks: NDArray, embodiment: str | None = None, on_range: OnRange = "clamp"
    ) -> list[NDArray[np.int32]]:
        """Action chunks to FAST ids.

        Args:
            chunks: (B, T, D) or (T, D); raw units when statistics are held, else normalised.
            on_range: what to do with coefficients outside [min_token, max_token]: "clamp" moves them to the edge and warns
                with their number (`ClampWarning`), "raise" refuses.

        Returns:
            B arrays of ids in [0, vocab_size).

        Raises:
            InputError: as `coefficients`; out of range under "raise"; a code that a published vocabulary never saw.
        """
        coefs = self.coefficients(chunks, embodiment)
        outside = self._outside(coefs)
        if outside.any():
            b, t, d = np.argwhere(outside)[0]
            what = (
                f"{int(outside.sum())} of {outside.size} coefficients lie outside [{self.min_token}, {self.max_token}], the "
                f"first {coefs[b, t, d]} in chunk {b}, frequency {t}, dim {d}"
            )
            if on_range == "raise":
                raise InputError(f"{what}; fit on data of this range, or encode with on_range='clamp'")
            warnings.warn(f"{what}; clamped", ClampWarning, stacklevel=2)
        return self._ids(coefs)

    def encode_report(self, chunks: NDArray, embodiment: str | None = None) -> "Encoded":
        """As `encode` with on_range "clamp", but the clamped coefficients are counted per chunk instead of warned of.

        Raises:
            InputError: as `coefficients`; a code that a published vocabulary never saw.
        """
        coefs = self.coefficients(chunks, embodiment)
        return Encoded(self._ids(coefs), self._outside(coefs).sum(axis=(1, 2)))

    def _outside(self, coefs: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (coefs < self.min_token) | (False if self.max_token is None else coefs > self.max_token)

    def _ids(self, coefs: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        return self.bpe.encode(np.clip(coefs, self.min_token, self.max_token).reshape(len(coefs), -1) - self.min_token)

    def decode(
        self,
        ids: Sequence[Any] | NDArray,
        *,
        horizon: int,
        action_dim: int,
        embodiment: str | None = None,
        on_error: OnError = "raise",
        hold: NDArray | None = None,
    ) -> Decoded:
        """FAST ids to action chunks. Every row that does not decode to exactly horizon * action_dim coefficients is an error.

        Args:
            ids: one sequence of ids a row, or a single sequence.
            on_error: "raise"; "mask": NaN actions and ok False; "pad": the readable beginning, the missing (high)
                frequencies 0 and what is too much cut off, ok False; "hold": the action `hold` repeated, ok False.
            hold: (action_dim,) or (B, action_dim) raw units, for on_error="hold".

        Returns:
            Decoded. Nothing is remembered between calls.

        Raises:
            InputError: on_error is "raise" and a row fails, or the arguments do not fit together.
        """
        if on_error not in get_args(OnError):
            raise unknown_name("on_error policy", on_error, get_args(OnError))
        if on_error == "hold" and hold is None:
            raise InputError("decode: on_error='hold' needs hold=, the action to repeat, (action_dim,) in raw units")
        name = self.embodiment(embodiment)
        stats = self.stats.get(name) if name is not None else None
        if stats is not None and stats.dim != action_dim:
            raise InputError(f"decode: action_dim is {action_dim}, embodiment {name!r} has {stats.dim} dims")
        rows = [ids] if len(ids) and np.ndim(ids[0]) == 0 else list(ids)
        size = horizon * action_dim
        coefs = np.zeros((len(rows), size), np.int64)
        errors = []
        for row, row_ids in enumerate(rows):
            codes, error = self.bpe.decode(row_ids)
            values = codes + self.min_token
            if self.max_token is not None and (beyond := np.flatnonzero(values > self.max_token)).size:
                error = error or f"coefficient {values[beyond[0]]} at place {beyond[0]} exceeds {self.max_token}"
                values = values[: beyond[0]]
            if not error and len(values) != size:
                error = f"{len(values)} coefficients, expected {size} ({horizon} steps x {action_dim} dims)"
            if error and on_error == "raise":
                raise InputError(f"decode: row {row}: {error}; see on_error for other policies")
            coefs[row, : min(len(values), size)] = values[:size]
            errors.append(error)
        ok = np.array([not error for error in errors], bool)
        out = dct.actions(coefs.reshape(-1, horizon, action_dim), self.scale)
        if stats is not None:
            out = stats.unnormalize(out)
        if on_error == "mask":
            out[~ok] = np.nan
        elif on_error == "hold":
            held = np.broadcast_to(np.asarray(hold, np.float64), (len(rows), action_dim))
            out[~ok] = held[~ok, None, :]
        return Decoded(out, ok, errors)

    def allowed_next(self, prefix_ids: Sequence[int] | NDArray, horizon: int, action_dim: int) -> NDArray[np.int32]:
        """Ids that may follow a prefix so that it can still become exactly horizon * action_dim coefficients.

        Returns:
            Sorted ids; empty when the prefix is complete.

        Raises:
            InputError: the prefix itself can no longer be completed.
        """
        if self.mode == "published":
            return self._allowed_bytes(prefix_ids, horizon * action_dim)
        codes, error = self.bpe.decode(prefix_ids)
        left = horizon * action_dim - len(codes)
        if error or left < 0:
            raise InputError(f"allowed_next: {error or f'the prefix holds {-left} coefficients too many'}")
        return np.flatnonzero(self.bpe.lengths <= left).astype(np.int32)

    def _allowed_bytes(self, prefix_ids: Sequence[int] | NDArray, size: int) -> NDArray[np.int32]:
        """`allowed_next` where an id may end inside a UTF-8 character."""
        raw = b"".join(self.bpe.pieces[int(i)] for i in prefix_ids)  # type: ignore[misc]
        whole, pending = _split_utf8(raw)
        left = size - whole
        if left < 0 or (left == 0 and pending):
            raise InputError("allowed_next: the prefix holds too many coefficients")
        top = None if self.max_token is None else self.max_token - self.min_token
        return np.flatnonzero([_continues(pending + piece, left, top) for piece in self.bpe.pieces]).astype(np.int32)  # type: ignore[operator]

    @cached_property
    def fingerprint(self) -> str:
        """16 hex characters of what decides tokens: vocabulary, scale, range, action statistics."""
        spec = {"min": self.min_token, "max": self.max_token, "scale": self.scale}
        stats = {name: s.to_json() for name, s in sorted(self.stats.items())}
        text = self.bpe.to_json() + json.dumps([spec, stats], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def save(self, path: str | Path, *, card: str = "", overwrite: bool = False) -> None:
        """Writes the folder tokenizer.json, processor_config.json, norm_stats.json, README.md; complete or not at all.

        Raises:
            InputError: the folder exists and is not empty, and `overwrite` is False.
        """
        folder.save(self, Path(path), card, overwrite)

    @classmethod
    def load(cls, path: str | Path) -> "ActionTokenizer":
        """Reads a folder that `save` or the published processor wrote; no network, no pickle, no remote code.

        Raises:
            InputError: a file is missing or not what it should be.
        """
        return cls(**folder.load(Path(path)))


def _batches(group: NDArray | Iterable[NDArray], size: int = 4096) -> Iterable[NDArray]:
    """(n, T, D) arrays out of one array or an iterable of (T, D) chunks whose T may differ."""
    if isinstance(group, np.ndarray) and group.ndim == 3:
        yield from (group[i : i + size] for i in range(0, len(group), size))
        return
    waiting: list[NDArray] = []
    for chunk in group:
        chunk = np.asarray(chunk)
        if chunk.ndim != 2:
            raise InputError(f"ActionTokenizer.fit: a chunk has shape {chunk.shape}, expected (horizon, action_dim)")
        if waiting and (chunk.shape != waiting[0].shape or len(waiting) == size):
            yield np.stack(waiting)
            waiting = []
        waiting.append(chunk)
    if waiting:
        yield np.stack(waiting)


def _checked(x: NDArray, stats: NormStats | None) -> NDArray:
    """Chunks (B, T, D), finite and normalised."""
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise InputError(
            f"action chunks have shape {x.shape}, expected (batch, horizon, action_dim) or (horizon, action_dim)"
        )
    if x.dtype.kind not in "fiub":
        raise InputError(f"action chunks have dtype {x.dtype}, expected numbers")
    finite = np.isfinite(x)
    if not finite.all():
        b, t, d = np.argwhere(~finite)[0]
        raise InputError(f"{x[b, t, d]} in chunk {b}, step {t}, dim {d} ({int((~finite).sum())} such values in all)")
    return x if stats is None else stats.normalize(x)


def _split_utf8(raw: bytes) -> tuple[int, bytes]:
    """(whole characters, bytes of an unfinished last one).

    >>> _split_utf8("aé".encode()[:-1])
    (1, b'\\xc3')
    """
    try:
        return len(raw.decode()), b""
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            raise InputError("allowed_next: the prefix is not UTF-8") from None
        return len(raw[: error.start].decode()), raw[error.start :]


def _continues(raw: bytes, left: int, top: int | None) -> bool:
    """Whether `raw` is at most `left` valid codes in [0, top], an unfinished last one included."""
    try:
        whole, pending = _split_utf8(raw)
    except InputError:
        return False
    text = raw[: len(raw) - len(pending)].decode()
    if whole + bool(pending) > left or (top is not None and any(ord(c) > top for c in text)):
        return False
    if not pending:
        return True
    # Every byte is in the alphabet of a published vocabulary only if the fit saw it; the smallest completion must be one.
    return top is None or _smallest(pending) <= top


def _smallest(pending: bytes) -> int:
    """The smallest code whose UTF-8 starts with these bytes."""
    length = 2 if pending[0] < 0xE0 else 3 if pending[0] < 0xF0 else 4
    floor = {2: 0x80, 3: 0x800, 4: 0x10000}[length]
    for tail in (b"\x80", b"\xa0", b"\x90"):
        candidate = (pending + tail * (len(pending) == 1) + b"\x80" * length)[:length]
        try:
            return max(floor, ord(candidate.decode()))
        except UnicodeDecodeError:
            continue
    return 0x110000
