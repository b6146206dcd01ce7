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

from partition_workers import log_sender
from partition_workers.clock import boottime
from partition_workers.errors import ExitCode, Misconfigured, PartitionSupervisorError
from partition_workers.etcd.client import Etcd
from partition_workers.handler import load
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Reader
from partition_workers.layout.documents import Standby, now
from partition_workers.lifecycle import Lifecycle, LifecycleState
from partition_workers.protocol import GaveUp, WorkerSettings
from partition_workers.supervisor_pipe import SupervisorPipe
from partition_workers.worker import Worker

log = logging.getLogger(__name__)


def main(settings: WorkerSettings, connection: Connection, log_queue: Any, listening: socket.socket | None) -> None:
    """Run one worker to its end, and exit with the code that says why.

    `listening` is only held: while it is open, other hosts know that somebody is left on this one.
    """
    if listening is not None:
        listening.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    interrupt = InterruptFlag()
    pipe = SupervisorPipe(connection, interrupt)
    signal.signal(signal.SIGTERM, lambda *_: pipe.ask_to_leave())
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    log_sender.configure(log_queue, settings.log_level)
    sys.exit(int(_live(settings, pipe, interrupt)))


def try_handler(name: str, connection: Connection) -> None:
    """Say whether the handler can be imported: None, or the error."""
    try:
        load(name)
        connection.send(None)
    except Misconfigured as error:
        connection.send(error)


def _live(settings: WorkerSettings, pipe: SupervisorPipe, interrupt: InterruptFlag) -> ExitCode:
    def show(state: LifecycleState, token: int) -> None:
        setproctitle(f"partition-supervisor: {settings.partition} {state}" + (f" token={token}" if token else ""))

    show(LifecycleState.STARTING, 0)
    try:
        handler = load(settings.handler)
        me = Standby(settings.worker, settings.host, os.getpid(), f"{settings.lease:x}", now())
        reader = Reader(settings.kafka, settings.partition)
        store = Etcd(settings.etcd)
        try:
            worker = Worker(
                settings, me, store, reader, handler, pipe, interrupt, Lifecycle(show), boottime
            )  # fmt: skip
            return worker.live()
        finally:
            reader.close()
            store.close()
    except PartitionSupervisorError as error:
        pipe.tell(GaveUp(error.exit_code, str(error)))
        log.debug("%s", error)  # the supervisor says it, once
        return error.exit_code
    except Exception as error:
        pipe.tell(GaveUp(ExitCode.UNEXPECTED, f"{type(error).__name__}: {error}"))
        log.exception("%s: unexpected", settings.partition)
        return ExitCode.UNEXPECTED
