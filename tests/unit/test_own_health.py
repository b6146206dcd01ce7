"""Whether a host may be given partitions, as far as it can judge itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_supervisor.control.ability import WELL_FOR
from partition_supervisor.control.growing_pause import FORGOTTEN_AFTER, LONGEST
from partition_supervisor.control.own_health import OwnHealth
from partition_supervisor.events import KafkaAnswers
from partition_supervisor.suspicion import FirstWitness, Suspicion
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Host, now
from partition_workers.model import Partition
from partition_workers.protocol import GaveUp
from tests.fakes.host import FakeHost, MakeHost, running

P, Q = Partition("t", 0), Partition("t", 1)
FIRST = 5.0
ILL, WELL = "etcd is slow", ""
#: When, what is seen, and whether it is able then.
TABLE = [
    pytest.param([(0, WELL, True), (1, WELL, True)], id="nothing ails it"),
    pytest.param([(1, ILL, False), (2, WELL, False), (5.9, WELL, False), (6, WELL, True)], id="well for a while"),
    pytest.param([(1, ILL, False), (5, ILL, False), (9.9, WELL, False), (10, WELL, True)], id="ill for longer"),
    pytest.param([(1, ILL, False), (6, WELL, True), (7, ILL, False), (16.9, WELL, False), (17, WELL, True)],
                 id="ill again, and well for twice as long"),
    pytest.param([(1, ILL, False), (3, WELL, False), (4, ILL, False), (9, WELL, True)], id="ill all the time"),
    pytest.param([(1, ILL, False), (6, WELL, True), (6 + FORGOTTEN_AFTER, ILL, False), (71, WELL, True)],
                 id="that was long ago"),
]  # fmt: skip


@pytest.mark.parametrize("seen", TABLE)
def test_it_is_able_again_when_it_was_well_for_a_while(seen: list[tuple[float, str, bool]]) -> None:
    health = OwnHealth(FIRST)
    for at, ailment, able in seen:
        before = health.is_able
        assert health.see(ailment, at) == (before != able), at
        assert health.is_able == able, at
        assert bool(health.reason) != able


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=100))
@settings(max_examples=1000)
def test_who_is_well_by_half_becomes_able_ever_more_seldom(looks: list[tuple[int, bool]]) -> None:
    """Each time it became able and ill again, it stays unable for twice as long, up to the longest pause."""
    health, moment, ill_at, last = OwnHealth(FIRST), 0, 0, 0.0
    able_at: int | None = None
    for seconds, is_ill in looks:
        moment += seconds
        was = health.is_able
        health.see(ILL if is_ill else WELL, moment)
        if is_ill:
            if was:
                forgotten = able_at is None or moment >= ill_at + last + max(FORGOTTEN_AFTER, 2 * last)
                last = FIRST if forgotten else min(2 * last, LONGEST)
            ill_at = moment
            assert not health.is_able
        elif health.is_able and not was:
            assert moment - ill_at >= last
            able_at = moment


# --- on the loop


def shown(host: FakeHost) -> Host:
    return Host.decode(host.value(host.keys.host("a")))


def alone_with_b(host: FakeHost) -> FakeHost:
    """All partitions are owned here; `b` has come, and stands by for them."""
    running(host)
    host.join("b")
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.settle()
    return host


def cut_from_etcd(host: FakeHost) -> None:
    host.is_reached = False
    host.advance(0.7 * host.config.lease_ttl)


def cut_from_kafka(host: FakeHost) -> None:
    host.inbox.post(KafkaAnswers(False))
    host.advance(1.0)


def stand_still(host: FakeHost) -> None:
    host.jump(0.7 * host.config.lease_ttl)
    host.advance(0.2)


def lose_a_lock(host: FakeHost) -> None:
    """Its lease ended, as the owner has noticed."""
    host.exit(host.owner(P), 75, GaveUp(75, "the lease is gone"))
    host.advance(0.2)


AILMENTS = {
    "etcd has not renewed its lease": cut_from_etcd,
    "Kafka does not answer it": cut_from_kafka,
    "its loop stood still": stand_still,
    "the owner of t[0] lost its lock": lose_a_lock,
}


@pytest.mark.parametrize("words", AILMENTS)
def test_a_host_that_is_not_well_says_so_until_it_was_well_for_a_while(make_host: MakeHost, words: str) -> None:
    host = running(make_host(2))
    assert shown(host).able
    AILMENTS[words](host)
    assert not shown(host).able
    assert shown(host).unable_because.startswith(words)
    host.is_reached = True
    host.inbox.post(KafkaAnswers(True))
    host.advance(WELL_FOR - 0.5)
    assert not shown(host).able
    host.advance(1.0)
    assert shown(host).able
    assert not shown(host).unable_because


def put_host(host: FakeHost, name: str, able: bool) -> None:
    reason = "" if able else "etcd is slow"
    document = Host(0, "1", 1, "", now(), able=able, unable_because=reason)
    host.put(Put(host.keys.host(name), document.encode()))
    host.settle()


def test_nothing_moves_to_a_host_that_is_not_able(make_host: MakeHost) -> None:
    """However ready its standbys look; and what it owns it keeps. When it is well, it gets its share."""
    host = make_host(4)
    host.join("b")
    host.owner_on("b", host.partitions[3])
    running(host)
    put_host(host, "b", able=False)
    for partition in host.partitions[:3]:
        host.standby_on("b", partition)
    host.advance(60.0)
    assert not host.owners_told_to_leave()
    assert host.plan_of(host.partitions[3]) == "b"
    put_host(host, "b", able=True)
    host.advance(10.0)
    assert len(host.owners_told_to_leave()) == 1


def test_when_no_host_is_able_everything_goes_on_as_if_all_were(make_host: MakeHost) -> None:
    """That is, it is planned so: etcd or Kafka ails all of them, and nobody is worse than the others."""
    host = alone_with_b(make_host(2))
    put_host(host, "b", able=False)
    host.inbox.post(KafkaAnswers(False))
    host.advance(10.0)
    assert not shown(host).able
    assert sorted(host.plan_of(each) or "" for each in host.partitions) == ["a", "b"]


@pytest.mark.parametrize("others", [True, False])
def test_an_unable_host_is_the_last_that_a_dead_workers_lock_goes_to(make_host: MakeHost, others: bool) -> None:
    host = running(make_host(1, workers=1))
    for name in ("b", "c"):
        host.join(name)
    put_host(host, "b", able=False)
    standbys = {name: host.standby_on(name, P) for name in ("b", "c") if name == "b" or others}
    host.settle()
    host.exit(host.owner(P))
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == standbys["c" if others else "b"].worker


@pytest.mark.parametrize("is_silent", [True, False])
def test_nothing_moves_to_a_host_that_is_silent(make_host: MakeHost, is_silent: bool) -> None:
    host = alone_with_b(make_host(2))
    witness = FirstWitness(refused=False, seconds=2.0, others=1, answering=0)
    host.peers.suspicions = [Suspicion("b", "", witness)] if is_silent else []
    host.advance(30.0)
    assert bool(host.owners_told_to_leave()) != is_silent
