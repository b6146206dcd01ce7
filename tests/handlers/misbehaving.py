"""Handlers that check like the demo's, and do something terrible at one record.

Which record is said by the environment: TROUBLE_AT is its number, in every partition.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from partition_supervisor.dev.demo.checking import check

AT = int(os.environ.get("TROUBLE_AT", "-1"))
#: A file that exists: the trouble has happened, and does not happen again.
ONCE = Path(os.environ["TROUBLE_ONCE"]) if "TROUBLE_ONCE" in os.environ else None
#: A file of the test's: once it exists, the trouble is over.
UNTIL = Path(os.environ["TROUBLE_UNTIL"]) if "TROUBLE_UNTIL" in os.environ else None
#: Where it is written down when each trouble happened: seconds of time.time(), one a line.
TIMES = Path(os.environ["TROUBLE_TIMES"]) if "TROUBLE_TIMES" in os.environ else None


def _is_the_one(record: Any) -> bool:
    if int(record.value().split(b" ", 1)[0]) != AT or record.partition() != 0:
        return False
    if UNTIL is not None and UNTIL.exists():
        return False
    if TIMES is not None:
        with TIMES.open("a") as times:
            times.write(f"{time.time()}\n")
    if ONCE is None:
        return True
    if ONCE.exists():
        return False
    ONCE.touch()
    return True


def raises(record: Any, state: Any) -> None:
    check(record, state)  # what it changed must be undone
    if _is_the_one(record):
        raise ValueError("this record is bad")


#: Past `except Exception`: what each of these is raised for has nothing to do with the worker.
_PAST_EXCEPTION: dict[str, BaseException] = {
    "cancelled": asyncio.CancelledError(), "interrupt": KeyboardInterrupt(), "generator": GeneratorExit(),
}  # fmt: skip


def raises_past_exception(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        raise _PAST_EXCEPTION[os.environ["TROUBLE_KIND"]]


def raises_what_cannot_be_encoded(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        raise ValueError("not unicode: \udcff")


async def _asynchronous(record: Any, state: Any) -> None:
    check(record, state)


@functools.wraps(_asynchronous)
def asynchronous_in_disguise(*arguments: Any) -> Any:
    return _asynchronous(*arguments)


def ends_everything(record: Any, state: Any) -> None:
    """The supervisor, the fork server and all workers of this host, as the out-of-memory killer ends a container."""
    check(record, state)
    if _is_the_one(record):
        log = os.readlink("/proc/self/fd/2")
        mine = os.getpid()
        others = []
        for found in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if found.name.isdigit() and int(found.name) != mine and os.readlink(found / "fd/2") == log:
                    others.append(int(found.name))
        for pid in [*others, mine]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def exits(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        sys.exit(3)


def exits_hard(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        os._exit(0)


def dies_of_a_signal(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        os.kill(os.getpid(), signal.SIGSEGV)


def segfaults(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        ctypes.string_at(0)


_kept: list[bytes] = []


def grows(record: Any, state: Any) -> None:
    """150 MB that are never given back."""
    check(record, state)
    if _is_the_one(record):
        _kept.append(b"x" * 150_000_000)


def hangs(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        while True:
            time.sleep(60)  # this is the fault under test


def puts_a_set(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        state["bad"] = {1, 2}


def puts_too_much(record: Any, state: Any) -> None:
    check(record, state)
    if _is_the_one(record):
        state["big"] = "x" * 2_000_000


def _cling() -> None:
    """A call into C that does not let go of the interpreter: no other thread of the process runs for 1.5 s."""
    ctypes.PyDLL(None).usleep(1_500_000)


_clung = False


def clings(record: Any, state: Any) -> None:
    """At the first record that this process handles."""
    global _clung
    if not _clung and record.partition() == 0:
        _clung = True
        _cling()
    check(record, state)


class ClingsWhenOpened:
    def open(self, context: Any) -> None:
        if context.partition.number == 0:
            _cling()

    def handle(self, record: Any, state: Any) -> None:
        check(record, state)


class DiesInOpen:
    """In that of partition 0, until the trouble is over."""

    def open(self, context: Any) -> None:
        if context.partition.number == 0 and not (UNTIL and UNTIL.exists()):
            if TIMES is not None:
                with TIMES.open("a") as times:
                    times.write(f"{time.time()}\n")
            os._exit(1)

    def handle(self, record: Any, state: Any) -> None:
        check(record, state)


class HangsInOpen(DiesInOpen):
    """Once."""

    def open(self, context: Any) -> None:
        if context.partition.number == 0 and ONCE is not None and not ONCE.exists():
            ONCE.touch()
            time.sleep(3600)  # this is the fault under test


class RaisesInOpen(DiesInOpen):
    """A database that is away for a moment."""

    def open(self, context: Any) -> None:
        if context.partition.number == 0 and TIMES is not None:
            with TIMES.open("a") as times:
                times.write(f"{time.time()}\n")
            if len(TIMES.read_text().split()) < 3:
                raise ConnectionError("no database")


class Batch:
    """The same account, by lists."""

    def handle_batch(self, records: list[Any], state: Any) -> None:
        for record in records:
            check(record, state)
