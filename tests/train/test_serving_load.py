"""Many clients, and clients that break everything: no reply is lost or another's, and the server goes on."""

import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from websockets.sync.client import connect

from benchmarks.serving import ServingConfig, without_model
from fasttok.client import Client
from fasttok.packed_arrays import pack
from tests.train.serving import PATIENCE, CountingPolicy, RunningServer, served

pytestmark = pytest.mark.slow
CLIENTS, REQUESTS = 8, 500
DAMAGED = 2000
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
IMAGE = np.zeros((32, 32, 3), np.uint8)


def url(server: RunningServer) -> str:
    return f"ws://127.0.0.1:{server.address[1]}"


def test_no_reply_of_many_clients_is_lost_or_anothers() -> None:
    """Each request has a number of its own, which its chunk begins with; the clients are of one embodiment and of another."""
    policy = CountingPolicy(most=4)
    with served(policy) as server:

        def ask(who: int) -> list[float]:
            with Client(url(server)) as client:
                first = 1000.0 * (1 + who)
                found = []
                for number in range(REQUESTS):
                    seen = {"image": IMAGE, "state": np.array([first + number])}
                    chunk = client.act(seen, embodiment=("planar", "arm")[who % 2], seed=number)
                    assert np.array_equal(chunk[:, 0], first + number + np.arange(policy.horizon))
                    found.append(float(chunk[0, 0]))
                return found

        with ThreadPoolExecutor(CLIENTS) as threads:
            found = list(threads.map(ask, range(CLIENTS)))
        assert found == [[1000.0 * (1 + who) + number for number in range(REQUESTS)] for who in range(CLIENTS)]
        assert server.server.traffic.answered == CLIENTS * REQUESTS
        assert server.server.traffic.refused == 0
    assert sum(map(len, policy.batches)) == CLIENTS * REQUESTS
    assert max(map(len, policy.batches)) > 1  # that they were computed together is what is tested, too
    for batch in policy.batches:
        assert len({ask.embodiment for ask in batch}) == 1


def damaged(rng: random.Random) -> bytes:
    """A request that is cut, changed, or never was one."""
    frame = bytearray(pack({"image": IMAGE, "state": np.zeros(3), "prompt": "push", "fasttok/seed": 1}))
    match rng.randrange(4):
        case 0:
            del frame[rng.randrange(len(frame)) :]
        case 1:
            for _ in range(rng.randrange(1, 9)):
                frame[int(len(frame) * rng.random() ** 4)] = rng.randrange(256)
        case 2:
            frame[: rng.randrange(30)] = rng.randbytes(rng.randrange(30))
        case _:
            frame = bytearray(rng.randbytes(rng.randrange(200)))
    return bytes(frame)


def send_damaged(server: RunningServer, rng: random.Random) -> None:
    """A connection over which some damaged requests go; each gets an answer or an error."""
    with connect(url(server), compression=None, max_size=None) as ws:
        ws.recv(PATIENCE)
        for _ in range(20):
            frame = damaged(rng)
            ws.send(frame if rng.random() < 0.9 else frame.decode("latin-1"))
            assert ws.recv(PATIENCE)


def cut(server: RunningServer, rng: random.Random) -> None:
    """A connection that breaks: in the handshake, in a frame's head, in the middle of a request, or before its answer."""
    sock = socket.create_connection(server.address)
    try:
        match rng.randrange(5):
            case 0:
                sock.sendall(HANDSHAKE[: rng.randrange(len(HANDSHAKE))])
            case 1:
                sock.sendall(HANDSHAKE)
            case 2:
                sock.sendall(HANDSHAKE + rng.randbytes(rng.randrange(40)))
            case 3:
                request = pack({"image": IMAGE, "state": np.zeros(3)})
                head = b"\x82\xfe" + struct.pack(">H", len(request)) + bytes(4)  # masked by zeros
                sock.sendall(HANDSHAKE + (head + request)[: rng.randrange(len(head) + len(request))])
            case _:
                request = pack({"state": np.zeros(3)})
                sock.sendall(HANDSHAKE + b"\x82\xfe" + struct.pack(">H", len(request)) + bytes(4) + request)
        if rng.random() < 0.5:  # with a reset instead of a goodbye
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    finally:
        sock.close()


def test_damaged_requests_and_cut_connections_hold_nobody_up() -> None:
    """Beside 2,000 of them a client of good will gets every one of its chunks, over one connection."""
    policy = CountingPolicy(most=4)
    with served(policy) as server, Client(url(server)) as client:
        done = threading.Event()
        good: list[float] = []

        def ask_on() -> None:
            while not done.is_set() or len(good) < 200:
                good.append(float(client.act({"state": np.array([1000.0 + len(good)])}, seed=0)[0, 0]))

        def harm(turn: int) -> None:
            rng = random.Random(turn)
            if turn % 2:
                send_damaged(server, rng)
            else:
                for _ in range(20):
                    cut(server, rng)

        with ThreadPoolExecutor(5) as threads:
            asking = threads.submit(ask_on)
            try:
                list(threads.map(harm, range(DAMAGED // 20)))
            finally:
                done.set()
            asking.result(PATIENCE)
        assert good == [1000.0 + number for number in range(len(good))]
        assert client.act({"state": np.array([7.0])}, seed=0)[0, 0] == 7
        for _ in range(6000):  # who is gone is forgotten
            if server.on_loop(lambda: len(server.server._open)) == 1:
                break
            threading.Event().wait(0.01)
        assert server.on_loop(lambda: len(server.server._open)) == 1
        assert not server.server._busy


def test_the_benchmark_of_serving_measures_what_it_says() -> None:
    rows, many = without_model(ServingConfig(requests=5, clients=2))
    assert all(0 < row["p50 ms"] <= row["p95 ms"] for row in (*rows, *many))
    assert [row["lost"] for row in many] == [0]
    assert any("without model and image codec" in row["what"] for row in rows)
