"""Makes the manifest from the sidecars of all shards."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from fasttok.errors import InputError
from mixtures.spec import Mixture
from pipelines.builder.action_tokens import TOKENIZER
from pipelines.builder.plan import BuildPlan
from pipelines.builder.sidecar import ShardSidecar
from pipelines.builder.sources import ResolvedSource
from pipelines.shards.manifest import LongestRow, Manifest, ManifestSource, RowCounts, Shard, ShardTokenizer
from pipelines.shards.writer import shard_name


def assemble(
    mixture: Mixture,
    plan: BuildPlan,
    facts: list[ResolvedSource],
    fingerprint: str | None,
    index_digest: str,
    states: Sequence[ShardSidecar | None],
) -> Manifest:
    """Makes the manifest from the sidecars of all shards (`states`; None for a shard that was not written).

    Raises:
        InputError: a shard was not written; planned != written + rejected; or the workers encoded images with different versions
            of the libraries.
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
            **vars(fact.facts()),
            share=source.share,
            planned=source.quota,
            written=written,
            rejected=rejected,
            steps_held=source.frames,
            left_out=source.left_out,
            capped=source.capped,
            images_encoded=sum(state.encoded_per_source[i] for state in whole if state.encoded_per_source),
            images_resized=sum(state.resized_per_source[i] for state in whole),
            clamped_chunks=sum(state.clamped_per_source[i] for state in whole),
            mean_action_tokens=round(tokens / written, 3) if fact.robot and written else None,
            longest=_longest(whole, i),
        )
    encoders = {tuple(sorted(state.image_encoders.items())) for state in whole if state.image_encoders}
    if len(encoders) > 1:
        raise InputError(
            f"the workers had different versions of what encodes images: {' and '.join(str(dict(e)) for e in sorted(encoders))}; "
            "give the same versions and build again with --overwrite, so that the same build gives the same bytes"
        )
    return Manifest(
        image_encoders=dict(next(iter(encoders), ())),
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


def _longest(states: Sequence[ShardSidecar], source: int) -> LongestRow | None:
    """Returns the lengths that no row of a source exceeds; None if an older version, which did not record them, wrote a shard."""
    if not all(state.longest_per_source for state in states):
        return None
    return reduce(or_, (state.longest_per_source[source] for state in states), LongestRow())
