"""SHARDS/state/shard-....json: what one shard became; the manifest adds them up.

A shard whose sidecar is missing is made again.
"""

from dataclasses import dataclass, field

from fasttok.common import json_files
from fasttok.errors import InputError
from pipelines.builder.dead_letter import rejected_path
from pipelines.builder.plan import BuildPlan
from pipelines.common.files import filesystem, join, read_json, sha256_file, write_json
from pipelines.shards.manifest import LongestRow
from pipelines.shards.writer import shard_name


@dataclass(frozen=True)
class ShardSidecar:
    """One finished shard. Lists have a number for each source, in the plan's order.

    Attributes:
        plan_digest: digest of the plan that the shard belongs to.
        tokenizer: fingerprint of the tokenizer that made its FAST ids, None without robot rows.
        name: file name of the shard, within SHARDS.
        rows: rows in it.
        bytes: its size.
        sha256: hex digest of the file.
        rows_per_source: rows in it.
        planned_per_source: rows that the plan asked for.
        rejected_per_source: rows that could not be made.
        rejected_sha256: hex digest of the file with its dead letters, None if there are none.
        rejected_by_reason: rows that could not be made, by reason.
        action_tokens_per_source: FAST ids in all of its rows.
        clamped_per_source: chunks of which a coefficient lay outside the tokenizer's range.
        resized_per_source: images that were encoded again.
        records_read: source records that were read for it.
        bytes_read: bytes of those records.
        encoded_per_source: images that came as pixels; () for none.
        image_encoders: what decided their bytes: library -> version.
        longest_per_source: what no row exceeds; () in files that older versions wrote.
    """

    plan_digest: str
    tokenizer: str | None
    name: str
    rows: int
    bytes: int
    sha256: str
    rows_per_source: tuple[int, ...]
    planned_per_source: tuple[int, ...]
    rejected_per_source: tuple[int, ...]
    rejected_sha256: str | None
    rejected_by_reason: dict[str, int]
    action_tokens_per_source: tuple[int, ...]
    clamped_per_source: tuple[int, ...]
    resized_per_source: tuple[int, ...]
    records_read: int
    bytes_read: int
    encoded_per_source: tuple[int, ...] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)
    image_encoders: dict[str, str] = field(default_factory=dict, metadata=json_files.IF_NOT_DEFAULT)
    longest_per_source: tuple[LongestRow, ...] = field(default=(), metadata=json_files.IF_NOT_DEFAULT)


def state_path(folder: str, shard: int, total: int) -> str:
    """Where a shard's sidecar is."""
    return join(folder, "state", shard_name(shard, total).replace(".arrow", ".json"))


def write_sidecar(folder: str, shard: int, total: int, sidecar: ShardSidecar) -> None:
    """Writes a shard's sidecar, after the shard."""
    write_json(state_path(folder, shard, total), json_files.encode(sidecar))


def read_sidecar(folder: str, shard: int, total: int) -> ShardSidecar:
    """Reads a shard's sidecar.

    Raises:
        InputError: it is missing, or its keys are not those of this version.
    """
    path = state_path(folder, shard, total)
    return json_files.decode(ShardSidecar, read_json(path, "a shard's sidecar"), path)


def left_sidecar(
    folder: str, shard: int, plan: BuildPlan, tokenizer: str | None, digests: bool = False
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
