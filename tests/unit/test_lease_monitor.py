"""Leases: renewed for standbys that answer, and the end of owners that are late and do not say so."""

from __future__ import annotations

import signal

import pytest

from partition_supervisor.events import (
    LeaseGone,
)
from partition_supervisor.processes.child import UNANSWERED
from partition_workers.model import Partition
from partition_workers.protocol import (
    AnswerPing,
    GotStuck,
    LoadsState,
    RenewedLease,
    Suspended,
    TookLock,
)
from tests.fakes.children import FakeChild
from tests.fakes.host import FakeHost, MakeHost, owned_elsewhere, running

P, Q = Partition("t", 0), Partition("t", 1)


def test_a_stuck_worker_gets_a_term_and_a_second_later_a_kill(make_host: MakeHost) -> None:
    """A handler that does not return cannot hand over."""
    host = running(make_host())
    child = host.owner(P)
    host.report(child, GotStuck(60.0, "there"))
    host.settle()
    assert child.signals == [signal.SIGTERM]
    host.advance(0.9)
    assert not child.killed
    host.advance(0.2)
    assert child.killed


def renew(host: FakeHost, child: FakeChild) -> None:
    host.report(child, RenewedLease(host.boottime() + host.config.lease_ttl))
    host.settle()


def test_an_owner_that_is_late_and_does_not_say_so_is_killed(make_host: MakeHost) -> None:
    """At nine tenths of its lease's time, before anybody else can own the partition."""
    host = running(make_host())
    child = host.owner(P)
    renew(host, child)
    host.advance(host.config.lease_ttl * 0.9 - 0.05)
    assert not child.killed
    host.advance(0.3)
    assert child.signals == [signal.SIGUSR1, signal.SIGKILL]


def test_an_owner_that_says_that_it_is_suspended_lives(make_host: MakeHost) -> None:
    """It starts no record, and will notice by itself that the lock is lost."""
    host = running(make_host())
    child = host.owner(P)
    renew(host, child)
    host.advance(host.config.lease_ttl * 0.75)
    host.report(child, Suspended())
    host.advance(host.config.lease_ttl * 10)
    assert not child.signals


def test_a_worker_that_loads_its_state_is_not_ended_for_being_late(make_host: MakeHost) -> None:
    """It handles nothing yet, and a way that is slow for its state is slow for its lease as well."""
    host = make_host()
    host.freeze(*host.open().children.living)
    (child,) = host.children.living
    host.warm_up(child)
    host.settle()
    assert host.keeper.is_renewed(child.settings.lease)
    host.report(child, LoadsState(99, 1))
    renew(host, child)
    assert (child.token, child.deaths, child.is_ready) == (99, 1, False)
    assert not host.keeper.is_renewed(child.settings.lease), "it does so itself"
    host.advance(3 * host.config.lease_ttl)
    assert not child.signals
    host.report(child, TookLock(99, 0, 1))
    host.settle()
    host.advance(0.5)
    assert child.killed


def test_a_standby_that_renews_its_lease_itself_is_not_ended_for_being_late(make_host: MakeHost) -> None:
    """It was named, and etcd was slow to confirm it; or it then missed the lock. It handles nothing."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    renew(host, child)
    host.advance(3 * host.config.lease_ttl)
    assert not child.signals


def test_a_host_that_was_frozen_kills_nobody_whose_renewals_wait_in_the_pipe(make_host: MakeHost) -> None:
    """Nor anybody whose renewal comes a moment after the thaw."""
    host = running(make_host(2))
    early, late = host.owner(P), host.owner(Q)
    renew(host, early)
    renew(host, late)
    host.jump(100.0)
    host.report(early, RenewedLease(host.boottime() + 5))
    host.settle()
    host.advance(0.5)
    renew(host, late)
    host.advance(2.0)
    assert not early.signals
    assert not late.signals


def test_a_frozen_host_that_thaws_still_kills_who_stays_late(make_host: MakeHost) -> None:
    """Grace is not forgiveness."""
    host = running(make_host())
    child = host.owner(P)
    renew(host, child)
    host.jump(100.0)
    host.settle()
    host.advance(host.config.lease_ttl / 2)
    assert child.killed


def test_pings_end_when_nobody_answers(make_host: MakeHost) -> None:
    """The pipe of a stopped process must not fill up."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    before = len(child.orders(AnswerPing))
    host.freeze(child)
    host.advance(100 * host.config.lease_ttl)
    assert UNANSWERED - 2 <= len(child.orders(AnswerPing)) - before <= UNANSWERED


def test_the_lease_of_a_standby_that_does_not_answer_is_not_renewed(make_host: MakeHost) -> None:
    """One that answers is renewed for ever."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.advance(100.0)
    assert host.keeper.is_renewed(child.settings.lease)
    host.freeze(child)
    host.advance(host.config.lease_ttl)
    assert not host.keeper.is_renewed(child.settings.lease)


@pytest.mark.parametrize("frozen", [4.0, 10.0, 60.0])
def test_a_standby_that_was_stopped_and_goes_on_is_of_use_again(make_host: MakeHost, frozen: float) -> None:
    """Its lease is renewed again, or it is replaced: it is not forgotten, however long it was stopped."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.freeze(child)
    host.advance(frozen)
    if frozen > host.config.lease_ttl:
        host.store.expire(child.settings.lease)
    host.thaw()
    for _ in range(10):
        host.advance(1.0)
        host.keeper.round(host.store)
    host.warm_up_all()
    ready = host.standby(P)
    assert host.keeper.is_renewed(ready.settings.lease)
    assert ready.worker in host.cluster.standbys[P]


def test_a_standby_whose_lease_is_gone_is_replaced(make_host: MakeHost) -> None:
    """It could never own anything."""
    host = running(owned_elsewhere(make_host()))
    child = host.standby(P)
    host.inbox.post(LeaseGone(child.settings.lease))
    host.settle()
    assert child.exit_code == 0
    host.warm_up_all()
    assert host.standby(P) is not child


def test_an_owner_renews_its_lease_itself(make_host: MakeHost) -> None:
    """The supervisor could not tell whether it makes progress."""
    host = running(make_host())
    assert host.owner(P).settings.lease not in host.keeper.kept


def test_a_host_whose_lease_is_gone_enters_anew(make_host: MakeHost) -> None:
    """Its key is there again."""
    host = running(make_host())
    found = host.store.get(host.keys.host("a"))
    assert found is not None
    host.store.expire(found.lease)
    assert host.store.get(host.keys.host("a")) is None
    host.inbox.post(LeaseGone(found.lease))
    host.settle()
    assert host.store.get(host.keys.host("a"))
