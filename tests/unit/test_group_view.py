"""The picture of a group: drawn from what etcd holds and where Kafka says the partitions end."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from partition_supervisor.admin.group_documents import decode, draw, suspects
from partition_supervisor.admin.group_view import GroupView
from partition_supervisor.admin.render import complaints, remarks
from partition_supervisor.listing import Snapshot
from partition_workers.etcd.store import KeyValue
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Host, Lock, Parked, Size, Standby, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

KEYS = Keys.of("prefix", "group")
E0, E1, E2 = (Partition("events", number) for number in range(3))
LOCK = Lock("worker-1", "host-a", 101, "1f", "acquired", "2030-01-01T00:00:00.000000Z")
OFFSET = StoredOffset(offset=7, token=42, sequence=3, topic_id="", at="2030-01-01T00:00:01.000000Z")
HOST = Host(4, "1.2.3", 100, "", "2030-01-01T00:00:00.000000Z")
RESTING = dataclasses.replace(HOST, resting={str(Partition("events", 0)): "its workers crash too often"})
PARKED = Parked(5, "a record kills every worker", "host-a", "2030-01-01T00:00:02.000000Z")


def standby(worker: str, since: str = "", host: str = "host-b", pid: int = 201) -> Standby:
    return Standby(worker, host, pid, "2f", since)


def key_value(key: str, value: Document | bytes, revision: int = 42) -> KeyValue:
    return KeyValue(key, value if isinstance(value, bytes) else value.encode(), 1, revision, revision, lease=7)


def picture(*items: KeyValue, ends: dict[Partition, int] | None = None) -> GroupView:
    return draw(decode(KEYS, Snapshot(100, items)), ends or {})


def shown(drawn: GroupView) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(drawn.as_json()))
    return document


def test_an_owned_partition_has_every_field() -> None:
    drawn = picture(
        key_value(KEYS.lock(E0), LOCK),
        key_value(KEYS.offset(E0), OFFSET),
        key_value(KEYS.size(E0), Size(70_000, 9_000_000, "2030-01-01T00:00:00.000000Z")),
        key_value(KEYS.standby(E0, "worker-2"), standby("worker-2")),
        key_value(KEYS.host("host-a"), HOST),
        ends={E0: 10},
    )
    assert shown(drawn) == {
        "schema_version": 1,
        "partitions": [
            {
                "topic": "events",
                "partition": 0,
                "owner": {"host": "host-a", "pid": 101, "worker": "worker-1"},
                "token": 42,
                "offset": 7,
                "end_offset": 10,
                "lag": 3,
                "standbys": [{"host": "host-b", "pid": 201, "worker": "worker-2"}],
                "state": "owned",
                "reason": None,
                "since": "2030-01-01T00:00:00.000000Z",
                "state_keys": 70_000,
                "state_bytes": 9_000_000,
                "prepared": None,
            }
        ],
        "hosts": [
            {
                "host": "host-a",
                "pid": 100,
                "workers": 4,
                "version": "1.2.3",
                "started": "2030-01-01T00:00:00.000000Z",
                "draining": False,
                "address": "",
                "able": True,
                "unable_because": None,
                "passed_over": {},
                "outputs": [],
            }
        ],
        "foreign_keys": [],
        "alarms": [],
        "differences": [],
    }


def test_a_prepared_step_is_shown_and_remarked_on_when_it_is_old() -> None:
    """In the usual case it is applied some milliseconds later."""
    settings = {"--output": "enriched, totals"}
    for at, is_old in (("2030-01-01T00:00:01.000000Z", False), ("2020-01-01T00:00:01.000000Z", True)):
        stored = dataclasses.replace(OFFSET, prepared="42.3", at=at)
        found = picture(
            key_value(KEYS.offset(E0), stored),
            key_value(KEYS.host("host-a"), dataclasses.replace(HOST, settings=settings)),
        )
        assert shown(found)["partitions"][0]["prepared"] == {"step": "42.3", "since": at}
        assert shown(found)["hosts"][0]["outputs"] == ["enriched", "totals"]
        told = [line for line in remarks(found) if "step 42.3 with outputs was prepared" in line]
        assert bool(told) == is_old


def test_nothing_in_etcd_is_an_empty_picture() -> None:
    assert shown(picture()) == {"schema_version": 1, "partitions": [], "hosts": [], "foreign_keys": [], "alarms": [],
                                "differences": []}  # fmt: skip
    assert picture().empty


def test_a_host_alone_is_not_nothing() -> None:
    assert not picture(key_value(KEYS.host("host-a"), HOST)).empty


def test_what_is_not_known_is_null() -> None:
    (seen,) = shown(picture(key_value(KEYS.lock(E0), LOCK)))["partitions"]
    assert (seen["offset"], seen["end_offset"], seen["lag"]) == (None, None, None)


@pytest.mark.parametrize(("end", "lag"), [(7, 0), (9, 2), (6, 0), (None, None)])
def test_the_lag_is_what_is_left_and_never_negative(end: int | None, lag: int | None) -> None:
    ends = {} if end is None else {E0: end}
    assert picture(key_value(KEYS.offset(E0), OFFSET), ends=ends).partitions[0].lag == lag


def test_an_offset_without_a_lock_is_an_unowned_partition() -> None:
    (seen,) = shown(picture(key_value(KEYS.offset(E0), OFFSET)))["partitions"]
    assert (seen["state"], seen["owner"], seen["token"], seen["offset"]) == ("unowned", None, None, 7)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([], "no supervisor is running"),
        ([key_value(KEYS.host("host-a"), HOST)], "no worker stands by"),
        ([key_value(KEYS.host("host-a"), RESTING)], f"on host-a {RESTING.resting[str(E0)]}"),
        ([key_value(KEYS.standby(E0, "worker-2"), standby("worker-2"))], None),
    ],
)
def test_why_a_partition_has_no_owner(others: list[KeyValue], reason: str | None) -> None:
    drawn = picture(key_value(KEYS.offset(E0), OFFSET), *others)
    assert drawn.partitions[0].reason == reason
    assert drawn.complaints == drawn.partitions


def test_a_parked_partition_says_why_since_when_and_where() -> None:
    (seen,) = picture(key_value(KEYS.parked(E0), PARKED)).partitions
    assert (seen.state, seen.reason, seen.since, seen.offset) == ("parked", PARKED.reason, PARKED.at, PARKED.offset)


def test_a_parked_partition_is_parked_even_while_its_lock_is_still_there() -> None:
    drawn = picture(key_value(KEYS.lock(E0), LOCK), key_value(KEYS.parked(E0), PARKED))
    (seen,) = drawn.partitions
    assert seen.state == "parked"
    assert seen.owner is not None
    assert drawn.complaints == (seen,)


def test_the_owner_is_not_among_its_own_standbys_and_the_others_come_in_the_order_they_waited() -> None:
    drawn = picture(
        key_value(KEYS.lock(E0), LOCK),
        *(
            key_value(KEYS.standby(E0, name), standby(name, since))
            for name, since in (("worker-1", "1"), ("worker-3", "3"), ("worker-2", "2"))
        ),
    )
    assert [each.worker for each in drawn.partitions[0].standbys] == ["worker-2", "worker-3"]


def test_partitions_come_from_etcd_and_from_kafka_in_order_of_their_numbers() -> None:
    drawn = picture(
        key_value(KEYS.lock(E2), LOCK),
        key_value(KEYS.offset(E0), OFFSET),
        ends={E1: 0, Partition("events", 10): 0},
    )
    assert [each.partition for each in drawn.partitions] == [E0, E1, E2, Partition("events", 10)]


def test_foreign_keys_and_documents_are_passed_over() -> None:
    drawn = picture(
        key_value(f"{KEYS.locks}what/ever", b"{}"),
        key_value(f"{KEYS.offsets}events", OFFSET),
        key_value(KEYS.offset(E1), b"no document"),
        key_value(f"{KEYS.control}paused", b"{}"),
        key_value(KEYS.offset(E0), OFFSET),
    )
    assert [each.partition for each in drawn.partitions] == [E0]


# --- what does not advance, what is gone


def test_a_partition_that_kafka_does_not_have_any_more_is_a_complaint_with_what_helps() -> None:
    """Whether it still has an owner, is parked, or neither."""
    items = key_value(KEYS.lock(E0), LOCK), key_value(KEYS.parked(E1), PARKED), key_value(KEYS.offset(E2), OFFSET)
    drawn = draw(decode(KEYS, Snapshot(100, items)), {}, gone={E0, E1, E2})
    assert [each.partition for each in drawn.complaints] == [E0, E1, E2]
    assert all("offsets forget" in (each.reason or "") for each in drawn.partitions)


@pytest.mark.parametrize(
    ("end", "owned", "after", "suspected"),
    [(9, True, 60.0, True), (7, True, 60.0, False), (9, False, 60.0, False), (9, True, 1e12, False)],
)
def test_who_has_more_and_has_long_committed_nothing_is_suspected(
    end: int, owned: bool, after: float, suspected: bool
) -> None:
    items = [key_value(KEYS.offset(E0), StoredOffset(7, 42, 3, "", "2020-01-01T00:00:01.000000Z"))]
    items += [key_value(KEYS.lock(E0), LOCK)] if owned else []
    assert (E0 in suspects(decode(KEYS, Snapshot(100, tuple(items))), {E0: end}, after)) == suspected


def stalled(offset: int) -> GroupView:
    items = key_value(KEYS.lock(E0), LOCK), key_value(KEYS.offset(E0), StoredOffset(offset, 42, 3, "", ""))
    return draw(decode(KEYS, Snapshot(100, items)), {E0: 10}, stalled={E0: 200.0})


def test_an_owned_partition_that_stands_still_is_a_complaint_until_it_advances() -> None:
    """Clocks of hosts may differ: who has moved between two looks does not stand still."""
    drawn = stalled(7)
    assert drawn.complaints == drawn.partitions
    assert [line for line, _ in complaints(drawn)] == [
        "events[0] is at offset 7: it has not advanced for 200 s, though it has more"
    ]
    assert drawn.confirmed_by(stalled(7)).complaints
    assert not drawn.confirmed_by(stalled(8)).complaints


def test_what_ails_hosts_is_told_and_is_no_complaint() -> None:
    """Nothing is the matter with the partitions for that; --check looks at them."""
    ill = dataclasses.replace(HOST, able=False, unable_because="Kafka does not answer it")
    other = dataclasses.replace(HOST, passed_over={"host-a": "it did not take t[0]"}, settings={"--start": "latest"})
    ill = dataclasses.replace(ill, settings={"--start": "earliest"})
    found = picture(key_value(KEYS.host("host-a"), ill), key_value(KEYS.host("host-b"), other))
    assert list(remarks(found)) == [
        "host-a is given no partitions: Kafka does not answer it",
        "host-a is offered nothing by host-b for a while: it did not take t[0]",
        "hosts differ: --start is earliest on host-a, but latest on host-b",
    ]
    assert not list(complaints(found))
