"""A wire to a server that can be held: what one side says arrives only when the test lets it.

Everything goes through at once, until somebody says the words that were waited for. Then that one connection stands
still in one direction; all others go on. This is how a test acts while a transaction is on its way, not shortly
before or after. The words must be plain bytes on the wire, as etcd's keys and values are without TLS.

Bytes that are held arrive later even when who said them has died meanwhile, and their connection stays open: the
worst that a network can do.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from types import TracebackType
from typing import Self

#: So much of what was said before is looked at again, because words may be cut in two.
REMEMBERED = 16 * 1024


class Hold:
    """One stop. `answers`: the words themselves pass, and what the server says after them is held."""

    def __init__(self, words: re.Pattern[bytes], answers: bool) -> None:
        self.words, self.answers = words, answers
        self._happened, self._released = threading.Event(), threading.Event()

    @property
    def has_happened(self) -> bool:
        """Whether the words were said."""
        return self._happened.is_set()

    def release(self) -> None:
        self._released.set()

    def stand_still(self) -> None:
        self._happened.set()
        self._released.wait()

    def note(self) -> None:
        self._happened.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()


class Wire:
    """Listens at `address` and speaks with `target`, both `host:port`."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._lock = threading.Lock()
        self._holds: list[Hold] = []
        self._sockets: set[socket.socket] = set()
        self._connections: list[_Connection] = []
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def hold(self, words: re.Pattern[bytes], *, answers: bool = False) -> Hold:
        """Hold the next request that has these words in it, or what is answered from then on. Once."""
        made = Hold(words, answers)
        with self._lock:
            for each in self._connections:
                each.remembered = b""  # what was said before this is not meant
            self._holds.append(made)
        return made

    def close(self) -> None:
        for hold in self._holds:
            hold.release()
        _hang_up(self._listening)
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            _hang_up(each)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                _hang_up(client)
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, client, server)
            with self._lock:
                self._sockets |= {client, server}
                self._connections.append(connection)
            for carry in (connection.carry_requests, connection.carry_answers):
                threading.Thread(target=carry, name="wire", daemon=True).start()

    def heard(self, connection: _Connection, said: bytes) -> Hold | None:
        """The hold whose words are in what it said by now, if there is one; it is used up by that."""
        with self._lock:
            text = connection.remembered = connection.remembered[-REMEMBERED:] + said
            found = next((each for each in self._holds if not each.has_happened and each.words.search(text)), None)
            if found is not None:
                found.note()
                connection.remembered = b""
            return found

    def forget(self, *sockets: socket.socket) -> None:
        for each in sockets:
            _hang_up(each)
        with self._lock:
            self._sockets -= set(sockets)


class _Connection:
    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire, self._client, self._server = wire, client, server
        self._answers_held: Hold | None = None
        self._was_held = False
        self.remembered = b""

    def carry_requests(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._client.recv(65536):
                if hold := self._wire.heard(self, said):
                    self._was_held = True
                    if hold.answers:
                        self._answers_held = hold
                    else:
                        hold.stand_still()
                self._server.sendall(said)
        if not self._was_held:
            self._wire.forget(self._client, self._server)

    def carry_answers(self) -> None:
        with contextlib.suppress(OSError):
            while said := self._server.recv(65536):
                if self._answers_held is not None:
                    self._answers_held.stand_still()
                self._client.sendall(said)
        self._wire.forget(self._client)


def _hang_up(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)  # close() alone does not wake who reads from it
    side.close()
