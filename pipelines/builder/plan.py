"""Stage 2: which records go to which shard. Pure numpy over the INDEX's sizes; no source byte is read.

A source's records are placed in groups (`mixtures.index_sizes`): shuffled, and cut at group boundaries into one run a shard, so
each source record is read exactly once in the whole build. Which frames of a record are rows follows from a threshold on
Philox bits (`draws.py`), so the plan contains one line a group, and a worker derives its shard from (plan folder, shard number).

    PLAN/plan.json                digest, seed, shards, per source: quota, passes, threshold, ...
    PLAN/<number of source>.parquet  a group a row, by shard: shard, file, row, records, first, frames, rows
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fasttok.common import json_files
from fasttok.errors import InputError
from mixtures.index_sizes import Holding
from mixtures.shares import Allocation, allocate
from mixtures.spec import Mixture, Source, SourceFilters
from pipelines.builder.draws import Draws, draw, group_takes
from pipelines.common.files import atomic_write, exists, filesystem, join, read_json, write_json
from pipelines.common.random_bits import shuffled
from pipelines.shards.manifest import SourceFacts

PLAN_FILE = "plan.json"
FORMAT_VERSION = 2
SHARD_BYTES = 128 << 20  # aimed at when --shards is not given: between the 64 and 256 MB that object stores like
ROWS_FOR_A_SHARD = 512  # small builds are still cut, so that workers and resume have something to share
SMALL_BUILD_SHARDS = 8
MOST_SHARDS = 99_999
TEXT_BYTES = 512  # of a row that are not image: texts, chunk, ids, provenance; only to guess a number of shards
COLUMNS = {
    "shard": pa.int32(),
    "file": pa.int32(),
    "row": pa.int64(),
    "records": pa.int32(),
    "first": pa.int64(),
    "frames": pa.int64(),
    "rows": pa.int64(),
}


@dataclass(frozen=True)
class SourcePlan:
    """What is planned of one source.

    Attributes:
        name: source in the mixture.
        dataset: dataset of the INDEX.
        split: split of that dataset.
        share: of all samples, as the weights ask; in [0, 1].
        phases: samples of each phase of the curriculum; one phase without any.
        capped: whether max_epochs kept the quota below the share.
        frames: steps (or VLM records) that the INDEX has of it after the source's filters.
        left_out: records that its filters left out, by filter.
        image_bytes: of a frame, on average.
        draws: which frames are taken.
        bundle: number shared by sources that take the same records of a dataset: they are placed and read together.
        key: name of its Philox streams.
    """

    name: str
    dataset: str
    split: str
    share: float
    phases: tuple[int, ...]
    capped: bool
    frames: int
    left_out: dict[str, int]
    image_bytes: float
    draws: Draws
    bundle: int
    key: str

    @property
    def quota(self) -> int:
        """Samples planned, exact."""
        return sum(self.phases)

    @property
    def epochs(self) -> float:
        """Effective epochs: samples per frame that the INDEX has."""
        return self.quota / self.frames

    @property
    def bytes(self) -> float:
        """Of its rows, about."""
        return self.quota * (self.image_bytes + TEXT_BYTES)


@dataclass(frozen=True)
class BuildPlan:
    """What `build` will write: SHARDS/plan/plan.json, which has the key `format_version`, too.

    Attributes:
        seed: of every choice.
        samples: rows in all shards together.
        shards: how many output files.
        index_digest: digest of the INDEX.
        mixture_digest: digest of the mixture.
        digest: names the plan: of the seed, both digests, the settings, and every group's shard and rows.
        sources: in the mixture's order.
    """

    seed: int
    samples: int
    shards: int
    index_digest: str
    mixture_digest: str
    digest: str
    sources: tuple[SourcePlan, ...]

    @property
    def planned(self) -> dict[str, int]:
        """Rows of each source."""
        return {source.name: source.quota for source in self.sources}

    @property
    def bytes(self) -> float:
        """Of all shards, about."""
        return sum(source.bytes for source in self.sources)


def make_plan(
    mixture: Mixture,
    holdings: Mapping[str, Holding],
    index_digest: str,
    samples: int,
    seed: int,
    shards: int | None = None,
    facts: Mapping[str, SourceFacts] | None = None,
) -> tuple[BuildPlan, list[pa.Table]]:
    """Plans a build.

    Args:
        mixture: the sources and shares.
        holdings: per source name, its records.
        index_digest: names the INDEX.
        samples: rows in all shards together.
        seed: of every choice.
        shards: output files; None: about 128 MB each.
        facts: per source name, what else decides its rows; used only for the digest.

    Returns:
        The plan, and per source its groups (`COLUMNS`), by shard. Groups of which no frame is taken are left out.

    Raises:
        InputError: no samples, a source without records, caps that cannot hold the samples.
    """
    if samples < 1:
        raise InputError(f"--samples must be at least 1, got {samples}")
    if shards is not None and not 1 <= shards <= MOST_SHARDS:
        raise InputError(f"--shards must be between 1 and {MOST_SHARDS}, got {shards}")
    frames = {name: holding.total for name, holding in holdings.items()}
    for source in mixture.sources:
        if not frames[source.name]:
            left = ", ".join(f"{n:,} left out by {name}" for name, n in holdings[source.name].left_out.items())
            raise InputError(
                f"source {source.name!r}: the INDEX contains no usable record of {source.dataset}/{source.split}"
                f"{f' that passes its filters ({left})' if left else '; look at its rejected records'}; or take it out"
            )
    amounts = allocate(mixture, samples, frames)
    number = shards or _default_shards(mixture, holdings, amounts)
    key = hashlib.sha256(f"{seed}/{index_digest}/{mixture.digest}".encode()).hexdigest()
    plans: list[SourcePlan] = []
    bundles: dict[tuple[str, str, SourceFilters], int] = {}  # which records -> number
    for i, source in enumerate(mixture.sources):
        holding, quota = holdings[source.name], int(amounts.quotas[i])
        name = f"{key}/{source.name}"
        plan = SourcePlan(
            name=source.name,
            dataset=source.dataset,
            split=source.split,
            share=float(np.average(amounts.shares[:, i], weights=amounts.counts.sum(axis=1))),
            phases=tuple(amounts.counts[:, i].tolist()),
            capped=bool(amounts.capped[i]),
            frames=holding.total,
            left_out=holding.left_out,
            image_bytes=holding.image_bytes / holding.total,
            draws=draw(f"{name}/steps", holding.total, quota),
            bundle=bundles.setdefault(records_of(source), len(bundles)),
            key=name,
        )
        plans.append(plan)
    placed: list[pa.Table] = [None] * len(plans)
    for bundle in bundles.values():
        members = [i for i, plan in enumerate(plans) if plan.bundle == bundle]
        holding = holdings[plans[members[0]].name]
        for i, table in zip(members, _place([plans[i] for i in members], holding, number), strict=True):
            placed[i] = table
    settings = None if facts is None else json_files.encode(facts)
    digest = _digest(plans, placed, [seed, samples, number, index_digest, mixture.digest, settings])
    return BuildPlan(seed, samples, number, index_digest, mixture.digest, digest, tuple(plans)), placed


def records_of(source: Source) -> tuple[str, str, SourceFilters]:
    """Which records of an INDEX a source takes: sources of which this is the same take the same ones."""
    return source.dataset, source.split, source.filters


def save_plan(folder: str, plan: BuildPlan, placed: list[pa.Table]) -> None:
    """Writes the plan; plan.json comes last."""
    for number, table in enumerate(placed):
        with atomic_write(join(folder, f"{number:03d}.parquet")) as stream:
            pq.write_table(table, stream, compression="zstd", row_group_size=1 << 16)
    write_json(join(folder, PLAN_FILE), {json_files.VERSION_KEY: FORMAT_VERSION, **json_files.encode(plan)})


def load_plan(folder: str) -> BuildPlan:
    """Reads a saved plan.

    Raises:
        InputError: none is there, or it is of another version.
    """
    where = join(folder, PLAN_FILE)
    raw = read_json(where, "the plan of a build")
    version = raw.get(json_files.VERSION_KEY) if isinstance(raw, dict) else None
    if not isinstance(version, int) or version < FORMAT_VERSION:
        raise InputError(f"{folder}: the plan is of another version; build again with --overwrite")
    return json_files.decode(BuildPlan, raw, where, FORMAT_VERSION)


def check_same_plan(out: str, folder: str, plan: BuildPlan) -> None:
    """Whether a build that a user resumes has this plan.

    Args:
        out: SHARDS, for messages.
        folder: of its plan.
        plan: of this run.

    Raises:
        InputError: it has another one.
    """
    if not exists(join(folder, PLAN_FILE)):
        return
    earlier = load_plan(folder)
    if earlier.digest != plan.digest:
        names = ("samples", "seed", "shards", "index_digest", "mixture_digest")
        other = [
            f"{n} {getattr(earlier, n)} -> {getattr(plan, n)}" for n in names if getattr(earlier, n) != getattr(plan, n)
        ]
        raise InputError(
            f"{out} was begun with another plan ({', '.join(other) or 'other data'}); resume with the same arguments,"
            " or pass --overwrite"
        )


def shard_groups(folder: str, plan: BuildPlan, shard: int) -> list[pa.Table]:
    """Per source of the plan, the groups of one shard, in source order (by first frame)."""
    tables = []
    for number in range(len(plan.sources)):
        fs, path = filesystem(join(folder, f"{number:03d}.parquet"))
        with fs.open(path, "rb") as stream:
            table = pq.read_table(stream, filters=[("shard", "=", shard)])
        tables.append(table.sort_by("first"))
    return tables


def _default_shards(mixture: Mixture, holdings: Mapping[str, Holding], amounts: Allocation) -> int:
    """Shards of about 128 MB, from the image bytes that the INDEX has per frame."""
    size = 0.0
    for source, count in zip(mixture.sources, amounts.quotas.tolist(), strict=True):
        holding = holdings[source.name]
        size += count * (holding.image_bytes / holding.total + TEXT_BYTES)
    few = min(SMALL_BUILD_SHARDS, int(amounts.quotas.sum()) // ROWS_FOR_A_SHARD)
    return min(max(1, -(-int(size) // SHARD_BYTES), few), MOST_SHARDS)


def _place(plans: list[SourcePlan], holding: Holding, shards: int) -> list[pa.Table]:
    """Counts each group's rows, shuffles the groups and cuts them into one run a shard, of about as many rows of a bundle."""
    first = np.cumsum(holding.frames) - holding.frames
    rows = [group_takes(plan.draws, holding.frames) for plan in plans]
    total = np.sum(rows, axis=0) if len(rows) > 1 else rows[0]
    keep = np.flatnonzero(total)
    keep = keep[shuffled(f"{plans[0].key}/groups", len(keep))]
    taken = total[keep]
    middle = np.cumsum(taken) - taken / 2  # a group belongs to the shard in which its middle row falls
    shard = np.minimum((middle * shards / max(int(taken.sum()), 1)).astype(np.int64), shards - 1)
    tables = []
    for own in rows:
        mine = own[keep] > 0
        at = keep[mine]
        values: list[NDArray[np.int32 | np.int64]] = [
            shard[mine],
            holding.file[at],
            holding.row[at],
            holding.records[at],
            first[at],
            holding.frames[at],
            own[at],
        ]
        tables.append(pa.table({n: pa.array(v, kind) for (n, kind), v in zip(COLUMNS.items(), values, strict=True)}))
    return tables


def _digest(plans: list[SourcePlan], placed: list[pa.Table], head: list[Any]) -> str:
    """sha256 over values, not over files: the same whatever the library that wrote them."""
    digest = hashlib.sha256(json.dumps([head, [asdict(plan) for plan in plans]], sort_keys=True).encode())
    for table in placed:
        for name in COLUMNS:
            digest.update(table.column(name).to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()
