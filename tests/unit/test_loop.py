"""The supervisor's loop: its rounds, and what it does at its own pace."""

from __future__ import annotations

import signal

import pytest

from partition_supervisor.control.failover import CONFIRM_WITHIN
from partition_supervisor.control.planner import Planner
from partition_supervisor.control.reconcile import LONGEST_REST
from partition_supervisor.events import BackgroundCallDone
from partition_supervisor.inbox import MOST_POSTED
from partition_workers.errors import Refused
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Cause, Lock, now
from partition_workers.model import Partition
from partition_workers.protocol import (
    AnswerPing,
    BecomeOwner,
    Compete,
    Leave,
    MadeProgress,
    RenewedLease,
    WasToldToLeave,
)
from tests.fakes.host import FakeHost, MakeHost, owned_elsewhere, running, send

P, Q = Partition("t", 0), Partition("t", 1)


def test_usr1_asks_all_for_their_stacks(make_host: MakeHost) -> None:
    """By the signal that faulthandler listens to."""
    host = running(make_host(2))
    send(host, signal.SIGUSR1)
    assert all(child.signals == [signal.SIGUSR1] for child in host.children.living)


def test_what_is_committed_is_copied_to_kafka_now_and_then(make_host: MakeHost) -> None:
    """Owned here; nothing else."""
    host = running(make_host(1))
    host.report(host.owner(P), MadeProgress(7, 7))
    host.advance(10.0)
    assert host.mirrored[-1] == {P: 7}


# --- rounds


def flood(host: FakeHost, seconds_each: float = 0.0) -> None:
    """Posts that keep coming, for ever, some hundreds in each round; to handle one takes so long."""

    def again() -> None:
        host.jump(seconds_each)
        host.inbox.post(BackgroundCallDone(again))

    for _ in range(1000):
        host.inbox.post(BackgroundCallDone(again))


def test_posts_that_keep_coming_hold_up_neither_exits_nor_reports(make_host: MakeHost) -> None:
    """They are handled in the very next round: somebody waits for the next record, and leases are judged by them."""
    host = running(make_host(2))
    dead, living = host.owner(P), host.owner(Q)
    flood(host)
    host.turn()
    host.exit(dead)
    host.report(living, RenewedLease(host.boottime() + 5.0))
    host.background.held = True
    host.turn()
    assert host.children.get(dead.worker) is None
    assert host.background.open == 1, "its lock is being passed on"
    assert living.deadline == host.boottime() + 5.0


def test_posts_that_keep_coming_hold_up_no_timer(make_host: MakeHost) -> None:
    """A round ends, however many of them there are."""
    host = running(owned_elsewhere(make_host()))
    before = len(host.standby(P).orders(AnswerPing))
    flood(host, 0.001)
    for _ in range(int(3 * host.config.lease_ttl / (MOST_POSTED * 0.001))):
        host.turn()
    assert len(host.standby(P).orders(AnswerPing)) > before


def test_an_owner_is_judged_by_what_had_been_read_of_it(make_host: MakeHost) -> None:
    """It renews its lease in time all the while. Its reports wait for the next round, and rounds take long."""
    host = running(make_host())
    child, renewed = host.owner(P), [0.0]

    def renew() -> None:
        if host.boottime() - renewed[0] >= host.config.lease_ttl / 5:
            renewed[0] = host.boottime()
            host.report(child, RenewedLease(host.boottime() + host.config.lease_ttl))

    def again() -> None:
        host.jump(0.9 * host.config.lease_ttl / MOST_POSTED)
        renew()
        host.inbox.post(BackgroundCallDone(again))

    host.supervisor._lease_monitor.check_every = host.config.lease_ttl  # rounds as long as these are no freeze
    for _ in range(2 * MOST_POSTED):
        host.inbox.post(BackgroundCallDone(again))
    for _ in range(20):
        host.turn()
        host.supervisor._lease_monitor.check()
        assert not child.signals


def test_plans_are_made_once_a_round_and_after_who_was_named_is_told(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many changes there were."""
    host = running(owned_elsewhere(make_host(20, workers=20)))
    host.freeze(*host.children.living)
    told: list[int] = []
    make = Planner.make

    def counted(self: Planner, hosts: dict[str, int], held: bool) -> dict[Partition, int]:
        told.append(sum(len(child.orders(BecomeOwner)) for child in host.children.living))
        return make(self, hosts, held)

    monkeypatch.setattr(Planner, "make", counted)
    for partition in host.partitions:
        child = host.standby(partition)
        assert child.standby is not None
        lock = Lock.naming(child.standby, Cause.TAKEN_OVER, now(), 0)
        host.put(Put(host.keys.lock(partition), lock.encode(), child.settings.lease))
    host.turn()
    assert told == [20]


def test_changes_that_keep_coming_leave_most_of_the_time_to_exits_and_reports(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where plans take long there is none in most rounds, but one soon after the last change."""
    host = running(make_host(4))
    make, planned = Planner.make, []

    def slow(self: Planner, hosts: dict[str, int], held: bool) -> dict[Partition, int]:
        planned.append(host.clock())
        host.jump(0.004)
        return make(self, hosts, held)

    monkeypatch.setattr(Planner, "make", slow)
    begun = host.clock()
    while host.clock() < begun + 1.0:
        host.standby_on("b", P)
        host.jump(0.001)
        host.turn()
    assert 0.1 < 0.004 * len(planned) < 0.3
    last = host.clock()
    host.standby_on("b", P)
    host.turn()
    host.advance(LONGEST_REST)
    assert planned[-1] >= last


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), KeyError("a"), Refused("no"), MemoryError(), RuntimeError("no thread")]
)
def test_a_call_that_fails_leaves_no_dead_worker_behind(make_host: MakeHost, error: Exception) -> None:
    """Nobody could be named. But it is reaped, its crash is counted, its lease ended; so its lock is free."""
    host = running(make_host())
    dead = host.owner(P)
    host.background.errors = [error]
    host.exit(dead, -11)
    host.settle()
    assert host.children.reaped == [dead]
    assert host.store.renew(dead.settings.lease).ttl == 0
    assert host.supervisor._failover.pending_exits == 0
    host.warm_up_all()
    host.advance(1.0)
    assert host.owner(P).orders(Compete)[-1].deaths == 1


def test_a_successor_is_checked_again_when_checking_failed(make_host: MakeHost) -> None:
    """It may be dead for all we know."""
    host = make_host()
    host.join("b")
    running(host)
    named = host.standby_on("b", P)
    host.settle()
    host.exit(host.owner(P))
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == named.worker
    host.warm_up_all()
    host.advance(0.1)
    host.fall_silent(named)
    host.background.errors = [ValueError("nobody expected this")]
    host.advance(CONFIRM_WITHIN)
    assert not host.background.errors
    assert (host.lock_of(P) or ("",))[0] == named.worker
    host.advance(2 * CONFIRM_WITHIN)
    assert host.owner(P)


def test_a_worker_whose_pipe_breaks_is_followed_by_another(make_host: MakeHost) -> None:
    """It hears no order any more, and ends by itself as if there were no supervisor."""
    host = running(make_host())
    child = host.owner(P)
    host.freeze(child)
    child.is_cut_off = True
    host.report(child, WasToldToLeave())
    host.settle()
    assert not child.orders(Leave)
    host.thaw()
    host.warm_up_all()
    host.advance(1.0)
    assert host.owner(P) is not child
