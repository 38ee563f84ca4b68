"""Files that the driver of `build` writes for its workers: the shards to write, the sources, and where the INDEX is."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from fasttok.common import json_files
from pipelines.builder.sources import ResolvedSource
from pipelines.common.files import join, read_json, write_json
from pipelines.common.live_counts import JOBS, WORK

PLAN = "plan"  # folder in SHARDS
SOURCES = "sources.json"  # in PLAN
INDEX_PLACE = "index.json"  # in WORK: where the INDEX is


@dataclass(frozen=True)
class ShardJob:
    """Job of writing one shard of a build.

    Attributes:
        folder: path or URL of SHARDS, which already contains the plan and the tokenizer.
        shard: number of the shard, from 0.
        check: whether an earlier run left the shard; it is kept if its files have the digests that its sidecar says.
    """

    folder: str
    shard: int
    check: bool = False


@dataclass(frozen=True)
class BuildSources:
    """SHARDS/plan/sources.json: what workers need besides the plan.

    The file does not say where the INDEX is, so that its bytes do not depend on that.

    Attributes:
        tokenizer: fingerprint of SHARDS/tokenizer; None without robot sources.
        sources: sources of the build, in the mixture's order.
    """

    tokenizer: str | None
    sources: tuple[ResolvedSource, ...]


def save_jobs(folder: str, jobs: Iterable[ShardJob], name: str = JOBS) -> None:
    """Writes the list of the shards to write."""
    write_json(join(folder, WORK, name), [{k: v for k, v in asdict(job).items() if k != "folder"} for job in jobs])


def list_shards(folder: str, name: str = JOBS) -> Iterator[ShardJob]:
    """Yields the shards to write, from the list with this file name."""
    path = join(folder, WORK, name)
    for value in read_json(path, "the shards to write"):
        yield json_files.decode(ShardJob, {"folder": folder, **value}, path)


def save_sources(folder: str, sources: BuildSources, index: str) -> None:
    """Writes the sources, and where the INDEX is."""
    write_json(join(folder, PLAN, SOURCES), json_files.encode(sources))
    write_json(join(folder, WORK, INDEX_PLACE), index)


def load_sources(folder: str) -> tuple[BuildSources, str]:
    """Reads the sources, and where the INDEX is.

    Raises:
        InputError: a file is missing, or does not have the keys of this version.
    """
    path = join(folder, PLAN, SOURCES)
    sources = json_files.decode(BuildSources, read_json(path, "the sources of a build"), path)
    return sources, str(read_json(join(folder, WORK, INDEX_PLACE), "where the INDEX of a build is"))


def kept_path(folder: str, shard: int) -> str:
    """Returns the path of the file that marks a shard as checked and kept."""
    return join(folder, WORK, "kept", str(shard))
