"""Whatever a model's logits are, what it generates under the mask is one chunk, and the published decode takes it."""

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from fasttok import ActionTokenizer, NormStats
from fasttok.actions.embodiment import Embodiment
from fasttok.codec.completions import Completions
from fasttok.errors import InputError
from fasttok.logits_mask import ActionFormat, LogitsMask
from fasttok.placement import Placement

SMOOTH = np.clip(np.cumsum(np.random.default_rng(0).normal(0, 0.15, (200, 10, 3)), axis=1), -1, 1)
BOS, EOS, PAD = 2, 1, 0
OPENING, CLOSING = (7, 8, 8), (9,)


def fitted(what: str) -> ActionTokenizer:
    if what == "wide":  # ids that end inside a character
        return ActionTokenizer.fit(SMOOTH, vocab_size=1500, scale=100, mode="published")
    return ActionTokenizer.fit(SMOOTH, vocab_size=400, mode=what)  # type: ignore[arg-type]


def form(tok: ActionTokenizer, skip: int | None = 5) -> ActionFormat:
    placement = Placement(tok.vocab_size + 40 if skip else 30, skip, tok.vocab_size)
    return ActionFormat(placement, EOS, OPENING, CLOSING, PAD)


def published_decode(tok: ActionTokenizer, ids: NDArray[np.int64], horizon: int, dims: int) -> NDArray[np.int64]:
    """Coefficients as physical-intelligence/fast makes them of ids: every character is one."""
    text = Tokenizer.from_str(tok.bpe.to_json()).decode(ids.tolist(), skip_special_tokens=False)
    return np.array([ord(char) for char in text]).reshape(horizon, dims) + int(tok.min_token)


def generate(
    mask: LogitsMask,
    prompts: NDArray[np.int64],
    logits: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    draw: np.random.Generator | None = None,
) -> NDArray[np.int64]:
    """As transformers' generate: a row that has ended is filled with padding until all have."""
    rows, ended = prompts, np.zeros(len(prompts), bool)
    for _ in range(mask.max_new_tokens):
        with np.errstate(invalid="ignore"):
            scores = mask(rows, logits(rows))
        if draw is not None:
            scores = scores + draw.gumbel(size=scores.shape)
        token = np.where(ended, PAD, scores.argmax(axis=1))
        rows = np.concatenate([rows, token[:, None]], axis=1)
        ended |= token == EOS
        if ended.all():
            return rows
    raise AssertionError("a row has not ended within max_new_tokens")


@dataclass
class Noise:
    """Logits of a model that knows nothing: normal ones, with some that are infinite or no numbers."""

    rng: np.random.Generator
    size: int
    strange: float = 0.0

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        out = self.rng.normal(0, 4, (len(rows), self.size)).astype(np.float32)
        what = self.rng.choice([np.nan, np.inf, -np.inf], out.shape)
        return np.where(self.rng.random(out.shape) < self.strange, what, out).astype(np.float32)


@pytest.mark.parametrize("skip", [5, None])
@pytest.mark.parametrize("what", ["native", "published", "wide"])
@pytest.mark.parametrize("strange", [0.0, 0.5, 1.0])
def test_any_logits_give_one_chunk(what: str, skip: int | None, strange: float) -> None:
    tok = fitted(what)
    rng = np.random.default_rng(1)
    for number, (horizon, dims) in enumerate(((4, 3), (1, 1), (2, 5))):
        mask = LogitsMask.of(tok, form(tok, skip), horizon=horizon, action_dim=dims, prompt_length=6)
        prompts = rng.integers(0, 30, (16, 6))
        logits = Noise(rng, mask.form.placement.size + 3, strange)
        rows = generate(mask, prompts, logits, rng if number else None)
        chunks = mask.decode(rows)
        for row, actions in zip(rows, chunks.actions, strict=True):
            own = row[6:]
            assert own[:3].tolist() == [*OPENING]
            ids = mask.form.placement.ids_of(own[3 : np.flatnonzero(own == CLOSING[0])[0]])
            assert own[3 + len(ids) : 5 + len(ids)].tolist() == [*CLOSING, EOS]
            assert not own[5 + len(ids) :].any()
            coefs = published_decode(tok, ids, horizon, dims)
            assert np.array_equal(coefs, tok.coefficients(actions[None])[0])


