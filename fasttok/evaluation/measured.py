"""Measures all that `fasttok eval` reports on one embodiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasttok.actions.embodiment_actions import EmbodimentActions
from fasttok.evaluation.entropy_floor import MOST_VALUES, Coded, EntropyFloor, entropy_floor
from fasttok.evaluation.metrics import Metrics, measure
from fasttok.evaluation.partial_curve import PartialPoint, partial_curve
from fasttok.evaluation.rate_distortion import Spectrum, error_by_frequency
from fasttok.evaluation.shared_tokens import SharedTokens, shared_tokens
from fasttok.tokenizer import ActionTokenizer

Numbers = Mapping[str, float] | Mapping[str, float | str]
Plain = float | Sequence[float | None] | Sequence[str] | Sequence[Numbers] | Numbers | None


@dataclass(frozen=True, eq=False)
class Measured:
    """What `fasttok eval` measured on one embodiment.

    Attributes:
        metrics: tokens and errors.
        signal: (T,) root mean square coefficient of each frequency, in normalised units.
        error: (T,) root mean square error of coding in each frequency, in normalised units.
        floor: how few tokens would be enough.
        partial: error after a share of each chunk's tokens, from none to all.
        shared: tokens that neighbouring steps share; None if no two steps follow each other.
    """

    metrics: Metrics
    signal: NDArray[np.float64]
    error: NDArray[np.float64]
    floor: EntropyFloor
    partial: list[PartialPoint]
    shared: SharedTokens | None = None

    @classmethod
    def of(
        cls, tok: ActionTokenizer, group: EmbodimentActions, name: str, most: int, held_out: NDArray[Any]
    ) -> "Measured":
        """Measures a tokenizer on a group's held-out chunks.

        Args:
            tok: the tokenizer.
            group: the chunks.
            name: name of the embodiment.
            most: maximum number of chunks.
            held_out: (n, T, D) some of the held-out chunks, with their references subtracted, for the spectrum.
        """
        own = tok.embodiment_argument(name)
        chunks, reference = group.sample("held_out", most)
        few = max(1, MOST_VALUES // chunks[0].size)
        known = Coded.of(tok, own, *group.sample("train", few)) if group.learned_apart else None
        coded = Coded.of(tok, own, *group.sample("held_out", min(few, most)))
        spectrum = Spectrum.of(tok, held_out, name)
        return cls(
            measure(tok, chunks, own, reference),
            spectrum.by_frequency(),
            error_by_frequency(tok, held_out, name),
            entropy_floor(tok.vocab_size, coded, known),
            partial_curve(tok, chunks, own, reference),
            shared_tokens(tok, group, own),
        )

    def to_json(self) -> dict[str, Plain]:
        """Returns plain values of all but the spectrum."""
        return {
            **self.metrics.to_json(),
            "entropy_floor": self.floor.to_json(),
            "neighbouring_steps": None if self.shared is None else self.shared.to_json(),
            "partial": [vars(point) for point in self.partial],
        }
