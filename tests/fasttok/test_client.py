"""The client: it waits for a server, no reply is taken for another request's, and what a server says is an error, not a crash."""

import asyncio
import functools
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection as AsyncConnection
from websockets.asyncio.server import serve
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection

from fasttok.client import Client, ServerError, checked_url
from fasttok.errors import InputError
from fasttok.packed_arrays import pack
from tests.policy_servers import address, answering, bound, running

ROOT = Path(__file__).resolve().parents[2]
METADATA: dict[str, Any] = {"server": "fasttok", "embodiments": {"arm": {"horizon": 4, "action_dim": 2}}}
SEEN: dict[str, Any] = {"image/primary": np.zeros((8, 8, 3), np.uint8), "state": np.zeros(3, np.float32)}
WITHOUT = ("jax", "tensorflow", "numba", "scipy", "pyarrow", "rich", "PIL")
USE = f"""
import sys
import numpy as np
from fasttok.client import Client
with Client(sys.argv[1]) as policy:
    seen = {{"image/primary": np.zeros((8, 8, 3), np.uint8), "state": np.zeros(3, np.float32)}}
    assert policy.act(seen, prompt="push").shape == (4, 2)
    print(policy.metadata["server"], *[name for name in {WITHOUT} if name in sys.modules])
"""


def chunk(request: dict[str, Any]) -> dict[str, Any]:
    """A reply whose chunk is full of the request's number."""
    return {"actions": np.full((4, 2), request.get("number", 0), np.float32), "server_timing": {"total_ms": 1.0}}


def test_a_chunk_for_what_is_seen() -> None:
    asked: list[dict[str, Any]] = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"actions": np.arange(8, dtype=">f8").reshape(4, 2), "subtask": "reach"}

    with running(answering(answer, METADATA)) as url, Client(url) as policy:
        assert policy.metadata == METADATA
        actions = policy.act(SEEN, prompt="push", seed=3, executed=np.int64(2))
        assert (str(actions.dtype), actions.shape, actions.flags.writeable) == ("float32", (4, 2), True)
        assert np.array_equal(actions, np.arange(8).reshape(4, 2))
        assert policy.infer(dict(SEEN))["subtask"] == "reach"
    assert list(asked[0]) == ["image/primary", "state", "prompt", "fasttok/seed", "fasttok/executed"]
    assert np.array_equal(asked[0]["image/primary"], SEEN["image/primary"])
    assert asked[0]["fasttok/executed"] == 2
    assert list(asked[1]) == list(SEEN)


def test_what_the_server_says_is_raised_and_the_connection_goes_on() -> None:
    connections: list[str] = []

    def answer(request: dict[str, Any]) -> dict[str, Any] | str:
        return chunk(request) if "state" in request else "state is missing; expected state (3,)"

    def connection(ws: ServerConnection) -> None:
        connections.append("one")
        answering(answer, METADATA)(ws)

    with running(connection) as url, Client(url) as policy:
        for _ in range(2):
            with pytest.raises(ServerError, match="state is missing; expected state"):
                policy.act({})
            assert policy.act(SEEN).shape == (4, 2)
        with pytest.raises(InputError, match=r"message\['image'\] is an array of dtype object"):
            policy.act({"image": np.array([None])})
        assert policy.act(SEEN).shape == (4, 2)
    assert connections == ["one"]


def test_it_waits_for_a_server_that_is_not_there_yet() -> None:
    """First nobody listens, then a proxy says that the server is not ready, then it is."""
    sock, refused = bound(), []

    def not_ready(ws: ServerConnection, request: Request) -> Response | None:
        refused.append(request.path)
        return ws.respond(HTTPStatus.SERVICE_UNAVAILABLE, "starting") if len(refused) < 3 else None

    with ThreadPoolExecutor(1) as thread:
        client = thread.submit(Client, address(sock), wait=60.0)
        while not client.running():
            pass
        with running(answering(chunk, METADATA), sock, process_request=not_ready), client.result() as policy:
            assert policy.act(SEEN).shape == (4, 2)
    assert len(refused) == 3


