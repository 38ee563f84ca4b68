"""Digests of what a run reads, so that a run is known by its data, and not by the folders that the data is in. Imports no JAX."""

import hashlib
from pathlib import Path

from pipelines.shards.manifest import Manifest
from train.worlds.world_file import is_world_file

TEXTS = (".yaml", ".yml", ".json", ".jsonl", ".csv")  # files of a VQA dataset that are small; the others are images


def shards_digest(folder: Path) -> str:
    """Returns the digest of shards: that of their manifest, which has the digest of each file.

    Raises:
        InputError: the folder has no manifest, or it cannot be used.
    """
    return Manifest.load(str(folder)).digest


def questions_digest(folder: Path) -> str:
    """Returns the digest of a VQA dataset: what its texts contain, and the names and sizes of its images."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes() if file.suffix in TEXTS else b""
        found.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size} ".encode() + content)
    return found.hexdigest()


def world_digest(env: str) -> str:
    """Returns the digest of a world's file (`--env WORLD.yaml`); "" if the world is module:factory, whose code has none.

    >>> world_digest("examples.tabletop.env:make")
    ''
    """
    return hashlib.sha256(Path(env).read_bytes()).hexdigest() if is_world_file(env) else ""
