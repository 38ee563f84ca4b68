"""Masks a language model's logits, so that the FAST tokens that it generates always decode to one whole action chunk.

The mask works with the `generate` of transformers and, through `LogitsMask.inside`, with policies that sample in a loop of their
own, such as lerobot's pi0-FAST. Importing this module imports neither, and torch is used only if the logits are torch tensors.
docs/constrained_decoding.md shows the mask in use.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index
from typing import Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from fasttok.codec.completions import Completions
from fasttok.errors import InputError
from fasttok.placement import Placement
from fasttok.tokenizer import ActionTokenizer, Decoded, OnError


@dataclass(frozen=True)
class ActionFormat:
    """How a language model writes a chunk: `opening`, FAST tokens, `closing`, end of sequence.

    This is the format of pi0-FAST (openpi@15a9616a, src/openpi/models/tokenizer.py; lerobot 0.6.1) with PaliGemma's tokenizer:

        ActionFormat(Placement(257_152, skip=128, action_vocab=2048), eos_id=1,
                     opening=text.encode("Action: ", add_special_tokens=False),
                     closing=text.encode("|", add_special_tokens=False))

    Attributes:
        placement: which tokens stand for FAST ids; `Placement(first, skip=None, ...)` if they count upwards from `first`.
        eos_id: token that ends the sequence.
        opening: tokens before the FAST tokens; () if the FAST tokens follow the prompt directly.
        closing: tokens after the FAST tokens; () if the end of the sequence follows directly.
        pad_id: token that fills a row that has ended while other rows go on; None for `eos_id`.

    Raises:
        InputError: one of these is not a token, or is a token that stands for an action.
    """

    placement: Placement
    eos_id: int
    opening: Sequence[int] = ()
    closing: Sequence[int] = ()
    pad_id: int | None = None

    def __post_init__(self) -> None:
        try:  # `index` also takes numpy's and torch's whole numbers
            for name in ("opening", "closing"):
                object.__setattr__(self, name, tuple(map(index, getattr(self, name))))
            wrong = min(index(token) for token in (*self.opening, *self.ending, self.padding)) < 0
        except TypeError:
            wrong = True
        if wrong:
            raise InputError(
                f"opening {self.opening!r}, closing {self.closing!r}, eos_id {self.eos_id!r} and pad_id {self.pad_id!r}: "
                "expected tokens, which are whole numbers from 0 on (text.encode(..., add_special_tokens=False) gives them)"
            )
        text = np.array([*self.opening, *self.ending, self.padding])
        actions = text[self.placement.is_action(text)]
        if len(actions):
            raise InputError(
                f"token {actions[0]} of the opening, closing or end stands for an action; check the placement"
            )

    @property
    def ending(self) -> tuple[int, ...]:
        """Tokens that follow the FAST tokens: the closing and the end of the sequence."""
        return (*self.closing, self.eos_id)

    @property
    def padding(self) -> int:
        """Token that fills a row after its end."""
        return self.eos_id if self.pad_id is None else self.pad_id


class GenerateArguments(TypedDict):
    """Arguments of transformers' `generate`.

    Attributes:
        logits_processor: list that contains the mask.
        max_new_tokens: maximum number of tokens that a row generates.
        eos_token_id: token that ends a row.
        pad_token_id: token that fills a row after its end.
    """

    logits_processor: Sequence["LogitsMask"]
    max_new_tokens: int
    eos_token_id: int
    pad_token_id: int


class _RowSoFar(NamedTuple):
    """What a row has generated so far.

    Attributes:
        tokens: number of tokens.
        pending: state in the tables of `Completions`.
        left: number of codes that are not complete yet.
        ended: number of tokens after the FAST tokens.
        broken: whether the row can no longer become a chunk, which happens only to beams of likelihood 0.
    """

    tokens: int
    pending: int
    left: int
    ended: int
    broken: bool


@dataclass(frozen=True, eq=False)
class LogitsMask:
    """Allows only tokens with which a row becomes one whole chunk within `max_new_tokens`. Make a mask with `of`.

    It is a logits processor for transformers: `mask(input_ids, scores)` returns the scores, with minus infinity for every token
    that is not allowed. Whatever the logits are, greedy search, sampling and beam search end in a chunk: opening, FAST tokens of
    exactly horizon x action_dim coefficients, closing, end of sequence. Calls share only a cache, so threads may share a mask.

    Attributes:
        tok: the action tokenizer.
        horizon: steps per chunk.
        action_dim: dims per step.
        form: how the model writes a chunk.
        completions: tables of `tok` for chunks of this shape.
        max_new_tokens: number of tokens within which every row ends; all tokens that it generates count.
        prompt_length: number of columns of `input_ids` before the generated tokens, padding included; None if the generated
            tokens of each row begin after the last opening that the row contains.
        embodiment: embodiment of the chunks, if the tokenizer has several.
    """

    tok: ActionTokenizer
    horizon: int
    action_dim: int
    form: ActionFormat
    completions: Completions
    max_new_tokens: int
    prompt_length: int | None = None
    embodiment: str | None = None
    _seen: dict[bytes, _RowSoFar] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        tok: ActionTokenizer,
        form: ActionFormat,
        *,
        horizon: int,
        action_dim: int,
        embodiment: str | None = None,
        prompt_length: int | None = None,
        max_new_tokens: int | None = None,
    ) -> "LogitsMask":
        """Makes a mask for chunks of one shape.

        Args:
            tok: the action tokenizer; `ActionTokenizer.load` also reads the published folders.
            form: how the model writes a chunk.
            horizon: steps per chunk.
            action_dim: dims per step.
            embodiment: embodiment of the chunks. If the tokenizer has several, `decode` needs it, and the mask needs it if one of
                them leaves dims out or has a transform other than the DCT.
            prompt_length: see the class.
            max_new_tokens: maximum number of tokens that a row generates, its closing, its end and a generated opening included:
                the mask keeps to paths that end in time. None for as many as the vocabulary's longest chunk needs, so that no
                chunk is excluded.

        Raises:
            InputError: no chunk has so few tokens, or the format does not belong to this tokenizer.
        """
        count = form.placement.action_vocab
        if count != tok.vocab_size:
            raise InputError(
                f"the placement has {count} action ids, the tokenizer {tok.vocab_size}; they must be equal"
            )
        if min(horizon, action_dim) < 1:
            raise InputError(f"a chunk of {horizon} steps x {action_dim} dims has no coefficients")
        if prompt_length is not None and prompt_length < 0:
            raise InputError(f"prompt_length is {prompt_length}, expected the columns of the prompt, 0 or more")
        if prompt_length is None and not form.opening:
            raise InputError(
                "without an opening the mask cannot see where actions begin; give prompt_length, the columns of the prompt"
            )
        completions = tok.completions(horizon, action_dim, embodiment)
        around = len(form.ending) + (0 if prompt_length is None else len(form.opening))
        least, most = int(completions.fewest[0, completions.size]) + around, completions.most + around
        if max_new_tokens is not None and max_new_tokens < least:
            raise InputError(
                f"max_new_tokens is {max_new_tokens}, but a chunk of {horizon} steps x {action_dim} dims takes at least {least} "
                f"tokens with what is written around it; {most} leave room for every chunk"
            )
        room = most if max_new_tokens is None else max_new_tokens
        return cls(tok, horizon, action_dim, form, completions, room, prompt_length, embodiment)

    def after(self, prompt_length: int) -> "LogitsMask":
        """Returns the same mask for prompts of another length.

        Raises:
            InputError: this mask has no `prompt_length`; it looks for its opening in the prompt.
        """
        if self.prompt_length is None:
            raise InputError(
                "this mask looks for its opening in the prompt, whatever its length; make one with prompt_length=0"
            )
        return replace(self, prompt_length=prompt_length)

    def arguments(self) -> GenerateArguments:
        """Returns arguments for `model.generate(**inputs, **mask.arguments())`: the mask, the maximum length, how rows end."""
        from transformers import LogitsProcessorList

        return {
            "logits_processor": LogitsProcessorList([self]),
            "max_new_tokens": self.max_new_tokens,
            "eos_token_id": self.form.eos_id,
            "pad_token_id": self.form.padding,
        }

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Returns the scores of the next token, with minus infinity for tokens that are not allowed.

        Args:
            input_ids: (rows, length) the prompt and the generated tokens, a numpy array or a torch tensor.
            scores: (rows, vocabulary) logits or log probabilities, of the same type as `input_ids`; they are not changed.

        Returns:
            Scores of the same shape and type. If all allowed tokens of a row have minus infinity or NaN, each of them gets 0.

        Raises:
            InputError: as `allowed`; or the model's vocabulary is too small for the tokens of the format.
        """
        around = max(*self.form.opening, *self.form.ending, self.form.padding)
        if scores.shape[-1] <= max(self._columns.max(), around):
            raise InputError(
                f"the model gives {scores.shape[-1]} logits per token, but FAST ids go up to {self._columns.max()}, and what "
                f"is written around them up to {around}; check the placement"
            )
        allowed, forced = self.allowed(input_ids if isinstance(input_ids, np.ndarray) else input_ids.cpu().numpy())
        masked = _masked_array if isinstance(scores, np.ndarray) else _masked_tensor
        return masked(scores, self._columns, allowed, forced)

    def allowed(self, rows: NDArray[np.integer[Any]]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Returns which tokens may come next in each row.

        Args:
            rows: (rows, length) the prompt and the generated tokens.

        Returns:
            (rows, FAST ids) bool: whether a FAST id may come next; and (rows,) the one token that must come next, -1 if a FAST id
            must. A row that can no longer become a chunk has neither.

        Raises:
            InputError: a row has no opening or is shorter than the prompt, or no row is the beginning of a chunk.
        """
        seen: dict[bytes, _RowSoFar] = {}
        allowed = np.zeros((len(rows), self.tok.vocab_size), bool)
        forced = np.full(len(rows), -1, np.int64)
        for number, row in enumerate(np.asarray(rows, np.int64)):
            own = row[self._start(row, number) :]
            written = seen[own.tobytes()] = self._read(own)
            token = self._forced(written)
            if written.broken:
                continue
            if token is not None:
                forced[number] = token
            else:
                budget = self.max_new_tokens - written.tokens - len(self.form.ending)
                allowed[number] = self.completions.allowed(written.pending, written.left, budget)
        # Only in the first call: in a later one, beams may be broken.
        if seen and not self._seen and all(row.broken for row in seen.values()):
            where = "after its opening" if self.prompt_length is None else f"from column {self.prompt_length} on"
            raise InputError(
                f"no row is the beginning of a chunk {where}; prompt_length must be the columns of the prompt, padding included, "
                "or the opening the end of it"
            )
        object.__setattr__(self, "_seen", seen)  # in one assignment, as threads may share the mask
        return allowed, forced

    def decode(
        self,
        sequences: Any,
        *,
        on_error: OnError = "raise",
        hold: NDArray[Any] | None = None,
        reference: NDArray[Any] | None = None,
        partial: bool = False,
    ) -> Decoded:
        """Decodes the chunks of generated rows.

        Args:
            sequences: (rows, length) as `generate` returns them, a numpy array or a torch tensor; with the prompt, unless
                prompt_length is 0.
            on_error: as in `ActionTokenizer.decode`.
            hold: the action to repeat for on_error="hold", see `ActionTokenizer.decode`.
            reference: (rows, action_dim) or (action_dim,) raw units, for tokenizers with relative dims, see
                `ActionTokenizer.decode`.
            partial: whether to accept rows whose generation was stopped before their end, see `ActionTokenizer.decode`.

        Returns:
            As `ActionTokenizer.decode`.

        Raises:
            InputError: a row is not a whole chunk (with `partial`, not the beginning of one) and `on_error` is "raise"; a row has
                no opening; or `hold` or `reference` is missing.
        """
        rows = np.asarray(sequences if isinstance(sequences, np.ndarray) else sequences.cpu().numpy(), np.int64)
        found = []
        for number, row in enumerate(rows):
            own = row[self._start(row, number) + len(self._opening) :]
            ends = np.flatnonzero(own == self.form.ending[0])
            found.append(self.form.placement.ids_of(own[: ends[0]] if len(ends) else own, check=False))
        return self.tok.decode(
            found,
            horizon=self.horizon,
            action_dim=self.action_dim,
            embodiment=self.embodiment,
            on_error=on_error,
            hold=hold,
            reference=reference,
            partial=partial,
        )

    @contextmanager
    def inside(self, lm_head: Any, embedding: Any) -> Iterator[None]:
        """Masks a torch policy that samples in a loop of its own, as long as the context lasts.

        It hooks two modules: `embedding` receives the prompt and then each sampled token; `lm_head` returns the logits of the
        next token. The mask must have prompt_length 0, because it sees only generated tokens.

        Args:
            lm_head: module that returns (rows, 1, vocabulary) logits.
            embedding: module that takes (rows, n) tokens; n > 1 is a new prompt, n = 1 is a sampled token.

        Raises:
            InputError: the mask has another prompt length.
        """
        if self.prompt_length != 0:
            raise InputError(f"prompt_length is {self.prompt_length}, expected 0: all that a loop shows was generated")
        drawn: list[NDArray[np.int64]] = []

        def embed(_: Any, inputs: tuple[Any, ...]) -> None:
            if inputs[0].shape[1] > 1:
                drawn.clear()
            else:
                drawn.append(inputs[0].cpu().numpy().astype(np.int64))

        def logits(_: Any, __: tuple[Any, ...], out: Any) -> Any:
            rows = np.concatenate([np.zeros((out.shape[0], 0), np.int64), *drawn], axis=1)
            return self(rows, out[:, -1])[:, None]

        hooks = [embedding.register_forward_pre_hook(embed), lm_head.register_forward_hook(logits)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @cached_property
    def _columns(self) -> NDArray[np.int64]:
        """Token of each FAST id."""
        return self.form.placement.place(np.arange(self.tok.vocab_size))

    @cached_property
    def _opening(self) -> tuple[int, ...]:
        """Tokens that are generated before the FAST tokens."""
        return () if self.prompt_length is None else tuple(self.form.opening)

    def _start(self, row: NDArray[np.int64], number: int) -> int:
        """Returns the column at which the generated part of a row begins."""
        if self.prompt_length is not None:
            if len(row) < self.prompt_length:
                raise InputError(
                    f"row {number} has {len(row)} columns, fewer than its prompt_length {self.prompt_length}; give the columns "
                    "of the prompt, 0 for embeddings"
                )
            return self.prompt_length
        opening = np.asarray(self.form.opening)
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(row, (len(opening), 0), constant_values=-1), len(opening)
        )
        found = np.flatnonzero((windows == opening).all(axis=1))
        if not len(found):
            raise InputError(f"row {number} has no opening {opening.tolist()} in its prompt, so actions begin nowhere")
        return int(found[-1])

    def _read(self, own: NDArray[np.int64]) -> _RowSoFar:
        """Returns the state of a generated row. If the call before saw all but its last token, only that token is read."""
        before = self._seen.get(own[:-1].tobytes()) if len(own) else None
        if before is not None:
            return self._next(before, int(own[-1]))
        written = _RowSoFar(0, 0, self.completions.size, 0, False)
        for token in own.tolist():
            written = self._next(written, token)
        return written

    def _forced(self, written: _RowSoFar) -> int | None:
        """Returns the one token that must come next; None if a FAST id must."""
        if written.tokens < len(self._opening):
            return self._opening[written.tokens]
        if written.left:
            return None
        return self.form.ending[written.ended] if written.ended < len(self.form.ending) else self.form.padding

    def _next(self, written: _RowSoFar, token: int) -> _RowSoFar:
        tokens, pending, left, ended, broken = written
        forced = self._forced(written)
        if forced is None:
            number = int(self.form.placement.ids_of([token], check=False)[0])
            if broken or not 0 <= number < self.tok.vocab_size:
                return _RowSoFar(tokens + 1, pending, left, ended, True)
            rest = left - int(self.completions.whole[pending, number])
            after = int(self.completions.after[pending, number])
            broken = rest < 0 or not self.completions.possible(after, rest)
            return (
                _RowSoFar(tokens + 1, pending, left, ended, True)
                if broken
                else _RowSoFar(tokens + 1, after, rest, 0, False)
            )
        over = not left and ended >= len(self.form.ending)  # after its end, any token may fill the row
        broken = broken or (token != forced and not over)
        return _RowSoFar(tokens + 1, pending, left, ended + (not left), broken)


def _masked_array(
    scores: NDArray[Any], columns: NDArray[np.int64], allowed: NDArray[np.bool_], forced: NDArray[np.int64]
) -> NDArray[Any]:
    out = np.full_like(scores, -np.inf)
    picked = scores[:, columns]
    picked = np.where(allowed & ~np.isnan(picked), picked, -np.inf)
    best = picked.max(axis=1, keepdims=True)
    # Used if the best score is infinite: the tokens that have +inf, or all allowed ones if no score is finite.
    even = allowed & (picked == best)
    out[:, columns] = np.where(np.isinf(best), np.where(even, 0, -np.inf), picked)
    rows = np.flatnonzero(forced >= 0)
    last = scores[rows, forced[rows]]
    out[rows, forced[rows]] = np.where(np.isfinite(last), last, 0)
    return out


def _masked_tensor(
    scores: Any, columns: NDArray[np.int64], allowed: NDArray[np.bool_], forced: NDArray[np.int64]
) -> Any:
    """Does what `_masked_array` does, on the tensor's device."""
    import torch

    nowhere = float("-inf")
    places, may = (torch.as_tensor(array, device=scores.device) for array in (columns, allowed))
    out = torch.full_like(scores, nowhere)
    picked = scores[:, places]
    picked = picked.masked_fill(~may | picked.isnan(), nowhere)
    best = picked.amax(dim=1, keepdim=True)
    even = torch.zeros_like(picked).masked_fill(~(may & (picked == best)), nowhere)
    out[:, places] = torch.where(best.isinf(), even, picked)
    rows = np.flatnonzero(forced >= 0)
    if len(rows):
        at = torch.as_tensor(rows, device=scores.device), torch.as_tensor(forced[rows], device=scores.device)
        last = scores[at]
        out[at] = torch.where(last.isfinite(), last, torch.zeros_like(last))
    return out
