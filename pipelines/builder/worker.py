"""Stage 3: writes one shard, given the build's folder and the shard's number. It runs inside the Beam graph but needs no Beam.

A job reads each of its source records once, cuts the planned frames into rows, encodes FAST ids in batches, and writes the rows
in low-discrepancy source order. Nothing depends on the runner, the number of workers or the clock, so a job that is killed and
rerun writes the same bytes. A row that cannot be made becomes a dead letter, never another row: planned = written + rejected.

    SHARDS/rejected/shard-....jsonl  source, file, offset, episode, step (null: all), reason, detail, rows
    SHARDS/shard-....arrow
    SHARDS/state/shard-....json      written last; --resume trusts it only after comparing digests
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from fasttok.errors import InputError
from mixtures.quota import interleave
from pipelines.builder.action_tokens import TOKENIZER
from pipelines.builder.dead_letter import rejected_path, rows_by_reason, to_lines
from pipelines.builder.plan import BuildPlan, load_plan, shard_groups
from pipelines.builder.rows import make_rows
from pipelines.builder.shard_job import PLAN, ShardJob, kept_path, load_sources
from pipelines.builder.sidecar import ShardSidecar, left_sidecar, write_sidecar
from pipelines.builder.source_columns import SourceColumns, table
from pipelines.builder.sources import ResolvedSource
from pipelines.common.encode_image import versions
from pipelines.common.files import atomic_write, join, write_json
from pipelines.common.free_memory import free_memory
from pipelines.common.live_counts import LIVE, WORK, Counts, Reporter
from pipelines.common.random_bits import shuffled
from pipelines.shards import shard_name, write_shard
from pipelines.shards.records import IMAGE_COLUMNS, ROWS_PER_BATCH, SCHEMA
from pipelines.shards.tokenizer import load_tokenizer


def materialize_shard(job: ShardJob) -> Counts:
    """Writes one shard, its dead letters and its sidecar.

    Raises:
        InputError: the plan, the tokenizer or a dataset's description cannot be read, or the disk is full. Bad records never
            raise.
    """
    plan = load_plan(join(job.folder, PLAN))
    build, index = load_sources(job.folder)
    if job.check and left_sidecar(job.folder, job.shard, plan, build.tokenizer, digests=True) is not None:
        write_json(kept_path(job.folder, job.shard), True)
        return Counts(files=1)
    tok = load_tokenizer(join(job.folder, TOKENIZER)) if build.tokenizer else None
    if tok is not None and tok.fingerprint != build.tokenizer:
        raise InputError(
            f"{job.folder}/{TOKENIZER} has fingerprint {tok.fingerprint}, the build began with {build.tokenizer}; "
            "build again with --overwrite"
        )
    groups = shard_groups(join(job.folder, PLAN), plan, job.shard)
    with Reporter(join(job.folder, WORK, LIVE)) as live:
        gathered, read, size = make_rows(
            plan, build.sources, tok, groups, index, lambda rows, read: live.add(records=rows, bytes=read)
        )
        dead = [letter for own in gathered for letter in own.rejected]
        lines = to_lines(dead)
        if dead:
            with atomic_write(rejected_path(job.folder, job.shard, plan.shards)) as stream:
                stream.write(lines.encode())
        name = shard_name(job.shard, plan.shards)
        written = write_shard(join(job.folder, name), batches(plan, job.shard, build.sources, gathered))
        encoded = any(own.encoded for own in gathered)
        sidecar = ShardSidecar(
            plan_digest=plan.digest,
            tokenizer=build.tokenizer,
            name=name,
            rows=written.rows,
            bytes=written.bytes,
            sha256=written.sha256,
            rows_per_source=tuple(own.rows for own in gathered),
            planned_per_source=tuple(own.planned for own in gathered),
            rejected_per_source=tuple(sum(letter.rows for letter in own.rejected) for own in gathered),
            rejected_sha256=hashlib.sha256(lines.encode()).hexdigest() if dead else None,
            rejected_by_reason=rows_by_reason(dead),
            action_tokens_per_source=tuple(_count_tokens(own) for own in gathered),
            clamped_per_source=tuple(own.clamped for own in gathered),
            resized_per_source=tuple(own.resized for own in gathered),
            records_read=read,
            bytes_read=size,
            encoded_per_source=tuple(own.encoded for own in gathered) if encoded else (),
            image_encoders=versions() if encoded else {},
            longest_per_source=tuple(own.longest for own in gathered),
        )
        write_sidecar(job.folder, job.shard, plan.shards, sidecar)
        live.add(files=1, rejected=sum(letter.rows for letter in dead))
    del gathered
    free_memory()
    return live.total


def batches(
    plan: BuildPlan, shard: int, facts: Sequence[ResolvedSource], gathered: list[SourceColumns]
) -> Iterator[pa.RecordBatch]:
    """Yields all rows of a shard in batches of 256: sources in low-discrepancy order, the rows of each source in a seeded one."""
    tables, images = [], []
    for source, fact, own in zip(plan.sources, facts, gathered, strict=True):
        rest, views = table(own, fact.kind, fact.name, shuffled(f"{source.key}/rows/{shard}", own.rows))
        tables.append(rest)
        images.append(views)
    counts = [own.rows for own in gathered]
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
        others = rest.slice(at, len(rows))
        columns |= {name: others.column(name).combine_chunks() for name in others.column_names}
        yield pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _count_tokens(own: SourceColumns) -> int:
    return sum(len(ids) * times for ids, times in zip(own.tokens, own.times, strict=True)) if own.tokens else 0
