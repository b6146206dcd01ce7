"""The HTTP port of a host: opened before anything else is asked for, and fed by the loop once there is one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from partition_supervisor import __version__
from partition_supervisor.addresses import advertised, is_unspecified
from partition_supervisor.config import Config
from partition_supervisor.control.telemetry import FRESH, Telemetry
from partition_supervisor.host_metrics import HostMetrics
from partition_supervisor.inbox import Inbox
from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_supervisor.kafka.offset_mirror import OffsetMirror
from partition_supervisor.processes.log_receiver import lines_dropped
from partition_supervisor.web.exposition import CONTENT_TYPE, About, exposition
from partition_supervisor.web.listening import listen
from partition_supervisor.web.probe_server import Answer, ProbeServer
from partition_supervisor.web.sampler import Sampler
from partition_workers.clock import Clock
from partition_workers.etcd.client import Etcd
from partition_workers.model import Partition

#: Seconds for Kafka to say where partitions end.
ENDS_WITHIN = 3.0


class HostPort:
    """`address`: where others reach it, as HOST:PORT; empty: nowhere."""

    def __init__(self, config: Config, inbox: Inbox, towards: Callable[[], str | None]) -> None:
        """`towards()`: this machine's address for others. Raises Misconfigured when the port cannot be had."""
        self.address = ""
        self._config, self._inbox = config, inbox
        self._server: ProbeServer | None = None
        if config.http == "none":
            return
        listening = listen(config.http, "--http")
        host, port = listening.getsockname()[:2]
        self.address = advertised((towards() or "") if is_unspecified(host) else "", host, port)
        self._server = ProbeServer(listening, config.http_token or "", inbox.silence, content_type=CONTENT_TYPE)
        self._server.open()

    def attach(self, telemetry: Telemetry, store: Etcd, mirror: OffsetMirror) -> None:
        """The host has entered, and has a loop: from now on there is something to tell."""
        if self._server is None:
            return
        config = self._config
        sampler = Sampler(
            lambda: telemetry.ask().pids,
            store.status,
            lambda: store.get(config.keys.host(config.host_id)),
            lambda: telemetry.ask().offsets,
            _Ends(config),
        )
        about = About(__version__, config.host_id, config.group, config.lease_ttl)
        self._server.metrics = _Page(
            telemetry.ask,
            lambda host: exposition(
                about, host, sampler.ask(), self._inbox.silence(), mirror.failures, lines_dropped()
            ),
        )
        self._server.ready = lambda: readiness(telemetry.ask())


def readiness(host: HostMetrics) -> Answer:
    return (200, "ok") if host.is_ready else (503, host.reason)


class _Page:
    """Made once for all who ask at the same moment: it is work, and the loop needs the processor too.

    And never kept for longer. What the loop says may stay the same, as when it stands still; what is told beside it,
    for how long it has stood still above all, does not.
    """

    def __init__(
        self, ask: Callable[[], HostMetrics], make: Callable[[HostMetrics], bytes], clock: Clock = time.monotonic
    ) -> None:
        self._ask, self._make, self._clock = ask, make, clock
        self._making = threading.Lock()
        self._made = b""
        self._made_of: HostMetrics | None = None
        self._made_at = 0.0

    def __call__(self) -> bytes:
        host = self._ask()
        with self._making:
            if host is not self._made_of or self._clock() - self._made_at >= FRESH:
                self._made, self._made_of, self._made_at = self._make(host), host, self._clock()
            return self._made


class _Ends:
    """Where the partitions end. The client for it is made by the first who asks."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client: EndOffsets | None = None

    def __call__(self) -> Mapping[Partition, int]:
        if self._client is None:
            self._client = EndOffsets(self._config.kafka_client())
        return self._client.of(self._config.topics, ENDS_WITHIN).offsets
