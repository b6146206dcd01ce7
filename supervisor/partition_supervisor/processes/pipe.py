"""The supervisor's end of a worker's pipe, on which nothing ever waits.

At the other end is multiprocessing's `Connection`, which waits. A worker may be stopped in the midst of a message, or
read nothing any more; so here messages are put together from what has come, and what finds no room is kept until it
does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

#: What comes before a message: its length; -1 for one of 2 GB and more.
_LENGTH = struct.Struct("!i")
#: Bytes: no report is longer. The longest has the stacks of a worker's threads.
LONGEST = 16_000_000
#: Bytes that are read at once.
CHUNK = 65_536


class Garbled(Exception):
    """What came is no message."""


class WorkerPipe:
    """Raises OSError when there are no descriptors to be had."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        #: The worker's end: give it away, and close it here.
        self.theirs: Connection[Any, Any] = Connection(theirs.detach())
        ours.setblocking(False)
        self.has_ended = False
        self._received = bytearray()
        self._to_send = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """To one who is gone, nothing."""
        document = ForkingPickler.dumps(message)
        self._to_send += _LENGTH.pack(len(document)) + document
        self.flush()

    def flush(self) -> None:
        """Send what found no room before."""
        with contextlib.suppress(OSError):  # full, or gone: then its exit is on the way
            while self._to_send:
                del self._to_send[: self._socket.send(self._to_send)]

    def receive(self) -> Iterator[Any]:
        """What has come in whole since the last time. Raises Garbled."""
        while not self.has_ended:
            try:
                chunk = self._socket.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            self.has_ended = not chunk
            self._received += chunk
            yield from self._whole_ones()

    def hang_up(self) -> None:
        """From any thread: the worker finds out, and ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()
        self.theirs.close()

    def _whole_ones(self) -> Iterator[Any]:
        while len(self._received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received)
            if not 0 <= length <= LONGEST:
                raise Garbled(f"a message of {length} bytes")
            end = _LENGTH.size + length
            if len(self._received) < end:
                return
            document = bytes(self._received[_LENGTH.size : end])
            del self._received[:end]
            try:
                message = ForkingPickler.loads(document)
            except Exception as error:
                raise Garbled(f"{type(error).__name__}: {error}") from error
            yield message
