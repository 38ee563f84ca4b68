"""The server's protocol: what comes first, what is an error, who waits for whom, what a connection remembers, and how it ends."""

import http.client
import json
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fasttok.errors import InputError
from fasttok.packed_arrays import pack
from tests.train.serving import PATIENCE, CountingPolicy, served
from train.serving import access
from train.serving.asking import Answer
from train.serving.batching import FairBatcher


def test_metadata_come_first_and_chunks_are_the_only_arrays() -> None:
    with served(CountingPolicy(), {"server": "fasttok", "step": 4}) as server, server.client() as robot:
        assert robot.metadata == {"server": "fasttok", "step": 4}
        got = robot.ask(state=np.array([2.0]), prompt="push")
        assert got["actions"].dtype == np.float32
        assert got["actions"].tolist() == [[2.0 + k] * 2 for k in range(6)]
        assert set(got) == {"actions", "server_timing"}
        assert set(got["server_timing"]) == {"queue_ms", "infer_ms", "total_ms"}
        assert all(isinstance(ms, float) and ms >= 0 for ms in got["server_timing"].values())
        assert server.server.traffic.answered == 1


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({}, "the request has no state"),
        ({"state": 1.0, "fasttok/speed": 2}, r"unknown key 'fasttok/speed'.*Known: fasttok/decode.*fasttok/subtask"),
        ({"state": 1.0, "fasttok/embodiment": "leg"}, "unknown embodiment 'leg'.*arm, planar"),
        ({"state": 1.0, "fasttok/embodiment": 3}, "fasttok/embodiment is a int; expected text"),
        ({"state": 1.0, "fasttok/decode": "dream"}, "unknown decode 'dream'.*flow, tokens"),
        ({"state": 1.0, "fasttok/seed": -1}, "fasttok/seed is -1; expected 0 to"),
        ({"state": 1.0, "fasttok/seed": True}, "fasttok/seed is a bool"),
        ({"state": 1.0, "fasttok/seed": 1.5}, "fasttok/seed is a float"),
        ({"state": 1.0, "fasttok/subtask": ["push"]}, "fasttok/subtask is a list"),
        ({"state": 1.0, "fasttok/subtask": "a " * 500_000}, "fasttok/subtask has 1,000,000 characters; expected at most 1,000"),
        ({"state": 1.0, "fasttok/embodiment": "a" * 1_000_000}, "fasttok/embodiment has 1,000,000 characters"),
        ({"state": 1.0, "fasttok/executed": 2}, "has no chunk yet"),
        ({"state": 1.0, "fasttok/delay": 2}, "without fasttok/executed"),
        ({"state": 13.0}, "thirteen is not finite"),
        ({"state": 666.0}, r"the server failed at this request \(ZeroDivisionError\); its log says more"),
    ],
)  # fmt: skip
def test_an_error_is_a_text_and_the_connection_goes_on(message: dict[str, Any], told: str) -> None:
    import re

    with served(CountingPolicy()) as server, server.client() as robot:
        robot.ws.send(pack(message))
        got = robot.receive()
        assert isinstance(got, str)
        assert re.search(told, got, re.DOTALL), got
        assert robot.chunk(state=1.0)[0, 0] == 1.0  # the first one of this connection, as if nothing had been


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x81", b"\x90", b"\x81\xa1k\xc7\x01\x01\x00", bytes(1000), "state"])
def test_a_frame_that_is_no_request_is_an_error(frame: bytes | str) -> None:
    with served(CountingPolicy()) as server, server.client() as robot:
        robot.ws.send(frame)
        assert isinstance(robot.receive(), str)
        assert robot.chunk(state=1.0)[0, 0] == 1.0


def test_a_frame_that_is_too_large_ends_its_connection_alone() -> None:
    with served(CountingPolicy(), max_frame=10_000) as server, server.client() as robot:
        with server.client() as other:
            with pytest.raises(ConnectionClosed) as closed:
                other.ask(state=1.0, image=np.zeros(20_000, np.uint8))
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        assert robot.chunk(state=1.0)[0, 0] == 1.0


