"""What a browser is told: everything once, in the order of revisions, wherever it connects."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.listing import Snapshot, read_all
from partition_supervisor.web.broadcast import BACKLOG, Broadcast
from partition_supervisor.web.changes import as_json, watched
from partition_supervisor.web.group_model import KEPT_CHANGES, EventId, GroupModel, ServerEvent
from partition_workers.etcd.store import Change, Delete, KeyRange, KeyValue, Operation, Put, Txn
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Cause, Host, Lock, Parked, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from tests.fakes.etcd import FakeEtcd

KEYS = Keys("/test/g")
P = Partition("events", 0)


def lock(host: str, worker: str = "w") -> Lock:
    return Lock(worker, host, 17, "1f", Cause.TAKEN_OVER, now())


class Server:
    """A model that follows an etcd, as `GroupFeed` makes it do."""

    def __init__(self, etcd: FakeEtcd, watched_from: int | None = None) -> None:
        self.model = GroupModel(KEYS, "g")
        self.broadcast = Broadcast(self.model)
        result = etcd.transact(read_all(KEYS))
        snapshot = Snapshot(result.revision, tuple(item for found in result.answers for item in found))
        start = watched_from or snapshot.revision + 1
        self._watch = etcd.watch((watched(KEYS),), start)
        self.model.load(snapshot, etcd.list(KEYS.every_history).items, start)

    def catch_up(self) -> list[ServerEvent]:
        """Everything that the watch has; the fake's are all there at once."""
        told = []
        for change in self._watch._fresh():
            event = self.model.change(change)
            self.broadcast.tell(event)
            told += [event] if event else []
        self._watch._next = self._watch._etcd.revision + 1
        return told


def write(etcd: FakeEtcd, *operations: Operation) -> None:
    etcd.transact(Txn((), operations))


def put(key: str, document: Document) -> Put:
    return Put(key, document.encode())


def test_one_range_covers_all_that_is_told_and_no_commit() -> None:
    """Control, history, hosts and locks are neighbours; offsets, standbys and states are not among them."""
    place = watched(KEYS)
    assert isinstance(place, KeyRange)
    inside = [KEYS.lock(P), KEYS.history(P, 3), KEYS.host("h"), KEYS.parked(P), KEYS.move(P), KEYS.drain("h")]
    outside = [KEYS.offset(P), KEYS.standby(P, "w"), KEYS.state(P) + "k", KEYS.attempt(P)]
    assert all(place.first <= key < place.end for key in inside)
    assert not any(place.first <= key < place.end for key in outside)


def test_changes_of_one_revision_have_ids_of_their_own() -> None:
    etcd = FakeEtcd()
    server = Server(etcd)
    write(etcd, put(KEYS.lock(P), lock("a")), put(KEYS.host("a"), Host(1, "1", 1, "", now())))
    told = server.catch_up()
    assert [str(event.id) for event in told] == ["2.1", "2.2"]
    assert {json.loads(event.data)["kind"] for event in told} == {"lock", "host"}


def test_what_others_wrote_there_is_passed_over() -> None:
    """Garbage in a lock, a key of another shape: no event, and the next change is told."""
    etcd = FakeEtcd()
    server = Server(etcd)
    write(etcd, Put(KEYS.lock(P), b"\xff garbage"), Put(KEYS.locks + "odd", b"{}"), Put(KEYS.hosts + "x", b"[]"))
    assert server.catch_up() == []
    write(etcd, put(KEYS.lock(P), lock("a")))
    assert len(server.catch_up()) == 1


def test_the_secrets_of_hosts_are_not_told() -> None:
    written = Host(1, "1", 1, "", now()).encode()[:-1] + b',"secret":"s"}'
    told = as_json(KEYS, Change(KeyValue(KEYS.host("a"), written, 1, 2, 2), deleted=False))
    assert told is not None
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize("written", ["", "x", "1.2.3", "-1", "1.", "٣", "9" * 40, "1.99999999999"])
def test_an_id_that_is_none_of_ours_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no event id"):
        EventId.parse(written)


@pytest.mark.parametrize("known", [EventId(0, 0), EventId(417, 2), EventId(2**62, 1)])
def test_an_id_comes_back_as_it_was(known: EventId) -> None:
    assert EventId.parse(str(known)) == known


