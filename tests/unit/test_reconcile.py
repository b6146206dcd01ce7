"""Wanted and present: who is started here, and who ends."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.control.loop import TICK
from partition_supervisor.control.reconcile import STARTS_FOR, SURPLUS_AFTER, compare
from partition_supervisor.events import (
    PartitionsChanged,
)
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.child_state import GOING, READY, ChildState
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Drain
from partition_workers.model import Partition
from partition_workers.protocol import (
    Leave,
)
from tests.fakes.host import MakeHost, running, send

P, Q = Partition("t", 0), Partition("t", 1)


def test_ttin_and_ttou_are_one_worker_more_or_less(make_host: MakeHost) -> None:
    """The others learn it through etcd."""
    host = running(make_host(2, workers=2))
    assert len(host.children.living) == 2
    send(host, signal.SIGTTIN)
    assert len(host.children.living) == 3
    assert host.cluster.hosts["a"].workers == 3
    host.warm_up_all()
    send(host, signal.SIGTTOU)
    assert len(host.children.living) == 2


def test_ttou_below_what_is_owned_lets_go_of_what_is_left_out(make_host: MakeHost) -> None:
    """What is said to be served by nobody has no worker, and the host keeps to its places."""
    host = running(make_host(2, workers=2))
    send(host, signal.SIGTTOU)
    host.advance(60.0)
    assert len(host.children.living) == 1


def test_workers_that_become_ready_together_do_not_drive_each_other_out(make_host: MakeHost) -> None:
    """Two partitions, three places: one standby warms up beside an owner while a replacement is about to own."""
    host = running(make_host(2, workers=2))
    host.exit(host.owner(Q))
    host.settle()
    send(host, signal.SIGTTIN)
    assert len(host.children.living) == 3
    host.warm_up_all()
    host.advance(1.0)
    assert host.owner(P)
    assert host.owner(Q)
    assert len(host.children.living) == 3


@pytest.mark.parametrize("stays", [True, False])
def test_a_standby_that_is_too_much_for_a_moment_is_not_ended(make_host: MakeHost, stays: bool) -> None:
    """While hosts come and their workers become ready, each of them changes the plan."""
    host = make_host(2, workers=1)
    host.join("b", 6)
    host.owner_on("b", P)
    host.owner_on("b", Q)
    running(host)
    (child,) = host.children.living
    before, other = child.partition, {P: Q, Q: P}[child.partition]
    host.join("0", 1)
    host.standby_on("0", before)
    host.settle()
    assert host.supervisor._planner.plan.workers_on("a") == {other: 1}
    host.advance(SURPLUS_AFTER - 2 * TICK)
    assert host.children.living == [child], "it is all that fits, and it may be wanted again"
    if not stays:
        host.vanish("0")
        host.settle()
    host.advance(SURPLUS_AFTER + 2 * TICK)
    host.warm_up_all()
    assert [each.partition for each in host.children.living] == [other if stays else before]


def test_the_last_ready_standby_is_not_ended_before_another_is_ready(make_host: MakeHost) -> None:
    """Our host is drained, and the one that takes its part is slow."""
    host = make_host(1)
    host.join("b")
    host.owner_on("b", P)
    running(host)
    (child,) = host.children.living
    host.join("c")
    host.put(Put(host.keys.drain("a"), Drain("now").encode()))
    host.advance(5 * SURPLUS_AFTER)
    assert not child.orders(Leave)
    host.standby_on("c", P)
    host.advance(2 * TICK)
    assert child.orders(Leave)


def test_standbys_that_are_too_many_end_one_after_the_other(make_host: MakeHost) -> None:
    """To end is work, and others hand over meanwhile."""
    host = make_host(3)
    host.join("b")
    for partition in host.partitions:
        host.owner_on("b", partition)
    running(host)
    host.join("c")
    for partition in host.partitions:
        host.standby_on("c", partition)
    host.freeze(*host.children.living)
    host.put(Put(host.keys.drain("a"), Drain("now").encode()))
    host.advance(5 * SURPLUS_AFTER)
    assert sum(child.is_leaving for child in host.children.living) == 1
    host.thaw()
    host.advance(5 * TICK)
    assert not host.children.living


def test_workers_start_a_few_at_a_time(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds that start together starve each other until their leases end."""
    monkeypatch.setattr("partition_supervisor.control.reconcile.STARTING_AT_ONCE", 4)
    host = make_host(10).open()
    for count in (4, 5, 9, 10):
        assert len(host.children.living) == count
        waiting = [child for child in host.children.living if child.standby is None]
        for child in waiting[: 1 if count == 4 else 4]:
            host.warm_up(child)
        host.settle()