def test_health() -> None:
    with served(CountingPolicy(), api_key="secret") as server:
        asking = http.client.HTTPConnection(*server.address)
        asking.request("GET", "/healthz")
        response = asking.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Type") == "application/json"
        told = json.loads(response.read())
        assert (told["status"], told["connections"], told["requests"]) == ("ok", 0, 0)
        asking.close()


@pytest.mark.parametrize(
    "sent", [None, "", "secret", "Api-Key", "Api-Key ", "Api-Key secre", "Api-Key secrets", "Bearer secret"]
)
def test_without_the_key_there_is_no_connection(sent: str | None) -> None:
    with served(CountingPolicy(), api_key="secret") as server:
        with pytest.raises(InvalidStatus) as refused:
            server.client(additional_headers={} if sent is None else {"Authorization": sent})
        assert refused.value.response.status_code == 401
        with server.client(additional_headers={"Authorization": "Api-Key secret"}) as robot:
            assert robot.chunk(state=1.0)[0, 0] == 1.0


def test_a_page_of_a_browser_is_refused() -> None:
    with served(CountingPolicy()) as server, pytest.raises(InvalidStatus) as refused:
        server.client(origin="http://127.0.0.1")
    assert refused.value.response.status_code == 403


def test_pings_are_answered_while_it_computes() -> None:
    policy = CountingPolicy(open_gate=False)
    with served(policy) as server, server.client() as robot:
        robot.send(state=1.0)
        assert policy.begun.acquire(timeout=PATIENCE)
        assert robot.ws.ping().wait(PATIENCE)
        policy.gate.set()
        assert robot.receive()["actions"][0, 0] == 1.0


def waiting(server: Any, count: int) -> None:
    """Until so many requests wait for their turn."""
    batcher = server.server._batcher
    for _ in range(int(PATIENCE / 0.01)):
        if server.on_loop(lambda: len(batcher.waiting)) == count:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"{len(batcher.waiting)} requests wait, not {count}")


def test_what_waits_is_computed_together_in_turn_and_by_kind() -> None:
    policy = CountingPolicy(most=3, open_gate=False)
    with served(policy) as server:
        robots = [server.client() for _ in range(7)]
        asked: list[dict[str, Any]] = [
            {},
            {},
            {},
            {"fasttok__embodiment": "arm"},
            {},
            {},
            {"fasttok__embodiment": "arm"},
        ]
        for i, (robot, more) in enumerate(zip(robots, asked, strict=True)):
            robot.send(state=float(i), **more)
            if i == 0:
                assert policy.begun.acquire(timeout=PATIENCE)
            else:
                waiting(server, i)
        policy.gate.set()
        assert [robot.receive()["actions"][0, 0] for robot in robots] == list(range(7))
        together = [[ask.request["state"] for ask in batch] for batch in policy.batches]
        assert together == [[0], [1, 2, 4], [3, 6], [5]]
        for robot in robots:
            robot.ws.close()


def test_who_asks_again_at_once_is_computed_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clients alike, of which one began alone: from then on they are computed together, while there is time to wait."""
    from train.serving import batching

    monkeypatch.setattr(batching, "LONGEST_WAIT", PATIENCE)
    monkeypatch.setattr(batching, "WAIT_SHARE", 1e9)
    policy = CountingPolicy(most=8, open_gate=False)
    with served(policy) as server:
        robots = [server.client() for _ in range(3)]
        robots[0].send(state=1.0)
        assert policy.begun.acquire(timeout=PATIENCE)
        for i, robot in enumerate(robots[1:], 1):
            robot.send(state=1.0)
            waiting(server, i)
        policy.gate.set()
        robots[0].receive()
        for _ in range(5):
            robots[0].send(state=1.0)
            for robot in robots:
                robot.receive()
            for robot in robots[1:]:
                robot.send(state=1.0)
        robots[0].send(state=1.0)
        for robot in robots:
            robot.receive()
            robot.ws.close()
        assert [len(batch) for batch in policy.batches] == [1, 3, 3, 3, 3, 3, 3]


class SteppedPolicy(CountingPolicy):
    """Each inference ends when the test says so."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.step = threading.Semaphore(0)

    def answer(self, ask: Any, state: float) -> Any:
        if ask is self.batches[-1][0]:
            assert self.step.acquire(timeout=PATIENCE)
        return super().answer(ask, state)


