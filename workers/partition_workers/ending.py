"""The end of a worker's process: within a stated time, whatever its handler has left running.

After its last word Python still waits for threads that are no daemons, for children of multiprocessing, and for
functions that were registered to run at exit. A worker that waits for ever takes a place that its successor needs.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

#: Seconds from a worker's last word to its end, at most.
WITHIN = 2.0
#: Seconds more, after which the kernel ends it: for one whose handler does not let go of the interpreter.
KERNEL_GRACE = 1.0
#: Seconds for what was logged to get to the supervisor.
FLUSH = 0.5


class Ending:
    """`last_deed()` is done just before the process ends, if it does not end by itself."""

    def __init__(
        self, kill_after: Callable[[float], None], flush: Callable[[float], None], last_deed: Callable[[], None]
    ) -> None:
        self._kill_after, self._flush, self._last_deed = kill_after, flush, last_deed

    def begin(self, code: int) -> None:
        """The worker has said its last word; its process ends with `code`."""
        self._kill_after(WITHIN + KERNEL_GRACE)
        threading.Thread(target=self._end, args=(code,), name="ending", daemon=True).start()

    def _end(self, code: int) -> None:
        time.sleep(WITHIN)
        flush_standard_streams()
        self._last_deed()
        self._flush(FLUSH)
        os._exit(code)


def flush_standard_streams() -> None:
    """Whatever the handler has put in their place."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


def held_up_by() -> str:
    """What will hold up the end of this process: threads by their names, or whatever else is run at exit."""
    main = threading.main_thread()
    names = [each.name for each in threading.enumerate() if each is not main and not each.daemon]
    return f"threads of its handler: {', '.join(names)}" if names else "what its handler does at exit"
