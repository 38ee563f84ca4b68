"""Emulated object stores in this process, and a proxy before them that lets a share of the requests fail."""

import hashlib
import http.client
import logging
import os
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import fsspec
import fsspec.config
import pytest

# gcsfs otherwise asks by gRPC, which the emulator does not speak, of which kind a bucket is; it reads this when it is imported.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
FAULTS = ("500", "503", "reset", "cut")  # cut: the store did what was asked, and the connection breaks in its answer


@dataclass
class Proxy:
    """Passes requests on, or fails them.

    Attributes:
        port: of the store behind it.
        share: of the requests that fail; which ones depends on what is asked and how often, not on the order.
        faults: what happens, by kind.
        asked: requests by method.
        nth: how often each was asked.
        writes: how many more objects are written before `victim` is killed.
        victim: a process that writes.
        lock: of what is counted.
    """

    port: int
    share: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    nth: Counter[str] = field(default_factory=Counter)
    writes: int = -1
    victim: subprocess.Popen[str] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, path: str, span: str) -> str:
        """How this request fails, "" if it does not; the same request is not failed twice in a row."""
        name = f"{method} {path.partition('?')[0]} {span}"
        with self.lock:
            self.asked[method] += 1
            self.nth[name] += 1
            if method in ("PUT", "POST") and self.victim is not None:
                self.writes -= 1
                if self.writes <= 0:
                    self.victim.kill()
            draw = int.from_bytes(hashlib.sha256(f"{name} {self.nth[name]}".encode()).digest()[:8], "big") / 2**64
            if draw >= self.share or self.nth[name] % 2 == 0:
                return ""
            kind = FAULTS[int(draw / self.share * len(FAULTS))]
            kind = "reset" if kind == "cut" and method != "GET" else kind
            self.faults[kind] += 1
            return kind


class Passing(BaseHTTPRequestHandler):
    """One connection through the proxy."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def answer(self) -> None:
        proxy = cast(Any, self.server).proxy
        body = self.body()
        if self.command == "DELETE" and self.path.startswith(
            "/upload/"
        ):  # gives up an upload; the emulator knows only how to end it
            self.say(499, {}, b"")
            return
        kind = proxy.fault(self.command, self.path, self.headers.get("Range", ""))
        if kind == "reset":
            self.reset()
            return
        if kind in ("500", "503"):
            self.say(int(kind), {"Content-Type": "text/plain"}, b"try again")
            return
        there = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
        there.request(self.command, self.path, body, headers)
        found = there.getresponse()
        data = found.read()
        there.close()
        if kind == "cut" and len(data) > 1:
            self.say(found.status, dict(found.getheaders()), data, len(data) // 2)
            self.reset()
            return
        self.say(found.status, dict(found.getheaders()), data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = answer

    def body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        length = self.headers.get("Content-Length")
        return self.rfile.read(int(length)) if length is not None else None

    def say(self, status: int, headers: dict[str, str], data: bytes, sent: int | None = None) -> None:
        length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            with suppress(OSError):
                self.wfile.write(data if sent is None else data[:sent])

    def reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def before(port: int) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the store at a port of this machine, and its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    server.daemon_threads = True
    proxy = Proxy(port)
    cast(Any, server).proxy = proxy
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class Store:
    """An emulated store.

    Attributes:
        url: of an empty bucket.
        proxy: before it.
        environ: how other processes find it.
    """

    url: str
    proxy: Proxy
    environ: dict[str, str]

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """Its driver, which remembers no listings."""
        fs = fsspec.filesystem(self.url.partition("://")[0])
        fs.invalidate_cache()
        return fs


@contextmanager
def _found_at(store: Store, scheme: str, options: dict[str, Any]) -> Iterator[Store]:
    """Drivers of this process and of its children find the store."""
    before_, known = {name: os.environ.get(name) for name in store.environ}, fsspec.config.conf.get(scheme)
    os.environ.update(store.environ)
    fsspec.config.conf[scheme] = options
    fsspec.get_filesystem_class(scheme).clear_instance_cache()
    try:
        yield store
    finally:
        fsspec.get_filesystem_class(scheme).clear_instance_cache()
        fsspec.config.conf.pop(scheme)
        if known is not None:
            fsspec.config.conf[scheme] = known
        for name, value in before_.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@contextmanager
def s3() -> Iterator[Store]:
    """moto, which emulates S3, read and written through s3fs."""
    pytest.importorskip("s3fs", reason="needs the extra s3: pip install 'fasttok-vla[s3]'")
    server = pytest.importorskip("moto.server", reason="needs the extra stores-test").ThreadedMotoServer(
        port=0, verbose=False
    )
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    try:
        reset = http.client.HTTPConnection(*server.get_host_and_port())  # what it holds is the process's
        reset.request("POST", "/moto-api/reset")
        assert reset.getresponse().status == 200
        with before(server.get_host_and_port()[1]) as (proxy, url):
            environ = {
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "FSSPEC_S3_ENDPOINT_URL": url,
            }
            with _found_at(Store("s3://bucket", proxy, environ), "s3", {"endpoint_url": url}) as store:
                store.fs.mkdir(store.url)
                yield store
    finally:
        server.stop()


@contextmanager
def gcs() -> Iterator[Store]:
    """gcp-storage-emulator, read and written through gcsfs."""
    pytest.importorskip("gcsfs", reason="needs the extra gcp: pip install 'fasttok-vla[gcp]'")
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="needs the extra stores-test")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        with before(port) as (proxy, url):
            environ = {"STORAGE_EMULATOR_HOST": url, "FSSPEC_GS_TOKEN": "anon"}
            with _found_at(Store("gs://bucket", proxy, environ), "gs", {"token": "anon"}) as store:
                yield store
    finally:
        server.stop()
