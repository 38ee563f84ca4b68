"""manifest.json: what the shards hold, from what, how much, and the digest of every file. Written last."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fasttok.errors import InputError
from pipelines.common.files import join, read_json, safe_name, write_json

FORMAT_VERSION = 2
NAME = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One shard file.

    Attributes:
        name: file name within SHARDS.
        rows: rows it holds.
        rows_per_source: rows of each source, in the manifest's order of sources. Rows stand in the order
            `mixtures.quota.interleave` of these numbers, so readers find a source's rows without opening the file.
        bytes: its size.
        sha256: hex digest of the file.
    """

    name: str
    rows: int
    rows_per_source: tuple[int, ...]
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The shards' table of contents; the same build gives the same bytes, so it names no times and no places.

    Attributes:
        sources: per source, in order: kind, dataset, split, embodiment, control_hz, horizon, action_dim, action_encoding,
            action_names, state_dim, cameras, license, share, planned, written, rejected.
        mixture: the resolved mixture.
        tokenizer: {"folder": "tokenizer", "fingerprint": hex} or None when no robot rows are held.
        counts: {"planned", "written", "rejected"}; planned = written + rejected.
        phases: samples planned of each source in each phase of a curriculum, (phases, sources); one phase without any.
    """

    sources: dict[str, dict[str, Any]]
    mixture: dict[str, Any]
    seed: int
    index_digest: str
    plan_digest: str
    tokenizer: dict[str, str] | None
    shards: tuple[Shard, ...]
    counts: dict[str, int]
    phases: tuple[tuple[int, ...], ...] = ()
    format_version: int = field(default=FORMAT_VERSION)

    @property
    def num_rows(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the whole manifest: names these shards in a reader's state."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        value = asdict(self)
        for shard in value["shards"]:
            shard["rows_per_source"] = list(shard["rows_per_source"])
        value["shards"] = list(value["shards"])
        value["phases"] = [list(phase) for phase in self.phases]
        value["source_order"] = list(self.sources)
        return value

    def save(self, folder: str) -> None:
        write_json(join(folder, NAME), self.to_json())

    @classmethod
    def load(cls, folder: str) -> "Manifest":
        """Reads SHARDS/manifest.json.

        Raises:
            InputError: no manifest (an unfinished build, or not SHARDS at all), another version, or fields that are wrong.
        """
        where = join(folder, NAME)
        what = "the manifest that `fasttok-pipelines build` writes last (finish an interrupted build with --resume)"
        value = read_json(where, what)
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != FORMAT_VERSION:
            raise InputError(
                f"{where}: format_version is {version!r}, this code reads {FORMAT_VERSION}; rebuild the shards"
            )
        try:
            order = value.pop("source_order")
            value["sources"] = {name: value["sources"][name] for name in order}
            value["phases"] = tuple(tuple(phase) for phase in value["phases"])
            value["shards"] = tuple(
                Shard(**{**shard, "rows_per_source": tuple(shard["rows_per_source"])}) for shard in value["shards"]
            )
            manifest = cls(**{f.name: value[f.name] for f in fields(cls)})
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{where}: not a manifest: {error!r}; rebuild the shards") from None
        for shard in manifest.shards:
            safe_name(shard.name, where)
            if len(shard.rows_per_source) != len(manifest.sources) or sum(shard.rows_per_source) != shard.rows:
                raise InputError(f"{where}: {shard.name}: rows_per_source does not add up to {shard.rows} rows")
        return manifest
