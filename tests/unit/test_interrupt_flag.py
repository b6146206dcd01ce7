"""The flag may be raised from anywhere, in the middle of anything; and what was ordered is found behind it."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.protocol import AnswerPing, BecomeOwner, Leave
from partition_workers.supervisor_pipe import SupervisorPipe
from tests.eventually import eventually

#: The supervisors' ends, open for as long as the tests run: a pipe whose supervisor is gone ends its process.
_open: list[Connection] = []


def pipe_to_a_supervisor(flag: InterruptFlag) -> tuple[SupervisorPipe, Connection]:
    ours, theirs = multiprocessing.Pipe()
    _open.append(ours)
    return SupervisorPipe(theirs, flag), ours


def test_it_wakes_who_waits_and_stays_up() -> None:
    """From another thread; and who waits again does not sleep."""
    flag = InterruptFlag()
    begun = time.monotonic()
    threading.Timer(0.01, flag.set).start()
    flag.wait(60.0)
    assert flag.raised
    flag.wait(60.0)
    assert time.monotonic() - begun < 30.0


def test_cleared_it_is_waited_for_again() -> None:
    """However often it was set before."""
    flag = InterruptFlag()
    for _ in range(3):
        flag.set()
    flag.clear()
    begun = time.monotonic()
    flag.wait(0.05)
    assert time.monotonic() - begun >= 0.05
    assert not flag.raised


@pytest.mark.timeout(60)
@pytest.mark.parametrize("used", ["set", "clear", "wait"])
def test_a_signal_in_the_middle_of_its_own_methods_may_set_it(used: str) -> None:
    """Seen with threading.Event: the handler waits for a lock that its own thread holds. Here a "signal" comes
    before each line and each call of Python's that the methods make."""
    flag = InterruptFlag()
    calls: dict[str, Callable[[], None]] = {"set": flag.set, "clear": flag.clear, "wait": lambda: flag.wait(0.0)}

    def trace(frame: Any, event: str, argument: Any) -> Any:
        sys.settrace(None)
        flag.set()
        sys.settrace(trace)
        return trace

    done = threading.Event()

    def run() -> None:
        sys.settrace(trace)
        calls[used]()
        sys.settrace(None)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(30.0), "it waits for itself"
    assert flag.raised


def test_an_order_behind_a_signal_is_found() -> None:
    """The signal wakes a standby with nothing in hand; who looks for orders must look behind that."""
    pipe, ours = pipe_to_a_supervisor(InterruptFlag())
    pipe.ask_to_leave()
    ours.send(Leave())
    eventually("the order has come", lambda: pipe._orders.qsize() == 2)
    assert pipe.next_order(0) == Leave()


@pytest.mark.parametrize("asked", [1, 3])
def test_orders_come_in_their_order_however_many_signals_came_between(asked: int) -> None:
    """A ping is answered by the pipe itself."""
    pipe, ours = pipe_to_a_supervisor(InterruptFlag())
    first, second = BecomeOwner(7, 1.0, None), Leave()
    for order in (first, AnswerPing(1), second):
        for _ in range(asked):
            pipe.ask_to_leave()
        ours.send(order)
    eventually("the orders have come", lambda: pipe._orders.qsize() == 2 + 3 * asked)
    assert [pipe.next_order(0), pipe.next_order(0), pipe.next_order(0)] == [first, second, None]


def test_a_signal_wakes_a_standby_that_waits_for_ever() -> None:
    """Its wish is passed on when it waits again."""
    pipe, _ours = pipe_to_a_supervisor(InterruptFlag())
    before = signal.signal(signal.SIGUSR2, lambda *_: pipe.ask_to_leave())
    try:
        threading.Timer(0.05, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)).start()
        assert pipe.next_order(30.0) is None
    finally:
        signal.signal(signal.SIGUSR2, before)