def test_who_was_away_for_too_long_gets_a_snapshot() -> None:
    """Neither what is no longer kept, nor the revisions of another etcd, can be continued."""
    etcd = FakeEtcd()
    server = Server(etcd)
    assert server.model.since(EventId(etcd.revision + 1_000, 1)) is None
    for number in range(KEPT_CHANGES + 10):
        write(etcd, put(KEYS.lock(P), lock(f"h{number}")))
    server.catch_up()
    assert server.model.since(EventId(3, 1)) is None
    recent = server.model.since(EventId(etcd.revision - 4))
    assert recent is not None
    assert len(recent) == 4


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.data())
def test_a_browser_that_changes_servers_misses_nothing_and_sees_nothing_twice(
    sizes: list[int], data: st.DataObject
) -> None:
    """Whatever the revisions hold, wherever it is cut, and whenever the other server started."""
    etcd = FakeEtcd()
    first, second = Server(etcd), None
    starts_at = data.draw(st.integers(0, len(sizes)))
    for number, size in enumerate(sizes):
        if number == starts_at:
            second = Server(etcd, watched_from=1)
        write(etcd, *(put(KEYS.lock(Partition("t", each)), lock(f"h{number}")) for each in range(size)))
    second = second or Server(etcd, watched_from=1)
    whole = [event.id for event in first.catch_up()]
    second.catch_up()
    fresh = Server(etcd, watched_from=1)
    fresh.catch_up()
    cut = data.draw(st.integers(0, len(whole)))
    again = data.draw(st.integers(cut, len(whole)))
    start = EventId(1)

    async def run() -> list[EventId | None]:
        got: list[EventId | None] = []
        seen = start
        for server, until in ((first, cut), (second, again), (fresh, len(whole))):
            stream = server.broadcast.events(seen)
            while len(got) < until:
                event = await anext(stream)
                if event.id is not None:
                    got.append(event.id)
                    seen = event.id
            await stream.aclose()  # type: ignore[attr-defined]
        return got

    assert asyncio.run(run()) == whole


def test_a_snapshot_is_not_followed_by_what_it_holds() -> None:
    """The older changes that a server asks for, for browsers of others, are no news to its own."""
    etcd = FakeEtcd()
    write(etcd, put(KEYS.lock(P), lock("a")))
    write(etcd, put(KEYS.lock(P), lock("b")))
    server = Server(etcd, watched_from=1)

    async def run() -> list[str]:
        stream = server.broadcast.events(None)
        names = [(await anext(stream)).name]
        server.catch_up()
        write(etcd, put(KEYS.lock(P), lock("c")))
        server.catch_up()
        names.append(str((await anext(stream)).id))
        await stream.aclose()  # type: ignore[attr-defined]
        return names

    assert asyncio.run(run()) == ["snapshot", "4.1"]


def test_a_browser_that_does_not_read_is_let_go() -> None:
    """Its backlog does not grow for ever: its stream ends, and it comes back with what it saw last."""
    server = Server(FakeEtcd())

    async def run() -> int:
        stream = server.broadcast.events(None)
        await anext(stream)
        for number in range(BACKLOG + 1):
            server.broadcast.tell(ServerEvent("progress", str(number)))
        assert server.broadcast.browsers == 0
        return len([event async for event in stream])

    assert asyncio.run(run()) == 0


def ids(events: list[ServerEvent] | None) -> list[str] | None:
    return None if events is None else [str(event.id) for event in events]


def test_who_comes_between_two_changes_of_one_revision_gets_the_second() -> None:
    """etcd tells them one after the other: a picture in between holds the first, and says so."""
    etcd = FakeEtcd()
    server = Server(etcd)
    write(etcd, put(KEYS.lock(P), lock("a")), put(KEYS.host("a"), Host(1, "1", 1, "", now())))
    first, second = server._watch._fresh()
    server.model.change(first)
    snapshot, position = server.model.snapshot(), server.model.as_json()["event_id"]
    assert (str(snapshot.id), position, json.loads(snapshot.data)["event_id"]) == ("2.1", "2.1", "2.1")

    async def run() -> str:
        stream = server.broadcast.events(None)
        await anext(stream)
        server.broadcast.tell(server.model.change(second))
        told = await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        return str(told.id)

    assert asyncio.run(run()) == "2.2"
    assert snapshot.id is not None
    assert ids(server.model.since(snapshot.id)) == ["2.2"]
    assert str(server.model.snapshot().id) == "2.2"


