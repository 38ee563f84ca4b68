"""The result of a build."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipelines.builder.sidecar import ShardSidecar
from pipelines.shards.manifest import Manifest


@dataclass(frozen=True)
class BuildResult:
    """The shards of a build, and how they were made.

    Attributes:
        manifest: manifest of the shards.
        skipped: number of shards that an earlier run made and that were kept.
        rejected_by_reason: reason -> number of rows that could not be made.
        bytes_read: number of source bytes that were read.
        records_read: number of source records that were read.
    """

    manifest: Manifest
    skipped: int
    rejected_by_reason: dict[str, int]
    bytes_read: int
    records_read: int

    @classmethod
    def of(cls, manifest: Manifest, sidecars: Iterable[ShardSidecar], skipped: int) -> "BuildResult":
        """Adds up the counts in the shards' sidecars."""
        reasons: Counter[str] = Counter()
        read = size = 0
        for sidecar in sidecars:
            reasons.update(sidecar.rejected_by_reason)
            read, size = read + sidecar.records_read, size + sidecar.bytes_read
        return cls(manifest, skipped, dict(reasons), size, read)

    def to_json(self) -> dict[str, Any]:
        """Returns the keys of the manifest and the other numbers, as `build --json` prints them."""
        return {
            **self.manifest.to_json(),
            "skipped": self.skipped,
            "rejected_by_reason": self.rejected_by_reason,
            "bytes_read": self.bytes_read,
            "records_read": self.records_read,
        }
