"""Remote shards: the same rows by ranged reads and through a bounded cache that processes share."""

import contextlib
import os
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import fsspec
import pytest

from fasttok.errors import InputError
from pipelines.shards import ShardReader
from pipelines.shards.cache import ShardCache
from tests.pipelines.made_shards import make_shards

COUNTS = [[300, 300]] * 6


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "shards"
    make_shards(folder, COUNTS)
    return folder


@pytest.fixture
def remote(local: Path) -> str:
    """A copy on fsspec's memory file system."""
    url = f"memory://{uuid.uuid4().hex}/shards"
    fs = fsspec.filesystem("memory")
    for file in local.iterdir():
        fs.pipe_file(f"{url}/{file.name}", file.read_bytes())
    return url


class Served(BaseHTTPRequestHandler):
    """Files of `folder`, whole or by range; counts what was asked."""

    folder: Path
    asked: list[tuple[str, str | None]]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        file, span = self.folder / self.path.strip("/"), self.headers.get("Range")
        if self.command == "GET":
            self.asked.append((self.path, span))
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        size = len(data)
        if span:
            low, high = span.removeprefix("bytes=").split("-")
            data = data[int(low) : int(high) + 1 if high else size]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {low}-{int(low) + len(data) - 1}/{size}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def http(local: Path) -> Iterator[tuple[str, type[Served]]]:
    """The shards behind a web server on this machine."""
    pytest.importorskip("aiohttp", reason="fsspec reads http:// through aiohttp")
    handler = type("Handler", (Served,), {"folder": local, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def ids(reader: ShardReader, mode: Any, **options: Any) -> list[str]:
    got: list[str] = []
    for batch in reader.batches(100, mode, epochs=1, window=2, pool=2, **options):
        got += batch["sample_id"]
    return got


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("mode", ["global", "block"])
@pytest.mark.filterwarnings("ignore:.*is meant for remote shards")
def test_remote_rows_are_those_of_local_shards(
    local: Path, remote: str, http: Any, tmp_path: Path, mode: str, workers: int
) -> None:
    expected = ids(ShardReader(str(local)), mode)
    for url in (remote, http[0]):
        assert ids(ShardReader(url), mode, workers=workers) == expected
        folder = tmp_path / uuid.uuid4().hex
        assert ids(ShardReader(url, cache=str(folder)), mode, workers=workers) == expected
        assert len(list(folder.glob("*.arrow"))) == 6
    assert any(span for _, span in http[1].asked)


def test_a_shard_is_copied_once_and_checked_by_its_name(http: Any, tmp_path: Path) -> None:
    url, handler = http
    for _ in range(2):
        ids(ShardReader(url, cache=str(tmp_path)), "block")
    fetched = [path for path, _ in handler.asked if path.endswith(".arrow")]
    assert len(fetched) == len(set(fetched)) == 6
    after = len(fetched)
    ids(ShardReader(url, cache=str(tmp_path)), "global")
    assert len([path for path, _ in handler.asked if path.endswith(".arrow")]) == after


def test_a_ranged_read_takes_a_record_batch_not_a_shard(http: Any) -> None:
    url, handler = http
    reader = ShardReader(url)
    handler.asked.clear()
    list(reader.record_batches(0))
    assert len(handler.asked) <= 2 + 2 * 3  # the footer's length and the footer, then each batch: head and body
    assert all(span for _, span in handler.asked)


def test_the_cache_stays_within_its_bound(local: Path, remote: str, tmp_path: Path) -> None:
    size = max(file.stat().st_size for file in local.glob("*.arrow"))
    reader = ShardReader(remote, cache=str(tmp_path), cache_bytes=int(2.5 * size))
    most = 0
    for batch in reader.batches(50, "block", epochs=2, window=2, pool=2):
        assert batch["sample_id"]
        held = 0
        for file in tmp_path.glob("*.arrow"):
            with contextlib.suppress(FileNotFoundError):  # evicted by the thread that fetches
                held += file.stat().st_size
        most = max(most, held)
    assert 0 < most <= 2.5 * size
    assert not list(tmp_path.glob("*.tmp"))


def test_least_recently_used_goes_first(local: Path, tmp_path: Path) -> None:
    reader = ShardReader(str(local))
    shards = reader.manifest.shards
    cache = ShardCache(str(tmp_path), 3 * max(shard.bytes for shard in shards))

    def path(i: int) -> Path:
        return Path(cache.path(f"{local}/{shards[i].name}", shards[i]))

    first, second = path(0), path(1)
    path(2)
    for age, file in ((30, second), (20, first)):
        os.utime(file, (1e9 - age, 1e9 - age))
    path(0)  # used again
    path(3)
    assert first.exists()
    assert not second.exists()


def test_eviction_leaves_an_open_map_readable(remote: str, tmp_path: Path) -> None:
    reader = ShardReader(remote, cache=str(tmp_path))
    before = next(reader.batches(600, "block", window=1))["sample_id"]
    for file in tmp_path.glob("*.arrow"):
        file.unlink()
    assert next(reader.batches(600, "block", window=1))["sample_id"] == before


@pytest.mark.parametrize("damage", ["bit", "short", "gone"])
def test_what_came_damaged_is_named_and_not_kept(remote: str, tmp_path: Path, damage: str) -> None:
    fs, reader = fsspec.filesystem("memory"), ShardReader(remote, cache=str(tmp_path))
    victim = f"{remote}/shard-00002-of-00006.arrow"
    data = bytearray(fs.cat_file(victim))
    data[len(data) // 2] ^= 1
    if damage == "gone":
        fs.rm_file(victim)
    else:
        fs.pipe_file(victim, bytes(data if damage == "bit" else data[:-1]))
    with pytest.raises(InputError, match="shard-00002"):
        ids(reader, "block")
    assert not (tmp_path / f"{reader.manifest.shards[2].sha256}.arrow").exists()
    assert not list(tmp_path.glob("*.tmp"))


def test_processes_share_a_folder(http: Any, local: Path, tmp_path: Path) -> None:
    """Four at once, in a cache that holds two shards: all read all rows, and nothing half-written is ever opened."""
    size = max(file.stat().st_size for file in local.glob("*.arrow"))
    code = """
import sys
from pipelines.shards import ShardReader
reader = ShardReader(sys.argv[1], cache=sys.argv[2], cache_bytes=int(sys.argv[3]))
batches = reader.batches(100, "block", epochs=1, seed=int(sys.argv[4]), workers=2, window=2)
seen = [i for batch in batches for i in batch["sample_id"]]
assert len(set(seen)) == 3600
"""
    command = [sys.executable, "-c", code, http[0], str(tmp_path), str(int(2.5 * size))]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE, text=True) for seed in range(4)]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-2000:]
    assert not list(tmp_path.glob("*.tmp"))


