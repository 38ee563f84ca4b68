"""Whole builds: mixture + INDEX + tokenizer -> plan -> Beam -> shards, manifest, card."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import tyro

from fasttok import ActionTokenizer
from fasttok.common import json_files
from fasttok.common.console import emit_json, log, table, track
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from mixtures.index_sizes import Holding, read_holding
from mixtures.registry import load_mixture
from mixtures.spec import Mixture, asked_for, with_overrides
from pipelines.builder.action_tokens import TOKENIZER, check_tokenizer, place_tokenizer
from pipelines.builder.card import write_card
from pipelines.builder.output_kind import SHARDS
from pipelines.builder.plan import Plan, load_plan, make_plan, save_plan
from pipelines.builder.rows import make_parts
from pipelines.builder.sidecar import ShardSidecar
from pipelines.builder.sources import BuildSources, ResolvedSource, resolve
from pipelines.builder.worker import (
    INDEX,
    PLAN,
    kept_path,
    left_state,
    list_shards,
    materialize_shard,
    write_sources,
)
from pipelines.common.beam import Stage, finish, live_file, run_stage
from pipelines.common.files import absolute, exists, join, remove, write_json
from pipelines.common.live_counts import JOBS, WORK
from pipelines.shards import shard_name
from pipelines.shards.manifest import NAME, Manifest, ManifestSource, RowCounts, Shard, ShardTokenizer

T = TypeVar("T")
PROBED = 64  # groups of each source that a dry run makes rows of


@dataclass(frozen=True)
class BuildConfig:
    """Builds interleaved shards from a mixture and an INDEX: plan, then one Beam job a shard, then the manifest.

    Example: fasttok-pipelines build demo --index INDEX --tokenizer TOKENIZER --out SHARDS --samples 16000

    Unknown flags go to Beam, such as --direct_num_workers=2 --direct_running_mode=multi_processing.
    """

    mixture: Annotated[str, tyro.conf.Positional]
    """A preset (`fasttok-mixtures list`) or a mixture's YAML file."""
    out: str
    """The SHARDS folder; any fsspec URL."""
    samples: int
    """Rows in all shards together."""
    index: str | None = None
    """INDEX of `fasttok-pipelines index`; overrides the mixture's."""
    tokenizer: str | None = None
    """Tokenizer folder, or `fit` to fit one on the mixture's robot data; overrides the mixture's."""
    seed: int | None = None
    """Seed of every choice; overrides the mixture's."""
    shards: int | None = None
    """Output files; about 128 MB each by default."""
    resume: bool = False
    """Go on with an interrupted build; finished shards are kept after checking their digests."""
    overwrite: bool = False
    """Replace earlier shards in OUT."""
    dry_run: bool = False
    """Print the plan and stop."""
    json: bool = False
    """Print the summary as JSON on stdout."""


