"""When a worker that ended, or could not be started, is followed by another."""

from __future__ import annotations

import pytest

from partition_supervisor.control.reports import END_WITHIN
from partition_workers.layout.documents import Host
from partition_workers.model import Partition
from partition_workers.protocol import (
    GaveUp,
    IsEnding,
    Leave,
    MadeProgress,
    RenewedLease,
)
from tests.fakes.host import MakeHost, owned_elsewhere, running

P, Q = Partition("t", 0), Partition("t", 1)


def test_replacements_start_at_once_first_and_later_after_crashes_without_progress(make_host: MakeHost) -> None:
    """Doubling; and rest after more than five in a minute."""
    host = make_host().open()
    waits = []
    for _ in range(6):
        (child,) = host.children.living
        host.exit(child, 1)
        host.settle()
        begun = host.clock()
        while not host.children.living:
            host.advance(0.01)
        waits.append(host.clock() - begun)
        if waits[-1] > 100:
            break
    assert waits[0] == 0.0
    assert all(base * 0.8 <= wait <= base * 1.2 + 0.02 for wait, base in zip(waits[1:5], [0.1, 0.2, 0.4, 0.8]))  # noqa: B905
    assert waits[5] == pytest.approx(300, abs=1)


def test_a_replacement_that_has_to_wait_is_not_started_for_another_reason(make_host: MakeHost) -> None:
    """Everything that changes in the cluster is a reason to look at who is missing."""
    host = make_host().open()
    for _ in range(5):
        (child,) = host.children.living
        host.exit(child, 1)
        host.settle()
        if not host.children.living:
            host.advance(1.0)
    (child,) = host.children.living
    host.exit(child, 1)
    host.settle()
    assert not host.children.living
    host.join("b")
    host.settle()
    assert not host.children.living


@pytest.mark.parametrize("was_owner", [True, False])
def test_healthy_workers_can_be_killed_every_second_all_day(make_host: MakeHost, was_owner: bool) -> None:
    """Each was ready, or an owner that had handled what there was: the next one is started at once."""
    host = make_host()
    if not was_owner:
        owned_elsewhere(host)
    running(host)
    for _ in range(200):
        child = host.owner(P) if was_owner else host.standby(P)
        if was_owner:
            host.report(child, MadeProgress(0, 0))
        host.advance(1.0)
        host.exit(child, -9)
        host.settle()
        host.warm_up_all()
    assert host.on(P)


@pytest.mark.parametrize("stood_by", [0.0, 3.0])
def test_owners_that_get_nowhere_are_started_more_and_more_slowly(make_host: MakeHost, stood_by: float) -> None:
    """Be it open() that ends them or their first record, and however long they stood by before: then they rest."""
    host = running(make_host())
    started: list[float] = []
    while len(started) < 6:
        host.exit(host.owner(P), -11)
        host.settle()
        begun = host.clock()
        while not host.children.living:
            host.advance(0.01)
            if host.clock() - begun > 100:
                assert len(started) == 5
                return
        started.append(host.clock() - begun)
        (child,) = host.children.living
        host.freeze(child)
        host.warm_up(child)
        host.advance(stood_by)
        host.thaw()
    raise AssertionError(f"started at once again and again: {started}")


@pytest.mark.parametrize("code", [0, 70, 75, 78])
@pytest.mark.parametrize("stood_by", [0.0, 3.0])
def test_a_code_of_ours_that_was_not_announced_is_a_crash(make_host: MakeHost, code: int, stood_by: float) -> None:
    """The handler's code ended the process with it: `os._exit(75)` in open() is no lost lock, and meets the brake."""
    host = running(make_host())
    for _ in range(6):
        host.exit(host.owner(P), code)
        host.settle()
        begun = host.clock()
        while not host.children.living and host.clock() - begun < 100:
            host.advance(0.01)
        if not host.children.living:
            return
        (child,) = host.children.living
        host.freeze(child)
        host.warm_up(child)
        host.advance(stood_by)
        host.thaw()
    raise AssertionError("started at once again and again")


def test_a_worker_that_is_misconfigured_stops_the_supervisor_with_78(make_host: MakeHost) -> None:
    """None could be started, so none will be."""
    host = make_host(2).open()
    first, other = host.children.living
    host.exit(first, 78, GaveUp(78, "no such handler"))
    host.settle()
    assert other.orders(Leave)
    assert host.is_done()
    assert host.supervisor._stopping.code == 78


