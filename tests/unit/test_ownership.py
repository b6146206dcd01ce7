"""The lease of an owner: renewed while its record loop moves, and what is said when that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import cast

import pytest

from tests.eventually import eventually
from tests.fakes.etcd import FakeEtcd
from workers.attention import Attention
from workers.clock import boottime
from workers.line import Line
from workers.ownership import OwnLease
from workers.protocol import GotStuck, Report

LIMIT = 0.4
#: Renewals of it come every twelve seconds: no test may have to wait for one.
TTL = 60.0


class FakeLine:
    def __init__(self) -> None:
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    @property
    def stuck(self) -> list[GotStuck]:
        return [each for each in self.told if isinstance(each, GotStuck)]


@pytest.fixture
def line() -> FakeLine:
    return FakeLine()


@pytest.fixture
def etcd() -> Iterator[FakeEtcd]:
    made = FakeEtcd()
    yield made
    made.close()


def own(etcd: FakeEtcd, line: FakeLine, limit: float = LIMIT) -> OwnLease:
    granted = etcd.grant(int(TTL))
    lease = OwnLease(etcd, granted.lease, TTL, cast(Line, line), Attention(), boottime, limit)
    lease.start()
    return lease


def test_a_loop_that_stands_still_is_noticed_soon_after_the_limit(etcd: FakeEtcd, line: FakeLine) -> None:
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
def test_a_loop_that_moves_or_has_no_limit_is_left_alone(etcd: FakeEtcd, line: FakeLine, limit: float) -> None:
    """Nobody is suspected of anything."""
    lease = own(etcd, line, limit)
    places = count()
    begun = boottime()
    lease.watch_over(lambda: next(places) if limit else "here")

    eventually("twice the limit has passed", lambda: boottime() - begun > 2 * LIMIT)

    assert line.stuck == []
    lease.stop()
