"""ActionTokenizer: normalise -> transform (DCT) -> round -> BPE, and back (FAST, arXiv 2501.09747).

The tokenizer keeps no state between calls, so threads may share it. If it has statistics, the user gives and gets raw units.
Several embodiments share one vocabulary, each with its own statistics, horizon and dimensions.
"""

import hashlib
import itertools
import json
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.channels import Channels, reference_numbers
from fasttok.actions.chunks import stacks
from fasttok.actions.embodiment import Embodiment
from fasttok.actions.normalize import NormStats
from fasttok.codec import bpe, learn
from fasttok.codec.bpe import Bpe
from fasttok.codec.codec_fit import CodecFit
from fasttok.codec.completions import Completions
from fasttok.codec.corpus import Corpus
from fasttok.codec.grammar import Grammar
from fasttok.codec.learn_transform import TransformPlan, Tried
from fasttok.codec.spline import Spline, SplineConfig
from fasttok.codec.transform import DCT, Transform
from fasttok.common.choices import FitMode, OnRange, TransformName
from fasttok.errors import InputError, unknown_name
from fasttok.storage import folder, saved_again, transform_file
from fasttok.storage.folder import TokenizerFolder

OnError = Literal["raise", "mask", "pad", "hold"]
ON_RANGE, ON_ERROR = get_args(OnRange), get_args(OnError)
TILE = 1 << 17  # values encoded at a time: few enough for a core's cache, and enough that threads seldom wait


