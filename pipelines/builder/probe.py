"""Measures how fast a build would be: a dry run makes some rows and throws them away."""

import time

import pyarrow as pa
import pyarrow.compute as pc

from fasttok import ActionTokenizer
from pipelines.builder.plan import BuildPlan
from pipelines.builder.rows import make_rows
from pipelines.builder.sources import ResolvedSource

PROBED = 64  # groups of each source from which a dry run makes rows


def probe(
    plan: BuildPlan, facts: list[ResolvedSource], placed: list[pa.Table], tok: ActionTokenizer | None, index: str
) -> float:
    """Returns rows per second of one process, measured on the first groups of the first shard. With `tok`, it encodes actions."""
    began = time.perf_counter()
    groups = [table.filter(pc.equal(table.column("shard"), 0)).sort_by("first").slice(0, PROBED) for table in placed]
    gathered, _, _ = make_rows(plan, facts, tok, groups, index, lambda _rows, _size: None)
    return max(sum(columns.rows for columns in gathered), 1) / (time.perf_counter() - began)
