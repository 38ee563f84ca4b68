"""Keeps copies of remote shards in a local folder of bounded size, which several processes may share.

A file is named by the sha256 of its contents, so that equal shards of several SHARDS share one copy. It appears by a rename, when
it is complete and its digest is checked. The least recently used files are deleted when the folder grows over its bound; a
process that still has a deleted file mapped can go on reading it.
"""

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from fasttok.errors import InputError
from pipelines.common.files import BLOCK, filesystem
from pipelines.shards.manifest import Shard

try:
    import fcntl
except ImportError:  # not POSIX: two processes may then copy the same shard at once, and the last rename wins
    fcntl = None  # type: ignore[assignment]

DEFAULT_BYTES = 32 << 30
OURS = re.compile(r"[0-9a-f]{64}\.")


class ShardCache:
    """Copies of shards in `folder`: at most `limit` bytes, or more if the shards that are being copied now are larger."""

    def __init__(self, folder: str, limit: int) -> None:
        """Makes the folder.

        Raises:
            InputError: `limit` is less than one byte.
        """
        if limit < 1:
            raise InputError(
                f"a cache of {limit} bytes has no room for a shard; give cache_bytes of several shards, or no cache"
            )
        self.folder = Path(folder)
        self.limit = limit
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, url: str, shard: Shard) -> str:
        """Returns the local path of a shard; copies the shard if it is not there.

        Raises:
            InputError: the shard cannot be copied, or the copy is not what the manifest says.
        """
        kept = self.folder / f"{shard.sha256}.arrow"
        if _used(kept):
            return str(kept)
        with _locked(self.folder / f"{shard.sha256}.lock"):
            if not _used(kept):
                for left in self.folder.glob(f"{shard.sha256}.*.tmp"):
                    left.unlink(missing_ok=True)  # left by a process that died: only the owner of the lock copies
                self._copy(url, shard, kept)
        return str(kept)

    def _copy(self, url: str, shard: Shard, kept: Path) -> None:
        temporary = kept.with_name(f"{shard.sha256}.{uuid.uuid4().hex}.tmp")
        digest, size = hashlib.sha256(), 0
        try:
            with _locked(self.folder / "evict.lock"):  # so that shards that others are copying are counted at full size
                self._evict(self.limit - shard.bytes)
                with temporary.open("wb") as out:
                    out.truncate(shard.bytes)
            fs, path = filesystem(url)
            with temporary.open("r+b") as out, fs.open(path, "rb") as stream:
                while block := stream.read(BLOCK):
                    digest.update(block)
                    size += len(block)
                    out.write(block)
            if (digest.hexdigest(), size) != (shard.sha256, shard.bytes):
                raise InputError(
                    f"{url}: {size:,} bytes with sha256 {digest.hexdigest()[:12]}... came, the manifest says {shard.bytes:,} "
                    f"with {shard.sha256[:12]}...: the shard or the way here is damaged; check it with: fasttok-pipelines lint"
                )
            temporary.replace(kept)
        except OSError as error:
            raise InputError(f"{url}: cannot be copied to the cache {self.folder}: {error}") from None
        finally:
            temporary.unlink(missing_ok=True)

    def _evict(self, limit: int) -> None:
        """Deletes the least recently used files until the rest is at most `limit` bytes."""
        found = []
        for pattern in ("*.tmp", "*.arrow"):  # in this order, a copy that is renamed meanwhile is still counted
            for file in self.folder.glob(pattern):
                if not OURS.match(file.name):
                    continue  # not a file of this cache
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    found.append((stat.st_mtime_ns, stat.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= limit:
                return
            if file.suffix == ".tmp":
                continue
            file.unlink(missing_ok=True)
            total -= size


def _used(file: Path) -> bool:
    """Marks a file as used now; returns whether it exists."""
    try:
        os.utime(file)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Locks a file: one process at a time runs the block. If that process dies, the system frees the lock."""
    with file.open("ab") as stream:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