def test_a_misconfigured_worker_among_good_ones_stops_nobody(make_host: MakeHost) -> None:
    """Something has changed under our feet; those that run go on, and it is tried again."""
    host = running(make_host(2))
    host.exit(host.owner(P), 78, GaveUp(78, "no such handler any more"))
    host.settle()
    assert not host.supervisor._stopping.begun
    assert not host.owner(Q).orders(Leave)
    assert host.on(P)


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("can't start new thread")])
def test_a_worker_that_cannot_be_started_is_tried_again_ever_more_rarely(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """It is the host that lacks something: nobody else is tried meanwhile, and one line says so each time."""
    host = make_host(8)
    host.children.errors = [error] * 1000
    host.open()
    assert not host.children.living
    waits, begun = list[float](), host.clock()
    for _ in range(6):
        before = len(host.children.errors)
        while len(host.children.errors) == before:
            host.advance(0.01)
        waits.append(host.clock() - begun)
        begun = host.clock()
    assert len(host.children.errors) == 1000 - 7
    for wait, base in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2], strict=True):
        assert base * 0.8 - 0.02 <= wait <= base * 1.2 + 0.02
    lines = [record.getMessage() for record in caplog.records if "no worker can be started" in record.getMessage()]
    assert len(lines) == 7
    assert type(error).__name__ in lines[0]

    host.children.errors = []
    host.advance(30.0)
    assert len(host.children.living) == 8


def test_a_fork_server_that_is_gone_is_said_once_for_all_that_were_asked_of_it(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Eight were asked for before it was known. And then it is as with everything that a host lacks."""
    host = make_host(8)
    host.children.errors = [EOFError("the fork server has ended") for _ in range(8)]
    host.open()
    assert not host.children.living
    lines = [record.getMessage() for record in caplog.records if "no worker can be started" in record.getMessage()]
    assert len(lines) == 1
    host.advance(0.15)
    assert len(host.children.living) == 8


def test_a_fork_server_that_does_not_tell_exit_codes_holds_up_no_replacement(make_host: MakeHost) -> None:
    """For a second it may yet tell; then nobody knows how the worker ended."""
    host = running(make_host(1, workers=2))
    host.children.fork_server_is_stopped = True
    owner = host.owner(P)
    host.exit(owner)
    host.advance(0.5)
    assert owner not in host.children.reaped
    host.advance(1.0)
    assert owner in host.children.reaped
    assert [child for child in host.children.living if child is not owner]


def test_a_start_that_fails_once_delays_the_next_failure_no_more(make_host: MakeHost) -> None:
    """What was lacking is there again; if it lacks another time, that is another story."""
    host = make_host(2)
    for _ in range(3):
        host.children.errors = [OSError(24, "Too many open files")]
        if not host.children.started:
            host.open()
        else:
            host.exit(host.children.living[0], 0)
            host.settle()
        assert len(host.children.living) < 2
        host.advance(0.15)
        assert len(host.children.living) == 2
        host.warm_up_all()


def test_a_failed_start_takes_nothing_from_those_that_run(make_host: MakeHost) -> None:
    """Owners go on, and a death is followed by a takeover all the same."""
    host = running(make_host(2, workers=3))
    owner = host.owner(P)
    host.children.errors = [OSError(11, "Resource temporarily unavailable")] * 1000
    host.exit(host.owner(Q))
    host.settle()
    assert host.owner(P) is owner
    assert host.children.reaped
    assert not host.is_done()


def test_a_worker_that_does_not_end_after_its_last_word_is_named_and_killed(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    """And its lease, which it needs no more, is not to blame."""
    host = running(make_host())
    child = host.owner(P)
    host.freeze(child)
    host.report(child, RenewedLease(host.boottime() + 0.5))
    host.report(child, IsEnding("threads of its handler: mine"))
    host.advance(END_WITHIN - 0.1)
    assert not child.killed
    assert "held up by threads of its handler: mine" in caplog.text
    assert "late with its lease" not in caplog.text
    host.advance(0.2)
    assert child.killed


def test_a_worker_that_ends_soon_after_its_last_word_is_not_spoken_of(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    """As all do whose handlers leave nothing behind."""
    host = running(make_host())
    child = host.owner(P)
    host.report(child, IsEnding("threads of its handler: mine"))
    host.settle()
    host.exit(child, 0)
    host.advance(END_WITHIN + 1.0)
    assert "held up" not in caplog.text


def test_that_workers_crash_too_often_is_told_to_everybody_until_they_are_tried_again(make_host: MakeHost) -> None:
    """In the host's own document, which `status` reads."""
    host = make_host().open()
    for _ in range(6):
        while not host.children.living:
            host.advance(0.5)
        (child,) = host.children.living
        host.exit(child, 1)
        host.settle()
    said = Host.decode(host.value(host.keys.host("a"))).resting
    assert said == {"t[0]": "its workers crash too often: the last one ended with code 1"}
    host.advance(301.0)
    assert host.children.living
    assert Host.decode(host.value(host.keys.host("a"))).resting == {}
