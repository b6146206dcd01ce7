"""One other host, followed by a thread for as long as it is in the group.

The listening socket is shared with every worker of that host, and never accepted from there: as long as one of them
lives, the kernel answers who connects. So a supervisor that died alone is followed by a new connection, on which
nobody says anything, and which ends with its last worker; the workers of a dead supervisor give their locks away
themselves. Only then is the next connection refused.

That counts at an address where the right hello was said the last time that anybody said anything. Behind a gateway or
on a loopback address it might be somebody else's.

A container that is killed takes its address along, so nobody is left to refuse. But its kernel has ended the
connections in good order, without the goodbye that a living supervisor says first; then an address where nobody
answers at once counts as well.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from partition_supervisor.addresses import split_address
from partition_supervisor.cluster.peer_protocol import (
    ANSWER,
    BEAT,
    GIVEN_UP,
    GOODBYE,
    GREETING,
    HEARTBEAT,
    SILENCE,
    greeting,
    hello,
    watch_over,
)
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Seconds until a host that was never reached is tried again, and one that was.
PATIENCE, AGAIN = 2.0, 0.25
#: Seconds until a connection that has ended is made anew: at once, but not for ever.
SOON = 0.001


class PeerConnection:
    """Called from its thread are `on_refused`, `on_no_answer` when its supervisor is gone and nobody answers there,
    `on_answer` when it is heard after it was not, and `on_failure` with an error that nobody expected."""

    def __init__(
        self,
        me: str,
        name: str,
        link: str,
        secret: str,
        on_refused: Callable[[PeerConnection], None],
        on_no_answer: Callable[[PeerConnection], None],
        on_answer: Callable[[PeerConnection], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.name, self.link, self.secret = name, link, secret
        #: Where it was last reached; None: never.
        self.address: Any = None
        self._greeting, self._hello = greeting(secret, me), hello(name, link)
        self._on_refused, self._on_no_answer = on_refused, on_no_answer
        self._on_answer, self._on_failure = on_answer, on_failure
        self._heard = self._ended = 0.0
        self._is_right = self._has_exited = self._has_complained = False
        self._stopped = threading.Event()
        self._connection: socket.socket | None = None
        threading.Thread(target=self._run, name=f"peer {name}", daemon=True).start()

    @property
    def was_reached(self) -> bool:
        return self._heard > 0.0

    def silent_for(self) -> float:
        """Seconds since it was heard."""
        return time.monotonic() - self._heard

    def ended_ago(self) -> float:
        """Seconds since the last connection to it ended."""
        return time.monotonic() - self._ended

    def stop(self) -> None:
        self._stopped.set()
        if connection := self._connection:
            with contextlib.suppress(OSError):
                connection.send(GOODBYE)
                connection.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:
            log.exception("%s: following it has failed", self.name)
            self._on_failure(error)

    def _follow(self) -> None:
        pauses = delays(SOON, AGAIN)
        while not self._stopped.is_set():
            begun = time.monotonic()
            try:
                connection = self._connect()
            except (OSError, ValueError) as error:
                if self._is_right and isinstance(error, ConnectionRefusedError):
                    self._on_refused(self)
                elif self._has_exited and isinstance(error, OSError) and _nobody_answered(error):
                    self._on_no_answer(self)
                self._rest(error)
                continue
            with connection:
                self._talk(connection)
            self._ended = time.monotonic()
            if self._ended - begun > 1.0:
                pauses = delays(SOON, AGAIN)
            self._stopped.wait(next(pauses) if self._is_right else PATIENCE)

    def _connect(self) -> socket.socket:
        """Raises OSError; ValueError, when the link is no address."""
        connection = socket.create_connection(split_address(self.link), ANSWER if self._has_exited else GREETING)
        try:
            watch_over(connection)
            connection.sendall(self._greeting)
        except ConnectionResetError:
            pass  # it was accepted, which is what counts here; reading says that it has ended
        except OSError:
            connection.close()
            raise
        return connection

    def _talk(self, connection: socket.socket) -> None:
        """Stay until the connection ends, or nothing was heard for so long that another one is better."""
        self._connection = connection
        said = b""
        heard = beat = time.monotonic()
        patience = ANSWER if self._has_exited else GIVEN_UP if self._is_right else GREETING
        said_goodbye = False
        while not self._stopped.is_set() and time.monotonic() - heard < patience:
            try:
                connection.settimeout(max(0.001, beat + HEARTBEAT - time.monotonic()))
                data = connection.recv(4096)
                if not data:
                    self._has_exited |= len(said) >= len(self._hello) and not said_goodbye
                    break
                said_goodbye = data.endswith(GOODBYE)
                if len(said) < len(self._hello):
                    said += data
                    if not self._is_hello(said):
                        break
                    if len(said) >= len(self._hello):
                        self._answered(connection)
                        patience = GIVEN_UP
                elif self.silent_for() >= SILENCE:
                    self._answered(connection)
                else:
                    self._heard = time.monotonic()
                heard = time.monotonic()
            except TimeoutError:
                pass
            except OSError:
                break
            if len(said) >= len(self._hello) and time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                with contextlib.suppress(OSError):  # reading says that it has ended
                    connection.send(BEAT)
            elif len(said) < len(self._hello):
                beat = time.monotonic()
        if time.monotonic() - heard >= patience:
            with contextlib.suppress(OSError):
                connection.send(GOODBYE)
        if not self._is_right:
            self._complain("nobody says hello there")
        self._connection = None

    def _is_hello(self, said: bytes) -> bool:
        if self._hello.startswith(said[: len(self._hello)]):
            return True
        self._is_right = False
        self._complain("somebody else is there")
        return False

    def _answered(self, connection: socket.socket) -> None:
        self._heard = time.monotonic()
        self._is_right, self._has_exited, self._has_complained = True, False, False
        with contextlib.suppress(OSError):
            self.address = connection.getpeername()
        self._on_answer(self)

    def _rest(self, error: Exception) -> None:
        if not self.was_reached:
            self._complain(str(error))
        self._stopped.wait(AGAIN if self.was_reached else PATIENCE)

    def _complain(self, reason: str) -> None:
        if not self._has_complained and not self._stopped.is_set():
            self._has_complained = True
            log.info("%s cannot be reached at %s (%s): only its leases would tell that it died",
                     self.name, self.link, reason)  # fmt: skip


def _nobody_answered(error: OSError) -> bool:
    """Whether it says that, and not what this machine lacks."""
    return isinstance(error, TimeoutError) or error.errno == errno.EHOSTUNREACH
