"""Prints the plan before a build, and the counts after it."""

from collections import Counter
from collections.abc import Container, Sequence
from typing import Any

from fasttok.common.console import log, table
from fasttok.common.next_command import command
from fasttok.common.percent import percent
from pipelines.builder.dead_letter import example, source_reasons
from pipelines.builder.plan import BuildPlan
from pipelines.builder.result import BuildResult
from pipelines.builder.sidecar import ShardSidecar
from pipelines.builder.sources import ResolvedSource
from pipelines.common.reject_share import joined, more_rejected, rejects_said
from pipelines.shards.manifest import Manifest

NAMED = 3  # number of reasons for rejected rows that are printed


def print_plan(plan: BuildPlan, facts: Sequence[ResolvedSource]) -> None:
    """Prints what the build will write."""
    rows: list[list[Any]] = []
    for source, fact in zip(plan.sources, facts, strict=True):
        chunk = f"{fact.horizon} x {fact.action_dim}" if fact.robot else None
        notes = ["capped by max_epochs"] if source.capped else []
        notes += [f"{count:,} left out by {name}" for name, count in source.left_out.items()]
        rows.append([source.name, fact.kind, percent(source.share, 2), source.quota, source.frames, source.epochs, chunk,
                     source.bytes / 1e6, ", ".join(notes)])  # fmt: skip
    columns = ["source", "kind", "share asked", "samples", "steps held", "epochs", "chunk", "MB", "note"]
    table(f"plan {plan.digest[:12]}: {plan.samples:,} samples in {plan.shards} shards, seed {plan.seed}", columns, rows)


def report(result: BuildResult, plan: BuildPlan) -> None:
    """Prints the counts of a finished build."""
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
    # Records without a byte range do not count in bytes_read.
    size_read = f", {result.bytes_read / 1e6:,.1f} MB" if result.bytes_read else ""
    log(f"read {result.records_read:,} source records once each{size_read}")


def report_rejected(sidecars: Sequence[ShardSidecar], out: str, robots: Container[str]) -> None:
    """Prints the most frequent reasons for rejected rows, with an example of each, and the folder that lists all of them.

    Args:
        sidecars: sidecars of all shards, in their order.
        out: folder of the shards.
        robots: names of the sources whose records are episodes.
    """
    total = sum((Counter(sidecar.rejected_by_reason) for sidecar in sidecars), Counter[str]())
    if not total:
        return
    log(f"rejected rows, the most frequent reasons (every one is in {out}/rejected/, with file and offset):")
    for reason, count in total.most_common(NAMED):
        having = max(range(len(sidecars)), key=lambda k: sidecars[k].rejected_by_reason.get(reason, 0))
        log(f"  {count} {reason}: {example(out, having, len(sidecars), reason, robots)}")


def last_line(manifest: Manifest, sidecars: Sequence[ShardSidecar], out: str) -> str:
    """Returns the last line of `build`: where the shards are, why rows were rejected, and the next command.

    It names only sources of which more than 1 % of the rows was rejected.

    Args:
        manifest: manifest of the shards.
        sidecars: sidecars of all shards, in their order.
        out: folder of the shards, as the user wrote it.
    """
    said = []
    for i, (name, source) in enumerate(manifest.sources.items()):
        if more_rejected(source.rejected, source.planned):
            having = [k for k, sidecar in enumerate(sidecars) if sidecar.rejected_per_source[i]]
            said.append(rejects_said(name, source_reasons(out, having, len(sidecars), name), source.planned, "rows"))
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    rows = f"{manifest.num_rows:,} rows, {size:,.1f} MB"
    return joined([f"{out}: {rows}", *said, f"next: {command('fasttok-pipelines', 'inspect', out, '--html')}"])
