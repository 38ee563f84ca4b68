"""The compiled merges against the `tokenizers` library, on vocabularies and texts chosen to be awkward."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from fasttok.codec.bpe import Bpe
from fasttok.codec.corpus import Corpus
from fasttok.codec.learn import MAX_TOKEN_LENGTH, learn
from fasttok.errors import InputError

# Codes that GPT-2's pattern treats differently: white space, contractions, digits, letters, signs, two and three bytes.
AWKWARD = [ord(c) for c in " \t\n  's'll've'd're't'm09²½azÀéŢŢ%-_।॥ก€\x00\x7f\x85\x1c"]
MODES = ["native", pytest.param("published", marks=pytest.mark.slow)]


def library(mode: str, texts: list[str], vocab_size: int, alphabet: list[str]) -> Tokenizer:
    """A vocabulary that the library learns."""
    tok = Tokenizer(models.BPE())
    if mode == "published":
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=alphabet,
        max_token_length=MAX_TOKEN_LENGTH,
    )
    tok.train_from_iterator(texts, trainer)
    return tok


def with_merges(tok: Tokenizer, merges: list, tokens: dict[str, int]) -> Tokenizer:
    """The same tokenizer with other merges."""
    spec = json.loads(tok.to_str())
    spec["model"] |= {"merges": merges, "vocab": tokens}
    return Tokenizer.from_str(json.dumps(spec))


def check(tok: Tokenizer, rows: list[list[int]], zero: int) -> None:
    """Encodes and decodes rows of codes as the library does."""
    ours = Bpe.from_json(tok.to_str(), "test")
    for row in rows:
        text = "".join(map(chr, row))
        coefs = np.array([row], np.float64) - zero
        ids, lengths, clamped, moved = ours.encode(coefs, -zero, None)
        assert ids.tolist() == tok.encode(text, add_special_tokens=False).ids, (row, zero)
        assert lengths.tolist() == [len(ids)]
        assert moved == clamped.sum() == 0
        back, errors = ours.decode(ids.astype(np.int64), lengths, len(row), -zero, None)
        assert errors == {}
        assert np.array_equal(back, coefs)
        assert [start for start, _ in ours.spans(ids)][:1] == [0]
        assert ours.spans(ids)[-1][1] == len(row)


def random_rows(rng: np.random.Generator, codes: list[int], count: int, zero: int) -> list[list[int]]:
    """Rows with runs: of the zero code most of all."""
    out = []
    for _ in range(count):
        row: list[int] = []
        while len(row) < rng.integers(1, 120):
            row += [zero if rng.random() < 0.5 else int(rng.choice(codes))] * int(rng.choice([1, 1, 2, 3, 7, 20]))
        out.append(row)
    return out


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 10**6))
def test_tokens_are_the_librarys(mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.choice(AWKWARD, rng.integers(2, 12)).tolist() + rng.integers(0, 400, 5).tolist()
    zero = int(rng.choice(codes))
    rows = random_rows(rng, codes, 40, zero)
    texts = ["".join(map(chr, row)) for row in rows]
    alphabet = pre_tokenizers.ByteLevel.alphabet() if mode == "published" else [chr(c) for c in codes]
    tok = library(mode, texts, int(rng.integers(300, 600)), alphabet)
    check(tok, random_rows(rng, codes, 15, zero), zero)


@pytest.mark.parametrize("mode", MODES)
@given(seed=st.integers(0, 10**6))
@example(seed=39)
@example(seed=458)
def test_merges_in_any_order_are_the_librarys(mode: str, seed: int) -> None:
    """Ranks shuffled: a merge may create a pair that is due before it, which no trained vocabulary has."""
    rng = np.random.default_rng(seed)
    codes, zero = (list(range(6)), 2) if mode == "native" else (rng.choice(AWKWARD, 6).tolist(), ord("ţ"))
    rows = random_rows(rng, codes, 30, zero)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if mode == "published" else [chr(c) for c in codes]
    tok = library(mode, ["".join(map(chr, row)) for row in rows], len(alphabet) + 54, alphabet)
    spec = json.loads(tok.to_str())["model"]
    order = rng.permutation(len(spec["merges"]))
    check(with_merges(tok, [spec["merges"][i] for i in order], spec["vocab"]), rows[:15], zero)


@pytest.mark.parametrize(("rows", "width", "codes"), [(300, 40, 6), (80, 300, 30), (2000, 12, 3), (1, 5, 2)])
def test_a_native_fit_is_the_librarys(rows: int, width: int, codes: int) -> None:
    """Our trainer learns what the library learns without a pre-tokenizer, pair for pair."""
    rng = np.random.default_rng(rows)
    data = np.minimum(rng.geometric(0.5, (rows, width)) - 1, codes - 1)
    texts = ["".join(map(chr, row)) for row in data]
    expected = json.loads(library("native", texts, 400, [chr(c) for c in range(codes)]).to_str())["model"]
    with Corpus() as corpus:
        corpus.add(data.astype(np.float64))
        ours = json.loads(learn(corpus, "native", 400, 0, codes - 1).to_json())["model"]
    assert ours["merges"] == expected["merges"]
    assert ours["vocab"] == expected["vocab"]


def test_rows_of_many_lengths_and_large_sequences() -> None:
    """Several blocks of symbols, and more codes than the first tables hold."""
    rng = np.random.default_rng(5)
    rows = [rng.integers(0, 3000, 5000).tolist(), [7] * 9000, [7] * 64 + [8] * 65, [2999]]
    texts = ["".join(map(chr, row)) for row in rows]
    check(library("published", texts, 900, pre_tokenizers.ByteLevel.alphabet()), rows, 7)
    check(library("native", texts, 4000, [chr(c) for c in range(3000)]), rows, 7)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": {"dropout": 0.1}}, "dropout"),
        ({"model": {"byte_fallback": True}}, "byte_fallback"),
        ({"normalizer": {"type": "NFC"}}, "normalizer"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"model": {"merges": [["a", "zz"]]}}, "KeyError"),
        ({"model": {"type": "WordPiece"}}, "WordPiece"),
    ],
)
def test_what_cannot_be_repeated_exactly_is_refused(change: dict, says: str) -> None:
    spec = json.loads(library("native", ["abab"], 10, ["a", "b"]).to_str())
    for key, value in change.items():
        spec[key] = spec[key] | value if isinstance(spec[key], dict) else value
    with pytest.raises(InputError, match=says):
        Bpe.from_json(json.dumps(spec), "test")
    with pytest.raises(InputError, match=r"not a BPE tokenizer\.json"):
        Bpe.from_json("[]", "test")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA")
def test_a_fit_needs_little_memory_beside_the_files() -> None:
    """280 MB of float32 chunks with 200 MB allowed: codes wait in a file, chunks come in batches."""
    code = """
import re, resource
import numpy as np
from fasttok import ActionTokenizer
from fasttok.actions.chunks import episode_chunks
rng = np.random.default_rng(0)
t = np.arange(400)[:, None] / 40
episodes = [np.sin(rng.uniform(0, 6, 14) + rng.uniform(0.3, 1, 14) * t).astype(np.float32) for _ in range(250)]
def chunks():
    for episode in episodes:
        yield np.clip(episode_chunks(episode, 50, ("absolute",) * 14), -1, 1)
ActionTokenizer.fit(next(chunks()), 300)  # compiled and loaded
now = int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (now + 200_000_000, now + 200_000_000))
print(ActionTokenizer.fit(chunks(), 300).vocab_size)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "300", result.stderr[-2000:]
