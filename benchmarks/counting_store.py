"""An object store in memory that takes its time and counts: `slow://bucket/...` for fsspec.

Objects are bytes by name; there are no folders but what names have in common. Each request sleeps for `latency` and is counted by
kind: HEAD (is there one, and how large), GET (bytes), LIST (1,000 names a page), PUT (a whole object) and DELETE.
"""

import threading
import time
import zlib
from collections import Counter
from typing import Any, ClassVar

from fsspec import register_implementation
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

PAGE = 1000


class CountingStore(AbstractFileSystem):
    """The store; one for the whole process."""

    protocol = "slow"
    cachable = True
    latency: ClassVar[float] = 0.0
    objects: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[Counter[str]] = Counter()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @classmethod
    def ask(cls, kind: str, times: int = 1) -> None:
        """Counts requests, and waits for them."""
        with cls._lock:
            cls.requests[kind] += times
        if cls.latency:
            time.sleep(cls.latency * times)

    @classmethod
    def _found(cls, path: str) -> dict[str, Any]:
        return {
            "name": path,
            "size": len(cls.objects[path]),
            "type": "file",
            "ETag": f"{zlib.crc32(cls.objects[path]):x}",
        }

    @classmethod
    def _below(cls, path: str) -> list[str]:
        prefix = f"{path}/" if path else ""
        names = [name for name in list(cls.objects) if name.startswith(prefix)]
        cls.ask("LIST", max(1, -(-len(names) // PAGE)))
        return names

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Of an object, or of a folder that some have in common."""
        path = self._strip_protocol(path).rstrip("/")
        self.ask("HEAD")
        if path in self.objects:
            return self._found(path)
        self.ask("LIST")
        if any(name.startswith(f"{path}/") for name in list(self.objects)):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """Objects and folders right below a folder."""
        path = self._strip_protocol(path).rstrip("/")
        found: dict[str, dict[str, Any]] = {}
        for name in self._below(path):
            first, slash, _rest = name[len(path) + 1 :].partition("/")
            full = f"{path}/{first}" if path else first
            found[full] = {"name": full, "size": 0, "type": "directory"} if slash else self._found(name)
        if not found:
            raise FileNotFoundError(path)
        return [found[name] if detail else name for name in sorted(found)]

    def find(self, path: str, maxdepth: int | None = None, detail: bool = False, **_: Any) -> Any:
        """All objects below a folder."""
        path = self._strip_protocol(path).rstrip("/")
        names = [name for name in self._below(path) if maxdepth is None or name[len(path) + 1 :].count("/") < maxdepth]
        return {name: self._found(name) for name in sorted(names)} if detail else sorted(names)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """Bytes of an object."""
        path = self._strip_protocol(path)
        self.ask("GET")
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path][start:end]

    def pipe_file(self, path: str, value: bytes, **_: Any) -> None:
        """Writes an object."""
        self.ask("PUT")
        self.objects[self._strip_protocol(path)] = bytes(value)

    def rm_file(self, path: str) -> None:
        """Deletes an object."""
        self.ask("DELETE")
        self.objects.pop(self._strip_protocol(path), None)

    def rm(self, path: Any, recursive: bool = False, **_: Any) -> None:
        """Deletes all below a folder, a thousand a request, as S3 does."""
        for one in [path] if isinstance(path, str) else path:
            names = self._below(self._strip_protocol(one).rstrip("/")) if recursive else [self._strip_protocol(one)]
            self.ask("DELETE", max(1, -(-len(names) // PAGE)))
            for name in names:
                self.objects.pop(name, None)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing: there are no folders."""

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **more: Any) -> "CountedFile":
        return CountedFile(self, self._strip_protocol(path), mode, block_size or "default", **more)


class CountedFile(AbstractBufferedFile):
    """An open object: a HEAD when it is opened for reading, a GET for each range; a PUT when it is closed."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        CountingStore.ask("GET")
        return CountingStore.objects[self.path][start:end]

    def _initiate_upload(self) -> None:
        self._pieces: list[bytes] = []

    def _upload_chunk(self, final: bool = False) -> bool:
        self._pieces.append(self.buffer.getvalue())
        if final:
            CountingStore.ask("PUT")
            CountingStore.objects[self.path] = b"".join(self._pieces)
        return True


register_implementation("slow", CountingStore, clobber=True)
