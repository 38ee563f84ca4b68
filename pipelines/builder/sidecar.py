"""Sidecars, SHARDS/state/shard-....json: counts and digests of one shard each. The manifest adds up their counts.

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
    """Counts and digests of one finished shard. `..._per_source` has a value for each source, in the plan's order.

    Attributes:
        plan_digest: digest of the plan that the shard belongs to.
        tokenizer: fingerprint of the build's tokenizer; None without robot sources.
        name: file name of the shard, within SHARDS.
        rows: rows in the shard.
        bytes: bytes of the shard's file.
        sha256: hex digest of the shard's file.
        rows_per_source: rows in the shard.
        planned_per_source: rows that the plan asked for.
        rejected_per_source: rows that could not be made.
        rejected_sha256: hex digest of the file with the shard's dead letters; None if there are none.
        rejected_by_reason: reason -> number of rows that could not be made.
        action_tokens_per_source: FAST ids in all rows together.
        clamped_per_source: chunks with a coefficient outside the tokenizer's range.
        resized_per_source: images that were resized, and so encoded again.
        records_read: source records that were read for the shard.
        bytes_read: source bytes that were read for the shard.
        encoded_per_source: images that came as pixels; () if there are none at all.
        image_encoders: library -> version, for the libraries that decided the bytes of these images.
        longest_per_source: lengths that no row exceeds; () in files of older versions.
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
    """Returns the path of a shard's sidecar."""
    return join(folder, "state", shard_name(shard, total).replace(".arrow", ".json"))


def write_sidecar(folder: str, shard: int, total: int, sidecar: ShardSidecar) -> None:
    """Writes a shard's sidecar. The shard must be written already."""
    write_json(state_path(folder, shard, total), json_files.encode(sidecar))


def read_sidecar(folder: str, shard: int, total: int) -> ShardSidecar:
    """Reads a shard's sidecar.

    Raises:
        InputError: the sidecar is missing, or does not have the keys of this version.
    """
    path = state_path(folder, shard, total)
    return json_files.decode(ShardSidecar, read_json(path, "a shard's sidecar"), path)


def left_sidecar(
    folder: str, shard: int, plan: BuildPlan, tokenizer: str | None, digests: bool = False
) -> ShardSidecar | None:
    """Returns the sidecar that an earlier run left of a shard; None if the shard must be made again.

    The sidecar must be of this plan and tokenizer, and the shard must have the size that it says. With `digests`, the shard and
    its dead letters must also have the digests that it says.
    """
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
