"""`status` from outside: what it prints, what it answers, and how it fails."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from partition_supervisor.dev.services import Services
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import Put, Txn
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Host, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.commands import cli, start_cli
from tests.eventually import eventually

NOWHERE = "127.0.0.1:1"
PID = 4_194_303  # as long as they get


@dataclass
class Group:
    """A group of its own, whose keys a test writes; the layout in etcd is public."""

    store: Etcd
    services: Services
    name: str
    topic: str

    @property
    def keys(self) -> Keys:
        return Keys.of("partition-supervisor", self.name)

    def partition(self, number: int) -> Partition:
        return Partition(self.topic, number)

    def put(self, key: str, document: Document) -> None:
        self.store.transact(Txn((), (Put(key, document.encode()),)))

    def own(self, number: int, host: str = "host-a") -> None:
        """Under a lease, as every lock that a worker took: one without was written by hand, and is complained of."""
        lease = self.store.grant(120).lease
        lock = Lock("worker", host, PID, f"{lease:x}", "acquired", now())
        self.store.transact(Txn((), (Put(self.keys.lock(self.partition(number)), lock.encode(), lease),)))

    def commit(self, number: int, offset: int) -> None:
        self.put(self.keys.offset(self.partition(number)), StoredOffset(offset, 1, 1, "", now()))

    def stand_by(self, number: int, host: str, pid: int) -> None:
        self.put(self.keys.standby(self.partition(number), host), Standby(host, host, pid, "2f", now()))

    def park(self, number: int, reason: str) -> None:
        self.put(self.keys.parked(self.partition(number)), Parked(3, reason, "host-a", now()))

    def own_all(self) -> None:
        """Kafka shows all four partitions of the topic, so all need an owner."""
        for number in range(4):
            self.own(number)

    def status(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return cli("status", *self.options(), *arguments, env=env)

    def options(self) -> tuple[str, ...]:
        return (
            "--group", self.name, "-b", self.services.bootstrap_servers, "-e", self.services.etcd_endpoints,
        )  # fmt: skip

    def shown(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.status("-o", "json", *arguments).stdout)
        return document


@pytest.fixture
def group(services: Services, etcd_endpoints: tuple[str, ...], topic: str) -> Iterator[Group]:
    store = Etcd(EtcdOptions(etcd_endpoints))
    yield Group(store, services, f"group-{secrets.token_hex(4)}", topic)
    store.close()


# --- JSON


def test_the_json_has_exactly_the_public_fields(group: Group) -> None:
    group.own_all()
    group.commit(0, 0)
    group.stand_by(0, "host-b", 202)
    group.put(group.keys.host("host-a"), Host(4, "1.2.3", 100, "", now()))

    shown = group.shown()

    assert list(shown) == ["schema_version", "partitions", "hosts", "foreign_keys", "alarms", "differences"]
    assert shown["schema_version"] == 1
    assert [each["partition"] for each in shown["partitions"]] == [0, 1, 2, 3]
    first = shown["partitions"][0]
    assert list(first) == [
        "topic", "partition", "owner", "token", "offset", "end_offset", "lag", "standbys", "state", "reason", "since",
        "state_keys", "state_bytes", "prepared",
    ]  # fmt: skip
    assert first["owner"] == {"host": "host-a", "pid": PID, "worker": "worker"}
    assert first["standbys"] == [{"host": "host-b", "pid": 202, "worker": "host-b"}]
    assert (first["offset"], first["end_offset"], first["lag"], first["state"]) == (0, 0, 0, "owned")
    assert first["token"] > 0
    assert first["state_bytes"] is first["state_keys"] is None, "only of a state that is large"
    assert shown["partitions"][1]["offset"] is None
    assert list(shown["hosts"][0]) == [
        "host", "pid", "workers", "version", "started", "draining", "address", "able",
        "unable_because", "passed_over", "outputs",
    ]  # fmt: skip


def test_the_lag_is_what_kafka_has_and_etcd_has_not(group: Group) -> None:
    produced = cli(
        "produce", "-b", group.services.bootstrap_servers, "-t", group.topic, "--count", "40", "--round-robin"
    )
    assert produced.returncode == 0, produced.stderr
    group.commit(1, 4)

    second = group.shown()["partitions"][1]

    assert (second["offset"], second["end_offset"], second["lag"]) == (4, 10, 6)


# --- tables


def test_the_table_has_kafkas_columns_and_fits_without_cutting_a_pid(group: Group) -> None:
    group.own_all()
    host = "a-host-with-a-long-name.in.some.datacenter.example.com"
    group.own(0, host)
    group.stand_by(0, host, PID - 1)
    group.put(group.keys.host(host), Host(0, "1.2.3", PID - 2, "", now()))

    for width in (80, 120):
        printed = group.status(COLUMNS=str(width)).stdout
        assert all(len(line) <= width for line in printed.splitlines()), printed
        assert all(f"{PID - less}" in printed for less in (0, 1, 2)), printed
        assert "\x1b" not in printed
    for heading in ("PARTITION", "OWNER", "PID", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "STANDBYS"):
        assert heading in printed


def test_a_parked_partition_is_shown_with_its_reason(group: Group) -> None:
    group.park(2, "a record kills every worker")
    printed = group.status().stdout
    assert "(parked)" in printed
    assert f"{group.topic}[2] is parked at offset 3: a record kills every worker" in printed


def test_tab_separated_values_have_a_heading_and_a_line_for_each_partition(group: Group) -> None:
    group.own_all()
    heading, *lines = (line.split("\t") for line in group.status("-o", "tsv").stdout.splitlines())
    rows = [dict(zip(heading, line, strict=True)) for line in lines]
    assert [(row["topic"], row["partition"], row["pid"]) for row in rows] == [
        (group.topic, str(number), str(PID)) for number in range(4)
    ]


# --- --check


def test_check_is_content_when_all_are_owned(group: Group) -> None:
    group.own_all()
    checked = group.status("--check")
    assert (checked.returncode, checked.stderr) == (0, "")


def test_check_names_the_partitions_that_nobody_owns(group: Group) -> None:
    group.own(0)
    group.own(2)
    checked = group.status("--check")
    assert checked.returncode == 3
    assert checked.stderr == f"{group.topic}[1], {group.topic}[3] have no owner: no supervisor is running\n"


def test_check_names_a_parked_partition_and_why(group: Group) -> None:
    group.own_all()
    group.park(1, "offset 3 is gone")
    checked = group.status("--check", "-o", "json")
    assert checked.returncode == 3
    assert f"{group.topic}[1] is parked at offset 3: offset 3 is gone" in checked.stderr
    assert json.loads(checked.stdout)["partitions"][1]["state"] == "parked"


def test_an_empty_group_is_said_kindly_and_only_check_minds(group: Group) -> None:
    shown = group.status()
    assert (shown.returncode, shown.stdout) == (0, "")
    assert group.name in shown.stderr
    assert group.services.etcd_endpoints in shown.stderr
    assert len(shown.stderr.splitlines()) == 1

    checked = group.status("--check", "-o", "json")
    assert checked.returncode == 3
    assert json.loads(checked.stdout) == {
        "schema_version": 1,
        "partitions": [],
        "hosts": [],
        "foreign_keys": [],
        "alarms": [],
        "differences": [],
    }


def test_check_and_watch_do_not_go_together(group: Group) -> None:
    assert group.status("--check", "--watch").returncode == 2


# --- failing


def test_a_silent_etcd_is_named_with_the_option_to_look_at() -> None:
    ended = cli("status", "-e", NOWHERE, "--timeout", "0.5")
    assert ended.returncode == 69
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"error: etcd does not answer at {NOWHERE}")
    assert "--etcd-endpoints" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_one_silent_endpoint_of_several_does_no_harm(group: Group) -> None:
    group.own_all()
    endpoints = f"{NOWHERE},{group.services.etcd_endpoints}"
    assert group.status("--check", "-e", endpoints).returncode == 0


def test_without_kafka_all_else_is_shown(group: Group) -> None:
    group.own(0)
    group.commit(0, 7)
    shown = group.status("-o", "json", "-b", NOWHERE)
    assert shown.returncode == 0
    (only,) = json.loads(shown.stdout)["partitions"]
    assert (only["offset"], only["end_offset"], only["lag"]) == (7, None, None)
    assert len(shown.stderr.splitlines()) == 1
    assert NOWHERE in shown.stderr


def test_a_kafka_property_that_does_not_exist_is_a_bad_configuration(group: Group) -> None:
    ended = group.status("-X", "no.such=1")
    assert ended.returncode == 78
    assert "no.such" in ended.stderr


# --- watching, and the real thing


def test_watch_prints_one_line_of_json_for_each_reading_until_it_is_stopped(group: Group) -> None:
    group.own_all()
    with start_cli("status", *group.options(), "-o", "json", "--watch", "0.1") as watching:
        assert watching.stdout
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=20) == 0
    assert first == second
    assert len(first["partitions"]) == 4


def test_a_running_supervisor_is_shown_with_the_processes_to_kill(group: Group) -> None:
    run = start_cli(
        "run", "partition_workers.samples:count", "-t", group.topic, "--host-id", "alpha", *group.options()
    )
    with run:
        try:
            eventually("all are owned", lambda: group.status("--check").returncode == 0, deadline=30)
            shown = group.shown()
        finally:
            run.terminate()
            run.communicate(timeout=40)
    pids = [each["owner"]["pid"] for each in shown["partitions"]]
    assert len({run.pid, os.getpid(), *pids}) == 6
    assert {each["owner"]["host"] for each in shown["partitions"]} == {"alpha"}
    assert [(host["host"], host["pid"]) for host in shown["hosts"]] == [("alpha", run.pid)]
    checked = group.status("--check")
    assert checked.returncode == 3
