"""Where the other supervisors connect to. The rest of the world costs nothing here.

Whoever connects has two seconds to say the secret of this host's document in etcd. Until then it is a stranger: what
it sends is read and dropped, there are at most 64 of them, and the oldest makes room for the next. A supervisor has
one connection here, the newest, for as long as it says something.

One thread serves all. It does not end before the listener is closed: when there are no descriptors left, it accepts
nobody for a moment, and goes on answering those who are there.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from partition_supervisor.addresses import advertised, listen_at
from partition_supervisor.cluster.peer_protocol import (
    BEAT,
    GIVEN_UP,
    GOODBYE,
    GREETING,
    LONGEST_GREETING,
    greeted_by,
    hello,
    watch_over,
)
from partition_workers.log_events import event
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Connections that have not said the secret yet.
STRANGERS = 64
#: Connections of supervisors: more than there are hosts.
PEERS = 1024
#: Seconds for a port to become free: the workers of a supervisor that was killed have it for two seconds more.
PORT_WITHIN = 3.0
#: Seconds between two looks at who has been silent for too long.
LOOK_EVERY = 0.5
#: Seconds between two complaints that nobody can be accepted.
COMPLAIN_EVERY = 60.0
#: Accepted at once, before those who are there have their turn.
AT_ONCE = 64


@dataclass(eq=False)
class _Guest:
    connection: socket.socket
    #: When it was last heard; of a stranger: when it came.
    heard: float
    said: bytearray = field(default_factory=bytearray)
    #: The host's id, once it has said the secret.
    name: str = ""
    said_goodbye: bool = False


class PeerListener:
    def __init__(
        self,
        address: str,
        port: int,
        host_id: str,
        advertise: str = "",
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        """`advertise`: where the others reach it, if not at its own address. `on_failure` is called, in a thread,
        with an error that nobody expected, after which nobody is served any more.

        Raises Misconfigured when `address` and `port` cannot be listened at.
        """
        self.socket = listen_at(address, port, PORT_WITHIN)
        self.socket.setblocking(False)
        self.link = advertised(advertise, *self.socket.getsockname()[:2])
        self.secret = secrets.token_hex(16)
        self._hello = hello(host_id, self.link)
        self._on_failure = on_failure
        self._closed = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._strangers: dict[_Guest, None] = {}
        self._peers: dict[str, _Guest] = {}
        #: Supervisors whose connection was ended by their kernel, in good order.
        self._exited: set[str] = set()
        self._changed = threading.Condition()
        self._pauses = delays(0.05, 1.0)
        self._accept_again = 0.0
        self._complained = -COMPLAIN_EVERY
        self._selector.register(self.socket, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="peer-listener", daemon=True)
        self._thread.start()

    def silent_for(self, host_id: str) -> float | None:
        """Seconds since that host was heard on its own connection to us; None: it has none."""
        guest = self._peers.get(host_id)
        return None if guest is None else time.monotonic() - guest.heard

    def has_exited(self, host_id: str) -> bool:
        """Whether the last connection of that host was ended by its kernel, because the supervisor is gone."""
        return host_id in self._exited

    def wait_until_gone(self, host_id: str, timeout: float) -> bool:
        """Whether that host has no connection to us, now or at most `timeout` seconds later."""
        with self._changed:
            return self._changed.wait_for(lambda: host_id not in self._peers, timeout)

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, and refuses in the workers' name too
        self._thread.join(LOOK_EVERY * 2)
        self.socket.close()

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                self._serve()
        except Exception as error:
            log.exception("the listener for other supervisors has failed")
            self._on_failure(error)
        finally:
            for guest in (*self._strangers, *self._peers.values()):
                guest.connection.close()
            self._selector.close()

    def _serve(self) -> None:
        for key, _ in self._selector.select(LOOK_EVERY if self._has_guests() else None):
            if isinstance(key.data, _Guest):
                self._read(key.data)
            else:
                self._accept()
        now = time.monotonic()
        for guest in [each for each in self._strangers if now - each.heard > GREETING]:
            self._part_from(guest)
        for guest in [each for each in self._peers.values() if now - each.heard > GIVEN_UP]:
            self._show_out(guest)
        if self._accept_again and now >= self._accept_again:
            self._accept_again = 0.0
            self._selector.register(self.socket, selectors.EVENT_READ)

    def _has_guests(self) -> bool:
        return bool(self._strangers or self._peers or self._accept_again)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._pauses = delays(0.05, 1.0)
            while len(self._strangers) >= STRANGERS:
                self._part_from(next(iter(self._strangers)))
            guest = _Guest(connection, time.monotonic())
            self._strangers[guest] = None
            try:
                connection.setblocking(False)
                self._selector.register(connection, selectors.EVENT_READ, guest)
            except OSError:
                self._part_from(guest)
                continue
            with contextlib.suppress(OSError):  # it has gone already: reading says so
                watch_over(connection)

    def _pause(self, error: OSError) -> None:
        """No descriptors, no memory, or the network goes down: nobody is accepted for a moment."""
        if self._closed.is_set():
            return
        now = time.monotonic()
        self._accept_again = now + next(self._pauses)
        self._selector.unregister(self.socket)
        if now - self._complained >= COMPLAIN_EVERY:
            self._complained = now
            log.warning(
                "no other supervisor can connect at %s for now: %s",
                self.link,
                error,
                extra=event("peers-cannot-connect"),
            )

    def _read(self, guest: _Guest) -> None:
        try:
            data = guest.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:  # a reset, which may come from anything in between
            self._part_from(guest)
            return
        if not data:
            if guest.name and not guest.said_goodbye:
                self._exited.add(guest.name)
            self._part_from(guest)
        elif guest.name:
            guest.heard = time.monotonic()
            guest.said_goodbye = data.endswith(GOODBYE)
            self._say(guest, BEAT)
        else:
            self._get_to_know(guest, data)

    def _get_to_know(self, guest: _Guest, data: bytes) -> None:
        guest.said += data
        line, newline, rest = guest.said.partition(b"\n")
        name = greeted_by(bytes(line), self.secret) if newline else None
        if name is None:
            if newline or len(guest.said) > LONGEST_GREETING:
                self._part_from(guest)
            return
        del self._strangers[guest]
        before = self._peers.get(name) or (next(iter(self._peers.values())) if len(self._peers) >= PEERS else None)
        if before is not None:
            self._show_out(before)
        guest.name, guest.heard, guest.said_goodbye = name, time.monotonic(), rest.endswith(GOODBYE)
        self._exited.discard(name)
        guest.said.clear()
        with self._changed:
            self._peers[name] = guest
        self._say(guest, self._hello)

    def _say(self, guest: _Guest, what: bytes) -> None:
        try:
            guest.connection.send(what)
        except BlockingIOError:
            pass  # it does not read: it will find us silent
        except OSError:
            self._part_from(guest)

    def _show_out(self, guest: _Guest) -> None:
        """We live: it must not take this for our end."""
        with contextlib.suppress(OSError):
            guest.connection.send(GOODBYE)
        self._part_from(guest)

    def _part_from(self, guest: _Guest) -> None:
        with self._changed:
            self._strangers.pop(guest, None)
            if self._peers.get(guest.name) is guest:
                del self._peers[guest.name]
                self._changed.notify_all()
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(guest.connection)
        guest.connection.close()
