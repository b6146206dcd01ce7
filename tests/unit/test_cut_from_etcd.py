"""A host that is cut off from etcd: what it says of itself and of the group is what it can know, and no more."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from partition_supervisor.host_metrics import HostMetrics
from partition_workers.errors import ExitCode
from partition_workers.layout.documents import Standby
from partition_workers.model import Partition
from partition_workers.protocol import (
    GaveUp,
    HandedOver,
    IsEnding,
    MadeProgress,
    RenewedLease,
    Report,
    Suspended,
    WasParked,
)
from tests.fakes.children import FakeChild
from tests.fakes.host import FakeHost, MakeHost, running

P, Q = Partition("t", 0), Partition("t", 1)


def metrics(host: FakeHost) -> HostMetrics:
    return host.supervisor.telemetry._read()


def unowned(host: FakeHost) -> Mapping[Partition, float]:
    found = metrics(host).unowned
    assert found is not None
    return found


def owning(host: FakeHost) -> FakeChild:
    """The owner of P, which has committed offset 7 and has renewed its lease just now."""
    owner = host.owner(P)
    host.report(owner, MadeProgress(7, 7))
    host.report(owner, RenewedLease(host.boottime() + host.config.lease_ttl))
    host.settle()
    return owner


def cut(host: FakeHost) -> None:
    """Neither the host nor its workers reach etcd any more, and the watch says nothing."""
    host.is_reached = host.watching = False


def cut_owner(host: FakeHost) -> FakeChild:
    """Suspended, as an owner says in time; and then its lease is over."""
    owner = owning(host)
    cut(host)
    host.advance(0.76 * host.config.lease_ttl)
    host.report(owner, Suspended())
    host.settle()
    assert set(metrics(host).owned) == {P}, "its lease is still good"
    host.mirrored.clear()
    host.advance(0.25 * host.config.lease_ttl)
    return owner


def test_an_owner_whose_lease_is_over_is_none(make_host: MakeHost) -> None:
    """Others own its partition by then: two owners would be told of, and the lag of the one that stands still."""
    host = running(make_host(1))
    cut_owner(host)
    found = metrics(host)
    assert (found.owned, found.offsets) == ({}, {})
    assert found.workers["suspended"] == 1


def test_its_offset_is_not_copied_over_that_of_the_next_owner(make_host: MakeHost) -> None:
    host = running(make_host(1))
    cut_owner(host)
    host.mirrored.clear()
    host.advance(60.0)
    assert host.mirrored == []


def test_it_is_one_again_when_its_lease_was_renewed(make_host: MakeHost) -> None:
    host = running(make_host(1))
    owner = cut_owner(host)
    host.report(owner, RenewedLease(host.boottime() + 60.0))
    host.settle()
    assert set(metrics(host).owned) == {P}
    host.advance(6.0)
    assert host.mirrored[-1] == {P: 7}


@pytest.mark.parametrize(
    "last",
    [
        IsEnding(""),
        WasParked(7, "why"),
        GaveUp(ExitCode.LOCK_LOST, "its lease is gone"),
        HandedOver(Standby("w", "b", 1, "1f"), 99, 7),
    ],
)
def test_who_has_let_go_owns_nothing_while_it_ends(make_host: MakeHost, last: Report) -> None:
    """A handler may take its time to close."""
    host = running(make_host(1))
    owner = owning(host)
    host.freeze(owner)
    host.report(owner, last)
    host.turn()
    assert metrics(host).owned == {}


# --- partitions without an owner


def with_an_owner_killed_while_cut_off(make_host: MakeHost) -> tuple[FakeHost, float]:
    """Because it was late. And the seconds without an owner until then."""
    host = running(make_host(2))
    owner = owning(host)
    before = metrics(host).unowned_seconds
    cut(host)
    host.advance(0.91 * host.config.lease_ttl)
    host.background.held = True
    host.exit(owner)
    return host, before


def test_nothing_is_said_of_what_cannot_be_known(make_host: MakeHost) -> None:
    """An owner is killed while the host is cut off, because it was late: who has its partition is not seen here."""
    host, before = with_an_owner_killed_while_cut_off(make_host)
    host.advance(1.0)
    assert metrics(host).unowned is None
    host.advance(600.0)
    assert metrics(host).unowned is None
    assert metrics(host).unowned_seconds == before


def test_it_is_told_again_when_etcd_answers(make_host: MakeHost) -> None:
    """What was not seen does not count: here the partition got another owner meanwhile, and elsewhere it did not."""
    host, before = with_an_owner_killed_while_cut_off(make_host)
    host.advance(600.0)
    host.is_reached = True
    host.turn()
    assert unowned(host) == {P: pytest.approx(0.0, abs=0.2)}
    host.advance(2.0)
    assert unowned(host) == {P: pytest.approx(2.0, abs=0.3)}
    host.watching = True
    host.background.held = False
    host.settle()
    host.warm_up_all()
    host.advance(1.0)
    assert unowned(host) == {}
    assert metrics(host).unowned_seconds - before == pytest.approx(2.0, abs=0.5)


def test_it_counts_whether_or_not_anybody_asks(make_host: MakeHost) -> None:
    host = running(make_host(1))
    before = metrics(host).unowned_seconds
    host.background.held = True
    host.exit(host.owner(P))
    host.advance(60.0)
    assert unowned(host) == {P: pytest.approx(60.0, abs=1.0)}
    assert metrics(host).unowned_seconds - before == pytest.approx(60.0, abs=1.0)


def test_a_loop_that_stood_still_does_not_count_what_it_did_not_see(make_host: MakeHost) -> None:
    """It has renewed its lease by the time it looks again; who was without an owner meanwhile is not known."""
    host = running(make_host(1))
    host.background.held = True
    host.exit(host.owner(P))
    host.turn()
    before = metrics(host).unowned_seconds
    host.jump(600.0)
    host.tell_of_itself()
    assert metrics(host).unowned_seconds - before < 1.0


def test_a_late_owner_that_dies_after_others_took_over_leaves_nothing_without_an_owner(make_host: MakeHost) -> None:
    host = running(make_host(1))
    owner = owning(host)
    host.join("b")
    held = host.lock_of(P)
    assert held is not None
    host.store.revoke(owner.settings.lease)
    host.owner_on("b", P)
    host.settle()
    host.exit(owner, 75)
    host.turn()
    assert unowned(host) == {}
