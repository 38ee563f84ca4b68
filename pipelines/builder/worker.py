"""Stage 3: (build folder, shard number) -> one shard. What runs inside the Beam graph, and needs no Beam itself.

A job reads each of its source records once, cuts the planned frames into rows, encodes FAST ids in batches, and writes the rows
in low-discrepancy source order. Nothing depends on the runner, the number of workers or the clock, so a job that is killed and
run again writes the same bytes. A row that cannot be made becomes a dead letter, never another row: planned = written + rejected.

    SHARDS/rejected/shard-....jsonl  source, file, offset, episode, step (null: all), reason, detail, rows
    SHARDS/shard-....arrow
    SHARDS/state/shard-....json      written last; --resume trusts it only after comparing digests
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from fasttok.common import json_files
from fasttok.errors import InputError
from mixtures.quota import interleave
from pipelines.builder.action_tokens import TOKENIZER
from pipelines.builder.plan import Plan, load_plan, shard_groups
from pipelines.builder.rows import make_parts
from pipelines.builder.sidecar import ShardSidecar, read_sidecar, write_sidecar
from pipelines.builder.source_columns import Part, table
from pipelines.builder.sources import BuildSources, ResolvedSource
from pipelines.common.files import atomic_write, filesystem, join, read_json, sha256_file, write_json
from pipelines.common.live_counts import JOBS, LIVE, WORK, Counts, Reporter
from pipelines.common.random_bits import shuffled
from pipelines.shards import shard_name, write_shard
from pipelines.shards.records import IMAGE_COLUMNS, ROWS_PER_BATCH, SCHEMA
from pipelines.shards.tokenizer import load_tokenizer

PLAN = "plan"
SOURCES = "sources.json"  # in PLAN
INDEX = "index.json"  # in WORK: where the INDEX is


@dataclass(frozen=True)
class ShardJob:
    """One shard of the build in `folder` (SHARDS, with its plan and tokenizer in place).

    `check`: an earlier run left it; it is kept if its digests are as its sidecar says.
    """

    folder: str
    shard: int
    check: bool = False


def rejected_path(folder: str, shard: int, total: int) -> str:
    """Where a shard's dead letters are, if it has any."""
    return join(folder, "rejected", shard_name(shard, total).replace(".arrow", ".jsonl"))


def kept_path(folder: str, shard: int) -> str:
    """The mark of a shard that was checked and kept."""
    return join(folder, WORK, "kept", str(shard))


def list_shards(folder: str) -> Iterator[ShardJob]:
    """The jobs of a run."""
    for shard, check in read_json(join(folder, WORK, JOBS), "the shards to write"):
        yield ShardJob(folder, shard, check)


def materialize_shard(job: ShardJob) -> Counts:
    """Writes one shard, its dead letters and its sidecar.

    Raises:
        InputError: plan, tokenizer or a dataset's description cannot be read, or the disk is full. Bad records never raise.
    """
    plan = load_plan(join(job.folder, PLAN))
    build = read_sources(job.folder)
    if job.check and left_state(job.folder, job.shard, plan, build.tokenizer, digests=True) is not None:
        write_json(kept_path(job.folder, job.shard), True)
        return Counts(files=1)
    index = read_json(join(job.folder, WORK, INDEX), "where the INDEX of a build is")
    tok = load_tokenizer(join(job.folder, TOKENIZER)) if build.tokenizer else None
    if tok is not None and tok.fingerprint != build.tokenizer:
        raise InputError(
            f"{job.folder}/{TOKENIZER} has fingerprint {tok.fingerprint}, the build began with {build.tokenizer}; "
            "build again with --overwrite"
        )
    groups = shard_groups(join(job.folder, PLAN), plan, job.shard)
    with Reporter(join(job.folder, WORK, LIVE)) as live:
        parts, read, size = make_parts(
            plan, build.sources, tok, groups, index, lambda rows, read: live.add(records=rows, bytes=read)
        )
        dead = [letter for part in parts for letter in part.rejected]
        lines = "".join(json.dumps(letter, sort_keys=True, ensure_ascii=False) + "\n" for letter in dead)
        if dead:
            with atomic_write(rejected_path(job.folder, job.shard, plan.shards)) as stream:
                stream.write(lines.encode())
        name = shard_name(job.shard, plan.shards)
        written = write_shard(join(job.folder, name), batches(plan, job.shard, build.sources, parts))
        sidecar = ShardSidecar(
            plan_digest=plan.digest,
            tokenizer=build.tokenizer,
            name=name,
            rows=written.rows,
            bytes=written.bytes,
            sha256=written.sha256,
            rows_per_source=tuple(part.rows for part in parts),
            planned_per_source=tuple(part.planned for part in parts),
            rejected_per_source=tuple(sum(letter["rows"] for letter in part.rejected) for part in parts),
            rejected_sha256=hashlib.sha256(lines.encode()).hexdigest() if dead else None,
            rejected_by_reason=_by_reason(dead),
            action_tokens_per_source=tuple(_count_tokens(part) for part in parts),
            clamped_per_source=tuple(part.clamped for part in parts),
            resized_per_source=tuple(part.resized for part in parts),
            records_read=read,
            bytes_read=size,
        )
        write_sidecar(job.folder, job.shard, plan.shards, sidecar)
        live.add(files=1, rejected=sum(letter["rows"] for letter in dead))
    return live.total


