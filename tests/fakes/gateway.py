"""A gateway before a real etcd, on real gRPC: it carries everything on, or answers with the code that it was told.

As load balancers, service meshes and etcd's own proxies do while they start, restart, or lose what is behind them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

#: Each stream that is open needs one.
THREADS = 200


class Gateway(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Listens at `address`, `host:port`, and speaks with etcd at `target`."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)
        self._answer: tuple[grpc.StatusCode, str] | None = None
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        self.refused = 0
        self._server = grpc.server(ThreadPoolExecutor(THREADS), handlers=(self,))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @contextlib.contextmanager
    def answering(self, code: grpc.StatusCode, details: str = "the gateway was told to") -> Iterator[None]:
        """To everything, also on streams that are open."""
        self._answer = code, details
        with self._lock:
            for call in self._open:
                call.cancel()
        try:
            yield
        finally:
            self._answer = None

    def close(self) -> None:
        self._server.stop(None)
        self._channel.close()

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._carry(method, requests, context))

    def _carry(self, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        self._refuse_if_told(context)
        metadata = tuple(each for each in context.invocation_metadata() if each.key in ("token", "hasleader"))
        call = self._channel.stream_stream(method)(requests, metadata=metadata)
        context.add_callback(call.cancel)
        with self._lock:
            self._open.add(call)
        try:
            yield from call
        except grpc.RpcError as error:
            self._refuse_if_told(context)
            context.abort(error.code(), error.details())
        finally:
            with self._lock:
                self._open.discard(call)

    def _refuse_if_told(self, context: Any) -> None:
        if self._answer is not None:
            self.refused += 1
            context.abort(*self._answer)
