"""Addresses as people write them, and as others reach them."""

from __future__ import annotations

import contextlib
import ipaddress
import socket


def advertised(advertise: str, address: str, port: int) -> str:
    """What others connect to, as host:port, for who listens at `address` and `port`."""
    host, own_port = split_address(advertise) if advertise else (address, 0)
    return f"[{host}]:{own_port or port}" if ":" in host else f"{host}:{own_port or port}"


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; port 0: none given.

    Raises ValueError.
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
