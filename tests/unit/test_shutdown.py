"""A host that stops: everybody hands over, in time, or is ended."""

from __future__ import annotations

import signal
from itertools import pairwise

from partition_supervisor.control.graceful_shutdown import STEP
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Move, now
from partition_workers.model import Partition
from partition_workers.protocol import (
    Leave,
)
from tests.fakes.children import FakeChild
from tests.fakes.host import MakeHost, running, send

P = Partition("t", 0)
QUIET = 3.5


def successors(child: FakeChild) -> list[str]:
    """The hosts named in the last order to leave."""
    return [each.host for each in child.orders(Leave)[-1].successors]


def test_term_tells_every_owner_to_leave_to_other_hosts_only(make_host: MakeHost) -> None:
    """Here nobody will be left."""
    host = make_host(2, workers=4)
    host.join("b", 2)
    running(host)
    for partition in host.partitions:
        host.standby_on("b", partition)
    host.settle()
    owners = [child for child in host.children.living if child.is_owner]
    assert owners
    host.freeze(*host.children.living)
    send(host, signal.SIGTERM)
    told = [len([child for child in host.children.living if child.orders(Leave)])]
    for _ in host.children.living[1:]:
        host.advance(STEP)
        told.append(len([child for child in host.children.living if child.orders(Leave)]))
        assert told[-1] > len(owners) or all(child in owners for child in host.children.living if child.orders(Leave))
    assert told == list(range(1, len(host.children.living) + 1)), "one after the other"
    assert [successors(child) for child in owners] == [["b"]] * len(owners)
    host.thaw()
    assert host.is_done()
    assert host.supervisor._stopping.code == 0


def test_the_next_worker_is_told_to_leave_when_the_one_before_it_is_gone(make_host: MakeHost) -> None:
    """Not earlier: its successor wants the processor. And nobody has to wait for the clock."""
    host = make_host(3, workers=3)
    running(host)
    first, *rest = host.children.living
    host.freeze(first, *rest)
    send(host, signal.SIGTERM)
    assert [bool(child.orders(Leave)) for child in (first, *rest)] == [True, False, False]
    for child, following in pairwise((first, *rest)):
        host.exit(child, 0)
        host.settle()
        assert following.orders(Leave)


def test_a_second_int_kills_all(make_host: MakeHost) -> None:
    """The first asks, the second does not."""
    host = running(make_host(2))
    host.freeze(*host.children.living)
    send(host, signal.SIGINT)
    assert not any(child.killed for child in host.children.started)
    send(host, signal.SIGINT)
    assert all(child.killed for child in host.children.started)
    assert host.is_done()


def test_who_does_not_leave_in_time_is_killed(make_host: MakeHost) -> None:
    """After the graceful timeout."""
    host = running(make_host(2))
    host.freeze(*host.children.living)
    send(host, signal.SIGTERM)
    host.advance(host.config.graceful_timeout - 1)
    assert len(host.children.living) == 4 - 2 * (len(host.children.started) == 2)
    host.advance(2)
    assert not host.children.living


def test_an_owner_that_moves_and_does_not_leave_in_time_is_killed(make_host: MakeHost) -> None:
    """And somebody else goes on, while this host does."""
    host = make_host()
    host.join("b")
    child = running(host).owner(P)
    successor = host.standby_on("b", P)
    host.put(Put(host.keys.move(P), Move("b", now()).encode()))
    host.freeze(child)
    host.advance(QUIET)
    assert child.orders(Leave)
    host.advance(host.config.graceful_timeout - 0.5 - QUIET)
    assert not child.killed
    host.advance(1.0 + QUIET)
    assert child.killed
    assert (host.lock_of(P) or ("",))[0] == successor.worker


def test_a_worker_that_dies_while_the_host_stops_has_its_lock_given_elsewhere(make_host: MakeHost) -> None:
    """And nobody is started in its place."""
    host = make_host()
    host.join("b")
    running(host)
    successor = host.standby_on("b", P)
    host.settle()
    child = host.owner(P)
    host.freeze(child)
    send(host, signal.SIGTERM)
    started = len(host.children.started)
    host.exit(child, -9)
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == successor.worker
    assert len(host.children.started) == started
