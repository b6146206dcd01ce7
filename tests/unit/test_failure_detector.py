"""Which owners elsewhere are taken for dead: the whole supervisor on fakes, another host in a fake etcd."""

from __future__ import annotations

import dataclasses

import pytest

from partition_supervisor.control.loop import TICK
from partition_supervisor.events import HostAnswered, HostRefused
from partition_supervisor.suspicion import FirstWitness, Suspicion
from partition_workers.errors import Unavailable
from partition_workers.etcd.store import LeaseTime, Put
from partition_workers.layout.documents import Cause, Host, Lock, Standby, now
from partition_workers.model import Partition
from partition_workers.ownership.lock import PartitionLock
from tests.fakes.clock import FakeClock
from tests.fakes.host import FakeHost, MakeHost

LINK = "there:1"
TTL = 5


class Other:
    """A host `b` that owns every partition, on leases that run by the clock of etcd, which is the supervisor's."""

    def __init__(self, host: FakeHost) -> None:
        self.host, self.name = host, "b"
        assert isinstance(host.store.clock, FakeClock)
        self.clock = host.store.clock
        self.lease = host.store.grant(TTL).lease
        document = Host(0, "1", 1, "", now(), link=LINK, secret="s", lease=f"{self.lease:x}")
        host.put(Put(host.keys.host(self.name), document.encode(), self.lease))
        self.leases: dict[Partition, int] = {}
        for partition in host.partitions:
            self.leases[partition] = lease = host.store.grant(TTL).lease
            standby = Standby(f"b-{partition.number}", self.name, 1, f"{lease:x}", now())
            host.put(Put(host.keys.standby(partition, standby.worker), standby.encode(), lease))
            assert PartitionLock(host.store, host.keys, partition, standby, lambda: False).acquire()

    def silent(self, seconds: float, others: int = 1, answering: int = 0) -> None:
        self.host.peers.suspicions = [
            Suspicion(self.name, LINK, FirstWitness(False, seconds, others, answering)),
        ]

    def refuses(self, seconds: float = 0.001, others: int = 1, answering: int = 0, link: str = LINK) -> None:
        self.host.inbox.post(HostRefused(Suspicion(self.name, link, FirstWitness(True, seconds, others, answering))))
        self.host.settle()

    def answers(self) -> None:
        self.host.peers.suspicions = []
        self.host.inbox.post(HostAnswered(self.name, LINK))
        self.host.settle()

    def pass_time(self, seconds: float, renew: tuple[Partition, ...] = (), itself: bool = False) -> None:
        """In ticks; those named are renewed meanwhile, and `itself` the host's own lease."""
        for _ in range(round(seconds / TICK)):
            for lease in [*(self.leases[each] for each in renew), *([self.lease] if itself else [])]:
                self.host.store.renew(lease)
            self.clock.advance(TICK)
            self.host.advance(TICK)

    @property
    def owned(self) -> list[int]:
        """The numbers of the partitions whose lock is still its own."""
        found = {partition.number: self.host.lock_of(partition) for partition in self.host.partitions}
        return [number for number, lock in found.items() if lock and lock[0].startswith("b-")]


def met(host: FakeHost) -> Other:
    """Standbys here, all owners there."""
    other = Other(host)
    host.open()
    host.warm_up_all()
    host.settle()
    assert other.owned == [each.number for each in host.partitions]
    return other


def test_a_refusal_passes_all_locks_on_at_once(make_host: MakeHost) -> None:
    """No time passes, and etcd is not asked how old the leases are."""
    host = make_host(3)
    other = met(host)
    other.refuses()
    assert other.owned == []
    lock = Lock.decode(host.value(host.keys.lock(host.partitions[0])))
    assert (lock.cause, lock.host) == ("taken-over", "a")


def test_a_refusal_by_most_of_the_others_is_our_own_trouble(make_host: MakeHost) -> None:
    """Their leases decide: nothing is taken before they end."""
    other = met(make_host(2))
    for _ in range(20):
        other.refuses(others=2, answering=0)
        other.silent(3.0, others=2, answering=0)
        other.pass_time(TICK, renew=tuple(other.host.partitions), itself=True)
    assert other.owned == [0, 1]
    other.pass_time(TTL - 1)
    assert other.owned == [0, 1]
    other.pass_time(2.0)
    assert other.owned == []


@pytest.mark.parametrize("refuses", [True, False])
def test_an_owner_that_is_renewed_keeps_its_lock(make_host: MakeHost, refuses: bool) -> None:
    """The other one's host is silent, or refuses long after it was heard."""
    host = make_host(2)
    other = met(host)
    first, second = host.partitions
    for tick in range(round(3.0 / TICK)):
        seconds = tick * TICK
        other.silent(seconds)
        if refuses and seconds > 1.0:
            other.refuses(seconds)
        other.pass_time(TICK, renew=(first,))
    assert other.owned == [0]
    assert host.lock_of(second)
    assert not host.cluster.is_dead("b")