def run_build(config: BuildConfig, beam_args: list[str]) -> dict[str, Any]:
    """Runs stages 2 and 3 and prints a summary.

    Returns:
        The manifest as plain data, plus `skipped` (shards kept by --resume) and `rejected_by_reason`.

    Raises:
        InputError: something given does not fit, OUT is in the way, or counts do not balance.
    """
    if config.resume and config.overwrite:
        raise InputError("--resume keeps what is there and --overwrite removes it; give one of them")
    mixture = with_overrides(load_mixture(config.mixture), config.index, config.tokenizer, config.seed)
    if mixture.index is None:
        raise InputError(f"mixture {mixture.name!r} names no index; pass --index INDEX")
    index = absolute(mixture.index)
    facts, index_digest = resolve(mixture, index)
    given = check_tokenizer(mixture, facts)
    holdings = read_holdings(mixture, facts, index)
    settings = {source.name: json_files.encode(source.facts()) for source in facts}
    plan, placed = make_plan(mixture, holdings, index_digest, config.samples, mixture.seed, config.shards, settings)
    if not config.json:
        print_plan(plan, facts)
    if config.dry_run:
        rate = probe(plan, facts, placed, given, index)
        if config.json:
            emit_json({**asdict(plan), "bytes": plan.bytes, "rows_per_second": rate})
        log(
            f"dry run: {plan.samples:,} rows in {plan.shards} shards, about {plan.bytes / 1e6:,.0f} MB; a process makes about "
            f"{rate:,.0f} rows/s of them, so about {plan.samples / rate:,.0f} s in one process. Nothing was written"
        )
        return asdict(plan)
    out = absolute(config.out)
    place = check_output(config.out, SHARDS, overwrite=config.overwrite, resume=config.resume)
    if config.resume:
        check_same_plan(out, plan)
    place.begin()
    remove(join(out, NAME))  # the manifest says "finished", and comes back when that is true again
    save_plan(join(out, PLAN), plan, placed)
    fingerprint = place_tokenizer(out, mixture, facts, index, given, holdings)
    write_sources(out, BuildSources(fingerprint, tuple(facts)))
    sidecars = partial(each_shard, plan, lambda k: left_state(out, k, plan, fingerprint))
    left = [k for k, state in enumerate(sidecars()) if state is not None] if config.resume else []
    if config.resume:
        log(
            f"resume: {len(left)} of {plan.shards} shards are there; each is checked against its digest before it is kept"
        )
    write_json(join(out, WORK, INDEX), index)
    write_json(join(out, WORK, JOBS), [(k, k in set(left)) for k in range(plan.shards)])
    stage = Stage("writing shards", out, list_shards, materialize_shard, "shards", "rows")
    run_stage(stage, beam_args, plan.shards, 0, live_file(out))
    skipped = sum(each_shard(plan, lambda k: exists(kept_path(out, k))))
    states = sidecars()
    manifest = assemble(mixture, plan, facts, fingerprint, index_digest, states)
    write_card(out, manifest, mixture, states)
    manifest.save(out)
    finish(out)
    reasons: dict[str, int] = {}
    for state in states:
        for reason, rows in (state.rejected_by_reason if state else {}).items():
            reasons[reason] = reasons.get(reason, 0) + rows
    whole = [state for state in states if state is not None]
    result = {
        **manifest.to_json(),
        "skipped": skipped,
        "rejected_by_reason": reasons,
        "bytes_read": sum(state.bytes_read for state in whole),
        "records_read": sum(state.records_read for state in whole),
    }
    report(config, manifest, plan, reasons, result)
    return result


def read_holdings(mixture: Mixture, facts: list[ResolvedSource], index: str) -> dict[str, Holding]:
    """What the INDEX holds of each source; sources that take the same records of a dataset share one object."""
    found: dict[tuple[Any, ...], Holding] = {}
    names: dict[str, Holding] = {}
    for source, fact in track(list(zip(mixture.sources, facts, strict=True)), "reading the INDEX", unit="sources"):
        key = (source.dataset, source.split, source.filters)
        if key not in found:
            with asked_for(source):
                found[key] = read_holding(index, source, fact.files)
        names[source.name] = found[key]
    return names


def probe(
    plan: Plan, facts: list[ResolvedSource], placed: list[pa.Table], tok: ActionTokenizer | None, index: str
) -> float:
    """Rows a second of one process, measured on the first groups of the first shard; ids are encoded if there is a tokenizer."""
    began = time.perf_counter()
    groups = [table.filter(pc.equal(table.column("shard"), 0)).sort_by("first").slice(0, PROBED) for table in placed]
    parts, _, _ = make_parts(plan, facts, tok, groups, index, lambda rows, size: None)
    return max(sum(part.rows for part in parts), 1) / (time.perf_counter() - began)


def check_same_plan(out: str, plan: Plan) -> None:
    """Whether a build that is to be resumed has this plan.

    Raises:
        InputError: it has another one.
    """
    if not exists(join(out, PLAN, "plan.json")):
        return
    earlier = load_plan(join(out, PLAN))
    if earlier.digest != plan.digest:
        names = ("samples", "seed", "shards", "index_digest", "mixture_digest")
        other = [
            f"{n} {getattr(earlier, n)} -> {getattr(plan, n)}" for n in names if getattr(earlier, n) != getattr(plan, n)
        ]
        raise InputError(
            f"{out} was begun with another plan ({', '.join(other) or 'other data'}); resume with the same arguments,"
            " or pass --overwrite"
        )


