"""Everything that `check` can complain of, planted one by one: each is found under its name, with its fix.

The table is also the list of what `check` finds. A complaint that is added to the code without a line here is one
that nobody has seen.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from partition_supervisor.admin import check
from partition_supervisor.admin.check import etcd, host, kafka, outputs
from partition_supervisor.admin.check.findings import Finding, Level
from partition_supervisor.kafka.inspection import KafkaFacts, TopicFacts
from partition_workers.errors import NoSpace, Refused
from partition_workers.etcd.status import SilentServer
from partition_workers.layout.documents import Cause, Lock, Parked
from tests.unit.test_check import KEYS, NOW, TOPIC, WELL, a_host, look, three
from tests.unit.test_check_outputs import OUT, SOURCE, TRANSACTIONS

Plant = Callable[[Path], Iterable[Finding]]


@dataclass(frozen=True)
class Fault:
    """`fix`: words that the advice has."""

    what: str
    name: str
    level: Level
    fix: str
    plant: Plant


def member(**changed: Any) -> Plant:
    return lambda _: etcd.servers(three(**changed))


def topic(found: TopicFacts, letters: TopicFacts | None = None) -> Plant:
    return lambda _: kafka.kafka(KafkaFacts("k:1", 3, (found,), letters))


def output(**changed: Any) -> Plant:
    found = KafkaFacts("k:1", 3, (SOURCE,), outputs=(replace(OUT, **changed),))
    return lambda _: outputs.topics(found)


def transactions(brokers: int = 3, **changed: Any) -> Plant:
    return lambda _: outputs.transactions(replace(TRANSACTIONS, **changed), brokers)


def group(**written: Any) -> Plant:
    return lambda _: look(**written).values()


def importing(text: str) -> Plant:
    def plant(folder: Path) -> Iterable[Finding]:
        (folder / "mine.py").write_text(text)
        return [host.handler(f"{folder}/mine.py:handle")]

    return plant


BAD, WARNING = Level.NOT_OK, Level.WARNING
LOST = Lock("w", "gone", 1, "1f", Cause.ACQUIRED, NOW.isoformat())
PARKED = Parked(3, "a reason", "a", NOW.isoformat())
LETTERS = replace(TOPIC, name="letters", max_message_bytes=2_000_000)
UNABLE = replace(a_host(), able=False, unable_because="etcd is slow")
SETTINGS = [replace(a_host(), settings={"--lease-ttl": ttl}) for ttl in ("5", "10")]

FAULTS = [
    Fault("no etcd", "etcd.reachable", BAD, "--etcd-endpoints",
          lambda _: etcd.servers([SilentServer("a:1", "refused")])),
    Fault("a member is down", "etcd.reachable", WARNING, "a:1: refused",
          lambda _: etcd.servers([*three()[1:], SilentServer("a:1", "refused")])),
    Fault("endpoints of two clusters", "etcd.cluster", BAD, "one cluster", member(cluster_id=10)),
    Fault("one member given", "etcd.members", WARNING, "cluster of three", lambda _: etcd.servers([WELL])),
    Fault("an etcd that is too old", "etcd.version", WARNING, "upgrade", member(version="3.5.1")),
    Fault("no space", "etcd.alarm", BAD, "etcdctl alarm disarm", member(alarms=("NOSPACE",))),
    Fault("a corrupt member", "etcd.alarm", BAD, "remove it", member(alarms=("CORRUPT",))),
    Fault("a learner", "etcd.learner", BAD, "promoted", member(is_learner=True)),
    Fault("no leader", "etcd.leader", BAD, "connections", member(leader=0)),
    Fault("a stale member", "etcd.behind", WARNING, "caught up", member(raft_index=1)),
    Fault("the quota is nearly used up", "etcd.quota", WARNING, "quota-backend", member(db_bytes=1_900_000_000)),
    Fault("slow disks", "etcd.write", WARNING, "fast disks", lambda _: [etcd.writes(etcd.Written((40.0,) * 7, 5))]),
    Fault("far too slow disks", "etcd.write", BAD, "disks", lambda _: [etcd.writes(etcd.Written((400.0,) * 7, 5))]),
    Fault("no right to write", "etcd.write", BAD, "readwrite", lambda _: [etcd.writes(Refused("permission denied"))]),
    Fault("nothing can be written", "etcd.write", BAD, "disarm", lambda _: [etcd.writes(NoSpace("full"))]),
    Fault("no compaction", "etcd.compaction", WARNING, "--auto-compaction", lambda _: [etcd.memory(1, 5_000_000)]),
    Fault("T below an election", "etcd.lease", WARNING, "5 s", lambda _: [etcd.lease(2)]),
    Fault("no Kafka", "kafka.reachable", BAD, "--bootstrap-servers",
          lambda _: kafka.kafka(KafkaFacts("k:1", error="timed out"))),
    Fault("no such topic", "kafka.topic", BAD, "create it", topic(TopicFacts("events", error="Unknown topic"))),
    Fault("a partition without a leader", "kafka.leader", BAD, "brokers", topic(replace(TOPIC, leaderless=(2,)))),
    Fault("replicas behind", "kafka.replicas", WARNING, "behind", topic(replace(TOPIC, in_sync=2))),
    Fault("one replica", "kafka.replicas", WARNING, "factor", topic(replace(TOPIC, replicas=1, in_sync=1))),
    Fault("no right to read", "kafka.rights", BAD, "grant READ", topic(replace(TOPIC, operations=frozenset()))),
    Fault("no right to dead letters", "kafka.rights", BAD, "grant WRITE",
          topic(TOPIC, replace(LETTERS, operations=frozenset({"READ"})))),
    Fault("dead letters that do not fit", "kafka.sizes", WARNING, "max.message.bytes",
          topic(TOPIC, replace(LETTERS, max_message_bytes=1_000_000))),
    Fault("no such output topic", "kafka.topic", BAD, "create it",
          lambda _: kafka.kafka(KafkaFacts("k:1", 3, (), outputs=(TopicFacts("enriched", error="Unknown topic"),)))),
    Fault("no right to outputs", "kafka.rights", BAD, "grant WRITE",
          lambda _: kafka.kafka(KafkaFacts("k:1", 3, (), outputs=(replace(OUT, operations=frozenset()),)))),
    Fault("too few replicas in sync for outputs", "outputs.in-sync", BAD, "that are behind", output(in_sync=1)),
    Fault("too few replicas for outputs", "outputs.in-sync", BAD, "replication factor to 3",
          output(in_sync=1, replicas=1)),
    Fault("outputs that do not fit", "outputs.sizes", WARNING, "max.message.bytes of enriched",
          output(max_message_bytes=10_000)),
    Fault("no right to transactions", "outputs.transactions", BAD, "ids with the prefix partition-supervisor/g/",
          transactions(error="Transactional Id authorization failed")),
    Fault("too few brokers for transactions", "outputs.transactions", BAD, "transaction.state.log.replication.factor",
          transactions(1, error="Timed out")),
    Fault("no coordinator of transactions", "outputs.transactions", BAD, "__transaction_state",
          transactions(error="Timed out")),
    Fault("no right to the group of transactions", "outputs.group", BAD, "READ and DESCRIBE on the group",
          transactions(operations=frozenset({"DESCRIBE"}))),
    Fault("transactions longer than allowed", "outputs.timeout", BAD, "-X transaction.timeout.ms=900000",
          transactions(timeout=1_000_000)),
    Fault("transactions that are aborted early", "outputs.timeout", WARNING, "60000", transactions(timeout=5_000)),
    Fault("offsets that are forgotten", "outputs.retention", BAD, "offsets.retention.minutes",
          transactions(retention_minutes=60)),
    Fault("settings that run refuses", "settings", BAD, "config show", lambda _: [host.settings("--lease-ttl 1")]),
    Fault("a property that there is not", "kafka.properties", BAD, "leave out", lambda _: [kafka.properties("no x")]),
    Fault("too few descriptors", "host.descriptors", BAD, "LimitNOFILE", lambda _: host.limits(64, 300, None, 8)),
    Fault("too few processes", "host.processes", BAD, "TasksMax", lambda _: host.limits(64, 20_000, 500, 8)),
    Fault("too many workers", "host.workers", WARNING, "--workers", lambda _: host.limits(64, 20_000, None, 2)),
    Fault("a handler that cannot be imported", "handler", BAD, "mend it", importing("import nosuch")),
    Fault("a handler that ends the process", "handler", BAD, "mend it", importing("import os; os._exit(4)")),
    Fault("a handler of the wrong form", "handler", BAD, "mend it", importing("async def handle(r, s): pass")),
    Fault("too few places for owners", "group.places", BAD, "--workers",
          group(hosts__a=a_host(1), hosts__b=a_host(1))),
    Fault("too few places for standbys", "group.places", WARNING, "--workers",
          group(hosts__a=a_host(2), hosts__b=a_host(2))),
    Fault("one host", "group.hosts", WARNING, "another one", group(hosts__a=a_host())),
    Fault("two versions", "group.versions", WARNING, "upgrade",
          group(hosts__a=a_host(), hosts__b=a_host(version="2"))),
    Fault("hosts started differently", "group.settings", WARNING, "alike",
          group(hosts__a=SETTINGS[0], hosts__b=SETTINGS[1])),
    Fault("a host that is unwell", "group.able", WARNING, "its log", group(hosts__a=a_host(), hosts__b=UNABLE)),
    Fault("clocks that differ", "group.clock", WARNING, "NTP",
          group(hosts__a=a_host(), hosts__b=a_host(ahead=timedelta(minutes=5).total_seconds()))),
    Fault("a lock of nobody", "group.lock", BAD, "by hand",
          group(hosts__a=a_host(), hosts__b=a_host(), locks__events__00000=LOST)),
    Fault("a key of nobody", "group.foreign", BAD, f"etcdctl del {KEYS.root}/locks/events",
          group(hosts__a=a_host(), hosts__b=a_host(), locks__events=LOST)),
    Fault("a parked partition", "group.parked", WARNING, "partition-supervisor resume 'events[0]'",
          group(hosts__a=a_host(), hosts__b=a_host(), control__parked__events__00000=PARKED)),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.what)
def test_a_planted_fault_is_found_with_its_fix(fault: Fault, tmp_path: Path) -> None:
    found = [each for each in fault.plant(tmp_path) if each.name == fault.name and each.level is fault.level]
    assert any(fault.fix in each.fix for each in found), found


def test_everything_that_check_can_complain_of_is_planted() -> None:
    """Each call of `warning` and `not_ok` in the code, by name and level."""
    complaints = set()
    for path in Path(check.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in ("warning", "not_ok")
            ):
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    complaints.add((name.value, node.func.id == "not_ok"))
    assert complaints == {(each.name, each.level is BAD) for each in FAULTS}