def test_what_a_dead_process_left_is_removed(local: Path, remote: str, tmp_path: Path) -> None:
    reader = ShardReader(remote, cache=str(tmp_path))
    left = tmp_path / f"{reader.manifest.shards[0].sha256}.{uuid.uuid4().hex}.tmp"
    left.write_bytes(b"half")
    ids(reader, "block")
    assert not left.exists()


def test_global_mode_says_once_that_block_is_meant_for_remote_shards(remote: str, local: Path, tmp_path: Path) -> None:
    reader = ShardReader(remote)
    with pytest.warns(UserWarning, match='"block" is meant for remote'):
        reader.batches(8)
    with pytest.warns(UserWarning, match="a cache of 1,000 of"):
        ShardReader(remote, cache=str(tmp_path), cache_bytes=1000).batches(8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader.batches(8)
        ShardReader(remote).batches(8, "block")
        ShardReader(remote, cache=str(tmp_path)).batches(8)
        ShardReader(str(local)).batches(8)


def test_a_window_is_fetched_while_the_one_before_is_read(remote: str, tmp_path: Path) -> None:
    reader = ShardReader(remote, cache=str(tmp_path))
    fetched: list[int] = []
    with patch.object(reader.files, "fetch", side_effect=lambda n: fetched.append(n)):
        iterator = reader.batches(100, "block", window=2, workers=1)
        next(iterator)
        iterator.close()  # type: ignore[attr-defined]
    assert len(fetched) == 4  # this window's two shards and the next one's


def test_a_cache_of_nothing_is_refused(remote: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cache_bytes"):
        ShardReader(remote, cache=str(tmp_path), cache_bytes=0)
