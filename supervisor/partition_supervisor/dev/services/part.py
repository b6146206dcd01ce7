"""What a kind of services has to offer, and how one tells that a server answers."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from partition_supervisor.dev.services.processes import Processes

Announce = Callable[[str], None]
"""Takes one line for people."""


@dataclass(frozen=True)
class Part:
    """Kafka, or etcd, once it answers."""

    addresses: str
    description: str
    answers: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    """For each process that can be restarted: does it answer (again)?"""


class Kind(Protocol):
    """One way to get Kafka and etcd. Each is a module of this package."""

    def missing(self, wanted: frozenset[str], /) -> str:
        """What this kind would need and does not find here, with what to do about it; empty if nothing."""

    def prepare(self, wanted: frozenset[str], processes: Processes, announce: Announce, /) -> None:
        """Download and build what a start would, and no more."""

    def start_kafka(self, processes: Processes, announce: Announce, /) -> Part: ...

    def start_etcd(self, processes: Processes, members: int, announce: Announce, /) -> Part: ...


def kafka_answers(address: str) -> bool:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    host, _, port = address.rpartition(":")
    try:
        # Asked first because librdkafka would write every refused connection to standard error.
        socket.create_connection((host, int(port)), timeout=1.0).close()
        return bool(AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2.0).brokers)
    except (OSError, KafkaException):
        return False


def etcd_answers(endpoint: str) -> bool:
    """Healthy means: this member sees a leader and can have a read confirmed by it."""
    connection = http.client.HTTPConnection(endpoint, timeout=2.0)
    try:
        connection.request("GET", "/health")
        return bool(json.loads(connection.getresponse().read())["health"] == "true")
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return False
    finally:
        connection.close()
