"""Learns a vocabulary: by the library's trainer for `published` (identical files), by our own for `native` (fast and small)."""

from collections.abc import Callable, Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from fasttok.codec.bpe import MAX_CODE, Bpe
from fasttok.codec.corpus import CodeRangeError, Corpus
from fasttok.common.choices import Mode
from fasttok.errors import InputError

MAX_TOKEN_LENGTH = 10_000
MIN_FREQUENCY = 2
MAX_NATIVE_IDS = 2**16 - 1  # symbols have 16 bits

Track = Callable[[Iterable[int]], Iterable[int]]  # wraps the loop over merges, to show progress


def learn(
    corpus: Corpus, mode: Mode, vocab_size: int, low: int, high: int, track: Track = lambda merges: merges
) -> Bpe:
    r"""Learns a vocabulary whose alphabet is the codes 0..high - low.

    Raises:
        InputError: the alphabet alone is larger than `vocab_size`, or no string could contain it.

    >>> import numpy as np
    >>> with Corpus() as corpus:
    ...     corpus.add(np.array([[0.0, 1.0, 0.0, 1.0]]))
    ...     learn(corpus, "native", 3, 0, 1).tokens
    ('\x00', '\x01', '\x00\x01')
    """
    top = high - low
    if top > MAX_CODE:
        raise CodeRangeError(
            f"the coefficients span {top + 1} codes, expected at most {MAX_CODE + 1}, as many as tokens can stand for; "
            "normalise the actions, clip them, or lower --scale"
        )
    if vocab_size <= top:
        raise CodeRangeError(
            f"vocab size {vocab_size} is smaller than the {top + 1} codes of the coefficient range; "
            f"raise --vocab-size above {top + 1}, or lower --scale"
        )
    if mode == "published":
        return _published(corpus, vocab_size, low, top)
    if vocab_size > MAX_NATIVE_IDS:
        raise InputError(f"vocab size {vocab_size}, expected at most {MAX_NATIVE_IDS} in a native fit")
    return _native(corpus, vocab_size, low, top, track)


def _published(corpus: Corpus, vocab_size: int, low: int, top: int) -> Bpe:
    """Does what the published code does, call for call."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=MIN_FREQUENCY,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=[chr(code) for code in range(top + 1)],
        max_token_length=MAX_TOKEN_LENGTH,
    )
    tokenizer.train_from_iterator(corpus.strings(low), trainer=trainer)
    return Bpe.from_json(tokenizer.to_str(), "the fit")


def _native(corpus: Corpus, vocab_size: int, low: int, top: int, track: Track) -> Bpe:
    """Runs BPE over characters: the most frequent pair becomes a token; if two are equally frequent, that of smaller ids."""
    from fasttok.codec.pair_counts import PairCounts

    counts = PairCounts(*corpus.codes(low), alphabet=top + 1)
    tokens = [chr(code) for code in range(top + 1)]
    ids = {token: number for number, token in enumerate(tokens)}
    merges: list[tuple[str, str]] = []
    for _ in track(range(vocab_size - len(tokens))):
        while (best := counts.best()) is not None and len(tokens[best[0]]) + len(tokens[best[1]]) > MAX_TOKEN_LENGTH:
            counts.forbid(best)
        if best is None or counts.count(best) < MIN_FREQUENCY:
            break
        left, right = tokens[best[0]], tokens[best[1]]
        new = ids.setdefault(left + right, len(tokens))
        if new == len(tokens):
            tokens.append(left + right)
        merges.append((left, right))
        counts.merge(best, new)
    tokenizer = Tokenizer(models.BPE(ids, merges))
    tokenizer.decoder = decoders.Fuse()
    return Bpe.from_json(tokenizer.to_str(), "the fit")


def without_merges(codes: int) -> Bpe:
    r"""Returns the vocabulary of a `fixed` fit, in which each id is a code.

    >>> without_merges(3).tokens
    ('\x00', '\x01', '\x02')
    """
    check_bins(codes)
    tokenizer = Tokenizer(models.BPE({chr(code): code for code in range(codes)}, []))
    tokenizer.decoder = decoders.Fuse()
    return Bpe.from_json(tokenizer.to_str(), "the fit")


def check_bins(codes: int) -> None:
    """Checks the number of ids of a `fixed` fit.

    Raises:
        InputError: there are more than codes that a token can contain.
    """
    if codes > MAX_CODE + 1:
        raise InputError(f"vocab size {codes}, expected at most {MAX_CODE + 1} in a fixed fit")
