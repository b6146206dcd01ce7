"""The first code of ours in a worker process, and the only place in it where clients are made.

Made here, after the fork: neither librdkafka nor gRPC survives one.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any

from setproctitle import setproctitle

from workers import logs
from workers.attention import Attention
from workers.clock import boottime
from workers.documents import Standby, now
from workers.errors import ExitCode, Misconfigured, PartitionSupervisorError
from workers.etcd import Etcd
from workers.handler import load
from workers.kafka import Reader
from workers.line import Line
from workers.protocol import GaveUp, WorkerSettings
from workers.states import Life, State
from workers.worker import Worker

log = logging.getLogger(__name__)


def main(settings: WorkerSettings, connection: Connection, log_queue: Any, listening: socket.socket | None) -> None:
    """Run one worker to its end, and exit with the code that says why.

    `listening` is only held: while it is open, other hosts know that somebody is left on this one.
    """
    if listening is not None:
        listening.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    attention = Attention()
    line = Line(connection, attention)
    signal.signal(signal.SIGTERM, lambda *_: line.ask_to_leave())
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    logs.configure(log_queue, settings.log_level)
    sys.exit(int(_live(settings, line, attention)))


def try_handler(name: str, connection: Connection) -> None:
    """Say whether the handler can be imported: None, or the error."""
    try:
        load(name)
        connection.send(None)
    except Misconfigured as error:
        connection.send(error)


def _live(settings: WorkerSettings, line: Line, attention: Attention) -> ExitCode:
    def show(state: State, token: int) -> None:
        setproctitle(f"partition-supervisor: {settings.partition} {state}" + (f" token={token}" if token else ""))

    show(State.STARTING, 0)
    try:
        handler = load(settings.handler)
        me = Standby(settings.worker, settings.host, os.getpid(), f"{settings.lease:x}", now())
        reader = Reader(settings.kafka, settings.partition)
        store = Etcd(settings.etcd)
        try:
            worker = Worker(
                settings, me, store, reader, handler, line, attention, Life(show), boottime
            )  # fmt: skip
            return worker.live()
        finally:
            reader.close()
            store.close()
    except PartitionSupervisorError as error:
        line.tell(GaveUp(error.exit_code, str(error)))
        log.debug("%s", error)  # the supervisor says it, once
        return error.exit_code
    except Exception as error:
        line.tell(GaveUp(ExitCode.UNEXPECTED, f"{type(error).__name__}: {error}"))
        log.exception("%s: unexpected", settings.partition)
        return ExitCode.UNEXPECTED