def test_nobody_there_is_an_error_with_the_address() -> None:
    sock = bound()
    with pytest.raises(ServerError, match=rf"{address(sock)}: no server after 0.2 s .*refused.*fasttok-serve"):
        Client(address(sock), wait=0.2)
    sock.close()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "127.0.0.1:9", "socks5h://127.0.0.1:9"])
def test_no_proxy_is_asked_for_this_computer(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with running(answering(chunk, METADATA)) as url, Client(url) as policy:
        assert policy.act(SEEN).shape == (4, 2)


@pytest.mark.parametrize(
    ("proxy", "says"),
    [("", "no server after 0 s"), ("ftp://proxy", "isn't a valid proxy"), ("socks5h://proxy", "SOCKS")],
)
def test_a_proxy_that_does_not_lead_there_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str, says: str) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if says == "SOCKS":
        monkeypatch.setitem(sys.modules, "python_socks", None)
        monkeypatch.setitem(sys.modules, "python_socks.sync", None)
    with bound() as nobody:
        monkeypatch.setenv("http_proxy", proxy or address(nobody).replace("ws", "http", 1))
        for name in ("https_proxy", "all_proxy", "ws_proxy", "socks_proxy"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ServerError, match=f"{says}.*set no_proxy=robot.invalid"):
            Client("ws://robot.invalid:8000", wait=0.0)


@pytest.mark.parametrize(
    ("status", "api_key", "says"),
    [
        (HTTPStatus.UNAUTHORIZED, None, "it wants an API key"),
        (HTTPStatus.UNAUTHORIZED, "wrong", "its API key is another one"),
        (HTTPStatus.FORBIDDEN, "wrong", "its API key is another one"),
        (HTTPStatus.NOT_FOUND, None, "HTTP 404, so it is no policy server"),
    ],
)
def test_a_refused_connection_is_not_tried_again(status: HTTPStatus, api_key: str | None, says: str) -> None:
    tried = []

    def refuse(ws: ServerConnection, request: Request) -> Response:
        tried.append(request.headers.get("Authorization"))
        return ws.respond(status, "no")

    with running(answering(chunk, METADATA), process_request=refuse) as url, pytest.raises(ServerError, match=says):
        Client(url, api_key=api_key)
    assert tried == [api_key and f"Api-Key {api_key}"]


@pytest.mark.parametrize("first", ["hello", b"\xc1", b"", pack([1, 2])])
def test_other_servers_are_no_policy_servers(first: str | bytes) -> None:
    with running(lambda ws: ws.send(first)) as url, pytest.raises(ServerError, match=url):
        Client(url, wait=0.0)


def test_a_late_reply_is_never_taken_for_the_next_requests() -> None:
    late = threading.Event()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["number"] == 1:
            late.wait(60)
        return chunk(request)

    with running(answering(answer, METADATA)) as url, Client(url, timeout=0.2) as policy:
        with pytest.raises(ServerError, match=r"did not answer within 0.2 s"):
            policy.act({"number": 1})
        late.set()
        assert policy.act({"number": 2})[0, 0] == 2


def test_a_server_that_answers_no_ping_while_it_computes_has_the_whole_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    # openpi's server computes in its event loop, and its first request compiles for minutes
    pings = functools.partial(connect, ping_interval=0.05, ping_timeout=0.05)
    monkeypatch.setattr("websockets.sync.client.connect", pings)

    async def connection(ws: AsyncConnection) -> None:
        await ws.send(pack(METADATA))
        await ws.recv()
        time.sleep(1.0)
        await ws.send(pack(chunk({"number": 5})))
        await ws.wait_closed()

    async def ask() -> None:
        sock = bound()
        async with serve(connection, sock=sock, compression=None):
            assert await asyncio.to_thread(first_action, address(sock)) == 5

    def first_action(url: str) -> float:
        with Client(url) as policy:
            return float(policy.act(SEEN)[0, 0])

    asyncio.run(ask())


