"""A client for `fasttok-serve` and for any other server of openpi's websocket protocol.

It has only what a robot's computer needs: it takes the extra `client` (websockets, msgpack) and does not import JAX, TensorFlow,
numba or SciPy.

    from fasttok.client import Client

    with Client("ws://127.0.0.1:8000") as policy:          # waits until the server is there
        print(policy.metadata["embodiments"])              # horizon, action names, rate, cameras, ...
        while True:
            seen = {"image/primary": camera.read(), "state": arm.joints()}
            for action in policy.act(seen, prompt="push the red circle")[:8]:
                arm.move(action)                           # raw units, as the robot's recordings had them
                clock.wait()                               # one step of the control rate

docs/robot.md describes the whole way to a moving arm: control rates, overlapping chunks, limits.
"""

import contextlib
import inspect
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from fasttok.errors import InputError, require
from fasttok.packed_arrays import MOST_BYTES, Packed, pack, unpack_map

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

logger = logging.getLogger(__name__)
OPTIONS = "fasttok/"  # prefix of the request keys that are options for the server, not observations of the robot
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between attempts to connect
HANDSHAKE = 10.0  # seconds that a server has to answer an attempt
CLOSE = 2.0  # seconds that a server has to say goodbye
LONGEST = 1e6  # seconds (eleven days), instead of an infinite timeout, which the system's clocks do not accept
NOT_YET = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)  # a proxy answers so while the server behind it is not up yet


class ServerError(InputError):
    """The server refused a request, cannot be reached, or sent something that is not an answer. The message quotes the server."""


