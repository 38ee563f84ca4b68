"""Serves a policy over openpi's websocket protocol (its `websocket_policy_server.py`; client: openpi-client 0.1.2).

    connect     -> binary frame: metadata
    binary frame: a request's keys and values  -> binary frame: {"actions": (H, D) float32, "server_timing": ..., "subtask": ...}
                                               -> or a text frame: the error; the connection stays usable
    GET /healthz -> 200 and a line of JSON

The client's ActionChunkBroker takes element i of every array of a reply, so only the chunk may be an array. One thread computes
and some others decode images, so that the event loop always answers pings. Imports no JAX.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from fasttok._version import __version__
from fasttok.errors import InputError
from fasttok.packed_arrays import MEGABYTE, Packed, pack, unpack_map
from train.serving import access
from train.serving.asking import Answer, Ask, BatchPolicy
from train.serving.batching import FairBatcher, Finished
from train.serving.connection import ConnectionState
from train.serving.traffic import Traffic

logger = logging.getLogger(__name__)
quiet = logging.getLogger("fasttok-serve.websockets")  # logs a traceback for each cut connection
quiet.addHandler(logging.NullHandler())
quiet.propagate = False
READERS = 4  # threads that read requests; they mostly decode images, which releases the GIL
SOON = MEGABYTE  # frames of at most so many bytes are unpacked at once: passing them to a thread would take longer
LATER = object()  # in place of an observation that the inference's thread will prepare
MINUTE = 60.0
GOING_AWAY = 1001
CLOSE_SECONDS = 5.0  # time for a client to close its connection
SEND_SECONDS = 30.0  # time for a client to read a message; a client that does not read must not delay the server's stop
HEALTH = "/healthz"


@dataclass(frozen=True)
class ServerOptions:
    """How a server serves.

    Attributes:
        api_key: key that clients must send; None if they need none.
        max_frame: size of the largest request in bytes.
        seed: seed of the noise of each connection that does not ask for another.
    """

    api_key: str | None = None
    max_frame: int = 64 * MEGABYTE
    seed: int = 0


class PolicyServer:
    """Answers requests of any number of connections.

        async with PolicyServer(policy, metadata, ServerOptions()).listening(access.bound("127.0.0.1", 0)) as server:
            print(server.port)
            await server.stop()

    Args:
        policy: policy that acts.
        metadata: first message of each connection.
        options: how the server serves.

    Attributes:
        traffic: counts of the requests so far.
        port: port at which the server listens.
    """

    def __init__(self, policy: BatchPolicy, metadata: Packed, options: ServerOptions) -> None:
        self.policy, self.options = policy, options
        self.hello = pack(metadata)
        self.traffic = Traffic()
        self.port = 0
        self._batcher: FairBatcher[tuple[Ask, Any], Answer] = FairBatcher(
            self._act, policy.most, lambda work: work[0].kind
        )
        self._readers = ThreadPoolExecutor(min(READERS, os.cpu_count() or 1), thread_name_prefix="requests")
        self._open: set[ServerConnection] = set()
        self._busy: set[ServerConnection] = set()
        self._stopping = False
        self._server: Server | None = None

    @contextlib.asynccontextmanager
    async def listening(self, sock: socket.socket) -> AsyncIterator["PolicyServer"]:
        """Listens inside the `async with` block, and stops at its end.

        Args:
            sock: socket that is bound to an address.

        Raises:
            InputError: another program began to listen there.
        """
        host, self.port = sock.getsockname()[:2]
        try:
            self._server = await serve(
                self._connection,
                sock=sock,
                origins=[None],  # refuses every page in a browser, which would count as a client on this machine
                compression=None,
                process_request=self._before,
                server_header=f"fasttok/{__version__}",
                # If a client sends ahead, its pongs come after its requests, so a late pong means nothing; see access.keep_alive.
                ping_timeout=None,
                close_timeout=CLOSE_SECONDS,
                max_size=self.options.max_frame,
                max_queue=1,
                logger=quiet,
            )
        except OSError as error:
            raise access.not_listening(host, self.port, error) from None
        minute = asyncio.create_task(self._every_minute())
        try:
            yield self
        finally:
            minute.cancel()
            await self.stop()

    async def stop(self) -> None:
        """Takes no more requests, answers those in work, and closes all connections with code 1001."""
        server, self._server = self._server, None
        if server is None:
            return
        self._stopping = True
        server.close(close_connections=False)
        await asyncio.gather(*[self._goodbye(ws) for ws in self._open - self._busy])
        await server.wait_closed()
        # Not in this thread, which handles signals: the batcher may still compute for a client that is gone, for long.
        await asyncio.to_thread(self._batcher.close)
        await asyncio.to_thread(self._readers.shutdown)

    def _before(self, ws: ServerConnection, request: Request) -> Response | None:
        """Answers requests for /healthz, and refuses clients without the key."""
        if request.path.partition("?")[0] == HEALTH:
            return self._health(ws)
        key = self.options.api_key
        if key is None:
            return None
        given = request.headers.get_all("Authorization")
        if len(given) == 1 and access.is_right(key, given[0]):
            return None
        response = ws.respond(HTTPStatus.UNAUTHORIZED, "this server wants `Authorization: Api-Key KEY`\n")
        response.headers["WWW-Authenticate"] = access.SCHEME.strip()
        return response

    def _health(self, ws: ServerConnection) -> Response:
        status = HTTPStatus.SERVICE_UNAVAILABLE if self._stopping else HTTPStatus.OK
        about = {
            "status": "stopping" if self._stopping else "ok",
            "server": "fasttok",
            "version": __version__,
            "connections": len(self._open),
            "requests": self.traffic.answered,
        }
        response = ws.respond(status, json.dumps(about) + "\n")
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    async def _connection(self, ws: ServerConnection) -> None:
        state, peer, answered = ConnectionState(self.options.seed), _name(ws), 0
        self._open.add(ws)
        logger.info(f"{peer} connected ({len(self._open)} open)")
        closed = asyncio.create_task(ws.wait_closed())
        try:
            access.keep_alive(ws.transport.get_extra_info("socket"))
            await _send(ws, self.hello)
            while not self._stopping:
                message = await ws.recv()
                self._busy.add(ws)
                answered += await self._answer(ws, closed, state, message)
                self._busy.discard(ws)
            await self._goodbye(ws)
        except (ConnectionClosed, OSError):
            pass
        except Exception:
            logger.exception(f"{peer} is cut off: the server failed")
            raise
        finally:
            closed.cancel()
            self._busy.discard(ws)
            self._open.discard(ws)
            logger.info(f"{peer} left after {answered} answers ({len(self._open)} open)")

    async def _goodbye(self, ws: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            await ws.close(GOING_AWAY, "the server stops")

    async def _answer(
        self, ws: ServerConnection, closed: "asyncio.Task[None]", state: ConnectionState, message: str | bytes
    ) -> bool:
        """Answers a request or sends the error; returns whether there was an answer."""
        began = time.monotonic()
        work = asyncio.create_task(self._computed(state, message))
        await asyncio.wait((work, closed), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():  # the client is gone
            work.cancel()
            await asyncio.wait((work,))
            return False
        try:
            ask, finished = work.result()
        except InputError as error:
            self.traffic.refuse()
            await _send(ws, str(error))
            return False
        except Exception as error:
            self.traffic.refuse()
            logger.warning(f"{_name(ws)}: no answer: {error}")
            await _send(
                ws, f"the server failed at this request ({error}); its log says more. The connection can be used"
            )
            return False
        state.answered(ask, finished.result)
        total = time.monotonic() - began
        self.traffic.answer(total, finished.together)
        await _send(ws, _reply(finished, total))
        return True

    async def _computed(self, state: ConnectionState, message: str | bytes) -> tuple[Ask, Finished[Answer]]:
        if isinstance(message, str):
            raise InputError(
                "a text frame came; expected a binary one: the request as msgpack, as openpi-client and fasttok.client pack it"
            )
        in_a_thread = partial(asyncio.get_running_loop().run_in_executor, self._readers)
        if len(message) <= SOON:
            ask = self._asked(state, message)
        else:
            ask = await in_a_thread(self._asked, state, message)
        # If nobody else waits, the thread that computes also prepares the observation: a robot alone waits for one thread.
        ready = LATER if self._batcher.idle else await in_a_thread(self._prepared, ask)
        return ask, await self._batcher.submit((ask, ready))

    def _asked(self, state: ConnectionState, message: bytes) -> Ask:
        """Reads and checks what a frame asks for."""
        with _own_words("a request could not be read"):
            return state.ask(unpack_map(message, max_bytes=self.options.max_frame), self.policy)

    def _prepared(self, ask: Ask) -> Any:
        """Checks and prepares the observation of a request."""
        with _own_words("an observation could not be prepared"):
            return self.policy.prepare(ask)

    def _act(self, works: Sequence[tuple[Ask, Any]]) -> Sequence[Answer | Exception]:
        """Prepares what is not ready yet, and returns answers in the order of the requests.

        A wrong observation does not cost the other requests their answers.
        """
        results: list[Answer | Exception | None] = [None] * len(works)
        good: list[tuple[int, Ask, Any]] = []
        for i, (ask, ready) in enumerate(works):
            try:
                good.append((i, ask, self._prepared(ask) if ready is LATER else ready))
            except (InputError, RuntimeError) as error:
                results[i] = error
        if good:
            answers = self.policy.act([ask for _, ask, _ in good], [ready for _, _, ready in good])
            for (i, _, _), answer in zip(good, answers, strict=True):
                results[i] = answer
        return [one for one in results if one is not None]

    async def _every_minute(self) -> None:
        while True:
            await asyncio.sleep(MINUTE)
            if line := self.traffic.line():
                logger.info(f"last minute: {line}")


@contextlib.contextmanager
def _own_words(what: str) -> Iterator[None]:
    """Logs errors other than InputError, and lets the client see only their names.

    Raises:
        RuntimeError: there was such an error; the message is its name.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        logger.exception(what)
        raise RuntimeError(f"{type(error).__name__}") from None


async def _send(ws: ServerConnection, message: bytes | str) -> None:
    """Sends a message, or cuts the connection if the client reads nothing.

    Raises:
        ConnectionClosed: the connection is gone.
        TimeoutError: the client did not read, and was cut off.
    """
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await ws.send(message)
    except TimeoutError:
        logger.warning(f"{_name(ws)} reads nothing, so it is cut off")
        ws.transport.abort()
        raise


def _reply(finished: Finished[Answer], total: float) -> bytes:
    """Returns the message of an answer. Only the chunk is an array."""
    answer = finished.result
    timing = {
        "queue_ms": 1000 * finished.queued,
        "infer_ms": 1000 * finished.computed,
        "total_ms": 1000 * total,
    }
    reply: dict[str, Packed] = {"actions": answer.actions, "server_timing": timing}
    return pack(reply | ({"subtask": answer.subtask} if answer.subtask else {}))


def _name(ws: ServerConnection) -> str:
    """Returns the address of a client, for the log."""
    address = ws.remote_address
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else "a client"