@pytest.mark.parametrize("most", [1, 2])
def test_who_asks_seldom_waits_for_at_most_two_inferences(most: int) -> None:
    """Two clients, one of which has ten requests on the wire whenever the other one sends; no wall time is measured."""
    policy = SteppedPolicy(most)
    with served(policy) as server, server.client() as fast, server.client() as slow:
        for _ in range(10):
            fast.send(state=1.0)
        for _ in range(3):
            assert policy.begun.acquire(timeout=PATIENCE)  # an inference of the fast one is in work
            slow.send(state=2.0)
            waiting(server, 1)
            waited, answered = 1, False
            while not answered:
                policy.step.release()
                assert policy.begun.acquire(timeout=PATIENCE)  # the next one is in work
                waited += 1
                answered = any(ask.request["state"] == 2.0 for ask in policy.batches[-1])
            assert waited == 2
            policy.step.release()
            assert 2.0 <= slow.receive()["actions"][0, 0] < 3.0
        policy.step.release(100)
        for _ in range(10):
            assert fast.receive()["actions"][0, 0] >= 1.0


def test_noise_is_of_the_connection_alone() -> None:
    policy = CountingPolicy()
    with served(policy, seed=7) as server, server.client() as one, server.client() as other:
        one.chunk(state=1.0)
        other.chunk(state=1.0)
        one.chunk(state=1.0)
        one.chunk(state=1.0, fasttok__seed=np.int64(3))
        assert isinstance(one.ask(fasttok__seed=9), str)  # no state: a request that fails changes nothing
        one.chunk(state=1.0)
        other.chunk(state=1.0)
        drawn = [(ask.seed, ask.number) for batch in policy.batches for ask in batch]
        assert drawn == [(7, 0), (7, 0), (7, 1), (3, 0), (3, 1), (7, 1)]


def test_a_chunk_goes_on_with_the_last_one_of_its_connection() -> None:
    policy = CountingPolicy()
    with served(policy) as server, server.client() as one, server.client() as other:
        one.chunk(state=10.0)
        other.chunk(state=20.0)
        assert one.chunk(state=0.0, fasttok__executed=4, fasttok__delay=1)[0, 0] == 14.0
        assert other.chunk(state=0.0, fasttok__executed=0)[0, 0] == 20.0
        asked = policy.batches[-2][0]
        assert asked.prefix is not None
        assert (asked.prefix.tolist(), asked.delay) == ([[14.0] * 2, [15.0] * 2], 1)
        assert one.chunk(state=0.0, fasttok__executed=1)[0, 0] == 15.0  # of the newest chunk
        for message, told in (
            ({"executed": 6}, "nothing is left of a chunk of 6"),
            ({"executed": 7}, "fasttok/executed is 7; expected 0 to 6"),
            ({"executed": 4, "delay": 3}, "fasttok/delay is 3; expected 0 to 2"),
            ({"executed": 1, "embodiment": "arm"}, "was planar's, not arm's"),
        ):
            got = one.ask(state=0.0, **{f"fasttok__{key}": value for key, value in message.items()})
            assert told in got
        assert one.chunk(state=5.0)[0, 0] == pytest.approx(5.03)  # without the key it begins anew


def test_a_subtask_stays_until_another_one_comes() -> None:
    policy = CountingPolicy()
    with served(policy) as server, server.client() as robot:
        assert "subtask" not in robot.ask(state=1.0)
        assert robot.ask(state=1.0, fasttok__subtask="lift it")["subtask"] == "lift it"
        assert robot.ask(state=1.0)["subtask"] == "lift it"
        assert robot.ask(state=1.0, fasttok__subtask="say")["subtask"] == "said 3"
        assert robot.ask(state=1.0)["subtask"] == "said 3"
        assert "subtask" not in robot.ask(state=1.0, fasttok__subtask="")
        assert [batch[0].says for batch in policy.batches] == [False, False, False, True, False, False]


