"""Computes how few tokens would be enough, from the bits that ideal coders of the same rounded coefficients need.

An ideal coder spends -log2 p bits on a symbol to which its model gives the probability p (Shannon 1948). What the model knows is
a choice, so three models are compared. All of them are counted on other chunks than they are measured on:

- `ids`: how often each id occurs;
- `places`: how often each value occurs at each place, that is, in each coefficient (frequency, dim) by itself;
- `neighbours`: how often each value occurs at places of this size, given how large the coefficients before it are: those of
  the same dim in lower frequencies, and of the dims before it in the same frequency.

The floor is the smallest number of bits of the three. A coder that knows more, such as the policy itself, which sees pictures and
state, may need still fewer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.tokenizer import ActionTokenizer

MOST_VALUES = 4_000_000  # maximum number of coefficients that models are counted on, and measured on
BLOCKS = 5  # if there are no other chunks, each fifth is measured with a model of the rest
SMOOTHING = 32.0  # weight of the smooth distribution, as a number of counted values, so that no value has probability 0
RARE = 0.01  # share of the smooth distribution that has a long tail, so that a glitch costs tens of bits, not thousands
SIZES = np.array([0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8])  # borders between places, by mean magnitude
LOUDNESS = np.array([0, 1, 2, 4, 8, 16, 32])  # borders between their neighbours, by magnitude
MODELS = {
    "ids": "how often each id occurs",
    "places": "the distribution of each coefficient (frequency, dim)",
    "neighbours": "the distribution of coefficients, given those before",
}


SAYS = (
    "Bits per chunk that an ideal coder of the same rounded coefficients needs, by what it knows from other chunks; and how many "
    "ids of log2(vocabulary size) bits that would be. The lowest row is the floor."
)


@dataclass(frozen=True)
class EntropyFloor:
    """What ideal coders need for chunks, and what the tokenizer needs.

    Attributes:
        vocab_size: number of ids.
        tokens: mean number of ids per chunk that the tokenizer needs.
        ids: bits per chunk of a coder that knows how often each id occurs.
        places: bits per chunk of a coder that knows how often each value of each coefficient (frequency, dim) occurs.
        neighbours: bits per chunk of a coder that knows how often values occur, given the coefficients before them.
    """

    vocab_size: int
    tokens: float
    ids: float
    places: float
    neighbours: float

    @property
    def bits(self) -> float:
        """Bits per chunk: the smallest of the three.

        >>> floor = EntropyFloor(1024, 12.0, ids=90.0, places=85.0, neighbours=80.0)
        >>> floor.bits, floor.fewest_ids, round(floor.above, 2)
        (80.0, 8.0, 0.5)
        """
        return min(self.ids, self.places, self.neighbours)

    @property
    def fewest_ids(self) -> float:
        """Ids per chunk at best, if each id has log2(vocabulary size) bits."""
        return self._ids(self.bits)

    @property
    def id_bits(self) -> float:
        """Bits of an id if all ids are equally frequent."""
        return float(np.log2(self.vocab_size))

    @property
    def above(self) -> float:
        """Share by which the tokenizer needs more ids than `fewest_ids`."""
        return self.tokens / self.fewest_ids - 1 if self.fewest_ids else 0.0

    def rows(self) -> list[tuple[str, float, float]]:
        """Returns (model, bits per chunk, ids at best) for the tokens as they are, and for each model."""
        models = [(what, float(getattr(self, name))) for name, what in MODELS.items()]
        whole = [("the tokens as they are", self.tokens * self.id_bits), *models]
        return [(what, bits, self._ids(bits)) for what, bits in whole]

    def _ids(self, bits: float) -> float:
        """Returns the ids that have so many bits. The ids of a vocabulary of one have none, and none are needed."""
        return bits / self.id_bits if self.vocab_size > 1 else 0.0

    @property
    def model(self) -> str:
        """Name of the model in `MODELS` that needs the fewest bits."""
        return min(MODELS, key=lambda name: float(getattr(self, name)))

    def to_json(self) -> dict[str, float | str]:
        """Returns plain values, for JSON."""
        plain: dict[str, float | str] = {
            "says": SAYS,
            "model": MODELS[self.model],
            "bits": self.bits,
            "fewest_ids": self.fewest_ids,
            "tokens_above_share": self.above,
            "bits_per_id": self.id_bits,
        }
        return plain | {f"bits_{name}": float(getattr(self, name)) for name in MODELS}


@dataclass(frozen=True, eq=False)
class Coded:
    """Chunks as a tokenizer codes them.

    Attributes:
        coefs: (n, K, C) int64 rounded coefficients, within the tokenizer's range.
        ids: one array of ids per chunk.
    """

    coefs: NDArray[np.int64]
    ids: list[NDArray[np.int32]]

    @classmethod
    def of(
        cls, tok: ActionTokenizer, embodiment: str | None, chunks: NDArray[Any], reference: NDArray[Any] | None
    ) -> "Coded":
        """Codes chunks (n, T, D) in raw units."""
        coefs = tok.coefficients(chunks, embodiment=embodiment, reference=reference)
        ids = tok.encode_report(chunks, embodiment=embodiment, reference=reference).ids
        return cls(np.clip(coefs, tok.min_token, tok.max_token), ids)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> "Coded":
        numbers = np.arange(len(self.ids))[rows]
        return Coded(self.coefs[numbers], [self.ids[i] for i in numbers])


def entropy_floor(vocab_size: int, measured: Coded, known: Coded | None = None) -> EntropyFloor:
    """Computes the floor of some chunks.

    Args:
        vocab_size: number of ids.
        measured: the chunks to measure.
        known: chunks of other episodes, on which the models are counted. If None, the measured chunks are divided into blocks,
            and each block is measured with a model of the others.

    >>> rng = np.random.default_rng(0)
    >>> coin = Coded(rng.integers(0, 2, (4000, 2, 1)), [np.zeros(1, np.int32)] * 4000)
    >>> floor = entropy_floor(2, coin)
    >>> round(floor.places, 1), round(floor.ids, 1)
    (2.0, 0.0)
    """
    count = len(measured.ids)
    bits = np.zeros(3)
    for part, others in _parts(measured, known):
        bits += _id_bits(vocab_size, part, others), _place_bits(part, others), _neighbour_bits(part, others)
    ids, places, neighbours = (bits / count).tolist()
    return EntropyFloor(vocab_size, float(np.mean([len(row) for row in measured.ids])), ids, places, neighbours)


def _parts(measured: Coded, known: Coded | None) -> Iterator[tuple[Coded, Coded]]:
    """Yields (chunks to measure, chunks on which their models are counted)."""
    if known is not None:
        yield measured, known
        return
    numbers = np.arange(len(measured.ids))
    for block in np.array_split(numbers, min(BLOCKS, len(numbers))):
        yield measured[block], measured[np.setdiff1d(numbers, block)]


def _id_bits(vocab_size: int, measured: Coded, known: Coded) -> float:
    coded, counted = np.concatenate(measured.ids), np.concatenate([np.zeros(0, np.int32), *known.ids])
    none = np.zeros(1, np.int64)
    return _code_length(
        np.broadcast_to(none, coded.shape), coded, np.broadcast_to(none, counted.shape), counted, 1 / vocab_size
    )


def _place_bits(measured: Coded, known: Coded) -> float:
    places = np.arange(measured.coefs[0].size)

    def classes(part: Coded) -> NDArray[np.int64]:
        return np.broadcast_to(places, (len(part.ids), len(places))).reshape(-1)

    return _code_length(classes(measured), measured.coefs.reshape(-1), classes(known), known.coefs.reshape(-1))


def _neighbour_bits(measured: Coded, known: Coded) -> float:
    means = np.abs(known.coefs).sum(0) / max(1, len(known.ids))
    size = np.searchsorted(SIZES, means)

    def classes(part: Coded) -> NDArray[np.int64]:
        value = np.abs(part.coefs)
        below, beside = np.zeros_like(value), np.zeros_like(value)
        below[:, 1:] += 2 * value[:, :-1]
        below[:, 2:] += value[:, :-2]
        beside[:, :, 1:] += value[:, :, :-1]
        beside[:, :, 2:] += value[:, :, :-2]
        loud = [np.searchsorted(LOUDNESS, side) for side in (below, beside)]
        steps = len(LOUDNESS) + 1
        return np.asarray((size * steps + loud[0]) * steps + loud[1], np.int64).reshape(-1)

    return _code_length(classes(measured), measured.coefs.reshape(-1), classes(known), known.coefs.reshape(-1))


def _code_length(
    classes: NDArray[np.int64],
    values: NDArray[Any],
    known_classes: NDArray[np.int64],
    known_values: NDArray[Any],
    smooth: float | None = None,
) -> float:
    """Returns the bits of values whose distribution is that of the known values of the same class, smoothed.

    Args:
        classes: (n,) class of each value, from 0 on.
        values: (n,) whole numbers.
        known_classes: (m,) class of each known value.
        known_values: (m,) whole numbers.
        smooth: probability that the smooth distribution gives to each value; None for a two-sided geometric distribution with the
            mean magnitude of the class and a long tail.
    """
    count = int(max(classes.max(initial=0), known_classes.max(initial=0))) + 1
    total = np.bincount(known_classes, minlength=count)
    if smooth is None:
        size = np.bincount(known_classes, np.abs(known_values), minlength=count)
        mean = (size + 0.5) / (total + 1)
        base = (np.sqrt(1 + mean**2) - 1) / mean  # p(v) = (1 - base) / (1 + base) * base^|v| has this mean of |v|
        size_of = np.abs(values)
        usual = ((1 - base) / (1 + base))[classes] * base[classes] ** size_of
        rare = 1.0 / ((size_of + 1.0) * (size_of + 2.0) * np.where(size_of > 0, 2, 1))  # sums to 1, with a long tail
        likely = (1 - RARE) * usual + RARE * rare
    else:
        likely = np.full(len(values), smooth)
    low = int(min(values.min(initial=0), known_values.min(initial=0)))
    span = int(max(values.max(initial=0), known_values.max(initial=0))) - low + 1
    seen, times = np.unique(known_classes * span + (known_values - low), return_counts=True)
    wanted = classes * span + (values - low)
    at = np.minimum(np.searchsorted(seen, wanted), max(0, len(seen) - 1))
    found = np.where(seen[at] == wanted, times[at], 0) if len(seen) else np.zeros(len(wanted))
    return float(-np.log2((found + SMOOTHING * likely) / (total[classes] + SMOOTHING)).sum())