def test_workers_that_never_get_ready_hold_up_nobody_for_long(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of partitions without a leader: they wait for Kafka, and the processor is free for others."""
    monkeypatch.setattr("partition_supervisor.control.reconcile.STARTING_AT_ONCE", 4)
    host = make_host(10).open()
    host.advance(STARTS_FOR - 1.0)
    assert len(host.children.living) == 4
    host.advance(1.0 + 2 * TICK)
    assert len(host.children.living) == 8
    host.warm_up(host.children.living[-1])
    host.settle()
    assert len(host.children.living) == 9
    host.advance(STARTS_FOR + 2 * TICK)
    assert len(host.children.living) == 10


def test_new_partitions_get_workers(make_host: MakeHost) -> None:
    """And those that are known already are left alone."""
    host = running(make_host(1))
    host.inbox.post(PartitionsChanged({P: "id", Q: "id"}))
    host.settle()
    assert [child.partition for child in host.children.living] == [P, Q]


# --- wanted and present, compared

COUNTS = st.lists(st.tuples(st.integers(0, 3), st.lists(st.sampled_from(ChildState), max_size=4)), max_size=6)


@given(COUNTS, st.integers(-4, 6), st.integers(-2, 6), st.sets(st.integers(0, 5)), st.booleans())
def test_what_is_done_leads_to_what_is_wanted_and_never_beyond(
    counts: list[tuple[int, list[ChildState]]], room: int, most_starts: int, bare: set[int], may_end: bool
) -> None:
    """Whatever is there: owners, and who was named, are left alone; nobody is started and ended at once."""
    wanted = {Partition("t", number): count for number, (count, _) in enumerate(counts)}
    present = {
        Partition("t", number): [cast(Child, SimpleChild(state)) for state in states if state not in GOING]
        for number, (_, states) in enumerate(counts)
    }
    found = compare(wanted, present, room, most_starts, lambda p: p.number in bare, lambda _child: may_end)

    assert len(found.start) <= max(0, most_starts)
    assert not found.brakes or len(found.start) == max(0, most_starts)
    assert len(found.start) <= max(0, room) + len(found.end) + len(bare)
    assert all(child.is_idle for child in found.end)
    for partition, workers in present.items():
        ended = [child for child in found.end if any(child is each for each in workers)]
        started = found.start.count(partition)
        assert not (ended and started)
        assert started <= max(0, wanted[partition] - len(workers))
        assert len(ended) <= max(0, len(workers) - wanted[partition])
        assert all(child.is_ready <= each.is_ready for child in ended for each in workers
                   if each.is_idle and each not in ended)  # fmt: skip
    if found.end and not may_end:
        assert room < len(found.start)
    if not found.waits:
        surplus = {p: sum(each.is_idle for each in workers) for p, workers in present.items()}
        excess = {p: min(surplus[p], max(0, len(present[p]) - wanted[p])) for p in present}
        assert len(found.end) == sum(excess.values()), "whoever is too many and stays is waited for"


@dataclass(eq=False)
class SimpleChild:
    state: ChildState

    @property
    def is_idle(self) -> bool:
        return self.state in (ChildState.STARTING, ChildState.STANDBY)

    @property
    def is_ready(self) -> bool:
        return self.state in READY
