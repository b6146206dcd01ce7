"""A worker's process among others: a session of its own, and what the children of its handler inherit.

Its own session, because then everything that the handler starts can be ended with it: the supervisor kills what is
left in the worker's process group once the worker is gone. A child that makes a session of its own, as daemons do and
`subprocess.Popen(start_new_session=True)`, has left that group and stays.

Signals that are ignored are ignored by children too, even after exec, where a handler of ours is not: so the signals
that a terminal sends to whole groups are handled, by doing nothing. A child that was forked, and runs no other
program, has ordinary signals again at once.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from setproctitle import setproctitle

#: Whoever sends one of these to a worker meant the supervisor, which gets it too.
NOT_OURS = (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
#: The file descriptor of standard error. `sys.stderr` may be anything that the handler has put there.
STDERR = 2


def isolate(name: str, on_term: Callable[[], None], in_child: Callable[[], None]) -> None:
    """Make this process a worker. `on_term` is called in a signal handler; `in_child` in each child that is forked,
    to close what is not its own. `name`: of the partition, for the children's titles."""
    with suppress(PermissionError):  # it leads a session already
        os.setsid()
    for number in NOT_OURS:
        signal.signal(number, _do_nothing)
    signal.signal(signal.SIGTERM, lambda *_: on_term())
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    faulthandler.register(signal.SIGUSR1, file=STDERR, all_threads=True)
    worker = os.getpid()

    def become_ordinary() -> None:
        faulthandler.unregister(signal.SIGUSR1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, *NOT_OURS[1:]):
            signal.signal(number, signal.SIG_DFL)
        setproctitle(f"handler of {name}: child of {worker}")
        in_child()

    os.register_at_fork(after_in_child=become_ordinary)


def end_children() -> None:
    """Kill what is left in our own process group besides ourselves. The supervisor does it, unless it is gone."""
    mine = os.getpgrp()
    for found in Path("/proc").iterdir():
        if found.name.isdigit() and int(found.name) != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                if os.getpgid(int(found.name)) == mine:
                    os.kill(int(found.name), signal.SIGKILL)


def _do_nothing(_number: int, _frame: object) -> None:
    pass
