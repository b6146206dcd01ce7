"""How to reach etcd: plain values, cheap to import and to send to another process; no gRPC is loaded."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from partition_workers.errors import Misconfigured

_TLS = "https://"


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """Where etcd is and who we are to it. `timeout` is the deadline of every single call, in seconds. The password
    stands in `password`, or in `password_file`, which is read for every login: it may change.

    The first endpoint is used first, the others only after it failed: give every process another order to
    spread the load. Raises Misconfigured when options contradict each other.
    """

    endpoints: tuple[str, ...]
    ca_cert: str | None = None
    cert: str | None = None
    key: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = 1.0
    password_file: str | None = None

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise Misconfigured("no etcd endpoint is given: name at least one as host:port")
        if (self.cert is None) != (self.key is None):
            raise Misconfigured("etcd's client certificate and its key belong together: give both or neither")
        if self.password == "":
            raise Misconfigured("etcd's password is empty: give it, or no user")
        if self.password is not None and self.password_file is not None:
            raise Misconfigured("etcd's password is given twice, itself and by a file: give one of them")
        if (self.user is None) != (self.password is None and self.password_file is None):
            raise Misconfigured("etcd's user and password belong together: give both or neither")
        if self.password_file is not None:
            self._read_password(self.password_file)
        if self.timeout <= 0:
            raise Misconfigured(f"the etcd timeout must be more than 0 seconds, not {self.timeout}")

    def secret(self) -> str | None:
        """The password as it is now. While its file cannot be read: none, which etcd refuses."""
        if self.password_file is None:
            return self.password
        with contextlib.suppress(Misconfigured):
            return self._read_password(self.password_file)
        return ""

    @staticmethod
    def _read_password(path: str) -> str:
        try:
            if found := Path(path).read_text(encoding="utf-8").rstrip("\r\n"):
                return found
        except (OSError, ValueError) as error:
            raise Misconfigured(f"cannot read etcd's password file {path}: {error}") from None
        raise Misconfigured(f"etcd's password file {path} is empty")

    def secure(self, endpoint: str) -> bool:
        """Whether `endpoint` is spoken to over TLS: it says https, or certificates are given."""
        return endpoint.startswith(_TLS) or self.ca_cert is not None or self.cert is not None


def parse_endpoints(text: str) -> tuple[str, ...]:
    """Read `host:port,host:port`, each with http:// or https:// before it if one likes.

    Answers with `host:port`, or `https://host:port` where TLS was asked for. Raises Misconfigured.
    """
    endpoints = tuple(_endpoint(part.strip()) for part in text.split(",") if part.strip())
    if not endpoints:
        raise Misconfigured(f"{text!r} names no etcd endpoint: write host:port, several with commas between")
    return tuple(dict.fromkeys(endpoints))


def address(endpoint: str) -> str:
    """The `host:port` of an endpoint."""
    return endpoint.removeprefix(_TLS)


def _endpoint(text: str) -> str:
    scheme, found, rest = text.rpartition("://")
    if found and scheme not in ("http", "https"):
        raise _unreadable(text, f"{scheme}:// is not spoken by etcd")
    rest = rest.removesuffix("/")
    host, _, port = rest.rpartition(":")
    if not host:
        raise _unreadable(text, "host or port is missing")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise _unreadable(text, "an IPv6 address stands in brackets")
    if any(character in host for character in "/@?# "):
        raise _unreadable(text, "only a host and a port can be given")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise _unreadable(text, f"{port!r} is no port")
    return f"{_TLS if scheme == 'https' else ''}{rest}"


def _unreadable(text: str, why: str) -> Misconfigured:
    return Misconfigured(f"{text!r} is no etcd endpoint ({why}): write it as host:2379 or https://host:2379")
