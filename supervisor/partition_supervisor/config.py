"""Everything that can be configured for `run`, checked once, each with its unit and the reason for its default."""

from __future__ import annotations

import logging
import os
import random
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from partition_supervisor.addresses import is_unspecified, split_address
from partition_supervisor.bounds import OF_RUN
from partition_workers.errors import Misconfigured
from partition_workers.etcd.options import EtcdOptions
from partition_workers.layout.field_checks import shortened
from partition_workers.layout.keys import Keys, check_name
from partition_workers.model import EXACTLY_ONCE, Offset, Partition
from partition_workers.protocol import WorkerSettings

#: Of a host; like Kafka's topics, and a line of text between hosts can hold it.
HOST_ID = re.compile(r"[A-Za-z0-9._-]{1,255}")

#: librdkafka properties that the promises rest upon, each with the reason why nobody may set it.
OWNED = {
    "bootstrap.servers": "use --bootstrap-servers",
    "group.id": "use --group",
    "enable.auto.commit": "offsets are stored in etcd, together with the state",
    "enable.auto.offset.store": "offsets are stored in etcd, together with the state",
    "auto.offset.reset": "a missing offset stops the partition, nothing is skipped. For the first start: --start",
    "isolation.level": "records of aborted transactions must not be seen",
    "group.instance.id": "there is no group to join",
    "group.protocol": "there is no group to join",
    "session.timeout.ms": "there is no group to join; see --lease-ttl",
    "heartbeat.interval.ms": "there is no group to join; see --lease-ttl",
    "max.poll.interval.ms": "see --handler-timeout",
    "enable.partition.eof": "where the partition ends must be known, or its lag would never be 0",
    "check.crcs": "records that were damaged on a disk must not reach the handler",
    "partition.assignment.strategy": "there is no group to join",
}


