"""The one place where a supervisor waits: what it gets, and in which order."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from partition_supervisor.events import ChildExited, Event, SignalArrived
from partition_supervisor.inbox import MOST_POSTED, Inbox
from tests.fakes.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inbox(clock: FakeClock) -> Iterator[Inbox]:
    inbox = Inbox(clock)
    yield inbox
    inbox.close()


class Pipe:
    """Something to read from; each byte is one event."""

    def __init__(self, inbox: Inbox) -> None:
        self._there, self._here = os.pipe()
        self._said = 0
        inbox.watch(self._there, self._read)

    def say(self) -> None:
        os.write(self._here, b"!")

    def _read(self) -> Iterator[Event]:
        for _ in os.read(self._there, 100):
            self._said += 1
            yield ChildExited(str(self._said))


def test_what_is_posted_is_given_out_in_order_and_a_bounded_number_in_a_round(inbox: Inbox) -> None:
    """The others wait for the next one, and nobody has to be woken for them."""
    posted = [SignalArrived(number) for number in range(2 * MOST_POSTED + 1)]
    for event in posted:
        inbox.post(event)
    rounds = [inbox.wait(60.0) for _ in range(3)]
    assert [len(events) for events in rounds] == [MOST_POSTED, MOST_POSTED, 1]
    assert [event for events in rounds for event in events] == posted
    assert inbox.wait(0.0) == []


def test_pipes_are_read_in_every_round_and_come_first(inbox: Inbox) -> None:
    """Also when more was posted than a round can take."""
    pipe = Pipe(inbox)
    for number in range(3 * MOST_POSTED):
        inbox.post(SignalArrived(number))
    for number in range(1, 4):
        pipe.say()
        events = inbox.wait(60.0)
        assert events[0] == ChildExited(str(number))
        assert len(events) == 1 + MOST_POSTED


def test_it_says_when_the_pipes_were_looked_at(inbox: Inbox, clock: FakeClock) -> None:
    """Whatever is said after that is found in the next round."""
    clock.advance(7.0)
    inbox.wait(0.0)
    clock.advance(1.0)
    assert inbox.read_at == 7.0


def test_who_is_not_watched_any_more_is_not_read(inbox: Inbox) -> None:
    """Nor is it an error to say so twice."""
    pipe = Pipe(inbox)
    pipe.say()
    for _ in range(2):
        inbox.unwatch(pipe._there)
    assert inbox.wait(0.0) == []
