"""The tables that `fasttok eval` prints and its page shows: lengths, the entropy floor, shared tokens, partial decoding."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fasttok.evaluation import entropy_floor
from fasttok.evaluation.measured import Measured
from fasttok.evaluation.metrics import Cell
from fasttok.evaluation.partial_curve import SHARES

PRINTED = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)  # shares of the tokens that are in the table


@dataclass(frozen=True)
class EvalTable:
    """One table.

    Attributes:
        title: title above the table.
        says: what its columns mean, in sentences.
        columns: headers of the columns.
        rows: makes the cells of each row.
    """

    title: str
    says: str
    columns: Sequence[str]
    rows: Callable[[Mapping[str, Measured]], list[list[Cell]]]


def length_rows(measured: Mapping[str, Measured]) -> list[list[Cell]]:
    """Returns one row per embodiment: mean, median, 99th percentile and maximum of the tokens per chunk."""
    return [
        [
            name,
            round(m.metrics.fast_tokens, 1),
            m.metrics.fast_tokens_p50,
            m.metrics.fast_tokens_p99,
            m.metrics.fast_tokens_max,
        ]
        for name, m in measured.items()
    ]


def floor_rows(measured: Mapping[str, Measured]) -> list[list[Cell]]:
    """Returns one row per embodiment and coder."""
    return [
        [name, what, round(bits, 1), round(ids, 1)]
        for name, m in measured.items()
        for what, bits, ids in m.floor.rows()
    ]


def shared_rows(measured: Mapping[str, Measured]) -> list[list[Cell]]:
    """Returns one row per embodiment that has neighbouring steps."""
    return [
        [
            name,
            m.shared.pairs,
            round(m.shared.tokens, 1),
            round(m.shared.beginning, 1),
            round(m.shared.in_order, 1),
            100 * m.shared.share,
            round(m.shared.unrelated, 1),
            100 * m.shared.same,
        ]
        for name, m in measured.items()
        if m.shared is not None
    ]


def partial_rows(measured: Mapping[str, Measured]) -> list[list[Cell]]:
    """Returns one row per embodiment, with one column per share of the tokens."""
    columns = [SHARES.index(share) for share in PRINTED]
    return [[name, *(m.partial[i].rms for i in columns)] for name, m in measured.items()]


def summary(name: str, m: Measured) -> list[str]:
    """Says what an embodiment's tables show, in one sentence each."""
    metrics, floor, off = m.metrics, m.floor, round(100 * m.floor.above)
    lines = [
        f"{name}: the longest of these chunks has {metrics.fast_tokens_max} tokens, so max_token_len must leave room for them; "
        f"p99 is {metrics.fast_tokens_p99:.0f}",
        f"{name}: entropy floor {floor.bits:.0f} bits per chunk, that is {floor.fewest_ids:.1f} ids at best, by a coder that "
        f"knows {entropy_floor.MODELS[floor.model]}; these tokens are {abs(off)} % {'below' if off < 0 else 'above'} it",
    ]
    if m.shared is not None:
        lines.append(
            f"{name}: {100 * m.shared.share:.0f} % of a chunk's tokens are in the chunk of the step before, in the same order"
        )
    return lines


TABLES = (
    EvalTable(
        "Length of chunks, tokens",
        "What max_token_len must leave room for, beside the prompt: the longest of these chunks. 1 % are longer than p99.",
        ("embodiment", "mean", "p50", "p99", "max"),
        length_rows,
    ),
    EvalTable(
        "Entropy floor",
        entropy_floor.SAYS,
        ("embodiment", "a coder that knows", "bits per chunk", "ids at best"),
        floor_rows,
    ),
    EvalTable(
        "Tokens that neighbouring steps share",
        "The chunk at a step against that of the step before, of the same episode: ids that both begin with, ids that the step "
        "before has in the same order (longest common subsequence), and how many of those a chunk of elsewhere has by chance.",
        ("embodiment", "pairs", "tokens", "same beginning", "same order", "same order %", "by chance", "identical %"),
        shared_rows,
    ),
    EvalTable(
        "Partial decoding: error after the first tokens",
        "Root mean square error, normalised, when only this share of each chunk's tokens is read: decode(..., partial=True).",
        ("embodiment", *(f"{100 * share:.0f} %" for share in PRINTED)),
        partial_rows,
    ),
)
