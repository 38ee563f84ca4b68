"""The first picture: one second of a robot arm as numbers, as frequencies and as tokens. All three are computed.

    python -m docsite.picture        # writes docs/images/tokens.svg

The arm is that of the tabletop world (examples/tabletop). The tokenizer is fitted on 60 of its demonstrations, and the
chunk is of another one.
"""

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.tabletop.embodiments import EMBODIMENTS
from examples.tabletop.env import make
from examples.tabletop.expert import Expert
from fasttok.actions.chunks import episode_chunks
from fasttok.actions.normalize import NormStats
from fasttok.tokenizer import ActionTokenizer

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "tokens.svg"
ROBOT, TASK, FITTED, SHOWN, STEP = "arm", "place", 60, 1000, 8
INK, SOFT, LINE, PAPER = "#1f2933", "#52606d", "#cbd2d9", "#ffffff"
COLOURS = ("#2f6fde", "#c2410c", "#0f766e", "#9333ea", "#b45309", "#be185d", "#475569")
HUES = ("#dbe7ff", "#ffe4d5", "#d5f2ee", "#f0e0ff", "#fdecc8", "#ffdcea")
SIDE, TOP, PANEL = 24, 84, 330


@dataclass(frozen=True)
class Shown:
    """What is drawn.

    Attributes:
        names: of the D columns.
        chunk: (T, D) raw units, normalised to about [-1, 1].
        decoded: (T, D) the same after the round trip.
        coefs: (T, D) rounded coefficients.
        ids: the tokens.
        spans: (start, stop) of each token in the coefficients, row by row.
        error: root mean square of the round trip in normalised units.
    """

    names: tuple[str, ...]
    chunk: NDArray[Any]
    decoded: NDArray[Any]
    coefs: NDArray[Any]
    ids: NDArray[Any]
    spans: list[tuple[int, int]]
    error: float


def actions(seed: int) -> NDArray[np.float64]:
    """(T, D) of a demonstration, without its pictures."""
    env = make(ROBOT, "seen", TASK)
    env.reset(seed)
    expert = Expert(env.world, env.task, env.robot, np.random.default_rng([1, seed]))
    taken = []
    while (action := expert.act()) is not None:
        taken.append(action)
        env.step(action)
    return np.array(taken, np.float64)


def computed() -> Shown:
    """Fits the tokenizer and takes a chunk through it."""
    robot = EMBODIMENTS[ROBOT]
    horizon, encoding = round(robot.control_hz), ["absolute"] * robot.action_dim
    demonstrations = [actions(seed) for seed in range(FITTED)]
    stats = NormStats.fit(np.concatenate(demonstrations))
    chunks = np.concatenate([episode_chunks(one, horizon, encoding) for one in demonstrations])
    tok = ActionTokenizer.fit(chunks, vocab_size=1024, stats=stats)
    chunk = episode_chunks(actions(SHOWN), horizon, encoding)[STEP]
    ids = tok.encode(chunk[None])[0]
    decoded = tok.decode([ids], horizon=horizon, action_dim=robot.action_dim).actions[0]
    plain, back = stats.normalize(chunk), stats.normalize(decoded)
    coefs = np.rint(tok.coefficients(chunk[None])[0]).astype(int)
    error = float(np.sqrt(np.mean((plain - back) ** 2)))
    return Shown(robot.action_names, plain, back, coefs, ids, tok.bpe.spans(ids), error)


def drawn(shown: Shown) -> str:
    """The picture as SVG: curves, coefficients, tokens, from left to right."""
    rows = min(len(shown.coefs), int(np.flatnonzero((shown.coefs != 0).any(axis=1))[-1]) + 2)
    cell, columns = 18, 7
    height = TOP + max(PANEL, rows * cell) + 44
    width = 1200
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, Segoe UI, sans-serif" '
        f'role="img"><title>One second of a robot arm: {shown.chunk.size} numbers become {len(shown.ids)} tokens</title>',
        f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="14" fill="{PAPER}" stroke="{LINE}"/>',
        *_head(SIDE, f"{shown.chunk.size} numbers", "one second of an arm: 20 steps, 7 joints"),
        *_curves(shown, SIDE, 380),
        _arrow(430, "DCT, round"),
        *_head(
            492,
            "frequencies",
            "slow ones above; empty cells are 0",
        ),
        *_cells(shown, 492, rows, 38, cell),
        _arrow(784, "merge pairs"),
        *_head(846, f"{len(shown.ids)} tokens", "a language model reads and writes these"),
        *_tokens(shown, 846, columns),
        f'<text x="{SIDE}" y="{height - 18}" font-size="14" fill="{SOFT}">Decoded (dashed), the motion is off by '
        f"{shown.error:.3f} where its range is -1 to 1.</text></svg>",
    ]
    return "\n".join(parts) + "\n"


