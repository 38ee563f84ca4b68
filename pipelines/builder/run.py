"""Runs whole builds: mixture + INDEX + tokenizer -> plan -> Beam -> shards, manifest, card."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import pyarrow as pa

from fasttok import ActionTokenizer
from fasttok.common import json_files
from fasttok.common.console import emit_json, log
from fasttok.common.names import check_utf8
from fasttok.common.output_folder import check_output
from fasttok.errors import InputError
from fasttok.fitting.fit import FitConfig
from mixtures.index_sizes import Holding
from mixtures.registry import load_mixture
from mixtures.spec import Mixture, with_overrides
from pipelines.builder.action_tokens import check_tokenizer, place_tokenizer
from pipelines.builder.assemble import assemble
from pipelines.builder.card import write_card
from pipelines.builder.check_sources import check_sources
from pipelines.builder.config import BuildConfig
from pipelines.builder.console_report import last_line, print_plan, report, report_rejected
from pipelines.builder.holdings import read_holdings
from pipelines.builder.output_kind import SHARDS
from pipelines.builder.plan import BuildPlan, check_same_plan, make_plan, save_plan
from pipelines.builder.probe import probe
from pipelines.builder.result import BuildResult
from pipelines.builder.shard_job import PLAN, BuildSources, ShardJob, kept_path, list_shards, save_jobs, save_sources
from pipelines.builder.sidecar import ShardSidecar, left_sidecar
from pipelines.builder.sources import ResolvedSource, resolve
from pipelines.builder.worker import materialize_shard
from pipelines.common.array_task import forget_array
from pipelines.common.beam import Stage, finish, live_file, run_stage
from pipelines.common.files import absolute, exists, join, remove
from pipelines.shards.manifest import NAME

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class CheckedInputs:
    """The inputs of a build, looked up and checked to fit together. Nothing is written yet.

    Attributes:
        mixture: the mixture, with the values that the command line overrides.
        index: path or URL of the INDEX.
        index_digest: digest of the INDEX.
        sources: sources of the mixture, looked up in the INDEX.
        tok: the tokenizer that the mixture names; None to fit one, or without robot sources.
        holdings: source -> its records in the INDEX.
        plan: what will be written.
        placed: for each source, a table of its groups, by shard.
    """

    mixture: Mixture
    index: str
    index_digest: str
    sources: list[ResolvedSource]
    tok: ActionTokenizer | None
    holdings: dict[str, Holding]
    plan: BuildPlan
    placed: list[pa.Table]

    @property
    def given(self) -> list[str]:
        """Paths and URLs that are read besides the INDEX."""
        return [self.mixture.tokenizer]

    def tokenizer_in(self, out: str, config: BuildConfig) -> str | None:
        """Puts the tokenizer into SHARDS if it is not there. Returns its fingerprint; None without robot sources."""
        fit = FitConfig(embodiments="together", constants=config.fit_constants, clip=config.fit_clip)
        return place_tokenizer(out, self.mixture, self.sources, self.index, self.tok or fit, self.holdings)


def leave_inputs(inputs: CheckedInputs, config: BuildConfig, out: str) -> str | None:
    """Writes into SHARDS what the workers read: plan, tokenizer and sources. Returns the tokenizer's fingerprint."""
    save_plan(join(out, PLAN), inputs.plan, inputs.placed)
    fingerprint = inputs.tokenizer_in(out, config)
    save_sources(out, BuildSources(fingerprint, tuple(inputs.sources)), inputs.index)
    return fingerprint


