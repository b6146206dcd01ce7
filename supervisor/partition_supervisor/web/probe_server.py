"""The supervisor's HTTP port: `/livez`, `/readyz` and `/metrics`, and nothing else.

It can end nobody and hold up nobody: each connection has a thread and some seconds, there are few at a time, and the
oldest makes room for the next, so that a probe is answered while others dawdle. Whatever goes wrong with one of them
is that one's end. A supervisor without descriptors or threads for it goes on without.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from partition_workers.outage import Outage

log = logging.getLogger(__name__)

#: Connections at a time.
MOST_OPEN = 16
#: Seconds for all of a request and its answer.
DEADLINE = 5.0
#: Seconds between two looks at who has been there for longer.
LOOK_EVERY = 0.5
#: Seconds in which the loop must have come round; it does so eight times a second.
LOOP_WITHIN = 10.0

#: The status, and what is said.
Answer = tuple[int, str]


class ProbeServer(HTTPServer):
    """Serves from a thread of its own until the process ends. `token`: what /metrics wants as a bearer's; empty: all
    may read it. `silence()`: seconds since the loop came round. `ready()` and `metrics()` may take a moment."""

    def __init__(
        self,
        listening: socket.socket,
        token: str,
        silence: Callable[[], float],
        ready: Callable[[], Answer] = lambda: (503, "it has not entered the group yet"),
        metrics: Callable[[], bytes] = lambda: b"",
        content_type: str = "text/plain; charset=utf-8",
    ) -> None:
        super().__init__(listening.getsockname()[:2], _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.token, self.silence, self.ready, self.metrics = token, silence, ready, metrics
        self.content_type = content_type
        self._open: dict[socket.socket, float] = {}
        self._changing = threading.Lock()
        self._outage = Outage(log, "the HTTP port", name="http-port-failed")

    def open(self) -> None:
        """Without a thread for it there is no port; the partitions matter more."""
        try:
            threading.Thread(target=self._serve, name="http", daemon=True).start()
        except RuntimeError as error:
            log.error("the HTTP port is not served: %s", error)

    def _serve(self) -> None:
        while True:
            try:
                self.serve_forever(LOOK_EVERY)
            except Exception as error:
                self._outage.failed(f"{type(error).__name__}: {error}")
                time.sleep(LOOK_EVERY)

    # --- connections

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            found = super().get_request()
        except OSError as error:  # no descriptors are left: who waits is still there at the next look
            self._outage.failed(error)
            time.sleep(LOOK_EVERY)
            raise
        self._outage.over()
        return found

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changing:
            while len(self._open) >= MOST_OPEN:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _hang_up(oldest)
            self._open[request] = time.monotonic() + DEADLINE
        try:
            threading.Thread(target=self._answer, args=(request, client_address), daemon=True, name="probe").start()
        except RuntimeError:  # there is no thread to be had
            self._close(request)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception as error:
            log.debug("%s: %s: %s", client_address, type(error).__name__, error)
        finally:
            self._close(request)

    def _close(self, request: Any) -> None:
        with self._changing:
            self._open.pop(request, None)
        self.shutdown_request(request)

    def service_actions(self) -> None:
        """Now and then: who has had his time is cut off; his thread then ends by itself."""
        now = time.monotonic()
        with self._changing:
            for request in [each for each, until in self._open.items() if until < now]:
                del self._open[request]
                _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("%s: a request failed", client_address, exc_info=True)


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Request(BaseHTTPRequestHandler):
    server: ProbeServer
    timeout = DEADLINE
    server_version, sys_version = "partition-supervisor", ""
    error_message_format, error_content_type = "%(code)d %(message)s\n", "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._say(*self._is_alive())
        elif path == "/readyz":
            self._say(*self.server.ready())
        elif path == "/metrics" and not self._is_allowed():
            self._say(401, "/metrics wants the token of --http-token: Authorization: Bearer TOKEN",
                      ("WWW-Authenticate", "Bearer"))  # fmt: skip
        elif path == "/metrics":
            self._send(200, self.server.metrics(), self.server.content_type)
        elif path == "/":
            self._say(200, "/livez /readyz /metrics")
        else:
            self._say(404, "there are /livez, /readyz and /metrics")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _is_alive(self) -> Answer:
        silence = self.server.silence()
        if silence > LOOP_WITHIN:
            return 503, f"the supervisor's loop has not come round for {silence:.0f} s"
        return 200, "ok"

    def _is_allowed(self) -> bool:
        given = self.headers.get("Authorization", "")
        return not self.server.token or hmac.compare_digest(
            given.encode("latin-1", "replace"), f"Bearer {self.server.token}".encode()
        )

    def _say(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        self._send(status, f"{text}\n".encode(), "text/plain; charset=utf-8", *headers)

    def _send(self, status: int, body: bytes, content_type: str, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        own = (("Content-Type", content_type), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"))
        for name, value in (*own, ("X-Content-Type-Options", "nosniff"), *headers):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Who asks, and what, is none of the log's business."""
