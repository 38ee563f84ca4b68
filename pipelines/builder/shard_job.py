"""What the driver of `build` leaves for its workers: the shards to write, the sources, and where the INDEX is."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from fasttok.common import json_files
from pipelines.builder.sources import ResolvedSource
from pipelines.common.files import join, read_json, write_json
from pipelines.common.live_counts import JOBS, WORK

PLAN = "plan"  # folder of SHARDS
SOURCES = "sources.json"  # in PLAN
INDEX_PLACE = "index.json"  # in WORK: where the INDEX is


@dataclass(frozen=True)
class ShardJob:
    """One shard of a build.

    Attributes:
        folder: SHARDS, with its plan and tokenizer in place.
        shard: its number.
        check: whether an earlier run left it; it is kept if its digests are as its sidecar says.
    """

    folder: str
    shard: int
    check: bool = False


@dataclass(frozen=True)
class BuildSources:
    """SHARDS/plan/sources.json: what workers need besides the plan.

    It does not say where the INDEX is, so that its bytes are the same wherever that lies.

    Attributes:
        tokenizer: fingerprint of SHARDS/tokenizer, None without robot sources.
        sources: in the mixture's order.
    """

    tokenizer: str | None
    sources: tuple[ResolvedSource, ...]


def save_jobs(folder: str, jobs: Iterable[ShardJob], name: str = JOBS) -> None:
    """Leaves the shards to write."""
    write_json(join(folder, WORK, name), [{k: v for k, v in asdict(job).items() if k != "folder"} for job in jobs])


def list_shards(folder: str, name: str = JOBS) -> Iterator[ShardJob]:
    """The shards to write, left in a file of this name."""
    path = join(folder, WORK, name)
    for value in read_json(path, "the shards to write"):
        yield json_files.decode(ShardJob, {"folder": folder, **value}, path)


def save_sources(folder: str, sources: BuildSources, index: str) -> None:
    """Leaves the sources, and where the INDEX is."""
    write_json(join(folder, PLAN, SOURCES), json_files.encode(sources))
    write_json(join(folder, WORK, INDEX_PLACE), index)


def load_sources(folder: str) -> tuple[BuildSources, str]:
    """The sources, and where the INDEX is.

    Raises:
        InputError: a file is missing, or its keys are not those of this version.
    """
    path = join(folder, PLAN, SOURCES)
    sources = json_files.decode(BuildSources, read_json(path, "the sources of a build"), path)
    return sources, str(read_json(join(folder, WORK, INDEX_PLACE), "where the INDEX of a build is"))


def kept_path(folder: str, shard: int) -> str:
    """The mark of a shard that was checked and kept."""
    return join(folder, WORK, "kept", str(shard))
