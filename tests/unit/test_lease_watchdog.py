"""The lease of an owner: renewed while its record loop moves, and what is said when that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import cast

import pytest

from partition_workers.clock import boottime
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.protocol import GotStuck, Report
from partition_workers.supervisor_pipe import SupervisorPipe
from tests.eventually import eventually
from tests.fakes.etcd import FakeEtcd

LIMIT = 0.4
#: Renewals of it come every twelve seconds: no test may have to wait for one.
TTL = 60.0


class FakeSupervisorPipe:
    def __init__(self) -> None:
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    @property
    def stuck(self) -> list[GotStuck]:
        return [each for each in self.told if isinstance(each, GotStuck)]


@pytest.fixture
def line() -> FakeSupervisorPipe:
    return FakeSupervisorPipe()


@pytest.fixture
def etcd() -> Iterator[FakeEtcd]:
    made = FakeEtcd()
    yield made
    made.close()


def own(etcd: FakeEtcd, line: FakeSupervisorPipe, limit: float = LIMIT) -> LeaseWatchdog:
    granted = etcd.grant(int(TTL))
    lease = LeaseWatchdog(etcd, granted.lease, TTL, cast(SupervisorPipe, line), InterruptFlag(), boottime, limit)
    lease.start()
    return lease


def test_a_loop_that_stands_still_is_noticed_soon_after_the_limit(etcd: FakeEtcd, line: FakeSupervisorPipe) -> None:
    """However rarely the lease is renewed; once, and with the place where it stands."""
    lease = own(etcd, line)
    begun = boottime()
    lease.watch_over(lambda: "here")

    eventually("it is noticed", lambda: line.stuck, deadline=LIMIT + 1.0)

    assert boottime() - begun >= LIMIT
    assert "test_ownership.py" in line.stuck[0].stack
    eventually("some more looks", lambda: boottime() - begun > 2 * LIMIT)
    assert len(line.stuck) == 1
    lease.stop()


@pytest.mark.parametrize("limit", [LIMIT, 0.0])
def test_a_loop_that_moves_or_has_no_limit_is_left_alone(
    etcd: FakeEtcd, line: FakeSupervisorPipe, limit: float
) -> None:
    """Nobody is suspected of anything."""
    lease = own(etcd, line, limit)
    places = count()
    begun = boottime()
    lease.watch_over(lambda: next(places) if limit else "here")

    eventually("twice the limit has passed", lambda: boottime() - begun > 2 * LIMIT)

    assert line.stuck == []
    lease.stop()
