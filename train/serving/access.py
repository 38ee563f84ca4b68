"""The server's API key, and the address at which it listens. Imports no JAX."""

import errno
import hmac
import ipaddress
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from fasttok.errors import InputError, refused

logger = logging.getLogger(__name__)
VARIABLE = "FASTTOK_API_KEY"
SCHEME = "Api-Key "  # openpi-client 0.1.2 sends `Authorization: Api-Key KEY`
LONGEST_KEY = 4096  # bytes


def read_key(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Reads the API key that clients must send; None if they need none.

    Args:
        file: file whose only line is the key; None: the key is in the environment variable FASTTOK_API_KEY.
        environment: environment variables of the process.

    Raises:
        InputError: the file cannot be read, or what it or the variable contains cannot be a key.
    """
    if file is None:
        key, where = environment.get(VARIABLE), f"the variable {VARIABLE}"
        if key is None:
            return None
    else:
        where = str(file)
        try:
            with file.open("rb") as opened:
                key = opened.read(LONGEST_KEY + 1).decode("ascii", errors="replace")
        except OSError as error:
            raise refused(error) from None
        if os.name == "posix" and file.stat().st_mode & 0o077:
            logger.warning(
                f"{file} can be read by other users of this machine; chmod 600 {file} keeps the key a secret"
            )
    key = key.strip()
    if not key or len(key) > LONGEST_KEY or not all(" " < letter <= "~" for letter in key):
        raise InputError(
            f"{where} contains no API key; expected one line of 1 to {LONGEST_KEY} letters, digits and signs, such as that of: "
            "openssl rand -hex 32"
        )
    return key


def is_right(key: str, authorization: str | None) -> bool:
    """Returns whether a request's `Authorization` header contains the key; a wrong key takes as long as the right one.

    >>> is_right("secret", "Api-Key secret"), is_right("secret", "Api-Key secreT"), is_right("secret", None)
    (True, False, False)
    """
    given = (authorization or "").encode("utf-8", errors="replace")
    return hmac.compare_digest(given, f"{SCHEME}{key}".encode())


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warn_if_open(host: str, key: str | None) -> None:
    """Warns if other machines can reach the server, and it wants no key."""
    if key is None and not is_loopback(host):
        logger.warning(
            f"everybody who can reach {host} can move the robot and read what it sees: no API key is set. Set {VARIABLE}, or "
            "give --api-key-file; the connection itself is not encrypted (docs/robot.md)"
        )


def bound(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to an address but does not listen yet, so that clients are still refused.

    Args:
        host: name or address. A name means the first of its addresses that this machine has.
        port: number of the port; 0 for a free one.

    Raises:
        InputError: this machine has no such address, or the port is in use or out of range.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}; expected 0 (a free one) to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--host {host!r} is no address of this machine: {error}; 127.0.0.1 is reached from here only"
        ) from None
    last: OSError | None = None
    for family, kind, number, _, address in found:
        sock = socket.socket(family, kind, number)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError as error:
            sock.close()
            last = error
            if error.errno == errno.EADDRNOTAVAIL:
                continue
            break
        return sock
    raise not_listening(host, port, last) from None


def not_listening(host: str, port: int, error: OSError | None) -> InputError:
    """Returns the error that says in one line why the server cannot listen at an address."""
    if error is not None and error.errno == errno.EADDRINUSE:
        return InputError(
            f"port {port} of {host} is in use: another server listens there, or another program; stop it, or give another --port "
            "(0 takes a free one)"
        )
    why = "it has no address" if error is None else error.strerror
    return InputError(f"cannot listen at {host}, port {port}: {why}; give another --host or --port")


def keep_alive(sock: socket.socket) -> None:
    """Lets the system detect after about 90 s that a peer is gone, such as a robot that was switched off (TCP keep-alive)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