def test_nobody_computes_for_who_is_gone() -> None:
    policy = CountingPolicy(open_gate=False)
    with served(policy) as server, server.client() as robot:
        robot.send(state=1.0)
        assert policy.begun.acquire(timeout=PATIENCE)
        gone = [server.client() for _ in range(3)]
        for i, other in enumerate(gone):
            other.send(state=5.0)
            waiting(server, i + 1)
        for i, other in enumerate(gone):
            if i:
                other.ws.close()
            else:  # the cable is pulled
                other.ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                other.ws.socket.shutdown(socket.SHUT_RDWR)
        waiting(server, 0)
        policy.gate.set()
        assert robot.receive()["actions"][0, 0] == 1.0
        assert [[ask.request["state"] for ask in batch] for batch in policy.batches] == [[1.0]]


def test_halves_of_requests_hold_nobody_up() -> None:
    request = pack({"state": np.zeros(1000)})
    with served(CountingPolicy()) as server:
        halves = []
        for sent in (b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\n", b"\x00" * 50, b"POST / HTTP/1.1\r\n\r\n"):
            half = socket.create_connection(server.address)
            half.sendall(sent)
            halves.append(half)
        cut = server.client()
        cut.ws.socket.sendall(b"\x82\xfe" + len(request).to_bytes(2, "big") + bytes(4) + request[:500])
        with server.client() as robot:
            assert robot.chunk(state=1.0)[0, 0] == 1.0
        for half in halves:
            half.close()
        cut.ws.socket.shutdown(socket.SHUT_RDWR)


def test_who_reads_nothing_is_cut_off_and_holds_up_no_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    from train.serving import server as module

    monkeypatch.setattr(module, "SEND_SECONDS", 0.2)
    frame = pack({"state": 1.0})
    with served(CountingPolicy(horizon=4_000_000)) as server:  # 32 MB: more than any socket buffers
        deaf = socket.create_connection(server.address)
        deaf.sendall(
            b"GET / HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        deaf.sendall(b"\x82" + bytes([0x80 | len(frame)]) + bytes(4) + frame)
        for _ in range(int(PATIENCE / 0.01)):
            if server.server.traffic.answered and not server.on_loop(lambda: server.server._open):
                break
            threading.Event().wait(0.01)
        assert server.on_loop(lambda: len(server.server._open)) == 0
        deaf.close()


def test_a_stop_answers_what_is_in_work_and_says_goodbye() -> None:
    policy = CountingPolicy(open_gate=False)
    with served(policy) as server, server.client() as busy, server.client() as idle, server.client() as queued:
        busy.send(state=1.0)
        assert policy.begun.acquire(timeout=PATIENCE)
        queued.send(state=2.0)
        waiting(server, 1)
        server.stop()
        with pytest.raises(ConnectionClosed) as closed:
            idle.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        with pytest.raises(OSError):
            socket.create_connection(server.address)
        policy.gate.set()
        for robot, first in ((busy, 1.0), (queued, 2.0)):
            assert robot.receive()["actions"][0, 0] == first
            with pytest.raises(ConnectionClosed) as closed:
                robot.receive()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001


def test_a_stop_hears_more_while_it_computes_for_who_is_gone() -> None:
    """The event loop stays free, so that a second signal ends a server whose inference hangs."""
    policy = CountingPolicy(open_gate=False)
    with served(policy) as server:
        with server.client() as robot:
            robot.send(state=1.0)
            assert policy.begun.acquire(timeout=PATIENCE)
        server.stop()
        for _ in range(int(PATIENCE / 0.01)):
            if server.server._batcher.thread._shutdown:
                break
            threading.Event().wait(0.01)
        assert server.server._batcher.thread._shutdown
        assert server.on_loop(lambda: not policy.gate.is_set())


def test_what_fails_in_the_server_is_in_its_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a request is read, the connection goes on; while a reply is made, it is cut off."""
    policy = CountingPolicy()
    with served(policy) as server, server.client() as robot:
        monkeypatch.setattr(policy, "prepare", lambda ask: 1 / 0)
        assert "failed at this request (ZeroDivisionError); its log says more" in robot.ask(state=1.0)
        assert "ZeroDivisionError: division by zero" in caplog.text
        monkeypatch.undo()
        assert robot.chunk(state=1.0)[0, 0] == 1.0
        monkeypatch.setattr(policy, "answer", lambda ask, state: Answer(np.array([[None]])))
        with pytest.raises(ConnectionClosed) as closed:
            robot.ask(state=1.0)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
    assert "is cut off: the server failed" in caplog.text
    assert "dtype object" in caplog.text


async def _submitted(batcher: FairBatcher[Any, Any], works: list[Any]) -> list[Any]:
    import asyncio

    return await asyncio.gather(*[batcher.submit(work) for work in works], return_exceptions=True)


@pytest.mark.parametrize(
    "compute",
    [
        lambda works: [],
        lambda works: next(iter(())),
        lambda works: 1 / 0,
        lambda works: [StopIteration()] * len(works),
        lambda works: [OSError("disk")] * len(works),
    ],
)
def test_whatever_computing_does_everybody_hears_of_it(compute: Any) -> None:
    import asyncio

    async def all_of() -> list[Any]:
        batcher: FairBatcher[Any, Any] = FairBatcher(compute, 2, lambda work: 0)
        try:
            return await asyncio.wait_for(_submitted(batcher, [1, 2, 3]), PATIENCE)
        finally:
            batcher.close()

    results = asyncio.run(all_of())
    assert len(results) == 3
    assert all(isinstance(result, Exception) for result in results)


def test_a_key_is_of_a_file_or_of_the_environment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "key"
    file.write_text("of-a-file\n")
    file.chmod(0o600)
    assert access.read_key(None, {}) is None
    assert access.read_key(None, {"FASTTOK_API_KEY": "of-the-environment"}) == "of-the-environment"
    assert access.read_key(file, {"FASTTOK_API_KEY": "of-the-environment"}) == "of-a-file"
    assert not caplog.records
    file.chmod(0o644)
    access.read_key(file, {})
    assert "chmod 600" in caplog.text
    assert "of-a-file" not in caplog.text
    for wrong in ("", "  \n", "two words", "one\ntwo", "clé", "x" * 5000):
        file.write_text(wrong)
        with pytest.raises(InputError, match="contains no API key"):
            access.read_key(file, {})
    with pytest.raises(InputError, match="FASTTOK_API_KEY contains no API key"):
        access.read_key(None, {"FASTTOK_API_KEY": ""})
    with pytest.raises(InputError, match="No such file"):
        access.read_key(tmp_path / "none", {})


def test_who_listens_to_others_without_a_key_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    access.warn_if_open("127.0.0.1", None)
    access.warn_if_open("0.0.0.0", "key")
    assert not caplog.records
    access.warn_if_open("0.0.0.0", None)
    assert "everybody who can reach 0.0.0.0" in caplog.text


def test_an_address_that_cannot_be_had_is_an_error() -> None:
    with access.bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):  # it has the address, and does not listen
            socket.create_connection(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is in use"):
            access.bound("127.0.0.1", port)
    for host, port, told in (
        ("127.0.0.1", 70_000, "--port is 70000"),
        ("no such host", 0, "is no address of this machine"),
        ("203.0.113.7", 0, "cannot listen at 203.0.113.7"),
    ):
        with pytest.raises(InputError, match=told):
            access.bound(host, port)


def test_connections_of_many_kinds_of_clients_leave_nothing_behind() -> None:
    with served(CountingPolicy()) as server:
        for _ in range(20):
            with connect(f"ws://127.0.0.1:{server.server.port}", compression=None) as ws:
                ws.recv(PATIENCE)
        with server.client() as robot:
            assert robot.chunk(state=1.0)[0, 0] == 1.0
            for _ in range(1000):
                if server.on_loop(lambda: len(server.server._open)) == 1:
                    break
                threading.Event().wait(0.01)
            assert server.on_loop(lambda: (len(server.server._open), len(server.server._busy))) == (1, 0)