def _head(x: int, title: str, below: str) -> list[str]:
    return [
        f'<text x="{x}" y="40" font-size="22" font-weight="700" fill="{INK}">{escape(title)}</text>',
        f'<text x="{x}" y="62" font-size="13" fill="{SOFT}">{escape(below)}</text>',
    ]


def _arrow(x: int, words: str) -> str:
    y = TOP + PANEL // 2
    return (
        f'<path d="M{x} {y}h34m-9 -8l9 8l-9 8" fill="none" stroke="{SOFT}" stroke-width="2.5" stroke-linecap="round"/>'
        f'<text x="{x + 17}" y="{y - 16}" font-size="12" text-anchor="middle" fill="{SOFT}">{words}</text>'
    )


def _curves(shown: Shown, x: int, width: int) -> list[str]:
    """A small plot per column, below each other."""
    steps, dims = shown.chunk.shape
    tall = PANEL / dims
    parts = []
    for d in range(dims):
        low, high = min(-1.0, shown.chunk[:, d].min()), max(1.0, shown.chunk[:, d].max())
        top = TOP + d * tall

        def path(values: NDArray[Any], top: float = top, low: float = low, high: float = high) -> str:
            at = [
                f"{x + 62 + (width - 62) * t / (steps - 1):.1f} {top + (tall - 10) * (high - v) / (high - low):.1f}"
                for t, v in enumerate(values)
            ]
            return "M" + "L".join(at)

        middle = top + (tall - 10) / 2
        parts += [
            f'<path d="M{x + 62} {middle:.1f}h{width - 62}" stroke="{LINE}"/>',
            f'<text x="{x}" y="{middle + 4:.1f}" font-size="13" fill="{COLOURS[d]}">{escape(shown.names[d])}</text>',
            f'<path d="{path(shown.chunk[:, d])}" fill="none" stroke="{COLOURS[d]}" stroke-width="3" stroke-opacity=".45"/>',
            f'<path d="{path(shown.decoded[:, d])}" fill="none" stroke="{INK}" stroke-width="1.4" stroke-dasharray="4 3"/>',
        ]
    return parts


def _cells(shown: Shown, x: int, rows: int, wide: int, tall: int) -> list[str]:
    """Coefficients, coloured by the token that stands for them."""
    owner = np.zeros(shown.coefs.size, int)
    for token, (start, stop) in enumerate(shown.spans):
        owner[start:stop] = token
    dims = shown.coefs.shape[1]
    parts = []
    for place, value in enumerate(shown.coefs[:rows].ravel().tolist()):
        left, top = x + place % dims * wide, TOP + place // dims * tall
        parts.append(
            f'<rect x="{left}" y="{top}" width="{wide - 2}" height="{tall - 2}" rx="3" fill="{HUES[owner[place] % len(HUES)]}"/>'
        )
        if value:
            at = f'x="{left + wide / 2 - 1}" y="{top + tall - 6}"'
            parts.append(f'<text {at} font-size="11" text-anchor="middle" fill="{INK}">{value}</text>')
    return parts


def _tokens(shown: Shown, x: int, columns: int) -> list[str]:
    """The ids as chips, in the colours of what they stand for."""
    parts = []
    for number, token in enumerate(shown.ids.tolist()):
        left, top = x + number % columns * 47, TOP + number // columns * 36
        parts += [
            f'<rect x="{left}" y="{top}" width="42" height="28" rx="8" fill="{HUES[number % len(HUES)]}"/>',
            f'<text x="{left + 21}" y="{top + 19}" font-size="13" text-anchor="middle" fill="{INK}">{token}</text>',
        ]
    return parts


if __name__ == "__main__":
    PICTURE.write_text(drawn(computed()), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")