def each_shard(plan: Plan, look: Callable[[int], T]) -> list[T]:
    """Something small about each shard; side by side, as object stores take their time to answer."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(look, range(plan.shards)))


def assemble(
    mixture: Mixture,
    plan: Plan,
    facts: list[ResolvedSource],
    fingerprint: str | None,
    index_digest: str,
    states: Sequence[ShardSidecar | None],
) -> Manifest:
    """The manifest out of the shards' sidecars.

    Raises:
        InputError: a shard was not written, or planned != written + rejected.
    """
    lost = [shard_name(k, plan.shards) for k, state in enumerate(states) if state is None]
    if lost:
        raise InputError(f"{len(lost)} shards were not written, the first {lost[0]}; run again with --resume")
    whole = [state for state in states if state is not None]
    sources: dict[str, ManifestSource] = {}
    for i, (source, fact) in enumerate(zip(plan.sources, facts, strict=True)):
        written = sum(state.rows_per_source[i] for state in whole)
        rejected = sum(state.rejected_per_source[i] for state in whole)
        if source.quota != written + rejected or source.quota != sum(s.planned_per_source[i] for s in whole):
            raise InputError(f"{source.name}: planned {source.quota} != written {written} + rejected {rejected}")
        tokens = sum(state.action_tokens_per_source[i] for state in whole)
        sources[source.name] = ManifestSource(
            **fact.facts(),
            share=source.share,
            planned=source.quota,
            written=written,
            rejected=rejected,
            steps_held=source.frames,
            left_out=source.left_out,
            capped=source.capped,
            images_resized=sum(state.resized_per_source[i] for state in whole),
            clamped_chunks=sum(state.clamped_per_source[i] for state in whole),
            mean_action_tokens=round(tokens / written, 3) if fact.robot and written else None,
        )
    return Manifest(
        sources=sources,
        mixture=mixture.to_json(),
        seed=plan.seed,
        index_digest=index_digest,
        plan_digest=plan.digest,
        tokenizer=None if fingerprint is None else ShardTokenizer(TOKENIZER, fingerprint),
        shards=tuple(Shard(s.name, s.rows, s.rows_per_source, s.bytes, s.sha256) for s in whole),
        counts=RowCounts(
            planned=plan.samples,
            written=sum(source.written for source in sources.values()),
            rejected=sum(source.rejected for source in sources.values()),
        ),
        phases=tuple(zip(*(source.phases for source in plan.sources), strict=True)),
    )


def print_plan(plan: Plan, facts: list[ResolvedSource]) -> None:
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


def report(
    config: BuildConfig, manifest: Manifest, plan: Plan, reasons: dict[str, int], result: dict[str, Any]
) -> None:
    """The summary after a build."""
    if config.json:
        emit_json(result)
        return
    rows: list[list[Any]] = []
    for source in plan.sources:
        s = manifest.sources[source.name]
        rows.append([source.name, s.kind, s.planned, s.written, s.rejected, source.epochs, s.mean_action_tokens,
                     s.clamped_chunks])  # fmt: skip
    c = manifest.counts
    rows.append(["total", "", c.planned, c.written, c.rejected, None, None, None])
    columns = ["source", "kind", "planned", "written", "rejected", "epochs", "FAST ids/row", "clamped"]
    table("planned = written + rejected", columns, rows)
    if reasons:
        listed = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
        log(f"rejected rows by reason: {listed}; each with file and offset in {config.out}/rejected/")
    log(f"read {result['records_read']:,} source records once each, {result['bytes_read'] / 1e6:,.1f} MB")
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    log(f"{config.out}: {manifest.num_rows:,} rows, {size:,.1f} MB; next: fasttok-pipelines inspect {config.out}")
