"""The lease of an owner: renewed while its record loop moves, and what is said when that stands still."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import cast

import pytest

from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.protocol import GotStuck, RenewedLease, Report
from partition_workers.supervisor_pipe import SupervisorPipe
from tests.eventually import eventually
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd

LIMIT = 0.4
SOON = 0.5
#: Renewals of it come every twelve seconds: no test may have to wait for one.
TTL = 60.0


class Pauses(threading.Event):
    """The pauses between two looks at the record loop: each takes its time by the clock of the test, when told to."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self._begun, self._told = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self._begun.release()
        self._told.acquire()
        self._clock.advance(timeout or 0.0)
        return self.is_set()

    def set(self) -> None:
        super().set()
        self.let_pass()

    def let_pass(self) -> None:
        """One of them."""
        self._told.release()

    def await_look(self) -> None:
        """Once the thread pauses, let that time pass, and come back when it has looked and pauses again."""
        assert self._begun.acquire(timeout=10.0), "nobody looks"
        self.let_pass()
        assert self._begun.acquire(timeout=10.0), "no second look"
        self._begun.release()


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


class Watched:
    """A lease, its watchdog, and their time."""

    def __init__(self, etcd: FakeEtcd, pipe: FakeSupervisorPipe, limit: float) -> None:
        self.clock = FakeClock(1000.0)
        self.pauses = Pauses(self.clock)
        granted = etcd.grant(int(TTL))
        self.lease = LeaseWatchdog(
            etcd, granted.lease, TTL, cast(SupervisorPipe, pipe), InterruptFlag(), self.clock, limit
        )
        self.lease._stopped = self.pauses  # its thread looks at it when it has begun, and not before
        self.lease.start()


def test_a_loop_that_stands_still_is_noticed_soon_after_the_limit(etcd: FakeEtcd, line: FakeSupervisorPipe) -> None:
    """However rarely the lease is renewed; once, and with the place where it stands."""
    watched = Watched(etcd, line, LIMIT)
    watched.lease.watch_over(lambda: "here")
    begun = watched.clock()

    while not line.stuck:
        watched.pauses.await_look()
        assert watched.clock() - begun <= LIMIT + SOON

    assert line.stuck[0].seconds >= LIMIT
    assert Path(__file__).name in line.stuck[0].stack
    for _ in range(10):
        watched.pauses.await_look()
    assert len(line.stuck) == 1
    watched.lease.stop()


def test_a_loop_that_moves_is_left_alone(etcd: FakeEtcd, line: FakeSupervisorPipe) -> None:
    """Nobody is suspected of anything."""
    watched = Watched(etcd, line, LIMIT)
    places = count()
    watched.lease.watch_over(lambda: next(places))
    begun = watched.clock()

    while watched.clock() - begun < 5 * LIMIT:
        watched.pauses.await_look()

    assert line.stuck == []
    watched.lease.stop()


def test_without_a_limit_the_lease_of_a_loop_that_stands_still_is_renewed(
    etcd: FakeEtcd, line: FakeSupervisorPipe
) -> None:
    """For as long as it likes."""
    watched = Watched(etcd, line, 0.0)
    watched.lease.watch_over(lambda: "here")
    watched.pauses.let_pass()

    def time_passes() -> bool:
        watched.clock.advance(1.0)
        with watched.lease._keeper._changed:
            watched.lease._keeper._changed.notify_all()
        return sum(isinstance(each, RenewedLease) for each in line.told) > 5

    eventually("it is renewed again and again", time_passes)

    assert line.stuck == []
    watched.lease.stop()
