"""A deadline that the kernel keeps: it kills this process unless the deadline was moved on in time.

Code that never lets go of the interpreter lock lets no thread of ours run, and no signal handler of Python's: nothing
in the process can end it then but the kernel. A POSIX timer, and not `signal.setitimer`, because that one belongs to
the handler, which may well use it. Timers are not inherited by children.
"""

from __future__ import annotations

import ctypes
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

CLOCK_MONOTONIC = 1
_SIGEV_SIGNAL = 0


class _SignalEvent(ctypes.Structure):
    """struct sigevent: 64 bytes on Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _TimerSpec(ctypes.Structure):
    """struct itimerspec: the interval, then the first expiry; seconds and nanoseconds."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class KernelDeadline:
    """Not set until `kill_after` is called. Where the kernel or the C library has no such timers it does nothing."""

    def __init__(self) -> None:
        self._timer = ctypes.c_void_p()
        event = _SignalEvent(signo=int(signal.SIGKILL), notify=_SIGEV_SIGNAL)
        try:
            library = ctypes.CDLL(None, use_errno=True)
            self._set = library.timer_settime  # finding it takes longer than calling it
            failed = library.timer_create(CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer))
        except AttributeError:
            failed = -1
        self._works = failed == 0
        if failed:
            log.debug("no timer of the kernel's: a handler that never lets go of the interpreter may stay")

    def kill_after(self, seconds: float) -> None:
        """End this process in so many seconds, counted anew with each call. From any thread, in a microsecond."""
        self._expire(_TimerSpec(0, 0, int(seconds), int(seconds % 1 * 1e9) or 1))

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Do it in so many seconds, or end."""
        self.kill_after(seconds)
        try:
            yield
        finally:
            self._expire(_TimerSpec(0, 0, 0, 0))  # never

    def _expire(self, spec: _TimerSpec) -> None:
        if self._works:
            self._set(self._timer, 0, ctypes.byref(spec), None)
