"""What came of a build."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipelines.builder.sidecar import ShardSidecar
from pipelines.shards.manifest import Manifest


@dataclass(frozen=True)
class BuildResult:
    """The shards, and how they were made.

    Attributes:
        manifest: of the shards.
        skipped: shards that an earlier run had made, and that were kept.
        rejected_by_reason: rows that could not be made, by reason.
        bytes_read: source bytes.
        records_read: source records.
    """

    manifest: Manifest
    skipped: int
    rejected_by_reason: dict[str, int]
    bytes_read: int
    records_read: int

    @classmethod
    def of(cls, manifest: Manifest, sidecars: Iterable[ShardSidecar], skipped: int) -> "BuildResult":
        """Adds up what the shards' sidecars say."""
        reasons: Counter[str] = Counter()
        read = size = 0
        for sidecar in sidecars:
            reasons.update(sidecar.rejected_by_reason)
            read, size = read + sidecar.records_read, size + sidecar.bytes_read
        return cls(manifest, skipped, dict(reasons), size, read)

    def to_json(self) -> dict[str, Any]:
        """The manifest's keys and the other numbers, as `build --json` prints them."""
        return {
            **self.manifest.to_json(),
            "skipped": self.skipped,
            "rejected_by_reason": self.rejected_by_reason,
            "bytes_read": self.bytes_read,
            "records_read": self.records_read,
        }
