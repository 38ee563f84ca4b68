"""Stage 2: which steps of which episodes go to which shard. Pure numpy over the INDEX; no source byte is read.

Of a source with F steps and quota n, every step is taken floor(n / F) times, and n mod F steps, chosen by Philox bits, once
more. Episodes are shuffled and cut into runs at episode boundaries, one run a shard, so each source record is read exactly
once in the whole build. Which steps are chosen is not stored: it follows from a threshold on the bits, so the plan
holds one line an episode and a worker derives its shard from (plan folder, shard number).

    PLAN/plan.json                digest, seed, shards, per source: quota, passes, threshold, ...
    PLAN/<number of source>.parquet  an episode a row, by shard: shard, file, offset, length, episode, steps, first, rows
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

from fasttok.errors import InputError
from mixtures.quota import capped_quotas
from mixtures.spec import Mixture
from pipelines.bits import shuffled, words
from pipelines.files import atomic_write, filesystem, join, read_json, write_json

FORMAT_VERSION = 1
SHARD_BYTES = 128 << 20  # aimed at when --shards is not given: between the 64 and 256 MB that object stores like
ROWS_FOR_A_SHARD = 512  # small builds are still cut, so that workers and resume have something to share
SMALL_BUILD_SHARDS = 8
EPISODE_COLUMNS = ("file", "offset", "length", "episode", "steps")
TABLE_COLUMNS = (*EPISODE_COLUMNS, "image_bytes")
TEXT_BYTES = 512  # of a row that are not image: texts, chunk, ids, provenance; only to guess a number of shards


@dataclass(frozen=True)
class SourcePlan:
    """One source's part of the plan.

    Attributes:
        name: source in the mixture.
        dataset: dataset in the INDEX.
        split: split in the INDEX.
        quota: samples planned, exact.
        capped: whether max_epochs held the quota below the share.
        frames: steps (or VLM records) the INDEX has of it.
        passes: times every step is taken: quota // frames.
        threshold: steps whose bits are below are taken once more.
        tie: and those whose bits equal the threshold, up to this step number (-1: none).
        key: name of its Philox stream.
    """

    name: str
    dataset: str
    split: str
    quota: int
    capped: bool
    frames: int
    passes: int
    threshold: int
    tie: int
    key: str

    @property
    def epochs(self) -> float:
        """Effective epochs: samples per step held."""
        return self.quota / self.frames

    def takes(self, first: int, steps: int) -> NDArray[np.int64]:
        """How often each step of an episode is taken, (steps,) int64.

        Args:
            first: number of the episode's first step among the source's frames.
            steps: its length.
        """
        bits = words(f"{self.key}/steps", first, first + steps)
        threshold = np.uint64(self.threshold)
        tied = (bits == threshold) & (np.arange(first, first + steps) <= self.tie)
        return self.passes + ((bits < threshold) | tied).astype(np.int64)


@dataclass(frozen=True)
class Plan:
    """What `build` will write. `digest` names it: seed, index digest, mixture digest, settings and every episode's place."""

    seed: int
    samples: int
    shards: int
    index_digest: str
    mixture_digest: str
    digest: str
    sources: tuple[SourcePlan, ...]

    @property
    def planned(self) -> dict[str, int]:
        return {source.name: source.quota for source in self.sources}


def make_plan(
    mixture: Mixture,
    tables: dict[str, pa.Table],
    index_digest: str,
    samples: int,
    seed: int,
    shards: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Plan, dict[str, pa.Table]]:
    """Plans a build.

    Args:
        mixture: the sources and shares.
        tables: per source name, its episodes in a fixed order: `TABLE_COLUMNS` of the INDEX.
        index_digest: names the INDEX.
        samples: rows in all shards together.
        seed: of every choice.
        shards: output files; None: about 128 MB each.
        settings: what else decides the rows (plain data): only goes into the digest.

    Returns:
        The plan, and per source its episodes with columns shard, first (number of the first step) and rows added, sorted
        by shard. Episodes of which no step is taken are left out.

    Raises:
        InputError: no samples, a source without episodes, caps that cannot hold the samples.
    """
    if samples < 1:
        raise InputError(f"--samples must be at least 1, got {samples}")
    if shards is not None and not 1 <= shards <= 99_999:
        raise InputError(f"--shards must be between 1 and 99999, got {shards}")
    frames = []
    for source in mixture.sources:
        table = tables[source.name]
        frames.append(int(np.sum(table.column("steps").to_numpy(), dtype=np.int64)))
        if not frames[-1]:
            raise InputError(
                f"source {source.name!r}: the INDEX holds no usable record of {source.dataset}/{source.split}; look at its"
                " rejected records, or take the source out of the mixture"
            )
    names = [source.name for source in mixture.sources]
    caps = [source_cap(source.max_epochs, n) for source, n in zip(mixture.sources, frames, strict=True)]
    counts = capped_quotas([source.share for source in mixture.sources], samples, caps, names)
    number = shards or _default_shards(tables, names, counts, frames)
    key = hashlib.sha256(f"{seed}/{index_digest}/{mixture.digest}".encode()).hexdigest()
    plans, placed = [], {}
    for source, quota, held, cap in zip(mixture.sources, counts.tolist(), frames, caps, strict=True):
        threshold, tie = _threshold(f"{key}/{source.name}/steps", held, quota % held)
        plan = SourcePlan(
            name=source.name,
            dataset=source.dataset,
            split=source.split,
            quota=quota,
            capped=cap is not None and quota == cap and quota < source.share * samples,
            frames=held,
            passes=quota // held,
            threshold=threshold,
            tie=tie,
            key=f"{key}/{source.name}",
        )
        plans.append(plan)
        placed[source.name] = _place(plan, tables[source.name], number)
    digest = _digest(plans, placed, [seed, samples, number, index_digest, mixture.digest, settings])
    return Plan(seed, samples, number, index_digest, mixture.digest, digest, tuple(plans)), placed


