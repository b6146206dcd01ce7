"""A clean factory of processes: fork servers, of which one serves at a time.

Neither gRPC nor librdkafka survives a fork, and a fork copies whatever locks other threads hold at that instant. So
workers are not forked from the supervisor, which is full of threads, but from a small process of its own that has
imported everything a worker needs, the handler included, and does nothing else. A worker then costs a fork:
milliseconds, and only the memory that it writes to.

A fork server that dies takes no worker along. So the death of a worker is seen by its pidfd (`children.py`); only its
exit code is lost. A fork server that has died, or does not answer, is replaced by another, once that has shown that
it can import the handler.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

from partition_supervisor.processes.launch import Launched, NoAnswer, Server
from partition_workers import process
from partition_workers.errors import Misconfigured
from partition_workers.handler import ENVIRONMENT, PRELOAD

#: Seconds for a fork server to make a process, which takes it some milliseconds. It may have to wait for a processor.
ANSWER_WITHIN = 5.0
#: Seconds for new code to be imported.
IMPORT_WITHIN = 60.0


class ForkServer:
    """What makes this host's processes. Its methods block; none is for the loop but `adopt`, `context` and `kill`."""

    def __init__(self, handler: str) -> None:
        """Raises Misconfigured when the current folder is gone."""
        try:
            self._folder = _current_folder()
        except FileNotFoundError:
            raise Misconfigured("the current folder was removed: go to one that is there") from None
        if multiprocessing.get_start_method(allow_none=True) != "forkserver":
            multiprocessing.set_start_method("forkserver", force=True)
        os.environ[PRELOAD] = handler
        _do_not_look_in(os.getcwd())
        self._handler = handler
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._server: Server | None = None
        self._trial: Server | None = None
        self._changing = threading.Lock()

    def start(self) -> None:
        """Make the first one. Raises Misconfigured when the handler cannot be imported."""
        try:
            self.adopt(self.prepare(None))
        except OSError as error:
            raise Misconfigured(f"no process can be made: {error}") from error

    def launch(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> Launched:
        """Make a process, by another fork server if the present one is gone. Raises OSError or EOFError when there
        is no process to be had, Misconfigured when there is no fork server and the handler cannot be imported."""
        self._stay_somewhere()
        with self._changing:
            server = self._server
        if server is None or not server.is_running():
            server = self._replace(server)
        try:
            return server.launch(self.context, target, args, name, ANSWER_WITHIN)
        except NoAnswer:
            server.kill()
            raise
        except (EOFError, ConnectionError):
            if server.is_running():
                raise
            return self._replace(server).launch(self.context, target, args, name, ANSWER_WITHIN)

    def reload(self, within: float = IMPORT_WITHIN) -> Server:
        """A fork server with the code as it is now, tried, to be adopted. The code is looked for where the current
        folder's name leads to now. Raises Misconfigured or OSError; then nothing has changed."""
        try:
            os.chdir(self._folder)
        except OSError as error:
            raise Misconfigured(f"the folder {self._folder} cannot be entered: {error.strerror}") from None
        return self.prepare(within)

    def prepare(self, within: float | None) -> Server:
        """Another fork server, that has imported the handler within so many seconds (None: whenever it has).

        Python ignores a preload that fails, and the handler must not be imported here: so a process from it tries.
        """
        server = self._trial = Server()
        try:
            _try(server, self.context, self._handler, within)
        except BaseException:
            server.kill()
            raise
        finally:
            self._trial = None
        return server

    def adopt(self, server: Server) -> None:
        """From now on it makes the processes; the one before ends with the last of its workers."""
        with self._changing:
            before, self._server = self._server, server
        if before is not None:
            before.retire()

    def kill(self) -> None:
        """At the end of this process, whatever state they are in: none of the fork servers stays."""
        for server in (self._server, self._trial):
            if server is not None:
                server.kill()

    def _replace(self, server: Server | None) -> Server:
        new = self.prepare(IMPORT_WITHIN)
        with self._changing:
            if self._server is server:
                self._server = new
                return new
        new.kill()  # another was adopted meanwhile
        assert self._server is not None
        return self._server

    def _stay_somewhere(self) -> None:
        """Every process is told its current folder. If that was removed: the one of the same name, or none."""
        try:
            os.getcwd()
        except FileNotFoundError:
            try:
                os.chdir(self._folder)
            except OSError:
                os.chdir("/")


def _current_folder() -> str:
    """By the name that its user knows it by, which may lead elsewhere after the next deployment."""
    here, named = os.getcwd(), os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.isabs(named) and os.path.samefile(named, here):
            return named
    return here


def _do_not_look_in(here: str) -> None:
    """multiprocessing starts its own processes by `python -c`, which looks for modules in the current folder first.

    A `signal.py` there would be theirs. Now it is looked into when the handler is imported, and not before.
    """
    changed = ("PYTHONPATH", "PYTHONSAFEPATH")
    os.environ.setdefault(ENVIRONMENT, json.dumps({name: os.environ.get(name) for name in changed}))
    os.environ["PYTHONSAFEPATH"] = "1"
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(each for each in places if each and os.path.abspath(each) != here)


def _try(server: Server, context: ForkServerContext, handler: str, within: float | None) -> None:
    """Raises Misconfigured when `server` cannot import it."""
    until = None if within is None else time.monotonic() + within
    ours, theirs = context.Pipe()
    with ours:
        try:
            with theirs:
                attempt = server.launch(context, process.try_handler, (handler, theirs), "trial", within)
            attempt.close()
            if not ours.poll(None if until is None else max(0.0, until - time.monotonic())):
                raise NoAnswer
            error = ours.recv()
        except NoAnswer:
            raise Misconfigured(f"handler {handler!r}: importing it takes longer than {within:g} s") from None
        except (EOFError, ConnectionError):  # the fork server itself has ended, while it imported the handler
            raise Misconfigured(f"handler {handler!r}: importing it ends the process") from None
    if error is not None:
        raise error
