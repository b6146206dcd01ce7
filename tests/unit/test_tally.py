"""What a host counts: it only grows, whatever becomes of workers, and there is no more of it after many kills."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from partition_supervisor.control.tally import LEAST_OF, Unowned
from partition_supervisor.control.telemetry import Telemetry
from partition_supervisor.host_metrics import HostMetrics, PartitionTotals
from partition_supervisor.processes.exit_reason import ExitReason
from partition_workers.counts import COMMIT_BOUNDS, Counts
from partition_workers.errors import ExitCode
from partition_workers.model import Partition
from partition_workers.protocol import GaveUp, IsEnding, MadeProgress, RenewedLease, Resumed, Suspended
from tests.fakes.clock import FakeClock
from tests.fakes.host import FakeHost, MakeHost, running, send

P, Q = Partition("t", 0), Partition("t", 1)
BUCKETS = len(COMMIT_BOUNDS) + 1


def counts(records: int, commits: int = 0) -> Counts:
    return Counts(
        records, records / 1000, commits=commits, commit_seconds=commits / 100,
        commit_buckets=(0, commits, *(0,) * (BUCKETS - 2)),
    )  # fmt: skip


def metrics(host: FakeHost) -> HostMetrics:
    return telemetry(host)._read()


def unowned(host: FakeHost) -> Mapping[Partition, float]:
    found = metrics(host).unowned
    assert found is not None
    return found


def telemetry(host: FakeHost) -> Telemetry:
    return host.supervisor.telemetry


def series(found: HostMetrics) -> int:
    """How many numbers there are to tell."""
    parts: tuple[Mapping[Any, Any], ...] = (
        found.workers, found.pids, found.owned, found.totals, found.unowned or {}, found.exits, found.gap,
        found.ownerships,
    )  # fmt: skip
    return sum(len(each) for each in parts)


def test_what_workers_have_counted_outlives_them(make_host: MakeHost) -> None:
    """The next owner begins at nothing; the host goes on from what it had."""
    host = running(make_host(1))
    for _ in range(3):
        host.report(host.owner(P), MadeProgress(5, 5, counts(5, 2)))
        host.report(host.owner(P), MadeProgress(9, 9, counts(9, 3)))
        host.settle()
        host.exit(host.owner(P))
        host.advance(1.0)
        host.warm_up_all()
    found = metrics(host)
    assert (found.totals[P].records, found.totals[P].commits) == (27, 9)
    assert found.totals[P].handler_seconds == pytest.approx(0.027)
    assert found.commit_seconds is not None
    assert (sum(found.commit_seconds.buckets), found.commit_seconds.buckets[1]) == (9, 9)
    assert found.commit_seconds.sum == pytest.approx(0.09)


def test_the_last_word_of_a_worker_counts(make_host: MakeHost) -> None:
    """What it did since its last report."""
    host = running(make_host(1))
    child = host.owner(P)
    host.report(child, MadeProgress(5, 5, counts(5)))
    host.report(child, IsEnding("", counts(8)))
    host.settle()
    assert metrics(host).totals[P].records == 8


def test_many_kills_make_no_more_series(make_host: MakeHost) -> None:
    host = running(make_host(2))
    sizes = set()
    for _ in range(20):
        host.report(host.owner(P), MadeProgress(5, 5, counts(5), (1, 10), {"first_record": 20.0}))
        host.settle()
        sizes.add(series(metrics(host)))
        host.exit(host.owner(P))
        host.advance(1.0)
        host.warm_up_all()
    assert len(sizes) == 1
    assert metrics(host).exits[ExitReason.KILLED] == 20


@pytest.mark.parametrize(
    ("code", "is_killed", "reason"),
    [
        (-signal.SIGKILL, False, ExitReason.KILLED),
        (-signal.SIGKILL, True, ExitReason.KILLED_BY_SUPERVISOR),
        (-signal.SIGSEGV, False, ExitReason.SIGNAL),
        (0, False, ExitReason.CODE),
        (1, False, ExitReason.CODE),
        (ExitCode.HANDLER_GAVE_UP, False, ExitReason.PARKED),
        (ExitCode.LOCK_LOST, False, ExitReason.LOCK_LOST),
        (ExitCode.MISCONFIGURED, False, ExitReason.MISCONFIGURED),
        (255, False, ExitReason.UNKNOWN),
    ],
)
def test_each_end_has_a_reason(make_host: MakeHost, code: int, is_killed: bool, reason: ExitReason) -> None:
    host = running(make_host(1))
    child = host.owner(P)
    if is_killed:
        child.kill()
    host.exit(child, int(code), GaveUp(int(code), "why") if code in (70, 75, 78) else None)
    host.advance(0.1)
    assert metrics(host).exits[reason] == 1
    assert sum(metrics(host).exits.values()) == 1


def test_a_worker_that_leaves_as_told_has_stopped(make_host: MakeHost) -> None:
    host = running(make_host(1))
    send(host, signal.SIGTERM)
    host.advance(1.0)
    assert metrics(host).exits[ExitReason.STOPPED] >= 1


def test_ownerships_are_counted_by_cause(make_host: MakeHost) -> None:
    host = running(make_host(2))
    before = metrics(host).ownerships
    telemetry(host).tally.took_lock("taken-over")
    telemetry(host).tally.took_lock("something new")
    after = metrics(host).ownerships
    assert {cause: after[cause] - before[cause] for cause in after} == {
        "acquired": 0, "handed-over": 0, "taken-over": 1,
    }  # fmt: skip


def test_phases_of_a_gap_are_told_in_seconds(make_host: MakeHost) -> None:
    """A clock that was set back meanwhile makes none of them negative."""
    host = running(make_host(1))
    gap = {"exit_seen": -3.0, "first_record": 19.0, "foreign": 1.0}
    host.report(host.owner(P), MadeProgress(5, 5, counts(5), None, gap))
    host.settle()
    found = metrics(host).gap
    assert found["first_record"].sum == pytest.approx(0.019)
    assert (sum(found["exit_seen"].buckets), found["exit_seen"].sum) == (1, 0.0)
    assert set(found) == {"exit_seen", "lock_taken", "state_loaded", "first_record"}


def test_a_suspended_owner_counts_while_it_lasts_and_after(make_host: MakeHost) -> None:
    host = running(make_host(1))
    owner = host.owner(P)
    host.report(owner, MadeProgress(5, 5, counts(5)))
    host.report(owner, Suspended())
    host.settle()
    host.advance(2.0)
    assert metrics(host).totals[P].suspended_seconds == pytest.approx(2.0, abs=0.01)
    assert metrics(host).workers["suspended"] == 1
    host.report(owner, Resumed())
    host.settle()
    host.advance(3.0)
    assert metrics(host).totals[P].suspended_seconds == pytest.approx(2.0, abs=0.01)


def test_the_least_that_was_left_of_a_lease_is_remembered_for_a_while(make_host: MakeHost) -> None:
    host = running(make_host(1))
    owner = host.owner(P)
    assert metrics(host).least_lease_left is None

    def renew() -> None:
        host.report(owner, RenewedLease(host.boottime() + 5.0))
        host.settle()

    renew()
    host.jump(4.0)
    renew()
    host.jump(1.0)
    renew()
    assert metrics(host).least_lease_left == pytest.approx(1.0, abs=0.01)
    for _ in range(2):
        host.jump(LEAST_OF / 2)
        owner.deadline = host.boottime() + 3.0
        renew()
        host.jump(LEAST_OF)
        owner.deadline = host.boottime() + 3.0
        renew()
    assert metrics(host).least_lease_left == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("is_asked", [False, True])
def test_the_least_is_forgotten_when_nothing_is_renewed_any_more(make_host: MakeHost, is_asked: bool) -> None:
    """The host owns nothing now: what its last owner had left is no news for ever, whether or not anybody asked."""
    host = running(make_host(1))
    owner = host.owner(P)
    owner.deadline = host.boottime() + 1.2
    host.report(owner, RenewedLease(host.boottime() + 5.0))
    host.settle()
    for _ in range(3):
        host.jump(LEAST_OF / 2)
        if is_asked:
            assert metrics(host).least_lease_left is None or host.clock() < 1_000.0 + 2.2 * LEAST_OF
    host.jump(LEAST_OF / 2)
    assert metrics(host).least_lease_left is None


def test_a_partition_can_be_counted_before_there_is_anything_to_count(make_host: MakeHost) -> None:
    """A counter that is first seen at 1 has not grown, to who asks by how much it did."""
    host = make_host(2).open()
    assert metrics(host).totals == {}
    host.warm_up_all()
    assert metrics(host).totals == {P: PartitionTotals(), Q: PartitionTotals()}
    host.report(host.owner(P), MadeProgress(1, 1, replace(counts(1), skipped=1)))
    host.settle()
    assert (metrics(host).totals[P].skipped, metrics(host).totals[Q].skipped) == (1, 0)


# --- partitions without an owner


def test_a_dead_owners_partition_has_none_until_the_lock_is_another_ones(make_host: MakeHost) -> None:
    host = running(make_host(2))
    assert unowned(host) == {}
    before = metrics(host).unowned_seconds
    host.background.held = True
    host.exit(host.owner(P))
    host.turn()
    host.jump(0.5)
    assert unowned(host) == {P: pytest.approx(0.5, abs=0.01)}
    host.background.held = False
    host.settle()
    host.warm_up_all()
    host.advance(1.0)
    assert unowned(host) == {}
    assert metrics(host).unowned_seconds - before == pytest.approx(0.5, abs=0.2)


def test_a_parked_partition_needs_no_owner(make_host: MakeHost) -> None:
    clock = FakeClock()
    unowned = Unowned(clock)
    unowned.look(P, None, True)
    clock.advance(2.0)
    unowned.look(P, None, False)
    clock.advance(2.0)
    assert (unowned.lengths(), unowned.seconds) == ({}, 2.0)


# --- ready


def test_a_host_is_ready_when_all_its_workers_are(make_host: MakeHost) -> None:
    """And stays so while any is: people kill workers all day."""
    host = make_host(2).open()
    assert metrics(host).reason == "0 of 2 workers are ready"
    host.warm_up_all()
    host.advance(1.0)
    assert metrics(host).is_ready
    host.exit(host.owner(P))
    host.settle()
    assert metrics(host).is_ready
    host.exit(host.owner(Q))
    host.settle()
    assert metrics(host).reason == "none of 2 workers is ready"


def test_a_host_that_stops_is_not_ready(make_host: MakeHost) -> None:
    host = running(make_host(1))
    send(host, signal.SIGTERM)
    assert (metrics(host).is_ready, metrics(host).reason) == (False, "it is stopping")


def test_who_asks_is_answered_by_the_loop_or_with_what_it_said_last(make_host: MakeHost) -> None:
    host = running(make_host(1))
    held = telemetry(host)
    assert held.ask().hosts == 0, "the loop stands still"
    assert held.ask().hosts == 0, "and is not waited for again"
    host.advance(0.2)
    assert held.ask().hosts == 1
    assert replace(held.ask(), at=0.0).is_ready