@dataclass(frozen=True, slots=True)
class Config:
    """Times in seconds."""

    handler: str
    topics: tuple[str, ...]
    bootstrap_servers: str
    etcd: EtcdOptions
    group: str = "partition-supervisor"
    etcd_prefix: str = "partition-supervisor"
    host_id: str = field(default_factory=socket.gethostname)
    #: 0: one for each partition.
    workers: int = 0
    #: How long a dead *host* goes unnoticed. Shorter means more false alarms when etcd elects a leader (1 to 3 s).
    lease_ttl: int = 5
    #: Where the other supervisors connect to, as HOST or HOST:PORT; no port or 0: any that is free. Empty: the
    #: address that leads to etcd; "none": nowhere.
    listen: str = ""
    #: Where they reach it, as HOST or HOST:PORT, if that is elsewhere. Empty: where it listens.
    advertise: str = ""
    #: Where /livez, /readyz and /metrics are, as HOST:PORT; port 0: any that is free; "none": nowhere.
    http: str = "127.0.0.1:0"
    #: What /metrics wants as a bearer's token; None: anybody may read it.
    http_token: str | None = None
    #: A commit is a write to every etcd member's disk; ten a second cost little and replay little.
    commit_interval: float = 0.1
    #: 0: never. Longer than any record takes; slower handlers call heartbeat().
    handler_timeout: float = 60.0
    #: 0: never. Longer than a broker takes to come back; then others may be able to read.
    read_timeout: float = 30.0
    graceful_timeout: float = 30.0
    max_retries: int = 3
    on_error: str = "stop"
    dlq_topic: str | None = None
    #: Topics that the handler may produce to.
    outputs: tuple[str, ...] = ()
    output_guarantee: str = EXACTLY_ONCE
    #: A person with a kill command does not come three times to the same record.
    max_deaths: int = 3
    #: 0: no limit. A leak ends the host otherwise.
    max_worker_memory: int = 0
    #: 0: no limit.
    max_records: int = 0
    #: Membership changes come in crowds: a deployment, a rack. Moving partitions can wait, failover does not.
    rebalance_delay: float = 3.0
    mirror_offsets: bool = True
    start: str = "earliest"
    #: Where partitions begin that were never read; those that are not here: at their first record.
    start_at: Mapping[Partition, Offset] = field(default_factory=dict)
    connect_timeout: float = 15.0
    kafka: dict[str, str] = field(default_factory=dict)
    log_level: int = logging.INFO

    def __post_init__(self) -> None:
        for field_name, bounds in OF_RUN.items():
            value = getattr(self, field_name)
            if complaint := bounds.complaint(value):
                raise Misconfigured(f"--{field_name.replace('_', '-')} {shortened(value)}: {complaint}")
        if (self.on_error == "dlq") != (self.dlq_topic is not None):
            raise Misconfigured("--on-error dlq and --dlq-topic belong together: give both or neither")
        if self.dlq_topic in self.topics:
            raise Misconfigured(
                f"--dlq-topic {self.dlq_topic}: it is one of the topics to process: a dead letter would"
                " be handled, fail, and be sent again, for ever"
            )
        self._check_addresses()
        if self.http_token is not None and not (self.http_token.strip() and self.http_token.isprintable()):
            raise Misconfigured("--http-token is empty, or more than a line of text: no request could show it")
        if self.http_token and self.http == "none":
            raise Misconfigured("--http-token guards what --http none does not serve: leave one of the two out")
        if not self.topics:
            raise Misconfigured("no topic: give at least one --topic")
        for what, name in (
            ("--group", self.group),
            ("--host-id", self.host_id),
            *(("--topic", t) for t in self.topics),
            *(("--output", t) for t in self.outputs),
        ):
            check_name(what, name)
        if self.etcd.timeout > self.lease_ttl / 2:
            raise Misconfigured(
                f"--etcd-timeout {self.etcd.timeout:g}: must be at most half of --lease-ttl, {self.lease_ttl}: a"
                " lease that is renewed at one member in vain has to be renewed at another one in time"
            )
        for key in self.kafka:
            if key in OWNED:
                raise Misconfigured(f"-X {key}: this property is not yours to set: {OWNED[key]}")

    def _check_addresses(self) -> None:
        host, _, port = self.http.rpartition(":")
        if self.http != "none" and not (host and re.fullmatch("[0-9]{1,5}", port) and int(port) <= 65535):
            raise Misconfigured(f"--http {self.http}: write it as HOST:PORT, as in 127.0.0.1:9464, or none")
        for option, value in (("--listen", self.listen), ("--advertise", self.advertise)):
            try:
                host, _ = split_address(value) if value and value != "none" else ("", 0)
            except ValueError:
                raise Misconfigured(f"{option} {value}: write HOST or HOST:PORT, an IPv6 host in brackets") from None
            if option == "--advertise" and (is_unspecified(host) or value == "none"):
                raise Misconfigured(f"--advertise {value}: nobody can connect there; give an address of this machine")
        if self.advertise and self.listen == "none":
            raise Misconfigured("--advertise says where --listen can be reached: with --listen none leave it out")
        if not HOST_ID.fullmatch(self.host_id):
            raise Misconfigured(
                f"{self.host_id!r} cannot be a name: give a --host-id of at most 255 letters, digits and . _ -"
            )

    @property
    def keys(self) -> Keys:
        return Keys.of(self.etcd_prefix, self.group)

    @property
    def _kafka_connection(self) -> dict[str, str | int | float | bool]:
        """For all clients. librdkafka waits for up to 10 s before it connects again, and up to 30 s for a connection
        that does not come about: so long after the network is whole again."""
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "log.connection.close": False,
            "reconnect.backoff.max.ms": 1_000,
            "socket.connection.setup.timeout.ms": 5_000,
        }

    def kafka_client(self) -> dict[str, str | int | float | bool]:
        """For clients that only ask, like the one that looks for new partitions.

        What they ask for is small. An answer that does not come within some seconds is lost, and the kernel sends a
        question again ever more rarely: 13 s after it could have arrived. So they connect anew. A reader cannot be as
        impatient: on a slow line a list of records takes its time.
        """
        return {**self._kafka_connection, "socket.timeout.ms": 5_000, **self.kafka}

    def kafka_reader(self, readers: int) -> dict[str, str | int | float | bool]:
        """For a worker's consumer. What is fetched ahead is bounded by the number of `readers` on this host."""
        return {
            "fetch.queue.backoff.ms": 1,
            "queued.min.messages": max(2_000, 100_000 // max(1, readers)),
            "queued.max.messages.kbytes": max(4_096, 131_072 // max(1, readers)),
            "fetch.wait.max.ms": 100,
            **self._kafka_connection,
            **self.kafka,
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "check.crcs": True,
        }

    def for_worker(
        self, partition: Partition, worker: str, lease: int, topic_id: str, readers: int
    ) -> WorkerSettings:
        return WorkerSettings(
            partition=partition,
            worker=worker,
            host=self.host_id,
            lease=lease,
            handler=self.handler,
            keys=self.keys,
            etcd=self.etcd,
            kafka=self.kafka_reader(readers),
            topic_id=topic_id,
            start_at=self.start_at.get(partition),
            lease_ttl=self.lease_ttl,
            commit_interval=self.commit_interval,
            handler_timeout=self.handler_timeout,
            read_timeout=self.read_timeout,
            max_retries=self.max_retries,
            on_error=self.on_error,
            dlq_topic=self.dlq_topic,
            max_deaths=self.max_deaths,
            max_records=int(self.max_records * random.uniform(0.9, 1.1)),  # or they would all be replaced at once
            log_level=self.log_level,
            outputs=self.outputs,
            output_guarantee=self.output_guarantee,
        )


def most_reasonable_workers() -> int:
    """More workers than this on one host deserve a warning."""
    return 16 * (os.cpu_count() or 1)
