"""A server around a policy that computes nothing, in a thread of the test, and clients that speak its protocol."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from fasttok.errors import InputError
from fasttok.packed_arrays import pack, unpack_map
from train.serving.access import bound
from train.serving.asking import Answer, Ask
from train.serving.server import PolicyServer, ServerOptions

PATIENCE = 60.0  # seconds after which a test that hangs fails; nothing waits for them


class CountingPolicy:
    """Chunks count on from the state, or from what is being executed; remembers what was computed together.

    Attributes:
        batches: what `act` was given, in order.
        gate: `act` waits until it is set.
        begun: released once per `act` that began.
    """

    embodiment, embodiments, decodes = "planar", ("planar", "arm"), ("flow", "tokens")

    def __init__(self, most: int = 4, horizon: int = 6, open_gate: bool = True) -> None:
        self.most, self.horizon = most, horizon
        self.batches: list[list[Ask]] = []
        self.gate, self.begun = threading.Event(), threading.Semaphore(0)
        if open_gate:
            self.gate.set()

    def prepare(self, ask: Ask) -> float:
        if "state" not in ask.request:
            raise InputError("the request has no state; expected state, 1 number")
        return float(np.asarray(ask.request["state"]).ravel()[0])

    def act(self, asks: Sequence[Ask], ready: Sequence[float]) -> Sequence[Answer | Exception]:
        self.batches.append(list(asks))
        self.begun.release()
        assert self.gate.wait(PATIENCE)
        return [self.answer(ask, state) for ask, state in zip(asks, ready, strict=True)]

    def answer(self, ask: Ask, state: float) -> Answer | Exception:
        if state == 666:
            raise ZeroDivisionError("of the policy")
        if state == 13:
            return InputError("thirteen is not finite")
        first = state + ask.number / 100 if ask.prefix is None else ask.prefix[0, 0]
        actions = np.stack([first + np.arange(self.horizon)] * 2, 1).astype(np.float32)
        return Answer(actions, f"said {ask.number}" if ask.says else ask.subtask)


class RunningServer:
    """A server in a thread."""

    def __init__(self, server: PolicyServer, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        self.server, self.loop, self._stop = server, loop, stop
        self.address = ("127.0.0.1", server.port)

    def client(self, **more: Any) -> "RobotClient":
        return RobotClient(connect(f"ws://127.0.0.1:{self.server.port}", compression=None, max_size=None, **more))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)

    def on_loop(self, call: Any) -> Any:
        """What a function returns that is called in the server's thread."""

        async def called() -> Any:
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(PATIENCE)


class RobotClient:
    """A connection, of which the metadata were read."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        first = ws.recv(PATIENCE)
        assert isinstance(first, bytes)
        self.metadata = unpack_map(first)

    def send(self, **message: Any) -> None:
        self.ws.send(pack({key.replace("__", "/"): value for key, value in message.items()}))

    def receive(self) -> Any:
        got = self.ws.recv(PATIENCE)
        return got if isinstance(got, str) else unpack_map(got)

    def ask(self, **message: Any) -> Any:
        self.send(**message)
        return self.receive()

    def chunk(self, **message: Any) -> Any:
        got = self.ask(**message)
        assert isinstance(got, Mapping), got
        return got["actions"]

    def __enter__(self) -> "RobotClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.ws.close()


@contextlib.contextmanager
def served(policy: Any, metadata: Any = None, **options: Any) -> Iterator[RunningServer]:
    """A server on a free port, until the block ends."""
    told: list[Any] = []
    ready = threading.Event()

    async def serve() -> None:
        server = PolicyServer(policy, metadata or {"server": "fasttok"}, ServerOptions(**options))
        stop = asyncio.Event()
        with bound("127.0.0.1", 0) as sock:
            async with server.listening(sock):
                told.append(RunningServer(server, asyncio.get_running_loop(), stop))
                ready.set()
                await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait(PATIENCE)
    [running] = told
    try:
        yield running
    finally:
        gate = getattr(policy, "gate", None)
        if gate is not None:
            gate.set()
        with contextlib.suppress(RuntimeError):  # it has stopped
            running.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()
