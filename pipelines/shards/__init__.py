"""Reads and writes shards. Trainers import this package, which needs neither TensorFlow nor Beam.

SHARDS is a folder of Arrow IPC files with a manifest; see docs/design.md. Names are imported on first use, so that it stays cheap
to import `pipelines.shards.records`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.shards.batch import Batch, ReadState
    from pipelines.shards.decode_images import ImageDecoder
    from pipelines.shards.manifest import Manifest, Shard
    from pipelines.shards.reader import ShardReader
    from pipelines.shards.schedule import Phase
    from pipelines.shards.writer import Written, shard_name, write_shard

__all__ = [
    "Batch",
    "ImageDecoder",
    "Manifest",
    "Phase",
    "ReadState",
    "Shard",
    "ShardReader",
    "Written",
    "shard_name",
    "write_shard",
]

_HOME = {
    "Batch": "batch",
    "ImageDecoder": "decode_images",
    "Manifest": "manifest",
    "Phase": "schedule",
    "ReadState": "batch",
    "Shard": "manifest",
    "ShardReader": "reader",
    "Written": "writer",
    "shard_name": "writer",
    "write_shard": "writer",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
