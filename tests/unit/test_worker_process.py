"""What holds for a worker's process whatever its handler does: its deadlines, its children, its signals."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil
import pytest

from partition_workers import isolation
from partition_workers.ending import WITHIN, Ending
from partition_workers.kernel_deadline import KernelDeadline
from tests.eventually import eventually

spawn = multiprocessing.get_context("spawn")
pytestmark = pytest.mark.timeout(60)


def ended(target: Any, *arguments: Any) -> int:
    """The exit code of a process that does it."""
    process = spawn.Process(target=target, args=arguments)
    process.start()
    process.join(40.0)
    assert process.exitcode is not None, "it never ends"
    return process.exitcode


def _holds_the_interpreter() -> None:
    KernelDeadline().kill_after(0.3)
    re.match(r"(a+)+$", "a" * 60 + "b")


def test_the_kernel_ends_a_process_that_never_lets_go_of_the_interpreter() -> None:
    """A catastrophic regular expression: no thread of Python runs, and no signal handler."""
    assert ended(_holds_the_interpreter) == -signal.SIGKILL


def _makes_a_client_that_never_comes_back() -> None:
    with KernelDeadline().within(0.3):
        re.match(r"(a+)+$", "a" * 60 + "b")


def _makes_a_client_in_time() -> None:
    with KernelDeadline().within(0.3):
        pass
    time.sleep(0.6)
    os._exit(7)


def test_what_is_made_within_a_time_ends_the_process_or_nothing() -> None:
    assert ended(_makes_a_client_that_never_comes_back) == -signal.SIGKILL
    assert ended(_makes_a_client_in_time) == 7


def _moves_it_on() -> None:
    deadline = KernelDeadline()
    for _ in range(6):
        deadline.kill_after(0.5)
        time.sleep(0.1)  # what a thread that looks now and then does
    deadline.kill_after(60.0)
    assert subprocess.run([sys.executable, "-c", "print(1)"], check=True).returncode == 0
    os._exit(7)


def test_a_deadline_that_is_moved_on_ends_nobody() -> None:
    """Nor a child, which does not inherit it."""
    assert ended(_moves_it_on) == 7


def _ends_with_a_thread(done: Any) -> None:
    threading.Thread(target=time.sleep, args=(3600,), name="sleeps").start()
    Ending(KernelDeadline().kill_after, lambda _seconds: None, done.set).begin(3)
    sys.exit(3)


def _ends_holding_the_interpreter() -> None:
    Ending(KernelDeadline().kill_after, lambda _seconds: None, lambda: None).begin(3)
    re.match(r"(a+)+$", "a" * 60 + "b")


def test_a_process_ends_with_its_code_though_a_thread_is_left() -> None:
    """After its last deed."""
    done = spawn.Event()
    begun = time.monotonic()
    assert ended(_ends_with_a_thread, done) == 3
    assert done.is_set()
    assert time.monotonic() - begun >= WITHIN


def test_one_that_cannot_run_its_last_deed_ends_all_the_same() -> None:
    """By the kernel."""
    assert ended(_ends_holding_the_interpreter) == -signal.SIGKILL


def _isolated(pipe: Any) -> None:
    isolation.isolate("events[3]", lambda: pipe.send("told"), lambda: None)
    forked = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    forked.start()
    child = subprocess.Popen(["sleep", "3600"])
    daemon = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    ignored = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True)
    pipe.send((forked.pid, child.pid, daemon.pid, os.getsid(0) == os.getpid(), ignored.stdout))
    for number in isolation.NOT_OURS:
        os.kill(os.getpid(), number)
    assert pipe.recv() == "end"
    isolation.end_children()
    pipe.send("ended")
    forked.join()
    os._exit(0)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_children_have_ordinary_signals_and_end_with_their_worker() -> None:
    """But for one that has made a session of its own. What is sent to a whole terminal does nothing to the worker."""
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_isolated, args=(theirs,))
    process.start()
    theirs.close()
    forked, child, daemon, leads, ignored = ours.recv()
    try:
        assert leads
        mask = int(ignored.split()[1], 16)
        assert not [each for each in (*isolation.NOT_OURS, signal.SIGUSR1, signal.SIGTERM) if mask >> (each - 1) & 1]
        os.kill(process.pid or 0, signal.SIGTERM)
        assert ours.recv() == "told"
        os.kill(forked, signal.SIGTERM)
        eventually("a forked child obeys TERM", lambda: is_gone(forked))
        ours.send("end")
        assert ours.recv() == "ended"
        eventually("the children are gone", lambda: is_gone(child))
        assert not is_gone(daemon)
        process.join(20.0)
        assert process.exitcode == 0
    finally:
        os.kill(daemon, signal.SIGKILL)
        process.kill()