def test_a_cut_connection_is_an_error_and_the_next_request_connects_anew() -> None:
    opened = []

    def connection(ws: ServerConnection) -> None:
        opened.append(ws)
        ws.send(pack(METADATA | {"opened": len(opened)}))
        if len(opened) == 1:
            ws.recv()
            ws.socket.close()
        elif len(opened) == 2:
            return  # closed with a goodbye, before a request
        else:
            answering(chunk, METADATA)(ws)

    with running(connection) as url, Client(url) as policy:
        with pytest.raises(ServerError, match="broke during a request"):
            policy.act(SEEN)
        policy.close()
        for _ in range(20):
            try:
                assert policy.act(SEEN).shape == (4, 2)
                break
            except ServerError:  # the goodbye came in the middle of it
                pass
        assert len(opened) == 3


def test_threads_get_the_replies_to_their_own_requests() -> None:
    with running(answering(chunk, METADATA)) as url, Client(url) as policy:

        def ask(number: int) -> int:
            return int(policy.act({"number": number})[0, 0])

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(ask, range(200))) == list(range(200))


@pytest.mark.parametrize(
    "actions",
    [
        None,
        [[1.0, 2.0]],
        np.zeros(3),
        np.zeros((0, 3)),
        np.array([[np.nan, 1.0]]),
        np.array([[1e300, 1.0]]),
        np.ones((2, 2), bool),
    ],
)
def test_a_reply_that_no_robot_should_execute_is_refused(actions: Any) -> None:
    with (
        running(answering(lambda request: {"actions": actions, "state": [1]}, METADATA)) as url,
        Client(url) as policy,
        pytest.raises(ServerError, match="actions"),
    ):
        policy.act(SEEN)


def test_what_is_no_address_or_no_key_is_refused() -> None:
    for url in (
        "http://here:80", "ws://", "", "here there", "file:///etc/passwd", "ws://here:abc", "ws://here:99999", "here:0", "::1",
        "ws://[::1", "ws://:8000",
    ):  # fmt: skip
        with pytest.raises(InputError, match="ws://HOST:PORT"):
            checked_url(url)
    with pytest.raises(ServerError, match="expected a name or address"):
        Client("ws://no.such.host.invalid:80", wait=5.0)
    for key in ("", "a\nb", "ключ", " a"):
        with pytest.raises(InputError, match="API key"):
            Client("ws://127.0.0.1:1", api_key=key)
    for wait, timeout in ((-1.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)):
        with pytest.raises(InputError, match="expected seconds"):
            Client("ws://127.0.0.1:1", wait=wait, timeout=timeout)


def test_a_certificate_that_is_not_trusted_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **more: Any) -> None:
        raise ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")

    monkeypatch.setattr("websockets.sync.client.connect", refuse)
    with pytest.raises(ServerError, match=r"certificate is not trusted here .*self-signed"):
        Client("wss://127.0.0.1:1", wait=float("inf"))


def test_who_has_time_waits_for_ever() -> None:
    with running(answering(chunk, METADATA)) as url, Client(url, wait=float("inf"), timeout=float("inf")) as policy:
        assert policy.act(SEEN).shape == (4, 2)


def test_what_ends_a_wait_for_metadata_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[ClientConnection] = []

    def interrupted(self: ClientConnection, timeout: float | None = None) -> bytes:
        opened.append(self)
        raise KeyboardInterrupt

    with running(answering(chunk, METADATA)) as url:
        monkeypatch.setattr(ClientConnection, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Client(url)
        assert [ws.state for ws in opened] == [State.CLOSED]


def test_a_robots_computer_needs_neither_jax_nor_numba_nor_scipy() -> None:
    with running(answering(chunk, METADATA)) as url:
        words = [sys.executable, "-c", USE, url]
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.split() == ["fasttok"], done.stderr
