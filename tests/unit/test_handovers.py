"""A host that does not take what it is given: offered nothing for a while, and history and etcd say so."""

from __future__ import annotations

import random

import pytest

from partition_supervisor.control.growing_pause import LONGEST
from partition_supervisor.control.handover_backoff import FIRST
from partition_workers.etcd.store import Delete
from partition_workers.layout.documents import Cause, Ending, History, Host
from partition_workers.model import Partition
from tests.fakes.host import Elsewhere, FakeHost, MakeHost, running

P, Q = Partition("t", 0), Partition("t", 1)


def crowded(host: FakeHost) -> FakeHost:
    """All partitions are owned here; `b` has come, and stands by for each of them."""
    running(host)
    host.join("b")
    host.settle()
    return host


def records(host: FakeHost, partition: Partition) -> list[History]:
    found = host.store.list(host.keys.histories(partition)).items
    return sorted((History.decode(each.value) for each in found), key=lambda each: each.token)


def passed_over(host: FakeHost) -> dict[str, str]:
    return Host.decode(host.value(host.keys.host("a"))).passed_over


def wait_for_offer(host: FakeHost, there: Elsewhere, within: float = 60.0) -> float:
    """Until the standby there is named in its partition's lock. After how many seconds."""
    begun = host.clock()
    while (host.lock_of(P) or ("",))[0] != there.worker:
        assert host.clock() - begun < within, "it is offered nothing"
        host.advance(0.25)
        host.warm_up_all()
    return host.clock() - begun


def until_passed_over(host: FakeHost, there: Elsewhere) -> None:
    """It gives no sign of life, and somebody else is named."""
    host.fall_silent(there)
    host.warm_up_all()
    for _ in range(100):
        if (host.lock_of(P) or ("",))[0] != there.worker:
            return
        host.advance(0.25)
        host.warm_up_all()
    raise AssertionError("nobody else was named")


def test_a_host_that_did_not_take_a_partition_is_offered_none_for_a_while(make_host: MakeHost) -> None:
    """Twice as long each time, however ready its standbys look."""
    host = crowded(make_host(2))
    there = host.standby_on("b", P)
    wait_for_offer(host, there)
    waited = []
    for _ in range(4):
        until_passed_over(host, there)
        waited.append(wait_for_offer(host, there))
    assert waited == pytest.approx([FIRST * factor for factor in (1, 2, 4, 8)], abs=0.6)


def test_history_and_etcd_tell_of_it_while_it_matters(make_host: MakeHost) -> None:
    host = crowded(make_host(2))
    there = host.standby_on("b", P)
    wait_for_offer(host, there)
    given = host.lock_of(P)
    until_passed_over(host, there)
    host.settle()
    (record,) = (each for each in records(host, P) if each.ending == Ending.NOT_TAKEN)
    assert given == (record.worker, record.token)
    assert (record.host, record.cause, record.from_offset, record.to_offset) == ("b", Cause.HANDED_OVER, 0, 0)
    assert "no sign of it for" in (record.reason or "")
    assert passed_over(host).keys() == {"b"}
    assert passed_over(host)["b"].startswith("it did not take t[0]: no sign of it for")
    host.advance(FIRST + 0.1)
    assert passed_over(host) == {}


def test_a_lease_that_ends_before_the_lock_is_taken_is_a_failure_too(make_host: MakeHost) -> None:
    """Etcd deletes the lock and the standby's key together; the lock is seen to go first."""
    host = crowded(make_host(2))
    there = host.standby_on("b", P)
    wait_for_offer(host, there)
    host.put(Delete(host.keys.lock(P)), Delete(host.keys.standby(P, there.worker)))
    host.settle()
    assert "its lease ended" in passed_over(host)["b"]
    there = host.standby_on("b", P)
    assert wait_for_offer(host, there) >= FIRST - 0.5


def test_who_takes_it_is_offered_the_next_one_as_before(make_host: MakeHost) -> None:
    host = crowded(make_host(4))
    there = host.standby_on("b", P)
    wait_for_offer(host, there)
    host.confirm(P, there)
    host.settle()
    host.put(Delete(host.keys.lock(P)))  # it died later, with its host
    host.settle()
    assert passed_over(host) == {}
    assert not [each for each in records(host, P) if each.ending == Ending.NOT_TAKEN]


@pytest.mark.parametrize("others", [True, False])
def test_a_dead_workers_lock_goes_to_a_host_that_takes_what_it_is_given(make_host: MakeHost, others: bool) -> None:
    """To the other one only if there is nobody else."""
    host = crowded(make_host(2))
    there = host.standby_on("b", P)
    wait_for_offer(host, there)
    until_passed_over(host, there)
    host.join("c")
    well = host.standby_on("c", P) if others else there
    host.settle()
    host.exit(host.owner(P))
    host.settle()
    assert (host.lock_of(P) or ("",))[0] == well.worker


@pytest.mark.parametrize("seed", range(5))
def test_a_host_that_is_sick_at_random_is_offered_a_partition_at_most_once_in_a_pause(
    make_host: MakeHost, seed: int
) -> None:
    """Eight hand-overs each: the standby there is passed over, or loses its lease, or takes the lock and dies soon.
    What was offered in vain is not offered again before its pause is over."""
    chance = random.Random(seed)
    host = crowded(make_host(2))
    failed_at, pause = float("-inf"), 0.0
    there = host.standby_on("b", P)
    for _ in range(8):
        wait_for_offer(host, there, within=LONGEST + 60.0)
        assert host.clock() >= failed_at + pause - 0.01
        what = chance.choice(["passed over", "lease ends", "dies soon"])
        if what == "passed over":
            until_passed_over(host, there)
        else:
            if what == "dies soon":
                host.confirm(P, there)
                host.settle()
            host.put(Delete(host.keys.lock(P)), Delete(host.keys.standby(P, there.worker)))
            host.settle()
            there = host.standby_on("b", P)
        if what != "dies soon":
            again = host.clock() - failed_at < pause + 60.0
            failed_at, pause = host.clock(), min(2 * pause, LONGEST) if again else FIRST
        host.warm_up_all()
