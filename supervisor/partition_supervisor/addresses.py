"""Addresses as people write them, and as others reach them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import time

from partition_workers.errors import Misconfigured
from partition_workers.retry import time_is_up

#: Connections that the kernel holds ready to be accepted.
BACKLOG = 256


def advertised(advertise: str, address: str, port: int) -> str:
    """What others connect to, as host:port, for who listens at `address` and `port`."""
    host, own_port = split_address(advertise) if advertise else (address, 0)
    return f"[{host}]:{own_port or port}" if ":" in host else f"{host}:{own_port or port}"


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; port 0: none given.

    Brackets may be around an IPv4 address too, for those who write them around whichever they are given. A bare IPv6
    address is never one with a port: `fd00::1:7400` is an address. Raises ValueError.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (text.count(":") > 1 and not text.startswith("[")):
        host, port = text, ""
    if not host.strip("[]") or (port and not (port.isascii() and port.isdigit() and int(port) <= 65535)):
        raise ValueError(f"{text!r} is no HOST or HOST:PORT")
    return host.strip("[]"), int(port or 0)


def address_towards(server: str) -> str | None:
    """This machine's address on the way to `server`, as host:port; None when nothing leads there."""
    host, _, port = server.rpartition(":")
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, target in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(target)  # of a datagram socket: says where to, and sends nothing
                return str(probe.getsockname()[0])
    return None


def is_loopback(address: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return address == "localhost"


def is_unspecified(address: str) -> bool:
    """Any address of this machine, as 0.0.0.0: good to listen at, but nobody can connect to it from elsewhere."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address).is_unspecified
    return False


def listen_at(address: str, port: int, seconds: float) -> socket.socket:
    """A socket that listens; for a port that somebody has, `seconds` are waited. Raises Misconfigured."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    is_too_late = time_is_up(seconds)
    while True:
        try:
            return socket.create_server((address, port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE and not is_too_late():
                time.sleep(0.05)
                continue
            where = f"[{address}]" if ":" in address else address
            where += f":{port}" if port else ""
            reason = error.strerror if isinstance(error, OSError) else error
            mistaken = "; if it ends with a port, write [ADDRESS]:PORT" if where.endswith("]") else ""
            raise Misconfigured(
                f"--listen {where}: {reason or error}: give an address of this machine and a port that is free, or"
                f" none; then the others notice its death by its leases alone{mistaken}"
            ) from None
