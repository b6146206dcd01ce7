"""Where an HTTP port of ours listens."""

from __future__ import annotations

import socket

from partition_supervisor.addresses import is_unspecified
from partition_workers.errors import Misconfigured


def listen(written: str, option: str) -> socket.socket:
    """A listening socket at `HOST:PORT` as given by `option`; port 0: a free one. Raises Misconfigured."""
    host, separator, port = written.rpartition(":")
    host = host.strip("[]")
    if not separator or not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise Misconfigured(f"{option} {written}: write it as HOST:PORT, as in 127.0.0.1:8470")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        listening = socket.create_server((host, int(port)), family=family, backlog=128)
    except OSError as error:
        raise Misconfigured(
            f"{option} {written}: cannot listen there: {error.strerror or error}."
            " If the port is taken, give another; port 0 takes a free one"
        ) from None
    # Connections inherit it. asyncio sets it for sockets of its own alone, and the second answer of a connection came
    # 40 ms late: its head was on its way, and its body waited for the browser's word of that.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if is_unspecified(host):
        host = "localhost"
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