def check_inputs(config: BuildConfig) -> CheckedInputs:
    """Looks up and checks all inputs, makes the plan, and prints it (not with --json).

    Raises:
        InputError: an input is missing, or does not fit the others.
    """
    if config.resume and config.overwrite:
        raise InputError("--resume keeps what is there and --overwrite removes it; give one of them")
    mixture = with_overrides(load_mixture(config.mixture, config.index), config.index, config.tokenizer, config.seed)
    if mixture.tokenizer != "fit" and (config.fit_clip or config.fit_constants != "zero"):
        raise InputError(
            f"--fit-constants and --fit-clip are for --tokenizer fit; the tokenizer {mixture.tokenizer} was fitted already"
        )
    if mixture.index is None:
        raise InputError(f"mixture {mixture.name!r} names no index; pass --index INDEX")
    index = absolute(mixture.index)
    check_utf8(index, "so the jobs of the build cannot name it")
    sources, index_digest = resolve(mixture, index)
    check_sources({(source.dataset, source.split) for source in sources}, index)
    tok = check_tokenizer(mixture, sources)
    holdings = read_holdings(mixture, sources, index)
    facts = {source.name: source.facts() for source in sources}
    plan, placed = make_plan(mixture, holdings, index_digest, config.samples, mixture.seed, config.shards, facts)
    if not config.json:
        print_plan(plan, sources)
    return CheckedInputs(mixture, index, index_digest, sources, tok, holdings, plan, placed)


def dry_run(config: BuildConfig) -> BuildPlan:
    """Prints the plan and how long the build would take, and writes nothing.

    Raises:
        InputError: an input is missing, or does not fit the others.
    """
    inputs = check_inputs(config)
    plan = inputs.plan
    rate = probe(plan, inputs.sources, inputs.placed, inputs.tok, inputs.index)
    if config.json:
        emit_json({**json_files.encode(plan), "bytes": plan.bytes, "rows_per_second": rate})
    log(
        f"dry run: {plan.samples:,} rows in {plan.shards} shards, about {plan.bytes / 1e6:,.0f} MB; a process makes about "
        f"{rate:,.0f} rows/s of them, so about {plan.samples / rate:,.0f} s in one process. Nothing was written"
    )
    return plan


def run_build(config: BuildConfig, beam_args: list[str]) -> BuildResult:
    """Runs stages 2 and 3 and prints a summary.

    Raises:
        InputError: an input is missing or does not fit the others, OUT may not be written, or counts do not balance.
    """
    if config.array:
        config = replace(config, resume=True)
    inputs = check_inputs(config)
    plan, out = inputs.plan, absolute(config.out)
    reads = [inputs.index, *inputs.given]
    place = check_output(config.out, SHARDS, overwrite=config.overwrite, resume=config.resume, reads=reads)
    if config.resume:
        check_same_plan(out, join(out, PLAN), plan)
    with place.replacing() as under_way:
        remove(join(out, NAME))  # the manifest means "finished", so it comes back only when that is true again
        forget_array(out)
        fingerprint = leave_inputs(inputs, config, out)
        read_sidecars = partial(each_shard, plan, lambda k: left_sidecar(out, k, plan, fingerprint))
        left = {k for k, sidecar in enumerate(read_sidecars()) if sidecar is not None} if config.resume else set()
        if config.resume:
            log(
                f"resume: {len(left)} of {plan.shards} shards are there; each is checked against its digest before it is kept"
            )
        save_jobs(out, [ShardJob(out, k, check=k in left) for k in range(plan.shards)])
        stage = Stage("writing shards", out, list_shards, materialize_shard, "shards", "rows")
        run_stage(stage, beam_args, plan.shards, 0, live_file(out), under_way)
    skipped = sum(each_shard(plan, lambda k: exists(kept_path(out, k))))
    sidecars: list[ShardSidecar | None] = read_sidecars()
    manifest = assemble(inputs.mixture, plan, inputs.sources, fingerprint, inputs.index_digest, sidecars)
    whole = [sidecar for sidecar in sidecars if sidecar is not None]
    result = BuildResult.of(manifest, whole, skipped)
    write_card(out, manifest, inputs.mixture, result.rejected_by_reason)
    manifest.save(out)
    finish(out)
    if config.json:
        emit_json(result.to_json())
    else:
        report(result, plan)
    report_rejected(whole, config.out, {source.name for source in inputs.sources if source.recorded})
    log(last_line(manifest, whole, config.out))
    return result


def each_shard(plan: BuildPlan, look: Callable[[int], T]) -> list[T]:
    """Calls `look` for each shard and returns the answers. It makes 16 calls at a time, because object stores answer slowly."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(look, range(plan.shards)))
