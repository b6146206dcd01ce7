"""What two supervisors say to each other, and how long they wait for it.

The one that connects says first the secret of the other's document and its own name; then it is told who is there.
From then on each byte of the one that connected is answered by a byte. Whoever lives and ends a connection says
goodbye first: one that ends in good order without it was ended by a kernel, because the process is gone.
"""

from __future__ import annotations

import hmac
import socket

#: Seconds between two heartbeats.
HEARTBEAT = 0.25
#: Seconds without an answer after which the other one is silent.
SILENCE = 1.0
#: Seconds for a connection to be made, and from there to the end of the greeting.
GREETING = 2.0
#: Seconds of silence after which a connection is given up, and made anew: a firewall may have forgotten it.
GIVEN_UP = 5.0

#: Seconds for a new connection to be made when the supervisor there is known to be gone.
ANSWER = 0.3

BEAT, GOODBYE = b".", b"!"
#: More than any greeting is long: a host id has at most 255 characters.
LONGEST_GREETING = 2048


def greeting(secret: str, host_id: str) -> bytes:
    return f"{secret} {host_id}\n".encode(errors="backslashreplace")


def greeted_by(line: bytes, secret: str) -> str | None:
    """The id of the host that says this greeting; None: it does not know the secret, or is no host of ours."""
    said, _, name = line.rstrip(b"\n").partition(b" ")
    if not hmac.compare_digest(said, secret.encode()):
        return None
    return name.decode(errors="replace") or None


def hello(host_id: str, link: str) -> bytes:
    return f"{host_id} {link}\n".encode(errors="backslashreplace")


def watch_over(connection: socket.socket) -> None:
    """Let the kernel end a connection whose other end is gone without a word. Raises OSError."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(GIVEN_UP))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, int(GIVEN_UP))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2 * GIVEN_UP * 1000))
