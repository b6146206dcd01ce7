"""Calls in threads: each is answered in the loop, whatever it ends with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.events import BackgroundCallDone
from partition_supervisor.inbox import Inbox
from partition_workers.errors import Bug, Unavailable


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.close()


def go_on(inbox: Inbox) -> None:
    """What the loop does with the next answer."""
    (event,) = inbox.wait(10.0)
    assert isinstance(event, BackgroundCallDone)
    event.then()


def test_the_result_comes_back_in_the_loop(inbox: Inbox) -> None:
    calls, found = BackgroundCalls(inbox), list[int]()
    calls.run(lambda: 17, found.append)
    assert calls.open == 1
    go_on(inbox)
    assert (found, calls.open) == ([17], 0)
    calls.close()


@pytest.mark.parametrize(
    "error", [Unavailable("silent"), Bug("no"), ValueError("what"), MemoryError(), SystemExit(3)]
)
def test_any_error_is_an_answer_too(inbox: Inbox, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and whoever asked is told that there is no result."""
    calls, failures = BackgroundCalls(inbox), list[str]()

    def work() -> int:
        raise error

    calls.run(work, lambda _result: failures.append("a result"), failed=lambda: failures.append("failed"))
    go_on(inbox)
    assert (failures, calls.open) == (["failed"], 0)
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]
    calls.close()


def test_a_call_for_which_there_is_no_thread_has_failed(inbox: Inbox) -> None:
    """As any other: nothing escapes into the loop."""
    calls, failures = BackgroundCalls(inbox), list[str]()
    calls.close()
    calls.run(lambda: 17, failed=lambda: failures.append("failed"))
    go_on(inbox)
    assert (failures, calls.open) == (["failed"], 0)
