"""What `build` prints: the plan before, and the counts after."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fasttok.common.console import log, table
from pipelines.builder.dead_letter import example
from pipelines.builder.plan import BuildPlan
from pipelines.builder.result import BuildResult
from pipelines.builder.sidecar import ShardSidecar
from pipelines.builder.sources import ResolvedSource

NAMED = 3  # reasons for which rows were rejected


def print_plan(plan: BuildPlan, facts: Sequence[ResolvedSource]) -> None:
    """What will be written, before it is."""
    rows: list[list[Any]] = []
    for source, fact in zip(plan.sources, facts, strict=True):
        chunk = f"{fact.horizon} x {fact.action_dim}" if fact.robot else None
        notes = ["capped by max_epochs"] if source.capped else []
        notes += [f"{count:,} left out by {name}" for name, count in source.left_out.items()]
        rows.append([source.name, fact.kind, f"{source.share:.2%}", source.quota, source.frames, source.epochs, chunk,
                     source.bytes / 1e6, ", ".join(notes)])  # fmt: skip
    columns = ["source", "kind", "share", "samples", "steps held", "epochs", "chunk", "MB", "note"]
    table(f"plan {plan.digest[:12]}: {plan.samples:,} samples in {plan.shards} shards, seed {plan.seed}", columns, rows)


def report(result: BuildResult, plan: BuildPlan, out: str) -> None:
    """The table after a build into `out`."""
    manifest = result.manifest
    rows: list[list[Any]] = []
    for source in plan.sources:
        s = manifest.sources[source.name]
        rows.append([source.name, s.kind, s.planned, s.written, s.rejected, source.epochs, s.mean_action_tokens,
                     s.clamped_chunks])  # fmt: skip
    c = manifest.counts
    rows.append(["total", "", c.planned, c.written, c.rejected, None, None, None])
    columns = ["source", "kind", "planned", "written", "rejected", "epochs", "FAST ids/row", "clamped"]
    table("planned = written + rejected", columns, rows)
    log(f"read {result.records_read:,} source records once each, {result.bytes_read / 1e6:,.1f} MB")
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    log(f"{out}: {manifest.num_rows:,} rows, {size:,.1f} MB; next: fasttok-pipelines inspect {out}")


def report_rejected(sidecars: Sequence[ShardSidecar], out: str) -> None:
    """Says why rows were rejected, with an example each, and where all of them are told."""
    total = sum((Counter(sidecar.rejected_by_reason) for sidecar in sidecars), Counter[str]())
    if not total:
        return
    log(f"rejected rows, the most frequent reasons (every one is in {out}/rejected/, with file and offset):")
    for reason, count in total.most_common(NAMED):
        having = max(range(len(sidecars)), key=lambda k: sidecars[k].rejected_by_reason.get(reason, 0))
        log(f"  {count} {reason}: {example(out, having, len(sidecars), reason)}")
