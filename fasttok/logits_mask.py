"""FAST that always decodes: a mask over a language model's logits, so that what it generates is one whole action chunk.

It works with the `generate` of transformers and, by `inside`, with policies that sample in a loop of their own, such as lerobot's
pi0-FAST. It imports neither: torch is used only for logits that are torch tensors. docs/constrained_decoding.md shows it in use.
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

    That of pi0-FAST (openpi@15a9616a, src/openpi/models/tokenizer.py; lerobot 0.6.1) with PaliGemma's tokenizer:

        ActionFormat(Placement(257_152, skip=128, action_vocab=2048), eos_id=1,
                     opening=text.encode("Action: ", add_special_tokens=False),
                     closing=text.encode("|", add_special_tokens=False))

    Attributes:
        placement: which tokens stand for FAST ids; `Placement(first, skip=None, ...)` if they count upwards from `first`.
        eos_id: ends the sequence.
        opening: tokens before the FAST tokens; () if nothing stands between the prompt and them.
        closing: tokens after them; () if the end follows at once.
        pad_id: fills a row that has ended while others go on; None: `eos_id`.

    Raises:
        InputError: what should be a token is none, or stands for an action.
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
        """What follows the FAST tokens."""
        return (*self.closing, self.eos_id)

    @property
    def padding(self) -> int:
        """What follows the end."""
        return self.eos_id if self.pad_id is None else self.pad_id


class GenerateArguments(TypedDict):
    """Arguments of transformers' `generate`.

    Attributes:
        logits_processor: list with the mask.
        max_new_tokens: room for every chunk.
        eos_token_id: ends a row.
        pad_token_id: fills it then.
    """

    logits_processor: Sequence["LogitsMask"]
    max_new_tokens: int
    eos_token_id: int
    pad_token_id: int


class _RowSoFar(NamedTuple):
    """What a row has generated.

    Attributes:
        tokens: how many.
        pending: state of `Completions`.
        left: codes that are not ended yet.
        ended: tokens after the chunk.
        broken: whether it can become no chunk any more; only beams of likelihood 0 are.
    """

    tokens: int
    pending: int
    left: int
    ended: int
    broken: bool


@dataclass(frozen=True, eq=False)
class LogitsMask:
    """Leaves only tokens by which a row becomes one whole chunk within `max_new_tokens`; make one with `of`.

    It is a logits processor of transformers: `mask(input_ids, scores)` gives the scores with minus infinity wherever a token may
    not stand. Whatever the logits are, greedy, sampled and beam search end in a chunk: opening, FAST tokens of exactly horizon x
    action_dim coefficients, closing, end of sequence. Calls share nothing but a cache, so threads may share a mask.

    Attributes:
        tok: the action tokenizer.
        horizon: steps of a chunk.
        action_dim: dims of a step.
        form: how the model writes a chunk.
        completions: tables of `tok` for such a chunk.
        max_new_tokens: tokens in which every row ends, all that it generates counted.
        prompt_length: columns of `input_ids` before what is generated, padding included; None: each row goes on after the last
            opening that it contains.
        embodiment: whose chunks, if the tokenizer has several.
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
        """A mask for chunks of one shape.

        Args:
            tok: the action tokenizer; `ActionTokenizer.load` reads the published folders, too.
            form: how the model writes a chunk.
            horizon: steps of a chunk.
            action_dim: dims of a step.
            embodiment: whose chunks, if the tokenizer has several and one of them leaves dims out.
            prompt_length: as in the class.
            max_new_tokens: most tokens of a row, its opening, closing and end counted: the mask then keeps to paths that end in
                time. None: as many as the vocabulary's longest chunk needs, so that no chunk is excluded.

        Raises:
            InputError: no chunk has so few tokens, or the format is not that of this tokenizer.
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
        """The same mask for prompts of another length.

        Raises:
            InputError: this one looks for its opening in the prompt.
        """
        if self.prompt_length is None:
            raise InputError(
                "this mask looks for its opening in the prompt, whatever its length; make one with prompt_length=0"
            )
        return replace(self, prompt_length=prompt_length)

    def arguments(self) -> GenerateArguments:
        """For `model.generate(**inputs, **mask.arguments())`: the mask, room for every chunk, and how rows end."""
        from transformers import LogitsProcessorList

        return {
            "logits_processor": LogitsProcessorList([self]),
            "max_new_tokens": self.max_new_tokens,
            "eos_token_id": self.form.eos_id,
            "pad_token_id": self.form.padding,
        }

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores of the next token with minus infinity where it may not stand.

        Args:
            input_ids: (rows, length) prompt and what was generated; a numpy array or a torch tensor.
            scores: (rows, vocabulary) logits or log probabilities, of the same kind; they stay as they are.

        Returns:
            As `scores`. Where all tokens that may stand have minus infinity or NaN, each of them gets 0.

        Raises:
            InputError: as `allowed`, or the vocabulary is smaller than the format.
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
        """What may come next.

        Args:
            rows: (rows, length) as `input_ids`.

        Returns:
            (rows, FAST ids) bool; and (rows,) the one token that must come, -1 where a FAST id must. A row that can become no
            chunk has neither.

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
        if seen and not self._seen and all(row.broken for row in seen.values()):  # later, beams may be
            where = "after its opening" if self.prompt_length is None else f"from column {self.prompt_length} on"
            raise InputError(
                f"no row is the beginning of a chunk {where}; prompt_length must be the columns of the prompt, padding included, "
                "or the opening the end of it"
            )
        object.__setattr__(self, "_seen", seen)  # at once, as threads may share it
        return allowed, forced

    def decode(self, sequences: Any, *, on_error: OnError = "raise", partial: bool = False) -> Decoded:
        """Chunks of generated rows.

        Args:
            sequences: (rows, length) as `generate` returns them, a numpy array or a torch tensor; with the prompt, unless
                prompt_length is 0.
            on_error: as in `ActionTokenizer.decode`.
            partial: take rows whose generation was stopped before their end, as `ActionTokenizer.decode` does.

        Returns:
            As `ActionTokenizer.decode`.

        Raises:
            InputError: a row is no whole chunk (with `partial`, not the beginning of one) and `on_error` is "raise", or it has no
                opening.
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
            partial=partial,
        )

    @contextmanager
    def inside(self, lm_head: Any, embedding: Any) -> Iterator[None]:
        """Masks a torch policy that samples in a loop of its own, as long as the context lasts.

        It listens to two modules: `embedding` gets the prompt and then each token that was drawn; `lm_head` gives the logits of
        the next one. The mask must have prompt_length 0, as all that it sees was generated.

        Args:
            lm_head: module that gives (rows, 1, vocabulary) logits.
            embedding: module that takes (rows, n) tokens; n > 1 begins a new prompt, 1 is what was drawn.

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
        """What is generated before FAST tokens."""
        return () if self.prompt_length is None else tuple(self.form.opening)

    def _start(self, row: NDArray[np.int64], number: int) -> int:
        """Where the generated part of a row begins."""
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
        """State of what a row generated, from that of all but its last token if the step before saw it."""
        before = self._seen.get(own[:-1].tobytes()) if len(own) else None
        if before is not None:
            return self._next(before, int(own[-1]))
        written = _RowSoFar(0, 0, self.completions.size, 0, False)
        for token in own.tolist():
            written = self._next(written, token)
        return written

    def _forced(self, written: _RowSoFar) -> int | None:
        """The token that has to come; None where a FAST id has."""
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
        over = not left and ended >= len(self.form.ending)  # after its end anything may fill the row
        broken = broken or (token != forced and not over)
        return _RowSoFar(tokens + 1, pending, left, ended + (not left), broken)


def _masked_array(
    scores: NDArray[Any], columns: NDArray[np.int64], allowed: NDArray[np.bool_], forced: NDArray[np.int64]
) -> NDArray[Any]:
    out = np.full_like(scores, -np.inf)
    picked = scores[:, columns]
    picked = np.where(allowed & ~np.isnan(picked), picked, -np.inf)
    best = picked.max(axis=1, keepdims=True)
    even = allowed & (picked == best)  # the tokens of infinite scores, or all if none is finite
    out[:, columns] = np.where(np.isinf(best), np.where(even, 0, -np.inf), picked)
    rows = np.flatnonzero(forced >= 0)
    last = scores[rows, forced[rows]]
    out[rows, forced[rows]] = np.where(np.isfinite(last), last, 0)
    return out


def _masked_tensor(
    scores: Any, columns: NDArray[np.int64], allowed: NDArray[np.bool_], forced: NDArray[np.int64]
) -> Any:
    """As `_masked_array`, on the tensor's device."""
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
