"""A worker that never owns anything: ready, told to leave, gone."""

from __future__ import annotations

from typing import cast

import pytest

from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader
from workers.attention import Attention
from workers.clock import boottime
from workers.documents import Standby, now
from workers.errors import ExitCode
from workers.etcd_options import EtcdOptions
from workers.handler import Handler
from workers.keys import Keys
from workers.line import Line
from workers.model import Partition
from workers.protocol import BecameReady, Leave, Order, Report, WorkerSettings
from workers.states import Life, State
from workers.worker import Worker

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
LEASE = 4711


class FakeLine:
    """To a supervisor that wants it to leave, or is gone."""

    def __init__(self, orphaned: bool) -> None:
        self.orphaned = orphaned
        self.told: list[Report] = []

    def tell(self, report: Report) -> None:
        self.told.append(report)

    def next_order(self, timeout: float | None = None) -> Order | None:
        return Leave()


@pytest.mark.parametrize("orphaned", [True, False])
def test_a_standby_that_ends_is_a_standby_no_more(orphaned: bool) -> None:
    """Its supervisor ends its lease once it has seen it go; without one it does so itself."""
    etcd, line, life = FakeEtcd(), FakeLine(orphaned), Life()
    me = Standby("me", "here", 1, f"{LEASE:x}", now())
    settings = WorkerSettings(
        P, me.worker, me.host, LEASE, "h:handle", KEYS, EtcdOptions(("etcd:2379",)), {}, "topic-id", "earliest",
        5, 0.1, 60.0, 0, "stop", None, 3, 0, 20,
    )  # fmt: skip
    worker = Worker(
        settings, me, etcd, FakeReader([], P, lambda _seconds: None), Handler(print), cast(Line, line), Attention(),
        life, boottime,
    )  # fmt: skip

    assert worker.live() is ExitCode.OK

    assert line.told == [BecameReady(me)]
    assert life.state is State.STOPPED
    assert (etcd.get(KEYS.standby(P, me.worker)) is None) == orphaned
    assert (etcd.renew(LEASE).ttl == 0) == orphaned
