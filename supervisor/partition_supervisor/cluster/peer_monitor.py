"""Neighbours: each supervisor keeps a connection to every other, and so learns at once that a host has died.

A lease takes seconds to end, and it must, or every hiccup would be a death. But when a process dies, its kernel
closes its connections, and whoever is at the other end knows within a millisecond. So each supervisor listens, tells
the others where (`link` in its host document), and each of them connects and waits for the connection to end.

What an end means is asked, not guessed. The listening socket is shared with every worker of the host, and never
accepted from there: as long as one of them lives, the kernel answers who connects. So a supervisor that died alone
is followed by a new connection, which ends with its last worker; the workers of a dead supervisor give their locks
away themselves. Only when nobody answers is the host taken for dead, and its locks are passed on.

That is a hint like all others. It may be wrong, behind a firewall that cuts and then refuses connections: then locks
are taken from living owners, whose next commits are refused, as any late owner's are; and that host is given nothing
until it is reached again. It may never come: a machine without power says nothing, nor does a cut cable. Then leases
end. For the same reason a connection counts only if the right name was said at its other end: behind a gateway or
on a loopback address it might be anybody's.

Rejected: questions and answers over these connections, with timeouts. That is what leases are.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping

from partition_workers.errors import Misconfigured
from partition_workers.layout.documents import Host
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Seconds for a host to answer, once it was reached before. One that is there takes less than a round trip.
ANSWER = 0.3
#: Seconds for the first answer, and between two attempts to reach a host.
PATIENCE = 2.0
#: Seconds of silence before the kernel asks whether the other one is there.
KEEPALIVE = 60

#: Of a host, by its id and its link.
Tell = Callable[[str, str], None]


class Listener:
    """Where the others connect to. Whoever does is told who is here; nothing is ever read."""

    def __init__(self, address: str, host_id: str) -> None:
        """Raises Misconfigured when `address` is none of this machine's."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self.socket = socket.create_server((address, 0), family=family, backlog=256)
        except OSError as error:
            raise Misconfigured(
                f"--listen {address}: {error.strerror or error}: give an address of this machine, or none;"
                " then the others notice its death by its leases alone"
            ) from None
        host, port = self.socket.getsockname()[:2]
        self.link = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._hello = hello(host_id, self.link)
        self._guests: list[socket.socket] = []
        threading.Thread(target=self._welcome, name="listener", daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # close() alone does not wake who accepts
        self.socket.close()
        for guest in self._guests:
            guest.close()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                guest, _ = self.socket.accept()
                with contextlib.suppress(OSError):
                    guest.sendall(self._hello)
                self._guests = [guest, *(each for each in self._guests if not _has_ended(each))]


class PeerMonitor:
    """`died` is called from a thread when nobody is left on a host, `lives` if it is reached again all the same."""

    def __init__(self, host_id: str, died: Tell, lives: Tell) -> None:
        self._host_id, self._died, self._lives = host_id, died, lives
        self._followed: dict[str, _PeerConnection] = {}

    def know(self, hosts: Mapping[str, Host]) -> None:
        """Follow each of these that listens, and nobody else."""
        for name, follower in list(self._followed.items()):
            if name not in hosts or hosts[name].link != follower.link:
                self._followed.pop(name).stop()
        for name, host in hosts.items():
            if host.link and name != self._host_id and name not in self._followed:
                self._followed[name] = _PeerConnection(name, host.link, self._died, self._lives)

    def close(self) -> None:
        self.know({})


class _PeerConnection:
    """One other host, followed by a thread for as long as it is in the group."""

    def __init__(self, name: str, link: str, died: Tell, lives: Tell) -> None:
        self.link = link
        self._name, self._died, self._lives = name, died, lives
        self._is_met = self._is_dead = self._has_complained = False
        self._stopped = threading.Event()
        self._connection: socket.socket | None = None
        threading.Thread(target=self._follow, name=f"neighbour {name}", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        if connection := self._connection:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _follow(self) -> None:
        pauses = delays(0.001, 0.5)
        while not self._stopped.is_set():
            begun = time.monotonic()
            if self._visit():
                if time.monotonic() - begun > 1.0:
                    pauses = delays(0.001, 0.5)
                self._stopped.wait(next(pauses))  # at once, but not for ever, is asked whether anybody is left
                continue
            if self._is_met and not self._stopped.is_set():
                self._is_met = False
                self._is_dead = True
                self._died(self._name, self.link)
            self._stopped.wait(PATIENCE)

    def _visit(self) -> bool:
        """Connect, and stay until the connection ends. False: nobody is there, or somebody else."""
        try:
            connection = self._connect(ANSWER if self._is_met else PATIENCE)
        except OSError as error:
            self._complain(str(error))
            return False
        with connection:
            if not self._is_met and not self._says_hello(connection):
                self._complain("somebody else is there")
                return False
            self._is_met = True
            if self._is_dead:
                self._is_dead = False
                self._lives(self._name, self.link)
            self._wait_for_its_end(connection)
            return True

    def _connect(self, timeout: float) -> socket.socket:
        host, _, port = self.link.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)

    def _says_hello(self, connection: socket.socket) -> bool:
        expected = hello(self._name, self.link)
        with contextlib.suppress(OSError), connection.makefile("rb") as said:
            return said.readline(len(expected)) == expected
        return False

    def _wait_for_its_end(self, connection: socket.socket) -> None:
        connection.settimeout(None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # or a firewall forgets what is silent
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE)
        self._connection = connection
        try:
            while not self._stopped.is_set() and connection.recv(64):  # a hello that was not waited for
                pass
        except TimeoutError:
            self._is_met = False  # silence is not a death: nobody ended this
        except OSError:
            pass

    def _complain(self, reason: str) -> None:
        if not self._is_met and not self._is_dead and not self._has_complained:
            self._has_complained = True
            log.info("%s cannot be reached at %s (%s): only its leases would tell that it died",
                     self._name, self.link, reason)  # fmt: skip


def hello(host_id: str, link: str) -> bytes:
    return f"{host_id} {link}\n".encode()


def address_towards(server: str) -> str | None:
    """This machine's address on the way to `server`, as host:port; None when nothing leads there."""
    host, _, port = server.rpartition(":")
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, target in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(target)  # of a datagram socket: says where to, and sends nothing
                return str(probe.getsockname()[0])
    return None


def _has_ended(guest: socket.socket) -> bool:
    try:
        return not guest.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
