"""A host's place in the group: taken, kept in step, taken again, or left to a twin."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.cluster import membership
from partition_supervisor.cluster.membership import Membership, TakenByTwin
from partition_workers.errors import Denied, LeaseGone, Misconfigured, NoSpace, PartitionSupervisorError, Unavailable
from partition_workers.etcd.store import Delete, Put, Txn
from partition_workers.layout.documents import Host
from partition_workers.layout.keys import Keys
from tests.eventually import eventually
from tests.fakes.etcd import FakeEtcd

KEYS = Keys.of("/x", "g")
KEY = KEYS.host("a")
TTL = 5


def me(**fields: object) -> Host:
    return dataclasses.replace(Host(4, "1", 100, "", "2030-01-01T00:00:00Z"), **fields)  # type: ignore[arg-type]


TWIN = Host(2, "1", 200, "", "2031-01-01T00:00:00Z")


class Place:
    """A membership on a fake etcd, without its threads."""

    def __init__(self, ttl: int = TTL) -> None:
        self.store = FakeEtcd()
        self.taken: list[str] = []
        self.it = Membership(self.store, KEYS, "a", ttl, lambda _lease: None, self.taken.append)
        self.it.keeper.close()

    def enter(self) -> Place:
        self.it.enter(me(), 1.0, "the fake")
        return self

    def put(self, value: bytes, lease: int = 0) -> None:
        self.store.transact(Txn((), (Put(KEY, value, lease),)))

    @property
    def shown(self) -> Host | None:
        """Without the lease, which is drawn by lot."""
        found = self.store.get(KEY)
        return dataclasses.replace(Host.decode(found.value), lease="") if found else None

    def lose_lease(self) -> None:
        found = self.store.get(KEY)
        if found is not None:
            self.store.expire(found.lease)
        self.it.enter_anew()

    def go_on(self) -> None:
        """Until it is in step, whatever etcd says."""
        for _ in range(50):
            try:
                if self.it.go_on():
                    return
            except TakenByTwin:
                raise
            except PartitionSupervisorError:
                pass
        raise AssertionError("it never gets there")


@pytest.fixture
def place() -> Place:
    return Place().enter()


ERRORS = [Unavailable("silent"), NoSpace("full"), Denied("no"), LeaseGone("gone")]


@given(st.lists(st.tuples(st.sampled_from(ERRORS), st.booleans()), max_size=5), st.integers(0, 3))
def test_what_is_wished_is_there_in_the_end(faults: list[tuple[PartitionSupervisorError, bool]], losses: int) -> None:
    """Whatever fails on the way, done or not; under one lease, and nothing is left behind."""
    place = Place().enter()
    for number in range(losses):
        place.lose_lease()
        place.it.change(workers=number)
    for error, applied in faults:
        place.store.fail_next(error, applied=applied and not isinstance(error, LeaseGone))
    place.it.change(draining=True)
    place.go_on()
    shown = place.shown
    assert shown is not None
    assert shown.draining
    found = place.store.get(KEY)
    assert found is not None
    assert Host.decode(found.value) == place.it._host
    assert int(place.it._host.lease, 16) == found.lease
    assert place.it.is_mine(found.lease)


def test_the_thread_writes_what_is_said_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Etcd fails some times; changes that come in between are not lost, and the last one counts."""
    monkeypatch.setattr(membership, "FIRST_PAUSE", 0.001)
    place = Place().enter()
    for _ in range(5):
        place.store.fail_next(applied=False)
    place.it.open()
    for number in range(1, 10):
        place.it.change(workers=number)
    eventually("it is there", lambda: place.shown == me(workers=9))
    place.it.leave()
    eventually("its thread has ended", lambda: not any(t.name == "membership" for t in threading.enumerate()))
    assert place.shown is None


def test_a_key_that_was_deleted_or_written_over_is_put_again(place: Place) -> None:
    """A listing shows it."""
    for value in (None, b"garbage", me(workers=77).encode()):
        place.store.transact(Txn((), (Delete(KEY),) if value is None else (Put(KEY, value),)))
        place.it.look_after(None, place.store.revision, went_back=False)
        place.go_on()
        assert place.shown == me()
        found = place.store.get(KEY)
        assert found is not None
        assert place.it.is_mine(found.lease)


def test_an_old_listing_is_no_reason_to_write(place: Place) -> None:
    """What it shows is of before."""
    place.it.change(workers=9)
    place.go_on()
    revision = place.store.revision
    place.it.look_after(me(), revision - 1, went_back=False)
    place.go_on()
    assert place.store.revision == revision


def test_a_twin_that_came_meanwhile_keeps_the_place(place: Place) -> None:
    """And is left alone: by whoever tries to come back, and by what he still has to say."""
    place.lose_lease()
    place.put(TWIN.encode(), place.store.grant(60).lease)
    place.it.change(draining=True)
    with pytest.raises(TakenByTwin, match="pid 200"):
        place.go_on()
    assert place.shown == TWIN


def test_the_thread_tells_of_a_twin_once(place: Place) -> None:
    place.lose_lease()
    place.put(TWIN.encode(), place.store.grant(60).lease)
    place.it.open()
    eventually("it is told", lambda: len(place.taken) == 1)
    place.it.leave()
    assert place.shown == TWIN


@pytest.mark.parametrize("value", [TWIN.encode(), b"garbage", b"", json.dumps({"workers": "3"}).encode()])
def test_a_value_that_no_lease_backs_is_nobodys(value: bytes) -> None:
    """Somebody wrote it by hand: no supervisor lives there."""
    place = Place()
    place.put(value)
    place.enter()
    assert place.shown == me()


class TestPredecessor:
    """kill -9, and started again under the same name."""

    @pytest.fixture
    def place(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        """One second of the fake for each time that is waited."""
        place = Place(ttl=2)
        started, passed = time.monotonic(), [0.0]

        def wait(_seconds: float) -> None:
            passed[0] += 1.0
            place.store.clock.advance(1.0)  # type: ignore[attr-defined]

        monkeypatch.setattr(time, "sleep", wait)
        monkeypatch.setattr(time, "monotonic", lambda: started + passed[0])
        yield place
        place.it.keeper.close()

    def test_its_lease_is_waited_for_however_long_it_was_granted_for(self, place: Place) -> None:
        """Also when our own --lease-ttl is shorter."""
        place.put(TWIN.encode(), place.store.grant(30).lease)
        place.enter()
        assert place.shown == me()

    def test_one_that_is_renewed_is_somebody_who_lives(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is said before its whole time has passed."""
        lease = place.store.grant(60).lease
        place.put(TWIN.encode(), lease)
        wait, waited = time.sleep, []

        def wait_and_renew(seconds: float) -> None:
            wait(seconds)
            waited.append(seconds)
            if len(waited) % 4 == 0:
                place.store.renew(lease)

        monkeypatch.setattr(time, "sleep", wait_and_renew)
        with pytest.raises(Misconfigured, match="is taken"):
            place.enter()
        assert len(waited) < 10


def test_nothing_is_entered_after_leaving(place: Place) -> None:
    """A ghost would be counted in until its lease ends."""
    place.it.leave()
    place.it.enter_anew()
    with pytest.raises(LeaseGone):
        place.it.go_on()
    assert place.shown is None
