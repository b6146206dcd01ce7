"""A way to an etcd that can be cut so that both ends go on believing in it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Line:
    """A way to an etcd that can be cut so that both ends go on believing in it."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._connections: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Those who are connected now; who connects anew gets through."""
        for flowing in self._connections:
            flowing.clear()

    def freeze_newest(self) -> None:
        """Who has connected last."""
        self._connections[-1].clear()

    def close(self) -> None:
        for flowing in self._connections:
            flowing.set()
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                flowing = threading.Event()
                flowing.set()
                self._connections.append(flowing)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(*pair, flowing), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, flowing: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                flowing.wait()
                sink.sendall(data)