@pytest.mark.parametrize("what", ["native", "published", "wide"])
def test_a_limit_on_tokens_is_kept(what: str) -> None:
    """From the fewest tokens that any chunk has; less is refused before anything is generated."""
    tok = fitted(what)
    whole = LogitsMask.of(tok, form(tok), horizon=4, action_dim=3, prompt_length=0)
    least = int(whole.completions.fewest[0, 12]) + len(OPENING) + len(CLOSING) + 1
    rng = np.random.default_rng(2)
    for limit in (least, least + 1, least + 4):
        mask = LogitsMask.of(tok, form(tok), horizon=4, action_dim=3, prompt_length=0, max_new_tokens=limit)
        rows = generate(mask, np.zeros((32, 0), np.int64), Noise(rng, mask.form.placement.size), rng)
        assert rows.shape[1] <= limit
        assert mask.decode(rows).ok.all()
    with pytest.raises(
        InputError, match=rf"max_new_tokens is {least - 1}, .* at least {least} .*; {whole.max_new_tokens} "
    ):
        LogitsMask.of(tok, form(tok), horizon=4, action_dim=3, prompt_length=0, max_new_tokens=least - 1)


@pytest.mark.parametrize("what", ["native", "published", "wide"])
def test_the_longest_chunk_fits(what: str) -> None:
    """A model that wants the smallest pieces takes all of max_new_tokens, and not one more."""
    tok = fitted(what)
    mask = LogitsMask.of(tok, form(tok), horizon=4, action_dim=3, prompt_length=0)

    def smallest(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Prefers the id after which most can follow."""
        out = np.zeros((len(rows), mask.form.placement.size), np.float32)
        state = mask._read(rows[0])
        if state.tokens >= len(OPENING) and state.left:
            tables = mask.completions
            ways = zip(tables.after[state.pending].tolist(), tables.whole[state.pending].tolist(), strict=True)
            wishes = [most_after(tables, after, state.left - ended) for after, ended in ways]
            out[:, mask.form.placement.place(np.arange(tok.vocab_size))] = wishes
        return out

    rows = generate(mask, np.zeros((1, 0), np.int64), smallest)
    assert rows.shape[1] == mask.max_new_tokens


@functools.lru_cache(None)
def most_after(tables: Completions, state: int, left: int) -> float:
    """Most tokens that can still follow, found by trying them all; minus infinity where none end the chunk."""
    if (state, left) == (0, 0):
        return 0
    if state == len(tables.whole) or left < 0:
        return -np.inf
    ways = {*zip(tables.after[state].tolist(), tables.whole[state].tolist(), strict=True)}
    return 1 + max(most_after(tables, after, left - ended) for after, ended in ways)


@pytest.mark.parametrize("what", ["native", "published", "wide"])
def test_what_is_allowed_is_what_the_tokenizer_allows(what: str) -> None:
    """Step by step, whether the state is carried on or read anew."""
    tok = fitted(what)
    mask = LogitsMask.of(tok, form(tok), horizon=4, action_dim=3, prompt_length=0)
    rng = np.random.default_rng(3)
    for _ in range(2 if what == "wide" else 30):
        ids: list[int] = []
        while len(choices := tok.allowed_next(ids, horizon=4, action_dim=3)):
            row = np.array([[*OPENING, *mask.form.placement.place(ids)]])
            anew = dataclasses.replace(mask)
            for one in (mask, anew):
                allowed, forced = one.allowed(row)
                assert np.array_equal(np.flatnonzero(allowed[0]), choices)
                assert forced[0] == -1
            ids.append(int(rng.choice(choices)))


def test_actions_begin_after_the_prompts_last_opening() -> None:
    """Prompts of several lengths, padded on the left, one of which mentions the opening twice."""
    tok = fitted("native")
    mask = LogitsMask.of(tok, form(tok), horizon=4, action_dim=3)
    texts = [[BOS, 20, 21, *OPENING], [BOS, *OPENING, 22, 23, 24, *OPENING], [*OPENING]]
    prompts = np.array([[PAD] * (12 - len(text)) + text for text in texts])
    rng = np.random.default_rng(4)
    rows = generate(mask, prompts, Noise(rng, mask.form.placement.size), rng)
    assert mask.decode(rows).ok.all()
    assert mask.max_new_tokens == mask.completions.most + len(CLOSING) + 1
    with pytest.raises(InputError, match=r"row 1 has no opening \[7, 8, 8\]"):
        mask(np.array([prompts[0], [*prompts[0][:-1], 9]]), np.zeros((2, mask.form.placement.size)))


def test_beams_of_no_likelihood_stay_so() -> None:
    """Beam search fills its beams with tokens that may not stand if fewer may; they must never come to life again."""
    tok = fitted("native")
    mask = LogitsMask.of(tok, form(tok), horizon=4, action_dim=3, prompt_length=0)
    size = mask.form.placement.size
    action = int(mask.form.placement.place([5])[0])
    alive, broken = [*OPENING], [OPENING[0], OPENING[0], OPENING[2]]
    for rows in (
        [alive, broken],
        [[*alive, action], [*broken, action]],
        [[*alive, action, action], [*alive, action, PAD]],
    ):
        scores = mask(np.array(rows), np.zeros((2, size)))
        assert np.isfinite(scores[0]).any()
        assert not np.isfinite(scores[1]).any()


@pytest.mark.slow
def test_the_universal_tokenizer_in_paligemma(shared_data: Path) -> None:
    """FAST+, as openpi places it: 10 steps x 7 dims."""
    tok = ActionTokenizer.load(shared_data / "fast" / "universal")
    paligemma = ActionFormat(Placement(257_152, 128, 2048), 1, (4022, 235292, 235248), (235371,), 0)
    mask = LogitsMask.of(tok, paligemma, horizon=10, action_dim=7, prompt_length=3, max_new_tokens=256)
    rng = np.random.default_rng(5)
    rows = generate(mask, np.full((8, 3), 5), Noise(rng, 257_152), rng)
    chunks = mask.decode(rows)
    assert chunks.ok.all()
    for row in rows:
        ids = paligemma.placement.ids_of(row[6 : np.flatnonzero(row == 235371)[0]])
        assert published_decode(tok, ids, 10, 7).shape == (10, 7)


def test_a_wrong_prompt_length_is_an_error() -> None:
    """Otherwise every token would be forbidden, and greedy search would write token 0 to its end."""
    tok = fitted("native")
    scores, prompt = np.zeros((2, form(tok).placement.size)), np.array([[BOS, 20, 21, 22], [PAD, BOS, 20, 21]])
    make = functools.partial(LogitsMask.of, tok, form(tok), horizon=4, action_dim=3)
    with pytest.raises(InputError, match="no row is the beginning of a chunk from column 3 on; prompt_length"):
        make(prompt_length=3)(prompt, scores)
    with pytest.raises(InputError, match="row 0 has 4 columns, fewer than its prompt_length 5"):
        make(prompt_length=5)(prompt, scores)
    with pytest.raises(InputError, match="prompt_length is -1"):
        make(prompt_length=-1)
    with pytest.raises(InputError, match="no row is the beginning of a chunk after its opening"):
        make()(np.array([[*OPENING, 20], [*OPENING, 20]]), scores)


def test_dims_that_are_left_out_have_no_tokens() -> None:
    what = {"arm": Embodiment(10, 3, action_encoding=("absolute", "absolute", "gripper"), gripper="omit")}
    stats = NormStats.fit(SMOOTH.reshape(-1, 3))
    tok = ActionTokenizer.fit({"arm": SMOOTH}, vocab_size=300, stats={"arm": stats}, embodiments=what)
    mask = LogitsMask.of(tok, form(tok), horizon=10, action_dim=3, embodiment="arm", prompt_length=0)
    assert mask.completions.size == 20
    rows = generate(mask, np.zeros((4, 0), np.int64), Noise(np.random.default_rng(6), mask.form.placement.size))
    assert mask.decode(rows).actions.shape == (4, 10, 3)


def test_rows_of_a_relative_tokenizer_decode_beside_their_reference() -> None:
    """And a row that is no chunk becomes the action to hold."""
    stats = NormStats.fit(SMOOTH.reshape(-1, 3))
    what = {"arm": Embodiment(10, 3, relative=(0, 2))}
    tok = ActionTokenizer.fit({"arm": SMOOTH}, vocab_size=300, stats={"arm": stats}, embodiments=what)
    mask = LogitsMask.of(tok, form(tok), horizon=10, action_dim=3, prompt_length=0)
    states, hold = np.array([[5.0, 0, -7], [50, 0, 70], [0, 0, 0]]), np.array([0.1, 0.2, 0.3])
    ids = tok.encode(SMOOTH[:3], reference=np.zeros(3))
    rows = np.full((3, max(map(len, ids)) + len(OPENING) + len(CLOSING) + 1), EOS)
    for row, own in zip(rows, ids, strict=True):
        written = [*OPENING, *mask.form.placement.place(own), *CLOSING]
        row[: len(written)] = written
    expected = tok.decode(ids, horizon=10, action_dim=3, reference=states).actions
    assert np.array_equal(mask.decode(rows, reference=states).actions, expected)
    with pytest.raises(InputError, match="pass reference="):
        mask.decode(rows)
    rows[1, len(OPENING) + 1 :] = EOS
    held = mask.decode(rows, on_error="hold", hold=hold, reference=states)
    assert held.ok.tolist() == [True, False, True]
    assert np.array_equal(held.actions[[0, 2]], expected[[0, 2]])
    assert (held.actions[1] == hold).all()


def test_what_does_not_fit_together_is_refused() -> None:
    tok = fitted("native")
    whole = form(tok)
    with pytest.raises(InputError, match="399 action ids, the tokenizer 400"):
        LogitsMask.of(tok, dataclasses.replace(whole, placement=Placement(440, 5, 399)), horizon=4, action_dim=3)
    with pytest.raises(InputError, match="0 steps x 3 dims"):
        LogitsMask.of(tok, whole, horizon=0, action_dim=3)
    with pytest.raises(InputError, match="prompt_length"):
        LogitsMask.of(tok, dataclasses.replace(whole, opening=()), horizon=4, action_dim=3)
    with pytest.raises(InputError, match="token 100 of the opening"):
        dataclasses.replace(whole, closing=(100,))
    with pytest.raises(InputError, match="looks for its opening"):
        LogitsMask.of(tok, whole, horizon=4, action_dim=3).after(5)
    mask = LogitsMask.of(tok, whole, horizon=4, action_dim=3, prompt_length=0)
    assert mask.after(5).prompt_length == 5
    with pytest.raises(InputError, match="gives 400 logits per token, but FAST ids go up to 434"):
        mask(np.zeros((1, 0), np.int64), np.zeros((1, 400)))
    far = LogitsMask.of(tok, dataclasses.replace(whole, eos_id=440), horizon=4, action_dim=3, prompt_length=0)
    with pytest.raises(InputError, match=r"gives 440 logits .* around them up to 440"):
        far(np.zeros((1, 0), np.int64), np.zeros((1, 440)))
    wrongs: list[dict[str, Any]] = [{"eos_id": None}, {"pad_id": -1}, {"closing": "|"}, {"opening": [7.0]}]
    for wrong in wrongs:
        with pytest.raises(InputError, match="expected tokens, which are whole numbers"):
            dataclasses.replace(whole, **wrong)
    arrays: Any = np.array(OPENING)
    assert dataclasses.replace(whole, opening=arrays) == whole
    with pytest.raises(InputError, match="row 0"):
        mask.decode(np.array([[*OPENING, 100, *CLOSING, EOS]]))


def test_it_imports_no_framework() -> None:
    code = "import sys, fasttok.logits_mask; print(*{'jax', 'torch', 'transformers', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize("what", ["native", "wide"])
def test_rows_that_were_stopped_early_decode_to_what_they_say_so_far(what: str) -> None:
    tok = fitted(what)
    mask = LogitsMask.of(tok, form(tok), horizon=4, action_dim=3, prompt_length=0)
    rows = generate(mask, np.zeros((4, 0), np.int64), Noise(np.random.default_rng(3), mask.form.placement.size + 3))
    whole = mask.decode(rows)
    for length in range(len(OPENING), rows.shape[1]):
        cut = mask.decode(rows[:, :length], partial=True)
        assert cut.ok.all(), cut.errors
    assert np.array_equal(mask.decode(rows, partial=True).actions, whole.actions)
    with pytest.raises(InputError, match="coefficients, expected"):
        mask.decode(rows[:, : len(OPENING) + 1])
