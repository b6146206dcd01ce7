"""One etcd endpoint: its channel, the calls on it, and the streams that are open there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import grpc
import grpc._channel  # gRPC imports it with the first channel: once before the fork, not in every worker

from partition_workers.errors import PartitionSupervisorError, Unavailable
from partition_workers.etcd.certificates import Certificates
from partition_workers.etcd.cluster_id import ClusterId, OtherCluster
from partition_workers.etcd.messages import stubs
from partition_workers.etcd.options import EtcdOptions, address
from partition_workers.etcd.streams import Stream

#: Told about every error of a call or stream; says what to raise instead.
OnFailure = Callable[["Server", PartitionSupervisorError], PartitionSupervisorError]

#: Told about a token that etcd does not accept any more.
TokenRefused = Callable[[tuple[tuple[str, str], ...]], None]

_AnyStream = TypeVar("_AnyStream", bound=Stream[Any])

_CHANNEL_OPTIONS = (
    ("grpc.enable_retries", 0),  # a repeated transaction is its author's decision
    ("grpc.use_local_subchannel_pool", 1),  # no state of another client's failed connections
    ("grpc.enable_http_proxy", 0),  # etcd is never behind the proxy that a shell happens to name
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 20_000),  # etcd hangs up on those who ask more often than every 5 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),  # an idle watch sends no data; without this its pings dry up
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # so long may connecting take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),  # 30 s by default: longer than any lease
)


class Server:
    """Nothing is connected before the first call. What is asked of it may come from any thread."""

    def __init__(
        self,
        endpoint: str,
        options: EtcdOptions,
        cluster: ClusterId,
        on_failure: OnFailure,
        token_refused: TokenRefused,
    ) -> None:
        self.endpoint = endpoint
        self.timeout = options.timeout
        self.token_refused = token_refused
        self._certificates = Certificates(options) if options.secure(endpoint) else None
        self._cluster = cluster
        self._on_failure = on_failure
        self._connecting = threading.Lock()
        self._closed = False
        self._channel: Any = None
        self._calls: Mapping[str, Any] | None = None
        self._streams: set[Stream[Any]] = set()

    @property
    def calls(self) -> Mapping[str, Any]:
        """gRPC's callables by the name of their method in etcd's protocol."""
        return self._calls or self._connect()

    @property
    def has_streams(self) -> bool:
        return bool(self._streams)

    def opened(self, open_stream: Callable[[Server], _AnyStream]) -> _AnyStream:
        """Open a stream here. Raises Unavailable if the client is closed."""
        try:
            stream = open_stream(self)
        except ValueError:
            raise self.closed() from None
        self._streams.add(stream)
        return stream

    def ended(self, stream: Stream[Any]) -> None:
        self._streams.discard(stream)

    def hang_up(self, error: PartitionSupervisorError) -> None:
        """End all streams here with this error; what is asked next goes over a new connection.

        Behind a gateway or a load balancer the same address may then be another member.
        """
        for stream in tuple(self._streams):
            stream.break_off(error)
        with self._connecting:
            channel, self._channel, self._calls = self._channel, None, None
        if channel is not None:  # it waits for the thread that may have brought us here
            threading.Thread(target=channel.close, name="etcd-hang-up", daemon=True).start()

    def checked(self, answer: Any) -> Any:
        """The answer. Raises Unavailable if it comes from another cluster than the first one did, ClusterReplaced if
        all do."""
        try:
            self._cluster.check(answer.header.cluster_id, self.endpoint)
        except OtherCluster as error:
            raise self.failed(error) from None
        return answer

    def failed(self, error: PartitionSupervisorError) -> PartitionSupervisorError:
        return self._on_failure(self, error)

    def has_newer_certificates(self) -> bool:
        """Whether files have changed since we connected: a channel goes on with what it was made with."""
        return self._certificates is not None and self._certificates.have_changed()

    def closed(self) -> Unavailable:
        return Unavailable(f"the connection to etcd at {self.endpoint} was closed by ourselves")

    def close(self) -> None:
        for stream in tuple(self._streams):
            stream.cancel()
        with self._connecting:
            self._closed = True
            if self._channel is not None:
                self._channel.close()

    def _connect(self) -> Mapping[str, Any]:
        with self._connecting:
            if self._closed:
                raise ValueError(self.endpoint)  # as gRPC does
            if self._calls is None:
                self._channel = self._open_channel()
                self._calls = _calls(self._channel)
            return self._calls

    def _open_channel(self) -> Any:
        target = address(self.endpoint)
        if self._certificates is None:
            return grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
        return grpc.secure_channel(target, self._certificates.credentials(), options=_CHANNEL_OPTIONS)


def _calls(channel: Any) -> Mapping[str, Any]:
    services = (stubs.KVStub, stubs.WatchStub, stubs.LeaseStub, stubs.MaintenanceStub, stubs.AuthStub)
    return {method: call for service in services for method, call in vars(service(channel)).items()}
