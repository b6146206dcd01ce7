"""`check`: each planted fault is found, under its name, with its fix; and what is well is said to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from partition_supervisor.admin.check import etcd, group, host, kafka
from partition_supervisor.admin.check.findings import Finding, Level
from partition_supervisor.admin.group_documents import decode
from partition_supervisor.kafka.inspection import KafkaFacts, TopicFacts
from partition_supervisor.listing import Snapshot, read_all
from partition_workers.errors import NoSpace, Refused
from partition_workers.etcd.status import SilentServer
from partition_workers.etcd.store import Put, ServerStatus, Txn
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Cause, Host, Lock, Parked
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd

KEYS = Keys("/test/g")
P = Partition("events", 0)
WELL = ServerStatus("a:1", "3.6.16", 9, 1_000, leader=1, raft_index=100_000, quota_bytes=2**31)
TOPIC = TopicFacts("events", 4, (), 3, 3, frozenset({"READ", "WRITE"}), 1_048_588)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def complaints(found: Iterable[Finding]) -> dict[str, Finding]:
    return {each.name: each for each in found if each.level is not Level.OK}


def three(**changed: Any) -> list[ServerStatus | SilentServer]:
    return [WELL, replace(WELL, endpoint="b:1"), replace(WELL, endpoint="c:1", **changed)]


def test_of_an_etcd_that_is_well_nothing_is_said_but_that() -> None:
    assert complaints(etcd.servers(three())) == {}


@pytest.mark.parametrize(
    ("changed", "name", "level"),
    [
        ({"version": "3.5.1"}, "etcd.version", Level.WARNING),
        ({"alarms": ("NOSPACE",)}, "etcd.alarm", Level.NOT_OK),
        ({"alarms": ("CORRUPT",)}, "etcd.alarm", Level.NOT_OK),
        ({"is_learner": True}, "etcd.learner", Level.NOT_OK),
        ({"leader": 0}, "etcd.leader", Level.NOT_OK),
        ({"raft_index": 1}, "etcd.behind", Level.WARNING),
        ({"db_bytes": 1_900_000_000}, "etcd.quota", Level.WARNING),
        ({"db_bytes": 1_900_000_000, "quota_bytes": 0}, "etcd.quota", Level.WARNING),
        ({"cluster_id": 10}, "etcd.cluster", Level.NOT_OK),
    ],
)
def test_what_ails_one_member_is_named(changed: dict[str, Any], name: str, level: Level) -> None:
    """With its endpoint, and with something to do about it."""
    (only,) = complaints(etcd.servers(three(**changed))).items()
    assert only[0] == name
    assert only[1].level is level
    assert "c:1" in only[1].words
    assert only[1].fix


@pytest.mark.parametrize(("silent", "level"), [(1, Level.WARNING), (2, Level.NOT_OK), (3, Level.NOT_OK)])
def test_members_that_do_not_answer(silent: int, level: Level) -> None:
    """One of three is a warning, a majority is the end."""
    found = [*three()[silent:], *(SilentServer(f"x:{number}", "refused") for number in range(silent))]
    complaint = complaints(etcd.servers(found))["etcd.reachable"]
    assert complaint.level is level
    assert "x:0" in complaint.fix
    assert "Is it running?" in complaint.fix


def test_members_that_want_a_password_are_no_members_that_are_down() -> None:
    found = [SilentServer(f"x:{number}", f"etcd at x:{number} wants a user", is_denied=True) for number in range(3)]
    complaint = complaints(etcd.servers(found))["etcd.reachable"]
    assert complaint.level is Level.NOT_OK
    assert complaint.fix == (
        "etcd at x:0 wants a user; etcd at x:1 wants a user; etcd at x:2 wants a user."
        " Give --etcd-user and --etcd-password-file as etcd has them"
    )


def test_one_endpoint_is_not_enough() -> None:
    assert "etcd.members" in complaints(etcd.servers([WELL]))


@pytest.mark.parametrize(
    ("written", "level"),
    [
        (etcd.Written((2.0, 3.0, 90.0), 5), Level.OK),
        (etcd.Written((40.0,) * 7, 5), Level.WARNING),
        (etcd.Written((400.0,) * 7, 5), Level.NOT_OK),
        (NoSpace("full"), Level.NOT_OK),
        (Refused("permission denied"), Level.NOT_OK),
    ],
)
def test_the_time_of_a_write(written: etcd.Written | NoSpace | Refused, level: Level) -> None:
    """The median counts: one slow write is no slow etcd."""
    assert etcd.writes(written).level is level


def test_what_is_written_to_measure_is_taken_away_again() -> None:
    store = FakeEtcd()
    assert len(etcd.measure(store, KEYS).milliseconds) == etcd.WRITES
    assert store.list(KEYS.root).items == ()


def test_an_etcd_that_was_never_compacted_is_found_out() -> None:
    """Where its memory begins is found by halves."""
    store = FakeEtcd()
    newest = etcd.measure(store, KEYS).revision
    assert etcd.oldest_revision(store, KEYS, newest) == 1
    store.compact(4)
    assert etcd.oldest_revision(store, KEYS, newest) == 4
    assert etcd.memory(4, newest).level is Level.OK
    assert etcd.memory(1, 5_000_000).level is Level.WARNING


def test_a_lease_shorter_than_an_election() -> None:
    assert etcd.lease(2).level is Level.WARNING
    assert etcd.lease(5).level is Level.OK


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        (TopicFacts("events", error="Unknown topic"), "kafka.topic"),
        (replace(TOPIC, leaderless=(2,)), "kafka.leader"),
        (replace(TOPIC, in_sync=2), "kafka.replicas"),
        (replace(TOPIC, replicas=1, in_sync=1), "kafka.replicas"),
        (replace(TOPIC, operations=frozenset({"DESCRIBE"})), "kafka.rights"),
    ],
)
def test_what_ails_a_topic_is_named(topic: TopicFacts, name: str) -> None:
    (only,) = complaints(kafka.kafka(KafkaFacts("k:1", 3, (topic,)))).items()
    assert only[0] == name
    assert "events" in only[1].words
    assert only[1].fix


def test_a_kafka_that_is_well_or_silent() -> None:
    assert (
        complaints(
            kafka.kafka(KafkaFacts("k:1", 3, (TOPIC,), replace(TOPIC, name="letters", max_message_bytes=2_000_000)))
        )
        == {}
    )
    assert set(complaints(kafka.kafka(KafkaFacts("k:1", error="timed out")))) == {"kafka.reachable"}


def test_dead_letters_that_will_not_fit_or_must_not_be_written() -> None:
    letters = replace(TOPIC, name="letters", operations=frozenset({"READ"}))
    assert set(complaints(kafka.kafka(KafkaFacts("k:1", 3, (TOPIC,), letters)))) == {"kafka.rights", "kafka.sizes"}


def test_limits_of_the_host() -> None:
    assert complaints(host.limits(64, 20_000, None, 8)) == {}
    assert set(complaints(host.limits(64, 300, 500, 2))) == {"host.descriptors", "host.processes", "host.workers"}


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        ("def handle(r, s): pass", Level.OK, "can be imported"),
        ("import nosuch", Level.NOT_OK, "nosuch"),
        ("import os; os._exit(4)", Level.NOT_OK, "ends the process with 4"),
        ("def other(r, s): pass", Level.NOT_OK, "has no 'handle'"),
    ],
)
def test_a_handler_is_imported_in_a_process_of_its_own(tmp_path: Path, text: str, level: Level, words: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    found = host.handler(f"{path}:handle")
    assert found.level is level
    assert words in found.words


def look(partitions: int = 4, **written: Document) -> dict[str, Finding]:
    store = FakeEtcd()
    keys = {name.replace("__", "/"): document for name, document in written.items()}
    for name, document in keys.items():
        store.transact(Txn((), (Put(f"{KEYS.root}/{name}", document.encode()),)))
    result = store.transact(read_all(KEYS))
    items = tuple(item for found in result.answers for item in found)
    return complaints(group.group(decode(KEYS, Snapshot(result.revision, items)), partitions, NOW))


def a_host(workers: int = 0, version: str = "1", ahead: float = -60.0) -> Host:
    return Host(workers, version, 1, "", (NOW + timedelta(seconds=ahead)).isoformat())


def test_a_group_that_is_well_or_not_there_yet() -> None:
    assert look(hosts__a=a_host(), hosts__b=a_host()) == {}
    assert look() == {}


def test_what_ails_a_group_is_named() -> None:
    assert set(look(hosts__a=a_host())) == {"group.places", "group.hosts"}
    assert look(hosts__a=a_host(1), hosts__b=a_host(1))["group.places"].level is Level.NOT_OK
    assert set(look(hosts__a=a_host(), hosts__b=a_host(version="2"))) == {"group.versions"}
    assert set(look(hosts__a=a_host(), hosts__b=a_host(ahead=300))) == {"group.clock"}
    lock = Lock("w", "gone", 1, "1f", Cause.ACQUIRED, NOW.isoformat())
    assert "group.lock" in look(hosts__a=a_host(), hosts__b=a_host(), locks__events__00000=lock)
    parked = Parked(3, "a reason", "a", NOW.isoformat())
    found = look(hosts__a=a_host(), hosts__b=a_host(), control__parked__events__00000=parked)
    assert "resume 'events[0]'" in found["group.parked"].fix


@pytest.mark.parametrize(
    ("groups", "places"),
    [
        ("0::/\n", ["/sys/fs/cgroup/pids.max"]),
        (
            "0::/system.slice/ours.service\n",
            [f"/sys/fs/cgroup{each}/pids.max" for each in ("/system.slice/ours.service", "/system.slice", "")],
        ),
        (
            "9:name=systemd:/init.scope\n8:pids:/init.scope\n4:memory:/other\n0::/init.scope\n",
            [f"/sys/fs/cgroup{each}/pids.max" for each in ("/pids/init.scope", "/pids", "/init.scope", "")],
        ),
        ("", []),
    ],
)
def test_a_limit_of_processes_is_looked_for_in_our_group_and_those_above(groups: str, places: list[str]) -> None:
    assert [str(each) for each in host.places_of_limits(groups)] == places
