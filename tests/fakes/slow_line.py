"""A way to a server that lets only so many bytes a second through, for all its connections together.

As on a real one, who sends little waits behind what others have sent, and that is all: chunks of all connections
queue up in the order in which they come.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

#: Bytes that one connection has in the queue at once, in each direction.
CHUNK = 8 * 1024
#: What the kernel may keep on each side of us: the rest waits at the sender, as it would in front of a slow link.
BUFFER = 32 * 1024


class Bottleneck:
    """What all ways that lead through it share. `rate`: bytes a second in each direction; it may change."""

    def __init__(self, rate: float) -> None:
        self.there, self.back = _Bucket(rate), _Bucket(rate)

    def set_rate(self, rate: float) -> None:
        self.there.rate = self.back.rate = rate


class SlowLine:
    """Listens at `endpoint` and speaks with `target`, both `host:port`."""

    def __init__(self, target: str, bottleneck: Bottleneck) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._bottleneck = bottleneck
        self._sockets: list[socket.socket] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(256)
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="slow-line", daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            _hang_up(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
                far.connect(self._target)
                for each in (near, far):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [near, far]
                for way in ((near, far, self._bottleneck.there), (far, near, self._bottleneck.back)):
                    threading.Thread(target=_carry, args=way, name="slow-line", daemon=True).start()


class _Bucket:
    def __init__(self, rate: float) -> None:
        self.rate, self.carried = rate, 0
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> None:
        """Wait until so many bytes have gone through, after all that came before."""
        with self._lock:
            self._free_at = max(time.monotonic(), self._free_at) + size / self.rate
            self.carried += size
            wait = self._free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)


def _carry(source: socket.socket, sink: socket.socket, bucket: _Bucket) -> None:
    with contextlib.suppress(OSError):
        while said := source.recv(CHUNK):
            bucket.take(len(said))
            sink.sendall(said)
    _hang_up(sink)
    _hang_up(source)


def _hang_up(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()