class Client:
    """A connection to a policy server. Threads may share it; it sends one request at a time.

    A request that fails midway (no answer in time, or the connection breaks) raises an error. It is not sent again, because its
    observation is old by then. The next request opens a new connection, for which the server starts anew: it no longer has the
    noise, the last chunk or the subtask of the old connection.

    Args:
        url: address of the server, such as ws://192.168.1.7:8000; without a scheme, ws:// is added.
        api_key: key that the server asks for; None if it asks for none.
        wait: seconds to wait for a server that is not there yet, such as one that is still compiling; 0 tries once.
        timeout: seconds that an answer may take, more than 0.

    Attributes:
        url: address of the server, with its scheme.

    Raises:
        ServerError: there is no server, it does not accept the key, or it is another kind of server.
        InputError: the URL, the key or a number of seconds is not valid, or the extra `client` is not installed.
    """

    def __init__(self, url: str, *, api_key: str | None = None, wait: float = 60.0, timeout: float = 60.0) -> None:
        self.url = checked_url(url)
        if api_key is not None and not (
            api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""
        ):
            raise InputError(
                "the API key has letters that a header cannot contain; expected printable ASCII, with no spaces around"
            )
        for name, value in (("wait", wait), ("timeout", timeout)):
            if not value >= 0 or (name == "timeout" and not value):
                raise InputError(
                    f"{name} is {value}; expected seconds, {'more than' if name == 'timeout' else 'at least'} 0"
                )
        require("websockets.sync.client", "client", "fasttok.client")
        require("msgpack", "client", "fasttok.client")
        self._api_key, self._wait, self._timeout = api_key, wait, min(timeout, LONGEST)
        self._lock = threading.Lock()
        self._ws: ClientConnection | None = None
        self._metadata: dict[str, Packed] = {}
        self._connect()

    @property
    def metadata(self) -> dict[str, Packed]:
        """What the server sent when the client connected. docs/robot.md lists what `fasttok-serve` sends."""
        return self._metadata

    def act(
        self, observation: Mapping[str, Packed], prompt: str | None = None, **options: Packed
    ) -> NDArray[np.float32]:
        """Asks the server for the next actions.

        Args:
            observation: what the robot sees, under the keys that `metadata["keys"]` lists, such as "image/primary" (h, w, 3)
                uint8 and "state" (S,) in raw units.
            prompt: the instruction, sent under the key "prompt"; None if the observation contains it already.
            options: options of `fasttok-serve` for this request, such as `seed=3` or `executed=8, delay=2`; `metadata["options"]`
                lists them. Each is sent under the key "fasttok/<name>".

        Returns:
            (H, D) float32 in raw units, one row per control step. It is a copy, so you may write to it.

        Raises:
            ServerError: as `infer`, or the reply contains no chunk of finite numbers.
        """
        request = dict(observation) if prompt is None else {**observation, "prompt": prompt}
        return chunk_of(self.infer(request | {OPTIONS + name: value for name, value in options.items()}))

    def infer(self, request: Mapping[str, Packed]) -> dict[str, Packed]:
        """Sends a request and returns the whole reply, as the server sent it.

        Args:
            request: maps keys to numbers, texts, bytes (an encoded image), lists, maps and numpy arrays.

        Returns:
            The reply as a map. `fasttok-serve` sends "actions" (H, D) float32, "server_timing" in milliseconds, and "subtask" if
            the policy follows one.

        Raises:
            ServerError: the server refused the request (it still accepts others), did not answer in time, or sent a reply that
                cannot be read; or the connection broke.
            InputError: the request contains something that cannot be sent.
        """
        frame = pack(request)
        with self._lock:
            reply = self._exchange(self._connection(), frame)
        if isinstance(reply, str):
            raise ServerError(f"{self.url}: {reply}")
        try:
            return unpack_map(reply)
        except InputError as error:
            raise ServerError(f"{self.url}: the reply cannot be read: {error}") from None

    def close(self) -> None:
        """Ends the connection; a later request opens another one."""
        ws, self._ws = self._ws, None
        if ws is not None:
            with contextlib.suppress(OSError):
                ws.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connection(self) -> "ClientConnection":
        """Returns the connection. Opens a new one if it was closed since the last request."""
        from websockets.protocol import State

        ws = self._ws
        if ws is None:
            return self._connect()
        if ws.state is not State.OPEN:
            logger.warning(f"{self.url}: the connection was closed since the last request; connecting anew")
            self._give_up(ws)
            return self._connect()
        return ws

    def _exchange(self, ws: "ClientConnection", frame: bytes) -> str | bytes:
        """Sends a request and returns its reply.

        Any failure closes the connection, so that a late reply is never taken for the reply to the next request.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            ws.send(frame)
            return ws.recv(self._timeout)
        except TimeoutError:
            self._give_up(ws)
            raise ServerError(
                f"{self.url} did not answer within {self._timeout:g} s; it may be computing for others, or be stuck. The next "
                "request connects anew"
            ) from None
        except (ConnectionClosed, OSError) as error:
            self._give_up(ws)
            raise ServerError(
                f"{self.url}: the connection broke during a request ({error}); the next one connects anew"
            ) from None
        except BaseException:  # Ctrl-C, or the exception of a signal handler
            self._give_up(ws)
            raise

    def _give_up(self, ws: "ClientConnection") -> None:
        """Drops a connection without waiting for the other side."""
        self._ws = None
        with contextlib.suppress(OSError):
            ws.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(Exception):
            ws.close_timeout = 0.1
            ws.close()

    def _connect(self) -> "ClientConnection":
        """Connects and stores the metadata. Tries again while the server is not there yet, up to `wait` seconds."""
        end, pause, said = time.monotonic() + self._wait, FIRST_PAUSE, False
        while True:
            try:
                self._ws, self._metadata = self._attempt()
                return self._ws
            except _NoServerYetError as error:
                left = end - time.monotonic()
                if left <= 0:
                    raise ServerError(
                        f"{self.url}: no server after {self._wait:g} s ({error}); start one with fasttok-serve, and look at the "
                        f"address, the port and the firewall{_about_proxy(self.url)}"
                    ) from None
                if not said:
                    logger.info(f"waiting up to {self._wait:g} s for {self.url} ({error})")
                    said = True
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _attempt(self) -> "tuple[ClientConnection, dict[str, Packed]]":
        """Tries once to connect. Returns the connection and the metadata."""
        from websockets.exceptions import (
            ConnectionClosed,
            InvalidHandshake,
            InvalidStatus,
            InvalidURI,
            WebSocketException,
        )
        from websockets.sync.client import connect

        # No proxy leads to this computer itself. Websockets before 15 asks none.
        direct = {"proxy": None} if _is_here(self.url) and "proxy" in inspect.signature(connect).parameters else {}
        headers = {"Authorization": f"Api-Key {self._api_key}"} if self._api_key else None
        try:
            ws = connect(
                self.url, compression=None, max_size=MOST_BYTES, additional_headers=headers, open_timeout=HANDSHAKE,
                close_timeout=CLOSE, **direct,
            )  # fmt: skip
            # A server that computes in its event loop, as openpi's does, answers no ping meanwhile. `timeout` is the only limit.
            # Before websockets 15, `connect` does not take this as an argument, and such a client sends no pings.
            ws.ping_timeout = None
        except InvalidStatus as error:
            self._refused(error.response.status_code)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise _NoServerYetError(str(error)) from None
            raise ServerError(
                f"{self.url}: {error.strerror}; expected a name or address of a server, such as 127.0.0.1"
            ) from None
        except ssl.SSLCertVerificationError as error:  # waiting does not change it
            raise ServerError(
                f"{self.url}: its certificate is not trusted here ({error}); use the name that it was made for, and "
                "a certificate that this computer trusts (the variable SSL_CERT_FILE names a file of more)"
            ) from None
        except InvalidURI as error:
            raise InputError(f"{self.url} is no address of a server: {error}") from None
        except (OSError, InvalidHandshake, EOFError) as error:
            raise _NoServerYetError(str(error) or type(error).__name__) from None
        except (WebSocketException, ImportError) as error:  # a proxy of an unknown kind, or SOCKS without its package
            raise ServerError(f"{self.url} cannot be reached: {error}{_about_proxy(self.url)}") from None
        try:
            first = ws.recv(self._timeout)
            if isinstance(first, str):
                raise ServerError(f"{self.url}: {first}")
            return ws, unpack_map(first)
        except ConnectionClosed as error:
            self._give_up(ws)
            raise _NoServerYetError(str(error)) from None
        except (TimeoutError, InputError) as error:
            self._give_up(ws)
            if isinstance(error, ServerError):
                raise
            why = (
                f"its first message cannot be read: {error}" if isinstance(error, InputError) else "it sent no metadata"
            )
            raise ServerError(f"{self.url} is no policy server of openpi's protocol: {why}") from None
        except BaseException:  # Ctrl-C, or the exception of a signal handler
            self._give_up(ws)
            raise

    def _refused(self, status: int) -> NoReturn:
        """Raises the error for a server that answered with an HTTP status instead of opening a websocket."""
        if status in NOT_YET:
            raise _NoServerYetError(f"HTTP {status}")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            problem = "its API key is another one" if self._api_key else "it wants an API key; give `api_key`"
            raise ServerError(f"{self.url} refused the connection: {problem} (HTTP {status})")
        raise ServerError(
            f"{self.url} answered HTTP {status}, so it is no policy server; look at the port and the path"
        )


class _NoServerYetError(Exception):
    """There is no server yet, but there may be one soon."""


def checked_url(url: str) -> str:
    """Returns a URL with its scheme, after checking it. Without a scheme, ws:// is added.

    Raises:
        InputError: the URL has another scheme, no host, an invalid port, or spaces.

    >>> checked_url("robot-lab:8000"), checked_url("wss://policy.example/arm")
    ('ws://robot-lab:8000', 'wss://policy.example/arm')
    """
    scheme, mark, rest = url.strip().rpartition("://")
    scheme = scheme if mark else "ws"
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        there = parts.hostname is not None and parts.port != 0
    except ValueError:  # an invalid port, or half of an IPv6 address
        there = False
    if scheme not in ("ws", "wss") or not there or any(sign.isspace() for sign in rest):
        raise InputError(
            f"{url!r} is no address of a policy server; expected ws://HOST:PORT, or wss://... if it is encrypted. An IPv6 "
            "address is in brackets, as in ws://[::1]:8000"
        )
    return f"{scheme}://{rest}"


def _is_here(url: str) -> bool:
    """Returns whether a URL names this computer."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _about_proxy(url: str) -> str:
    """Returns what to do if this computer's settings name a proxy for a URL, "" if they name none."""
    from urllib.request import getproxies, proxy_bypass

    host = urlsplit(url).hostname or ""
    if _is_here(url) or proxy_bypass(host) or not {"ws", "wss", "socks", "https", "http"} & getproxies().keys():
        return ""
    return f". It was asked through a proxy, as the environment says (http_proxy and others): without one, set no_proxy={host}"


def chunk_of(reply: Mapping[str, Packed]) -> NDArray[np.float32]:
    """Returns a copy of the chunk in a reply, (H, D) float32.

    Raises:
        ServerError: the reply has no chunk, or its chunk contains numbers that are not finite, which no robot should get.
    """
    actions = reply.get("actions")
    if not isinstance(actions, np.ndarray) or actions.ndim != 2 or not actions.size or actions.dtype.kind not in "fiu":
        got = f"{actions.dtype} {actions.shape}" if isinstance(actions, np.ndarray) else type(actions).__name__
        raise ServerError(
            f'the reply has {got} under "actions", expected a chunk (H, D) of numbers; its keys are {", ".join(reply) or "none"}'
        )
    with np.errstate(over="ignore"):
        chunk: NDArray[np.float32] = np.array(actions, np.float32)
    if not np.isfinite(chunk).all():
        raise ServerError("the reply's actions contain numbers that are not finite; they must not be executed")
    return chunk
