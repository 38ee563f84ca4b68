"""How far windows of the orders are from their mixture, beside the bound and beside what random draws do."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixtures.quota import quotas
from pipelines.shards.manifest import Shard
from pipelines.shards.order import BlockOrder, StorageLayout
from pipelines.shards.schedule import Schedule, rank_bound, window_bound

WINDOW, POSITIONS, BATCH, WORLD = 1000, 200_000, 256, 8
MIXTURES: dict[str, list[float]] = {
    "1 : 1": [1, 1],
    "70 : 20 : 10": [70, 20, 10],
    "robots 5 : 3, web 1 : 1": [5, 3, 1, 1],
    "25 sources, as 1 / rank": [1 / (i + 1) for i in range(25)],
}


def largest(source: NDArray[np.int64], share: NDArray[np.float64], window: int = WINDOW) -> float:
    """Largest difference of any source in any window of the stream."""
    worst = 0.0
    for i, s in enumerate(share):
        total = np.concatenate([[0], np.cumsum(source == i)])
        worst = max(worst, float(np.abs(total[window:] - total[:-window] - s * window).max()))
    return worst


def block_sources(weights: NDArray[np.int64], rows: int = 12_500, shards: int = 16) -> NDArray[np.int64]:
    """Sources of an epoch in block mode, of shards with this mixture."""
    counts = tuple(quotas(weights, rows).tolist())
    made = tuple(Shard(str(i), rows, counts, 0, "") for i in range(shards))
    layout = StorageLayout([str(i) for i in range(len(weights))], made)
    shard, row = BlockOrder(layout, 0, 8, 16).rows(0, layout.total)
    found = np.empty(len(row), np.int64)
    for number in range(shards):
        found[shard == number] = layout.sources(number)[row[shard == number]]
    return found


def deviations() -> list[dict[str, Any]]:
    """A line a mixture."""
    rows, rng = [], np.random.default_rng(0)
    for name, given in MIXTURES.items():
        weights = quotas(given, 1 << 20)
        share = weights / weights.sum()
        source = Schedule([0], [weights]).sequence(0, POSITIONS)[0]
        own = source[: POSITIONS // BATCH * BATCH].reshape(-1, WORLD, BATCH // WORLD)
        ranks = max(largest(own[:, rank].reshape(-1), share) for rank in range(WORLD))
        drawn = rng.choice(len(share), POSITIONS, p=share)
        rows.append(
            {
                "mixture": name,
                "global": largest(source, share),
                "bound": float(window_bound(weights).max()),
                f"one rank of {WORLD}": ranks,
                "its bound": float(rank_bound(weights, WINDOW, BATCH, WORLD).max()),
                "block": largest(block_sources(weights), share),
                "random draws": largest(drawn, share),
                "binomial, 2 sigma": float(2 * np.sqrt(WINDOW * share * (1 - share)).max()),
            }
        )
    return rows