def source_cap(max_epochs: float | None, frames: int) -> int | None:
    """Most samples of a source; None without a limit.

    >>> source_cap(1.5, 101), source_cap(None, 101)
    (151, None)
    """
    return None if max_epochs is None else int(max_epochs * frames)


def save_plan(folder: str, plan: Plan, placed: dict[str, pa.Table]) -> None:
    """Writes the plan; plan.json comes last."""
    for number, source in enumerate(plan.sources):
        with atomic_write(join(folder, f"{number:03d}.parquet")) as stream:
            pq.write_table(placed[source.name], stream, compression="zstd", row_group_size=1 << 16)
    write_json(join(folder, "plan.json"), {"format_version": FORMAT_VERSION, **asdict(plan)})


def load_plan(folder: str) -> Plan:
    """Reads a saved plan.

    Raises:
        InputError: none is there, or it is of another version.
    """
    value: dict[str, Any] = read_json(join(folder, "plan.json"), "the plan of a build")
    if value.pop("format_version", None) != FORMAT_VERSION:
        raise InputError(f"{folder}: the plan is of another version; build again with --overwrite")
    sources = tuple(SourcePlan(**source) for source in value.pop("sources"))
    return Plan(sources=sources, **value)


def shard_episodes(folder: str, plan: Plan, shard: int) -> list[pa.Table]:
    """Per source of the plan, the episodes of one shard, in source order (by first step)."""
    tables = []
    for number in range(len(plan.sources)):
        fs, path = filesystem(join(folder, f"{number:03d}.parquet"))
        with fs.open(path, "rb") as stream:
            table = pq.read_table(stream, filters=[("shard", "=", shard)])
        tables.append(table.sort_by("first"))
    return tables


def _default_shards(tables: dict[str, pa.Table], names: list[str], counts: NDArray[np.int64], frames: list[int]) -> int:
    """Shards of about 128 MB, from the image bytes that the INDEX has per step."""
    size = 0.0
    for name, count, held in zip(names, counts.tolist(), frames, strict=True):
        images = float(np.sum(tables[name].column("image_bytes").to_numpy(), dtype=np.int64))
        size += count * (images / held + TEXT_BYTES)
    rows = int(counts.sum())
    return max(1, -(-int(size) // SHARD_BYTES), min(SMALL_BUILD_SHARDS, rows // ROWS_FOR_A_SHARD))


def _threshold(key: str, frames: int, chosen: int) -> tuple[int, int]:
    """(threshold, tie) such that exactly `chosen` of `frames` words are below, or equal and numbered <= tie."""
    if not chosen:
        return 0, -1
    bits = words(key, 0, frames)
    threshold = np.partition(bits, chosen - 1)[chosen - 1]
    missing = chosen - int((bits < threshold).sum())
    return int(threshold), int(np.flatnonzero(bits == threshold)[missing - 1])


def _place(plan: SourcePlan, table: pa.Table, shards: int) -> pa.Table:
    """Counts each episode's rows, shuffles the episodes and cuts them into one run a shard."""
    steps = table.column("steps").to_numpy().astype(np.int64)
    first = np.cumsum(steps) - steps
    takes = plan.takes(0, plan.frames)
    rows = np.add.reduceat(takes, first[steps > 0])
    keep = np.flatnonzero(steps > 0)
    keep, rows = keep[rows > 0], rows[rows > 0]
    order = shuffled(f"{plan.key}/episodes", len(keep))
    keep, rows = keep[order], rows[order]
    middle = np.cumsum(rows) - rows / 2  # an episode belongs to the shard in which its middle row falls
    shard = np.minimum((middle * shards / plan.quota).astype(np.int64), shards - 1) if len(rows) else rows
    chosen = table.select(EPISODE_COLUMNS).take(keep)
    return (
        chosen.append_column("first", pa.array(first[keep]))
        .append_column("rows", pa.array(rows))
        .append_column("shard", pa.array(shard))
    )


def _digest(plans: list[SourcePlan], placed: dict[str, pa.Table], head: list[Any]) -> str:
    """sha256 over values, not over files: the same whatever the library that wrote them."""
    digest = hashlib.sha256(json.dumps([head, [asdict(plan) for plan in plans]], sort_keys=True).encode())
    for plan in plans:
        table = placed[plan.name]
        for name in ("offset", "length", "episode", "steps", "first", "rows", "shard"):
            digest.update(table.column(name).to_numpy().astype("<i8").tobytes())
    return digest.hexdigest()
