"""A clean factory of processes, made before any thread or client.

Neither gRPC nor librdkafka survives a fork, and a fork copies whatever locks other threads hold at that instant. So
workers are not forked from the supervisor, which is full of threads, but from a small process of their own that was
started first, has imported everything a worker needs, the handler included, and does nothing else. A worker then
costs a fork: milliseconds, and only the memory that it writes to.

A fork server that dies takes no worker along, though multiprocessing then takes its children for dead. So the death
of a worker is seen by its pidfd (`children.py`); only its exit code is lost.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

from partition_workers import process
from partition_workers.errors import Misconfigured
from partition_workers.handler import ENVIRONMENT, PRELOAD

FOR_THE_SUPERVISOR = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip


class ForkServer:
    """The one fork server of this process. Make it first of all."""

    def __init__(self, handler: str) -> None:
        """Start it with `handler` preloaded. Raises Misconfigured when the handler cannot be imported."""
        try:
            here = os.getcwd()
        except FileNotFoundError:
            raise Misconfigured("the current folder was removed: go to one that is there") from None
        if multiprocessing.get_start_method(allow_none=True) != "forkserver":
            multiprocessing.set_start_method("forkserver", force=True)
        os.environ[PRELOAD] = handler
        _do_not_look_in(here)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["partition_workers.preload"])
        self._start()
        _try(self.context, handler)

    def renew(self) -> None:
        """Another one, which imports everything anew; the old one ends with the last of its workers.

        multiprocessing knows one fork server and how to replace a dead one, not how to have two: so it is made to
        forget the living one.
        """
        old = vars(forkserver._forkserver)
        os.close(old["_forkserver_alive_fd"])
        threading.Thread(target=os.waitpid, args=(old["_forkserver_pid"], 0), daemon=True).start()
        old.update(_forkserver_alive_fd=None, _forkserver_pid=None, _forkserver_address=None)
        self._start()

    def _start(self) -> None:
        # What is sent to the whole process group is for the supervisor to decide; ignored signals are inherited.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in FOR_THE_SUPERVISOR}
        try:
            forkserver.ensure_running()
        finally:
            for number, handler_before in before.items():
                signal.signal(number, handler_before)


def _do_not_look_in(here: str) -> None:
    """multiprocessing starts its own processes by `python -c`, which looks for modules in the current folder first.

    A `signal.py` there would be theirs. Now it is looked into when the handler is imported, and not before.
    """
    changed = ("PYTHONPATH", "PYTHONSAFEPATH")
    os.environ.setdefault(ENVIRONMENT, json.dumps({name: os.environ.get(name) for name in changed}))
    os.environ["PYTHONSAFEPATH"] = "1"
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(each for each in places if each and os.path.abspath(each) != here)


def _try(context: ForkServerContext, handler: str) -> None:
    """Python ignores a preload that fails, and the handler must not be imported here: a process of its own tries."""
    ours, theirs = context.Pipe()
    attempt = context.Process(target=process.try_handler, args=(handler, theirs))
    try:
        attempt.start()
        theirs.close()
        error = ours.recv()
        attempt.join()
    except (EOFError, OSError):  # the fork server itself has ended, while it imported the handler
        raise Misconfigured(f"handler {handler!r}: importing it ends the process") from None
    if error is not None:
        raise error
