"""Workers that are replaced: the replacement first, one after the other."""

from __future__ import annotations

import logging
import signal

import pytest

from partition_supervisor.control.loop import TICK
from partition_supervisor.control.rolling_restart import NEXT_AFTER
from partition_workers.errors import Misconfigured
from partition_workers.model import Partition
from partition_workers.protocol import Leave, MadeProgress
from tests.fakes.host import MakeHost, running, send

P = Partition("t", 0)


def test_hup_replaces_all_one_at_a_time_the_replacement_first(make_host: MakeHost) -> None:
    """From a new fork server; nobody goes before there is somebody ready."""
    host = running(make_host(3, workers=3))
    old = host.children.living
    assert len(old) == 3
    send(host, signal.SIGHUP)
    assert len(host.fork_server.adopted) == 1
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


def test_an_owner_hands_over_to_its_replacement_here_though_others_are_ready(make_host: MakeHost) -> None:
    """They may run the old code, and would have twice the work for a while."""
    host = make_host(2, workers=2, rebalance_delay=3600.0)
    running(host)
    host.join("b")
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.settle()
    send(host, signal.SIGHUP)
    for _ in range(60):
        host.advance(TICK)
        host.warm_up_all()
        for partition in host.partitions:
            assert host.owner(partition), "it never left this host"
    assert all(child.orders(Leave) == [] for child in host.children.living)


def test_a_replacement_that_does_not_get_ready_holds_up_no_other(make_host: MakeHost) -> None:
    """It is the next one's turn; and its own comes again."""
    host = running(make_host(2, workers=2))
    old = {child.partition: child for child in host.children.living}
    send(host, signal.SIGHUP)
    host.advance(1.0)
    (stuck,) = (child for child in host.children.living if child not in old.values())
    host.advance(NEXT_AFTER + 1.0)
    for _ in range(40):
        for child in host.children.living:
            if child.partition != stuck.partition and child.worker not in host._obeyed:
                host.warm_up(child)
        host.advance(0.5)
    (other,) = (partition for partition in host.partitions if partition != stuck.partition)
    assert old[other].exit_code == 0
    assert old[stuck.partition].exit_code is None
    assert host.owner(stuck.partition) is old[stuck.partition]


@pytest.mark.parametrize("error", [Misconfigured("it cannot be imported"), OSError(11, "no process")])
def test_hup_with_code_that_cannot_be_used_changes_nothing(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """One error says so; the fork server stays, and nobody is replaced."""
    host = running(make_host(2, workers=2))
    old = host.children.living
    host.fork_server.errors = [error]
    send(host, signal.SIGHUP)
    host.advance(5.0)
    assert host.children.living == old
    assert not host.fork_server.adopted
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR)
    assert str(error) in line


def test_hup_forgets_crashes(make_host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    """The new code may have none."""
    host = running(make_host(1, workers=1))
    for _ in range(100):
        for child in host.children.living:
            host.exit(child, 1)
        host.settle()
        host.advance(0.5)
        if "crashed too often" in caplog.text:
            break
    host.advance(30.0)
    assert not host.children.living
    send(host, signal.SIGHUP)
    host.advance(0.5)
    assert host.children.living
