"""Small policy servers inside the tests' own process, for clients to talk to."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from websockets.sync.server import Server, ServerConnection, serve

from fasttok.packed_arrays import pack, unpack_map

Answer = Callable[[dict[str, Any]], dict[str, Any] | str]


def answering(answer: Answer, metadata: Mapping[str, Any]) -> Callable[[ServerConnection], None]:
    """What a connection of openpi's protocol does: metadata first, then a reply (a text is an error) to each request."""

    def connection(ws: ServerConnection) -> None:
        ws.send(pack(metadata))
        for message in ws:
            reply = answer(unpack_map(message if isinstance(message, bytes) else message.encode()))
            ws.send(reply if isinstance(reply, str) else pack(reply))

    return connection


def bound() -> socket.socket:
    """A socket with a free port that does not listen yet: whoever connects is refused."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock


def address(sock: socket.socket) -> str:
    return f"ws://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def running(
    connection: Callable[[ServerConnection], None], sock: socket.socket | None = None, **more: Any
) -> Iterator[str]:
    """Serves while it is entered; gives the URL."""
    sock = bound() if sock is None else sock
    url = address(sock)
    sock.listen()
    server: Server = serve(connection, sock=sock, compression=None, max_size=None, **more)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        thread.join()
