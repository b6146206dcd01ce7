"""A cluster and a person who gives it orders on the command line."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from partition_supervisor.dev.demo.cluster import DemoCluster
from partition_supervisor.dev.services import Services
from partition_workers.model import Partition
from tests.commands import cli

NOWHERE = "127.0.0.1:1"
OPTIONS = ("--rebalance-delay", "0.5")


class Console:
    """A person at a terminal, beside a running cluster."""

    def __init__(self, cluster: DemoCluster, services: Services) -> None:
        self.cluster, self.services = cluster, services

    def __call__(self, *words: str, kafka: bool = False) -> subprocess.CompletedProcess[str]:
        return cli(*words, *self.options(kafka))

    def options(self, kafka: bool = False) -> tuple[str, ...]:
        brokers = ("-b", self.services.bootstrap_servers) if kafka else ()
        return ("--group", self.cluster.group, "-e", self.services.etcd_endpoints, *brokers)

    def done(self, *words: str, kafka: bool = False) -> str:
        """What it prints; it must succeed."""
        ended = self(*words, kafka=kafka)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def offsets(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self("offsets", *words, kafka=True)

    def history(self, *words: str) -> list[dict[str, Any]]:
        document = json.loads(self.done("history", *words, "-o", "json"))
        assert document["schema_version"] == 1
        entries: list[dict[str, Any]] = document["history"]
        return entries

    def partition(self, number: int) -> Partition:
        return Partition(self.cluster.topic, number)


def assert_nothing_was_lost(cluster: DemoCluster) -> None:
    bad = [verdict for verdict in cluster.finish() if not verdict.is_good]
    assert not bad, bad


def hosts_of_owners(cluster: DemoCluster) -> dict[int, str]:
    return {partition.number: lock.host for partition, lock in cluster.judge.owners().items()}


def is_balanced(cluster: DemoCluster) -> bool:
    return sorted(hosts_of_owners(cluster).values()) == ["host-a"] * 2 + ["host-b"] * 2