def test_a_host_that_renews_its_own_lease_sees_to_its_owners_itself(make_host: MakeHost) -> None:
    """One of them is late, which is nothing to others."""
    other = met(make_host(2))
    other.silent(60.0)
    other.pass_time(3.0, itself=True)
    assert other.owned == [0, 1]


def test_a_host_without_power_is_taken_over_in_two_seconds(make_host: MakeHost) -> None:
    """It had just renewed all its leases; after a second it is silent."""
    other = met(make_host(3))
    other.pass_time(0.5, renew=tuple(other.host.partitions), itself=True)
    for tick in range(100):
        passed = tick * TICK
        if passed >= 1.0:
            other.silent(passed)
        other.pass_time(TICK)
        if not other.owned:
            assert 1.5 <= passed <= 2.0
            return
        assert other.owned == [0, 1, 2]
    raise AssertionError("nobody took it over")


def test_while_etcd_does_not_answer_silence_is_no_death(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the first slow answer afterwards: nobody could renew anything meanwhile."""
    host = make_host(1)
    other = met(host)

    def unanswered(_lease: int) -> LeaseTime:
        raise Unavailable("no answer")

    other.silent(2.0)
    with monkeypatch.context() as patch:
        patch.setattr(host.store, "time_to_live", unanswered)
        other.pass_time(3.0)
    answer, slow = host.store.time_to_live, iter([0.4, 0.4])

    def answered(lease: int) -> LeaseTime:
        host.clock.advance(next(slow, 0.0))
        return answer(lease)

    monkeypatch.setattr(host.store, "time_to_live", answered)
    other.pass_time(TICK)
    other.pass_time(1.0, renew=tuple(host.partitions))
    assert next(slow, None) is None
    assert other.owned == [0]


@pytest.mark.parametrize("found_out_by", ["hello", "lease"])
def test_who_refused_and_was_alive_is_not_believed_again(make_host: MakeHost, found_out_by: str) -> None:
    """It needs to be late as well, like one that is silent."""
    host = make_host(1)
    other = met(host)
    other.refuses()
    assert host.cluster.is_dead("b")
    if found_out_by == "hello":
        other.answers()
    else:
        other.pass_time(4.0, itself=True)
    assert not host.cluster.is_dead("b")

    (partition,) = host.partitions
    lease = other.leases[partition] = host.store.grant(TTL).lease
    again = Standby("b-again", "b", 1, f"{lease:x}", now())
    host.put(Put(host.keys.lock(partition), Lock.naming(again, Cause.HANDED_OVER).encode(), lease))
    host.join("c")
    host.standby_on("c", partition)
    host.settle()
    assert other.owned == [0]
    for _ in range(5):
        other.refuses()
        other.pass_time(TICK, renew=(partition,), itself=True)
    assert other.owned == [0]
    for tick in range(30):
        other.refuses(0.001 + tick * TICK)
        other.pass_time(TICK)
    assert other.owned == []


def test_a_host_that_is_dead_stays_so(make_host: MakeHost) -> None:
    """Its lease is asked for again, and has not been renewed."""
    host = make_host(1)
    other = met(host)
    other.refuses()
    other.pass_time(4.0)
    assert host.cluster.is_dead("b")


def test_an_earlier_life_that_refuses_concerns_nobody(make_host: MakeHost) -> None:
    other = met(make_host(1))
    other.refuses(link="there:0")
    other.refuses(1.5, link="there:0")
    assert other.owned == [0]


def test_what_nobody_is_ready_for_is_left_and_taken_as_soon_as_somebody_is(make_host: MakeHost) -> None:
    """The owner may be alive: without its lock nobody would be any better off."""
    host = make_host(1)
    other = Other(host)
    host.open()
    other.refuses()
    assert other.owned == [0]
    other.pass_time(1.0)
    assert other.owned == [0]
    host.warm_up_all()
    other.pass_time(2 * TICK)
    assert other.owned == []


def test_a_host_that_owns_nothing_and_is_gone_is_no_successor(make_host: MakeHost) -> None:
    """Its standby keys outlive it."""
    host = make_host(1)
    other = met(host)
    partition = host.partitions[0]
    other.refuses()
    host.exit(host.owner(partition))
    host.settle()
    held = host.lock_of(partition)
    assert held is None or not held[0].startswith("b-")


@pytest.mark.parametrize("lease", ["", "no lease", None, ["x"]])
def test_a_lock_whose_lease_cannot_be_read_is_left_alone(make_host: MakeHost, lease: object) -> None:
    """Anybody can write into etcd: it is no lock of a host that died, and a person decides, whom `status` tells."""
    host = make_host(1)
    other = met(host)
    key = host.keys.lock(host.partitions[0])
    lock = dataclasses.replace(Lock.decode(host.value(key)), lease=lease)  # type: ignore[arg-type]
    host.put(Put(key, lock.encode()))
    host.settle()
    other.silent(3.0)
    other.pass_time(3.0)
    other.refuses()
    assert host.value(key) == lock.encode()
    assert key in host.cluster.foreign
