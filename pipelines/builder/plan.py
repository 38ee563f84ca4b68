"""Stage 2: decides which records go to which shard. It uses only the sizes in the INDEX and reads no source file.

A source's records are placed in groups (`mixtures.index_sizes`). The groups are shuffled, and each shard gets a stretch of them,
so the whole build reads each record of a source at most once. A threshold on Philox bits decides which frames of a record become
rows (`draws.py`), so the plan has only one row per group, and a worker needs only the plan's folder and the number of its shard.

    PLAN/plan.json                   digest, seed, shards; per source: samples per phase, passes, threshold, ...
    PLAN/<number of source>.parquet  one row per group, by shard: shard, file, row, records, first, frames, rows
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
from mixtures.index_sizes import Holding, refuse_empty
from mixtures.shares import Allocation, allocate
from mixtures.spec import Mixture, Source, SourceFilters
from pipelines.builder.draws import Draws, draw, group_takes
from pipelines.common.files import atomic_write, exists, filesystem, join, read_json, write_json
from pipelines.common.random_bits import shuffled
from pipelines.shards.manifest import SourceFacts

PLAN_FILE = "plan.json"
FORMAT_VERSION = 2
SHARD_BYTES = 128 << 20  # target size without --shards: between the 64 and 256 MB that suit object stores
# A small build has one shard for every so many rows, up to SMALL_BUILD_SHARDS: workers share them, and --resume keeps some.
ROWS_FOR_A_SHARD = 512
SMALL_BUILD_SHARDS = 8
MOST_SHARDS = 99_999
TEXT_BYTES = 512  # guess for a row without its images (texts, chunk, ids, provenance), to estimate sizes
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
    """The plan of one source.

    Attributes:
        name: name of the source in the mixture.
        dataset: dataset of the INDEX.
        split: split of that dataset.
        share: share of all samples that the weights ask for, in [0, 1].
        phases: number of samples in each phase of the curriculum; a single phase without a curriculum.
        capped: whether max_epochs kept the quota below the share.
        frames: number of steps (or VLM records) that the INDEX has of the source after its filters.
        left_out: filter -> number of records that it left out.
        image_bytes: average bytes of the images of a frame.
        draws: which frames are taken, and how often.
        bundle: number of the source's bundle: sources that take the same records of a dataset are placed and read together.
        key: prefix of the names of its Philox streams.
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
        """Exact number of samples planned."""
        return sum(self.phases)

    @property
    def epochs(self) -> float:
        """Effective epochs: samples per frame that the INDEX has."""
        return self.quota / self.frames

    @property
    def bytes(self) -> float:
        """Estimated size of its rows, in bytes."""
        return self.quota * (self.image_bytes + TEXT_BYTES)


@dataclass(frozen=True)
class BuildPlan:
    """What `build` will write. SHARDS/plan/plan.json stores it, together with a `format_version`.

    Attributes:
        seed: seed of every random choice.
        samples: number of rows in all shards together.
        shards: number of shard files.
        index_digest: digest of the INDEX.
        mixture_digest: digest of the mixture.
        digest: digest of the whole plan: seed, number of shards, both digests, settings, and every group's shard and rows.
        sources: plans of the sources, in the mixture's order.
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
        """Name of each source -> number of rows planned."""
        return {source.name: source.quota for source in self.sources}

    @property
    def bytes(self) -> float:
        """Estimated size of all shards, in bytes."""
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
        mixture: the sources and their shares.
        holdings: name of each source -> its records in the INDEX.
        index_digest: digest of the INDEX.
        samples: number of rows in all shards together, at least 1.
        seed: seed of every random choice.
        shards: number of shard files, in [1, 99999]; None for shards of about 128 MB.
        facts: name of each source -> other facts that decide its rows; used only for the digest.

    Returns:
        The plan, and for each source a table of its groups (`COLUMNS`), by shard. Groups without a taken frame are left out.

    Raises:
        InputError: a number is out of range, a source has no records, or max_epochs allows fewer samples.
    """
    if samples < 1:
        raise InputError(f"--samples must be at least 1, got {samples}")
    if shards is not None and not 1 <= shards <= MOST_SHARDS:
        raise InputError(f"--shards must be between 1 and {MOST_SHARDS}, got {shards}")
    frames = {name: holding.total for name, holding in holdings.items()}
    for source in mixture.sources:
        refuse_empty(source, holdings[source.name])
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
    """Returns a key for the records that a source takes: sources with equal keys take the same records of an INDEX."""
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
        InputError: there is no plan, or another version wrote it.
    """
    where = join(folder, PLAN_FILE)
    raw = read_json(where, "the plan of a build")
    version = raw.get(json_files.VERSION_KEY) if isinstance(raw, dict) else None
    if not isinstance(version, int) or version < FORMAT_VERSION:
        raise InputError(f"{folder}: the plan is of another version; build again with --overwrite")
    return json_files.decode(BuildPlan, raw, where, FORMAT_VERSION)


def check_same_plan(out: str, folder: str, plan: BuildPlan) -> None:
    """Checks that a build that a user resumes has this plan. It passes if the build has no plan yet.

    Args:
        out: path or URL of SHARDS, for messages.
        folder: folder of the build's plan.
        plan: plan of this run.

    Raises:
        InputError: the build has another plan.
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
    """Returns for each source of the plan the groups of one shard, in the order of their first frames."""
    tables = []
    for number in range(len(plan.sources)):
        fs, path = filesystem(join(folder, f"{number:03d}.parquet"))
        with fs.open(path, "rb") as stream:
            table = pq.read_table(stream, filters=[("shard", "=", shard)])
        tables.append(table.sort_by("first"))
    return tables


def _default_shards(mixture: Mixture, holdings: Mapping[str, Holding], amounts: Allocation) -> int:
    """Returns the number of shards of about 128 MB, from the bytes per frame that the images have in the INDEX."""
    size = 0.0
    for source, count in zip(mixture.sources, amounts.quotas.tolist(), strict=True):
        holding = holdings[source.name]
        size += count * (holding.image_bytes / holding.total + TEXT_BYTES)
    few = min(SMALL_BUILD_SHARDS, int(amounts.quotas.sum()) // ROWS_FOR_A_SHARD)
    return min(max(1, -(-int(size) // SHARD_BYTES), few), MOST_SHARDS)


def _place(plans: list[SourcePlan], holding: Holding, shards: int) -> list[pa.Table]:
    """Shuffles the groups of a bundle and gives each shard a stretch of them, with about equally many rows.

    Returns:
        For each plan a table of its groups (`COLUMNS`).
    """
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
    """Returns the sha256 of the values, not of the files, which depend on the library that writes them."""
    digest = hashlib.sha256(json.dumps([head, [asdict(plan) for plan in plans]], sort_keys=True).encode())
    for table in placed:
        for name in COLUMNS:
            digest.update(table.column(name).to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()
