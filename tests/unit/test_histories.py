"""The supervisor's loop: any history of events, replayed on fakes, and what must be true after each step."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from partition_supervisor.control.failover import CONFIRM_WITHIN, REPLACE_AFTER
from partition_supervisor.events import (
    ClusterListed,
    SignalArrived,
)
from partition_supervisor.processes.child_state import HANDLING, LATE
from partition_workers.etcd.store import Put
from partition_workers.layout.documents import Drain, Move
from partition_workers.protocol import (
    GotStuck,
    Resumed,
    Suspended,
    WasToldToLeave,
)
from tests.fakes.host import FakeHost, running

History = list[tuple[str, str, int]]
START_ERRORS: dict[str, Exception] = {
    "no descriptor": OSError(24, "Too many open files"),
    "no fork server": EOFError(),
    "no thread": RuntimeError("can't start new thread"),
}


STEPS = st.one_of(
    st.tuples(st.just("join"), st.sampled_from("bc"), st.integers(0, 3)),
    st.tuples(st.just("vanish"), st.sampled_from("bc"), st.just(0)),
    st.tuples(st.just("standby"), st.sampled_from("bc"), st.integers(0, 1)),
    st.tuples(st.just("owner"), st.sampled_from("bc"), st.integers(0, 1)),
    st.tuples(st.just("exit"), st.sampled_from(["-9", "0", "1", "70", "75", "-11"]), st.integers(0, 5)),
    st.tuples(st.just("kill the owner"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("freeze the standbys"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("large states"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("has loaded"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("warm up"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("warm up all"), st.just(""), st.just(0)),
    st.tuples(st.just("stuck"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("told"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("freeze"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("thaw"), st.just(""), st.just(0)),
    st.tuples(st.just("park"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("resume"), st.just(""), st.integers(0, 1)),
    st.tuples(st.just("move"), st.sampled_from("abc"), st.integers(0, 1)),
    st.tuples(st.just("drain"), st.sampled_from("abc"), st.just(0)),
    st.tuples(st.just("signal"), st.sampled_from(["SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1"]), st.just(0)),
    st.tuples(st.just("listing"), st.just(""), st.just(0)),
    st.tuples(st.just("blind"), st.just(""), st.just(0)),
    st.tuples(st.just("hold"), st.just(""), st.just(0)),
    st.tuples(st.just("a call fails"), st.just(""), st.integers(0, 3)),
    st.tuples(st.just("a start fails"), st.sampled_from(sorted(START_ERRORS)), st.just(0)),
    st.tuples(st.just("a pipe breaks"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("late"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("in time again"), st.just(""), st.integers(0, 5)),
    st.tuples(st.just("pass"), st.sampled_from(["0.1", "0.6", "4", "20"]), st.just(0)),
)


HISTORIES = st.lists(STEPS, min_size=4, max_size=25)


#: The successor does nothing, and its replacement is ready at once.
AN_IMPATIENT_ONE: History = [
    ("freeze the standbys", "", 0),
    ("kill the owner", "", 0),
    ("warm up all", "", 0),
    ("pass", "0.1", 0),
    ("pass", "0.6", 0),
]


def replay(host: FakeHost, history: History, check: Callable[[FakeHost], None]) -> None:
    """Each step, and after it the loop until it rests; `check` is asked after every round."""
    for what, which, number in history:
        partition = host.partitions[number % len(host.partitions)]
        living = host.children.living
        child = living[number % len(living)] if living else None
        match what:
            case "join":
                host.join(which, number)
            case "vanish":
                host.vanish(which)
            case "standby" if which in host.cluster.hosts:
                host.standby_on(which, partition)
            case "owner" if (
                which in host.cluster.hosts and not host.lock_of(partition) and not host.is_parked(partition)
            ):
                host.owner_on(which, partition)
            case "exit" if child:
                host.exit(child, int(which))
            case "kill the owner":
                for owner in (each for each in host.on(partition) if each.is_owner):
                    host.exit(owner)
            case "freeze the standbys":
                host.freeze(*(each for each in host.on(partition) if not each.is_owner))
            case "large states":
                host.with_large_states |= {each.worker for each in host.on(partition)}
            case "has loaded" if child and host.is_loading(child) and child.worker not in host.frozen:
                host.has_loaded(child)
            case "warm up all":
                host.warm_up_all()
            case "warm up" if child and child.standby is None:
                host.warm_up(child)
            case "stuck" if child:
                host.report(child, GotStuck(60, ""))
            case "told" if child:
                host.report(child, WasToldToLeave())
            case "freeze" if child:
                host.freeze(child)
            case "thaw":
                host.frozen.clear()
            case "park":
                host.park(partition)
            case "resume" if host.is_parked(partition):
                host.resume(partition)
            case "move":
                host.put(Put(host.keys.move(partition), Move(which, "now").encode()))
            case "drain":
                host.put(Put(host.keys.drain(which), Drain("now").encode()))
            case "signal":
                host.inbox.post(SignalArrived(signal.Signals[which]))
            case "listing":
                host.inbox.post(ClusterListed(host.look()))
            case "blind":
                host.watching = not host.watching
            case "a call fails":
                host.background.errors += [*[None] * number, ValueError("nobody expected this")]
            case "a start fails":
                host.children.errors.append(START_ERRORS[which])
            case "a pipe breaks" if child:
                child.is_cut_off = True
            case "late" if child and child.state in HANDLING:
                host.report(child, Suspended())
            case "in time again" if child and child.state in LATE:
                host.report(child, Resumed())
            case "hold":
                host.background.held = not host.background.held
            case "pass":
                host.advance(float(which))
        host.settle()
        check(host)


@given(st.integers(1, 4), HISTORIES)
@example(4, AN_IMPATIENT_ONE)
@settings(max_examples=400, deadline=None)
def test_whatever_happens_only_one_worker_here_is_named(workers: int, history: History) -> None:
    """Two workers of a partition are named under two tokens only if the first ended, missed or was passed over."""
    host = FakeHost(2, workers=workers)
    running(host)

    def check(host: FakeHost) -> None:
        for partition in host.partitions:
            open_to = [child for child in host.on(partition) if child.token in child.named_at]
            named = sorted((child.token or 0, child.named_at[child.token or 0]) for child in open_to)
            for (_, earlier), (_, later) in pairwise(named):
                assert later - earlier >= CONFIRM_WITHIN

    try:
        replay(host, history, check)
    finally:
        host.close()


#: One worker is being replaced, and the other partition loses all that it has.
A_REPLACEMENT_AND_A_LOSS: History = [
    ("join", "b", 0), ("kill the owner", "", 1), ("signal", "SIGHUP", 0), ("signal", "SIGTTIN", 0), ("move", "a", 1),
]  # fmt: skip


@given(st.integers(1, 4), HISTORIES)
@example(4, AN_IMPATIENT_ONE)
@example(2, A_REPLACEMENT_AND_A_LOSS)
@settings(max_examples=400, deadline=None)
def test_whatever_happens_there_are_not_more_workers_than_places(workers: int, history: History) -> None:
    """One more while somebody is replaced, and one more for a partition that has neither owner nor standby; those
    that were told to leave are on their way and do not count."""
    host = FakeHost(2, workers=workers)
    running(host)

    def check(host: FakeHost) -> None:
        staying = Counter(child.is_leaving for child in host.children.living)[False]
        assert staying <= host.supervisor._planner.places + 2

    try:
        replay(host, history, check)
    finally:
        host.close()


@given(st.integers(1, 4), HISTORIES)
@example(2, [("a call fails", "", 0), ("kill the owner", "", 0)])
@settings(max_examples=400, deadline=None)
def test_whatever_happens_everybody_who_has_ended_is_reaped_and_seen_to(workers: int, history: History) -> None:
    """Whatever its last call to etcd ended with."""
    host = FakeHost(2, workers=workers)
    running(host)
    try:
        replay(host, history, lambda _host: None)
        host.background.held, host.background.errors = False, []
        host.settle()
        for _ in range(3):  # somebody may have ended in the very moment
            host.advance(REPLACE_AFTER)
        ended = {child.worker for child in host.children.started if child.exit_code is not None}
        assert ended == {child.worker for child in host.children.reaped}
        assert host.supervisor._failover.pending_exits == 0
        assert host.background.open == 0
    finally:
        host.close()