def test_a_listing_holds_all_of_its_revision() -> None:
    """Also when its changes come after it, for browsers of others."""
    etcd = FakeEtcd()
    write(etcd, put(KEYS.lock(P), lock("a")), put(KEYS.host("a"), Host(1, "1", 1, "", now())))
    server = Server(etcd, watched_from=1)
    server.model.change(server._watch._fresh()[0])
    assert server.model.position == EventId(etcd.revision)


def test_who_lacks_a_part_of_a_revision_that_is_not_known_here_gets_a_snapshot() -> None:
    etcd = FakeEtcd()
    write(etcd, put(KEYS.lock(P), lock("a")), put(KEYS.host("a"), Host(1, "1", 1, "", now())))
    server = Server(etcd)
    assert server.model.since(EventId(etcd.revision, 1)) is None
    assert server.model.since(EventId(etcd.revision)) == []


def test_a_new_browser_is_told_who_does_not_answer() -> None:
    """In its picture; and one that knows it of another server, of both."""
    server = Server(FakeEtcd())
    server.broadcast.tell(server.model.answers("etcd", "it is silent"))
    assert json.loads(server.model.snapshot().data)["silent"] == {"etcd": "it is silent"}

    async def run() -> list[object]:
        stream = server.broadcast.events(EventId(server.model.revision))
        told = [await anext(stream) for _ in range(3)]
        await stream.aclose()  # type: ignore[attr-defined]
        return [json.loads(each.data) for each in told if each.name == "silence"]

    assert asyncio.run(run()) == [{"of": "etcd", "error": "it is silent"}, {"of": "kafka", "error": None}]
    server.model.answers("etcd", None)
    assert json.loads(server.model.snapshot().data)["silent"] == {}


def test_progress_tells_what_differs_and_what_is_gone() -> None:
    model = GroupModel(KEYS, "g")
    offset = StoredOffset(5, 1, 1, "", now())
    first = model.measure({P: offset}, {P: [Standby("s", "b", 2, "2f", now())]}, {P: 9})
    assert first is not None
    (told,) = json.loads(first.data)["partitions"]
    assert (told["offset"], told["end_offset"], told["lag"]) == (5, 9, 4)
    assert [each["host"] for each in told["standbys"]] == ["b"]
    assert model.measure({P: offset}, {P: [Standby("s", "b", 2, "2f", now())]}, {P: 9}) is None
    gone = model.measure({}, {}, {})
    assert gone is not None
    assert json.loads(gone.data) == {"partitions": [], "gone": [{"topic": "events", "partition": 0}]}


def test_parked_partitions_and_their_reasons_are_in_the_snapshot() -> None:
    etcd = FakeEtcd()
    write(etcd, put(KEYS.parked(P), Parked(3, "bad <b>record</b>", "a", now())))
    (partition,) = json.loads(Server(etcd).model.snapshot().data)["partitions"]
    assert (partition["state"], partition["reason"]) == ("parked", "bad <b>record</b>")


def test_what_utf8_cannot_write_keeps_nobody_from_the_rest() -> None:
    """In a reason, or in a key that is no text: the picture and the change can be sent."""
    etcd = FakeEtcd()
    server = Server(etcd)
    write(etcd, put(KEYS.parked(P), Parked(3, "bad record: \udcff", "a", now())))
    (parked,) = server.catch_up()
    assert json.loads(parked.data.encode())["value"]["reason"] == "bad record: \udcff"
    host = server.model.change(
        Change(KeyValue(KEYS.host("\udcff"), Host(1, "1", 1, "", now()).encode(), 1, 3, 3, 7), deleted=False)
    )
    assert host is not None
    assert json.loads(host.data.encode())["host"] == "\udcff"
    picture = json.loads(server.model.snapshot().data.encode())
    assert [each["reason"] for each in picture["partitions"]] == ["bad record: \udcff"]
    assert [each["key"] for each in picture["foreign_keys"]] == [KEYS.host("\udcff")]


def test_a_deleted_lock_is_told_as_such() -> None:
    etcd = FakeEtcd()
    write(etcd, put(KEYS.lock(P), lock("a")))
    server = Server(etcd)
    write(etcd, Delete(KEYS.lock(P)))
    (event,) = server.catch_up()
    assert json.loads(event.data) == {"kind": "lock", "revision": 3, "topic": "events", "partition": 0, "value": None}