def write_sources(folder: str, sources: BuildSources) -> None:
    """Writes SHARDS/plan/sources.json."""
    write_json(join(folder, PLAN, SOURCES), json_files.encode(sources))


def read_sources(folder: str) -> BuildSources:
    """Reads SHARDS/plan/sources.json.

    Raises:
        InputError: it is missing, or its keys are not those of this version.
    """
    path = join(folder, PLAN, SOURCES)
    return json_files.decode(BuildSources, read_json(path, "the sources of a build"), path)


def batches(plan: Plan, shard: int, facts: Sequence[ResolvedSource], parts: list[Part]) -> Iterator[pa.RecordBatch]:
    """All rows of a shard in low-discrepancy source order, each source's in a seeded one, in batches of 256."""
    tables, images = [], []
    for source, fact, part in zip(plan.sources, facts, parts, strict=True):
        rest, views = table(part, fact.kind, fact.name, shuffled(f"{source.key}/rows/{shard}", part.rows))
        tables.append(rest)
        images.append(views)
    counts = [part.rows for part in parts]
    if not sum(counts):
        return
    order = interleave(counts)
    starts = np.cumsum(counts) - counts
    index = np.empty(len(order), np.int64)
    for i, start in enumerate(starts.tolist()):
        index[order == i] = start + np.arange(counts[i])
    rest = pa.concat_tables(tables).take(pa.array(index)).combine_chunks()
    joined = {name: [image for views in images for image in views[name]] for name in IMAGE_COLUMNS}
    for at in range(0, len(index), ROWS_PER_BATCH):
        rows = index[at : at + ROWS_PER_BATCH].tolist()
        columns = {name: pa.array([values[i] for i in rows], pa.binary()) for name, values in joined.items()}
        part = rest.slice(at, len(rows))
        columns |= {name: part.column(name).combine_chunks() for name in part.column_names}
        yield pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def left_state(
    folder: str, shard: int, plan: Plan, tokenizer: str | None, digests: bool = False
) -> ShardSidecar | None:
    """A shard's sidecar if it is of this plan and tokenizer, and its files have their sizes and, if asked, digests; else None."""
    name = shard_name(shard, plan.shards)
    fs, path = filesystem(join(folder, name))
    try:
        sidecar = read_sidecar(folder, shard, plan.shards)
        if (sidecar.plan_digest, sidecar.tokenizer, sidecar.bytes) != (plan.digest, tokenizer, fs.size(path)):
            return None
        if digests:
            files = [(join(folder, name), sidecar.sha256)]
            if sidecar.rejected_sha256 is not None:
                files.append((rejected_path(folder, shard, plan.shards), sidecar.rejected_sha256))
            if any(sha256_file(file)[0] != expected for file, expected in files):
                return None
    except (InputError, FileNotFoundError):
        return None
    return sidecar


def _count_tokens(part: Part) -> int:
    return sum(len(ids) * times for ids, times in zip(part.tokens, part.times, strict=True)) if part.tokens else 0


def _by_reason(dead: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for letter in dead:
        counts[letter["reason"]] = counts.get(letter["reason"], 0) + letter["rows"]
    return counts
