"""Workers that are replaced: the replacement first, one after the other."""

from __future__ import annotations

import signal

from partition_supervisor.control.loop import TICK
from partition_workers.model import Partition
from partition_workers.protocol import (
    MadeProgress,
)
from tests.fakes.host import MakeHost, running, send

P = Partition("t", 0)


def test_hup_replaces_all_one_at_a_time_the_replacement_first(make_host: MakeHost) -> None:
    """From a new fork server; nobody goes before there is somebody ready."""
    host = running(make_host(3, workers=3))
    old = host.children.living
    assert len(old) == 3
    send(host, signal.SIGHUP)
    assert host.fork_server.renewed == 1
    for _ in range(60):
        host.advance(TICK)
        assert len(host.children.living) <= 4
        assert sum(child.is_leaving for child in host.children.living) <= 1
        assert all(host.lock_of(partition) for partition in host.partitions)
        host.warm_up_all()
    assert not {child.worker for child in old} & {child.worker for child in host.children.living}
    assert len(host.children.living) == 3
    assert all(host.owner(partition) for partition in host.partitions)


def test_a_worker_that_has_handled_enough_is_replaced_first_and_then_leaves(make_host: MakeHost) -> None:
    """An owner is retired when somebody is ready to follow it."""
    host = running(make_host(1, workers=1, max_records=100))
    child = host.owner(P)
    host.report(child, MadeProgress(1000, 1000))
    host.settle()
    host.advance(1.0)
    assert not child.is_leaving
    assert len(host.on(P)) == 2
    host.warm_up_all()
    host.advance(1.0)
    assert child.exit_code == 0
    assert host.owner(P)