class ClampWarning(UserWarning):
    """Coefficients outside the tokenizer's range were moved to its edge; the message says how many."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """What `encode_report` returns.

    Attributes:
        ids: one int32 array of ids per chunk.
        clamped: (batch,) int64: coefficients of each chunk that were moved to the edge of the range.
    """

    ids: list[NDArray[np.int32]]
    clamped: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Decoded:
    """What `decode` returns.

    Attributes:
        actions: (batch, horizon, action_dim) float64, in raw units if the tokenizer has statistics.
        ok: (batch,) bool: whether the tokens stand for exactly one chunk; with `partial`, for a chunk or the beginning of one.
        errors: one message per row, "" if the row is ok.
    """

    actions: NDArray[np.float64]
    ok: NDArray[np.bool_]
    errors: list[str]


@dataclass(frozen=True, eq=False)
class ActionTokenizer:
    """A FAST tokenizer. Make one with `fit` or `load`.

    Attributes:
        bpe: the vocabulary.
        scale: factor before rounding.
        min_token: smallest coefficient that has a code.
        max_token: largest coefficient that has a code; None if a published folder does not say.
        stats: action statistics by embodiment.
        state_stats: proprio statistics by embodiment.
        embodiments: what each embodiment is.
        transforms: what turns each embodiment's chunks into coefficients; an embodiment without an entry has the DCT.
        tried: what a fit with transform "auto" compared, by embodiment; `save` does not store it.
    """

    bpe: Bpe
    scale: float
    min_token: int
    max_token: int | None
    stats: Mapping[str, NormStats] = field(default_factory=dict)
    state_stats: Mapping[str, NormStats] = field(default_factory=dict)
    embodiments: Mapping[str, Embodiment] = field(default_factory=dict)
    transforms: Mapping[str, Transform] = field(default_factory=dict)
    tried: Mapping[str, tuple[Tried, ...]] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        chunks: NDArray[Any] | Iterable[NDArray[Any]] | Mapping[str, Iterable[NDArray[Any]]],
        vocab_size: int = 1024,
        scale: float = 10.0,
        mode: FitMode = "native",
        stats: NormStats | Mapping[str, NormStats] | None = None,
        embodiments: Mapping[str, Embodiment] | None = None,
        track: learn.Track = lambda merges: merges,
        transform: TransformName | TransformPlan | SplineConfig = "dct",
    ) -> "ActionTokenizer":
        """Learns a vocabulary. The chunks are read once and kept in a temporary file, so they may exceed memory.

        Args:
            chunks: (n, T, D) in raw units, an iterable of (T, D) or (n, T, D), or {embodiment: either} if there are several.
                Without a name, they are those of the only embodiment. Relative dims must be relative already.
            vocab_size: number of ids.
            scale: factor before rounding: coarse at 1, fine at 100.
            stats: None (chunks are normalised already), one NormStats, or {embodiment: NormStats}.
            mode: `native` has every code that a chunk normalised to [-1, 1] can have, and all that the fit saw. `published` gives
                the files and tokens of the published code, byte for byte. `fixed` codes the control points of splines, in as many
                bins as there are ids: every chunk has the same number of tokens, and the fit learns only the range of the points.
            embodiments: what is tokenised of each embodiment, if it is not simply every dim. Each needs chunks.
            track: wraps the loop over merges, to show progress.
            transform: `dct`, as published; `auto`, the one that needs the fewest ids at the DCT's error on held-out chunks (a
                fifth of the chunks, or those of a `TransformPlan`), or the DCT if no other saves 3 % of the ids; or `basis`,
                `rotation` or `both` (`fasttok.codec.learn_transform`). All but `dct` work only for chunks of one length. For mode
                `fixed`, a `SplineConfig` says how many control points there are.

        Raises:
            InputError: no chunks, NaN or inf, a vocabulary smaller than the coefficient range, a scale that rounds every
                coefficient to 0, a transform that the mode or the chunks do not allow, or names that do not go together.
        """
        plan = TransformPlan.of(transform)
        made = CodecFit(scale, vocab_size, mode, plan, track)
        shapes = dict(embodiments or {})
        named = {} if isinstance(stats, NormStats) else stats or {}
        alone = "" if isinstance(chunks, Mapping) else _only_name({*named, *shapes})
        by_name: Mapping[str, NormStats] = {alone: stats} if isinstance(stats, NormStats) else named
        groups = chunks if isinstance(chunks, Mapping) else {alone: chunks}
        known = by_name or shapes
        _check_names("chunks", groups if known else (), known)
        _check_names("embodiments", shapes, groups)
        _check_names("held-out chunks of the transform", plan.held_out, groups)
        with Corpus() as corpus:
            for name, group in groups.items():
                whole = Channels.of(by_name.get(name), shapes.get(name))
                values = replace(whole, relative=())  # references are subtracted already
                batches = (values.forward(_finite(_chunks(batch))) for batch in _batches(group))
                near = plan.held_out.get(name)
                near = None if near is None else values.forward(_finite(_chunks(near)))
                made.add(corpus, name if known else "", batches, values.unit, near)
            if not corpus.rows:
                raise InputError("ActionTokenizer.fit: no chunks; nothing to learn from")
            learned, low, high = made.vocabulary(corpus)
        return cls(learned, made.scale, low, high, dict(by_name), {}, shapes, made.other_transforms, made.tried)

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.bpe.size

    @property
    def mode(self) -> FitMode:
        """`native`, `published`, or `fixed` for control points of splines."""
        return "fixed" if any(isinstance(one, Spline) for one in self.transforms.values()) else self.bpe.mode

    def transform(self, embodiment: str | None = None) -> Transform:
        """Returns what turns normalised chunks of an embodiment into coefficients.

        Raises:
            InputError: as `embodiment`.
        """
        return self.transforms.get(self.embodiment(embodiment) or "", DCT) if self.transforms else DCT

    def embodiment(self, name: str | None) -> str | None:
        """Returns the embodiment to use: `name`, or the only one there is; None if this tokenizer has none.

        Raises:
            InputError: `name` is unknown, or it is None and there are several embodiments.
        """
        known = self.stats or self.embodiments
        if not known:
            if name:
                raise InputError(f"embodiment {name!r} was asked for, but this tokenizer contains no statistics")
            return None
        if name is None:
            if len(known) > 1:
                raise InputError(
                    f"this tokenizer contains several embodiments ({', '.join(known)}): say whose with embodiment= "
                    "(on the command line: --embodiment)"
                )
            return next(iter(known))
        if name not in known:
            raise unknown_name("embodiment", name, known)
        return name

    def embodiment_argument(self, name: str) -> str | None:
        """Name to pass as `embodiment=`, or None if this tokenizer stores no statistics."""
        return name if self.stats or self.embodiments else None

    def channels(self, embodiment: str | None = None) -> Channels:
        """Returns how raw units of an embodiment become the numbers that the transform takes.

        Raises:
            InputError: as `embodiment`.
        """
        name = self.embodiment(embodiment) or ""
        channels = self._channels.get(name)
        if channels is None:
            channels = self._channels[name] = Channels.of(self.stats.get(name), self.embodiments.get(name))
        return channels

    @cached_property
    def _channels(self) -> dict[str, Channels]:
        return {}

    @cached_property
    def _grammar(self) -> Grammar:
        return Grammar(self.bpe, None if self.max_token is None else self.max_token - self.min_token)

    def coefficients(
        self, chunks: NDArray[Any], *, embodiment: str | None = None, reference: NDArray[Any] | None = None
    ) -> NDArray[np.int64]:
        """Returns the rounded coefficients of raw-unit chunks, not clamped: (B, T, D) or (T, D) -> (B, T, C) int64, as coded.

        C is the number of dims without those that the embodiment leaves out. With the DCT, each row is a frequency. A learned
        transform may order its coefficients otherwise. Splines have as many rows as a dim has control points.

        Raises:
            InputError: wrong shape, wrong number of dims, NaN or inf (with its position).
        """
        x = _chunks(chunks)
        coefs = self._coefficients(x, embodiment, reference)
        if not (np.abs(coefs) < 2**62).all():  # NaN fails it too
            self._refuse(x, coefs)
        return coefs.astype(np.int64)

    def _coefficients(
        self, x: NDArray[Any], embodiment: str | None, reference: NDArray[Any] | None, first: int = 0
    ) -> NDArray[Any]:
        """Returns the coefficients of `x`. `first` numbers the first chunk in error messages.

        NaN and inf are checked only if the chunks are normalised here.
        """
        channels = self.channels(embodiment)
        x = x if channels.plain else channels.forward(_finite(x, first), reference)
        return self.transform(embodiment).coefficients(x, self.scale)

    def _refuse(self, x: NDArray[Any], coefs: NDArray[Any], first: int = 0) -> NoReturn:
        """Raises an error that says why chunks have no coefficients."""
        _finite(x, first)
        most = np.abs(coefs).max()
        b, t, d = np.unravel_index(np.abs(x).argmax(), x.shape)
        why = "is it a glitch, or are the actions not normalised?"
        place = f"chunk {first + b}, step {t}, dim {d}"
        raise InputError(f"a coefficient of {most:.3g} is far outside any vocabulary; {place} is {x[b, t, d]:g}: {why}")

    def encode(
        self,
        chunks: NDArray[Any],
        *,
        embodiment: str | None = None,
        on_range: OnRange = "clamp",
        reference: NDArray[Any] | None = None,
        first: int = 0,
    ) -> list[NDArray[np.int32]]:
        """Encodes action chunks to FAST ids.

        Args:
            chunks: (B, T, D) or (T, D); raw units if the tokenizer has statistics, else normalised.
            embodiment: whose statistics to use, if the tokenizer has several.
            on_range: what to do with coefficients outside [min_token, max_token]: "clamp" moves them to the edge and warns how
                many there were (`ClampWarning`), "raise" raises an error.
            reference: (B, D) or (D,) raw units, for embodiments with relative dims.
            first: number of the first chunk, for messages about chunks that are a part of more.

        Returns:
            B arrays of ids in [0, vocab_size).

        Raises:
            InputError: as `coefficients`; a coefficient is out of range and `on_range` is "raise"; or the fit of a published
                vocabulary never saw a code.
        """
        if on_range not in ON_RANGE:
            raise unknown_name("on_range policy", on_range, ON_RANGE)
        ids, lengths, clamped, outside = self._encode(chunks, embodiment, reference, first)
        if outside:
            what = f"{int(clamped.sum())} coefficients are outside [{self.min_token}, {self.max_token}], the first {outside}"
            if on_range == "raise":
                raise InputError(f"{what}; fit on data of this range, or encode with on_range='clamp'")
            warnings.warn(f"{what}; clamped", ClampWarning, stacklevel=2)
        return bpe.split(ids, lengths)

    def encode_report(
        self,
        chunks: NDArray[Any],
        *,
        embodiment: str | None = None,
        reference: NDArray[Any] | None = None,
        first: int = 0,
    ) -> Encoded:
        """Encodes as `encode` does with on_range "clamp", but counts the clamped coefficients of each chunk instead of warning.

        Raises:
            InputError: as `coefficients`; or the fit of a published vocabulary never saw a code.
        """
        ids, lengths, clamped, _ = self._encode(chunks, embodiment, reference, first)
        return Encoded(bpe.split(ids, lengths), clamped)

    def _encode(
        self, chunks: NDArray[Any], embodiment: str | None, reference: NDArray[Any] | None, first: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], str]:
        """Returns (ids of all chunks joined, ids per chunk, clamped coefficients per chunk, the first of these in words)."""
        x = _chunks(chunks)
        reference = None if reference is None else reference_numbers(reference)
        own = reference is not None and np.ndim(reference) > 1 and len(reference) != 1  # whether each chunk has its own
        if reference is not None and own and len(reference) != len(x) and self.channels(embodiment).relative:
            raise InputError(f"reference has shape {np.shape(reference)}, expected ({len(x)}, {x.shape[2]})")
        step = max(1, TILE // (x.shape[1] * x.shape[2]))
        parts, outside = [], ""
        for start in range(0, max(len(x), 1), step):
            tile = x[start : start + step]
            near = reference[start : start + step] if reference is not None and own else reference
            coefs = self._coefficients(tile, embodiment, near, first + start)
            rows = coefs.reshape(len(coefs), coefs.shape[1] * coefs.shape[2]).astype(np.float64, copy=False)
            try:
                ids, lengths, clamped, moved = self.bpe.encode(rows, self.min_token, self.max_token, first + start)
            except bpe.NotFiniteError:
                self._refuse(tile, coefs, first + start)
            if moved and not outside:
                outside = self._first_outside(coefs, first + start)
            parts.append((ids, lengths, clamped))
        if len(parts) > 1:
            ids, lengths, clamped = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return ids, lengths, clamped, outside

    def _first_outside(self, coefs: NDArray[Any], start: int) -> str:
        limit = np.inf if self.max_token is None else self.max_token
        b, t, d = np.argwhere((coefs < self.min_token) | (coefs > limit))[0]
        where = f"coefficient {t * coefs.shape[2] + d}" if self.transforms else f"frequency {t}, dim {d}"
        return f"{coefs[b, t, d]:.0f} in chunk {start + b}, {where}"

    def decode(
        self,
        ids: Sequence[Any] | NDArray[Any],
        *,
        horizon: int,
        action_dim: int,
        embodiment: str | None = None,
        on_error: OnError = "raise",
        hold: NDArray[Any] | None = None,
        reference: NDArray[Any] | None = None,
        partial: bool = False,
    ) -> Decoded:
        """Decodes FAST ids to action chunks. A row that does not decode to exactly one chunk's coefficients is an error.

        With `partial`, the first k ids of a chunk decode too, for any k from 0 on. Tokens code low frequencies first, so the
        motion as a whole comes first and its details come later. Coefficients that no id stands for yet are 0; without any id,
        every step is the middle of each dim's range. `fasttok eval` prints the error for each share of the tokens.

        Args:
            ids: one sequence of ids per chunk, or a single sequence.
            horizon: steps per chunk.
            action_dim: dims per step.
            embodiment: whose statistics to use, if the tokenizer has several.
            on_error: what to do with a row that is an error: "raise" an InputError, or set its `ok` to False and return: "mask",
                NaN actions; "pad", the readable beginning (missing high frequencies become 0, surplus values are dropped);
                "hold", the action `hold` repeated.
            hold: (action_dim,) or (B, action_dim) raw units, the action to repeat for on_error="hold".
            reference: (B, D) or (D,) raw units, for embodiments with relative dims.
            partial: whether to accept rows that end early, for a model whose tokens are cut to save time. A row that no further
                ids could complete is still an error: it has too many coefficients, one out of range, or an unknown id.

        Returns:
            Decoded. Nothing is remembered between calls.

        Raises:
            InputError: on_error is "raise" and a row fails, or the arguments do not fit together.
        """
        if on_error not in ON_ERROR:
            raise unknown_name("on_error policy", on_error, ON_ERROR)
        if horizon < 1 or action_dim < 1:
            raise InputError(f"decode: {horizon} steps x {action_dim} dims, expected at least one of each")
        if on_error == "hold" and hold is None:
            raise InputError("decode: on_error='hold' needs hold=, the action to repeat, (action_dim,) in raw units")
        channels = self.channels(embodiment)
        if channels.dim is not None and channels.dim != action_dim:
            raise InputError(
                f"decode: action_dim is {action_dim}, embodiment {self.embodiment(embodiment)!r} has {channels.dim} dims"
            )
        width = channels.count(action_dim)
        rows = [ids] if len(ids) and np.ndim(ids[0]) == 0 else list(ids)
        repeated = _repeated(hold, len(rows), action_dim) if on_error == "hold" else None
        flat, lengths = bpe.join(rows)
        transform = self.transform(embodiment)
        size = transform.rows(horizon) * width
        coefs, errors = self.bpe.decode(flat, lengths, size, self.min_token, self.max_token, partial)
        if partial:  # a published id may end inside a character
            errors = {row: why for row, why in errors.items() if not self._grammar.begins(rows[row], size)}
        if errors and on_error == "raise":
            row = min(errors)
            shape = f"{horizon} steps x {width} dims"
            raise InputError(f"decode: row {row} ({shape}): {errors[row]}; see on_error for other policies")
        out = transform.actions(coefs, self.scale, horizon, width)
        if not channels.plain:
            out = channels.backward(out, reference)
        ok = np.ones(len(rows), bool)
        if not errors:
            return Decoded(out, ok, [""] * len(rows))
        ok[list(errors)] = False
        if on_error == "mask":
            out[~ok] = np.nan
        elif repeated is not None:
            out[~ok] = repeated[~ok, None, :]
        return Decoded(out, ok, [errors.get(row, "") for row in range(len(rows))])

    def allowed_next(
        self,
        prefix_ids: Sequence[int] | NDArray[Any],
        *,
        horizon: int,
        action_dim: int,
        embodiment: str | None = None,
    ) -> NDArray[np.int32]:
        """Returns the ids that may follow a prefix so that it can still become a chunk of (horizon, action_dim).

        Args:
            prefix_ids: ids so far.
            horizon: steps per chunk.
            action_dim: dims per step.
            embodiment: as in `decode`; needed only if there are several and one of them leaves dims out, or has a transform other
                than the DCT.

        Returns:
            Sorted ids; empty when the prefix is complete.

        Raises:
            InputError: the prefix itself can no longer be completed.
        """
        return self._grammar.allowed(prefix_ids, self._size(horizon, action_dim, embodiment))

    def completions(self, horizon: int, action_dim: int, embodiment: str | None = None) -> Completions:
        """Returns tables of how ids complete a chunk of (horizon, action_dim), for decoders with a limit on tokens.

        Args:
            horizon: steps per chunk.
            action_dim: dims per step.
            embodiment: as in `allowed_next`.

        Raises:
            InputError: no sequence of ids stands for a chunk of this shape.
        """
        top = None if self.max_token is None else self.max_token - self.min_token
        return Completions.of(self.bpe, top, self._size(horizon, action_dim, embodiment))

    def _size(self, horizon: int, action_dim: int, embodiment: str | None) -> int:
        """Returns the number of coefficients of a chunk."""
        if self.transforms:
            return self.transform(embodiment).rows(horizon) * self.channels(embodiment).count(action_dim)
        if embodiment is None and all(what.gripper != "omit" for what in self.embodiments.values()):
            return horizon * action_dim
        return horizon * self.channels(embodiment).count(action_dim)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of what decides the tokens, as 16 hex characters.

        It covers the vocabulary, the scale, the range, the transforms, the action statistics, and what is tokenised.
        """
        limits = {"min": self.min_token, "max": self.max_token, "scale": self.scale}
        special = {
            name: [what.gripper, what.relative, what.gain, *([what.relative_to] if what.relative_to else [])]
            for name, what in sorted(self.embodiments.items())
            if what.gripper != "keep" or what.relative or what.gain
        }
        channels = {"channels": special} if special else {}
        transforms = {"transforms": transform_file.digest(self.transforms)} if self.transforms else {}
        stats = {name: s.to_json() for name, s in sorted(self.stats.items())}
        text = self.bpe.to_json() + json.dumps([{**limits, **channels, **transforms}, stats], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def save(self, path: str | Path, *, card: str = "", overwrite: bool = False) -> None:
        """Writes the tokenizer folder, completely or not at all. `fasttok.storage.folder` lists its files.

        With a transform other than the DCT, the vocabulary file has another name, so that no program decodes the ids by the DCT.

        Raises:
            InputError: the folder exists and is not empty, and `overwrite` is False.
        """
        content = TokenizerFolder(
            self.bpe,
            self.scale,
            self.min_token,
            self.max_token,
            self.stats,
            self.state_stats,
            self.embodiments,
            transforms=self.transforms,
        )
        folder.save(content, Path(path), card, overwrite, self.fingerprint)

    @classmethod
    def load(cls, path: str | Path, max_token: int | None = None) -> "ActionTokenizer":
        """Reads a folder that `save` or the published processor wrote, without network, pickle or remote code.

        Args:
            path: the folder.
            max_token: the largest coefficient to accept if the folder does not record one, as published folders do not. Without
                it, all tokens that are valid UTF-8 decode, however large their actions are.

        Raises:
            InputError: a file is missing or not what it should be; or another program saved the folder again and dropped
                statistics.
        """
        content = folder.load(Path(path))
        tok = cls(
            content.bpe,
            content.scale,
            content.min_token,
            max_token if content.max_token is None else content.max_token,
            content.stats,
            content.state_stats,
            content.embodiments,
            content.transforms,
        )
        if content.fingerprint not in (None, tok.fingerprint):  # another program may have written the vocabulary anew
            fitted = replace(tok, bpe=tok.bpe.as_fitted())
            if fitted.fingerprint == content.fingerprint:
                return fitted
            saved_again.warn_of_other(Path(path), content.fingerprint, tok.fingerprint)
        return tok


def _only_name(names: Collection[str]) -> str:
    """Returns the name of chunks that were given without one: the only one of `names`, or "" if there is none.

    Raises:
        InputError: there are several.
    """
    if len(names) > 1:
        raise InputError(
            f"ActionTokenizer.fit: stats and embodiments have several names ({', '.join(sorted(names))}), but the chunks have "
            "none; pass {name: chunks}"
        )
    return next(iter(names), "")


def _check_names(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuses names without which a fit would ignore what they stand for."""
    for name in names:
        if name not in known:
            raise InputError(f"ActionTokenizer.fit: {what}: {unknown_name('embodiment', name, known)}")


def _batches(group: NDArray[Any] | Iterable[NDArray[Any]], size: int = 1024) -> Iterator[NDArray[Any]]:
    """Yields (n, T, D) arrays from one array, or from an iterable of (T, D) or (n, T, D) arrays whose T may differ."""
    arrays = [group] if isinstance(group, np.ndarray) and group.ndim == 3 else group
    for ndim, alike in itertools.groupby(map(np.asarray, arrays), lambda array: array.ndim):
        if ndim == 3:
            yield from (array[i : i + size] for array in alike for i in range(0, len(array), size))
        elif ndim == 2:
            yield from stacks(alike, size)
        else:
            shape = next(alike).shape
            raise InputError(f"ActionTokenizer.fit: a chunk has shape {shape}, expected (horizon, action_dim)")


def _repeated(hold: NDArray[Any] | None, rows: int, action_dim: int) -> NDArray[np.float64]:
    """Returns (rows, action_dim), the action that replaces each row that is an error.

    This is checked before there is an error: a robot should not meet it at its first wrong row.
    """
    try:
        array = np.asarray(hold, np.float64)
    except (ValueError, TypeError):
        raise InputError(
            f"decode: hold is {hold!r:.60}, expected ({action_dim},) or ({rows}, {action_dim}) numbers"
        ) from None
    if array.shape not in ((), (action_dim,), (1, action_dim), (rows, action_dim)):
        raise InputError(
            f"decode: hold has shape {array.shape}, expected ({action_dim},) or ({rows}, {action_dim}) numbers"
        )
    return np.broadcast_to(array, (rows, action_dim))


def _chunks(chunks: NDArray[Any]) -> NDArray[Any]:
    """Returns chunks as (B, T, D), after checking that they are numbers."""
    x = np.asarray(chunks)
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3 or 0 in x.shape[1:]:
        raise InputError(
            f"action chunks have shape {x.shape}, expected (batch, horizon, action_dim) or (horizon, action_dim)"
        )
    if x.dtype.kind not in "fiub":
        raise InputError(f"action chunks have dtype {x.dtype}, expected numbers")
    return x.astype(x.dtype.newbyteorder("="), copy=False)  # scipy takes half floats in this machine's byte order only


def _finite(x: NDArray[Any], first: int = 0) -> NDArray[Any]:
    """Returns the chunks, after checking that they are finite. `first` is the number of the first one, for messages.

    Raises:
        InputError: a value is NaN or inf; the message names its place.
    """
    finite = np.isfinite(x)
    if not finite.all():
        b, t, d = np.argwhere(~finite)[0]
        raise InputError(
            f"{x[b, t, d]} in chunk {first + b}, step {t}, dim {d} ({int((~finite).sum())} such values in all)"
        )
    return x
