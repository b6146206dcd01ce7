"""The first code of ours in a worker process, and with `way_out.py` the only place in it where clients are made.

Made here, after the fork: neither librdkafka nor gRPC survives one.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any

from setproctitle import setproctitle

from partition_workers import isolation, log_sender, way_out
from partition_workers.clock import boottime
from partition_workers.counts import Counts
from partition_workers.ending import Ending, held_up_by
from partition_workers.errors import ExitCode, Misconfigured, PartitionSupervisorError
from partition_workers.etcd.client import Etcd
from partition_workers.handler import load
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Reader
from partition_workers.kernel_deadline import KernelDeadline
from partition_workers.layout.documents import Standby, now
from partition_workers.lifecycle import Lifecycle, LifecycleState
from partition_workers.protocol import GaveUp, IsEnding, WorkerSettings
from partition_workers.supervisor_pipe import SupervisorPipe
from partition_workers.worker import Worker

log = logging.getLogger(__name__)

#: Seconds for clients to be made; it takes milliseconds. Where the system gives no more threads, librdkafka (2.16)
#: waits for those that it did not get, for ever, and does not let go of the interpreter (its issue 4588): such
#: a worker heard of no order, and not of the end of its supervisor.
CLIENTS_WITHIN = 60.0
NO_THREADS = (
    "the system gives no more threads: raise the limit (ulimit -u, pids.max of the control group, TasksMax of the"
    " unit), or run fewer --workers"
)


def main(settings: WorkerSettings, connection: Connection, log_queue: Any, listening: socket.socket | None) -> None:
    """Run one worker to its end, and exit with the code that says why.

    `listening` is only held: while it is open, other hosts know that somebody is left on this one.
    """

    def close_ours() -> None:
        connection.close()
        if listening is not None:
            listening.close()

    if listening is not None:
        listening.set_inheritable(False)
    interrupt = InterruptFlag()
    pipe = SupervisorPipe(connection, interrupt, isolation.end_children)
    isolation.isolate(str(settings.partition), pipe.ask_to_leave, close_ours)
    deadline = KernelDeadline()
    log_sender.show_lines_at_once()
    logs = log_sender.configure(log_queue, settings.log_level)

    def last_deed() -> None:
        if pipe.orphaned:
            isolation.end_children()

    ending = Ending(deadline.kill_after, logs.flush_within, last_deed)
    code = _live(settings, pipe, interrupt, deadline, ending)
    last_deed()
    sys.exit(int(code))


def try_handler(name: str, connection: Connection) -> None:
    """Say whether the handler can be imported: None, or the error."""
    try:
        load(name)
        connection.send(None)
    except Misconfigured as error:
        connection.send(error)


def _live(
    settings: WorkerSettings, pipe: SupervisorPipe, interrupt: InterruptFlag, deadline: KernelDeadline, ending: Ending
) -> ExitCode:
    def show(state: LifecycleState, token: int) -> None:
        setproctitle(f"partition-supervisor: {settings.partition} {state}" + (f" token={token}" if token else ""))

    def begin_to_end(code: ExitCode, counts: Counts | None = None) -> ExitCode:
        pipe.tell(IsEnding(held_up_by(), counts))
        ending.begin(code)
        return code

    show(LifecycleState.STARTING, 0)
    try:
        handler = load(settings.handler)
        me = Standby(settings.worker, settings.host, os.getpid(), f"{settings.lease:x}", now())
        with deadline.within(CLIENTS_WITHIN):
            reader = Reader(settings.kafka, settings.partition)
            outputs = way_out.of(settings)
            store = Etcd(settings.etcd)
        try:
            worker = Worker(
                settings, me, store, reader, handler, pipe, interrupt, Lifecycle(show), boottime,
                deadline.kill_after, outputs,
            )  # fmt: skip
            code = worker.live()
            return begin_to_end(code, worker.owner.counts() if worker.owner is not None else None)
        finally:
            if outputs is not None:
                outputs.close()
            reader.close()
            store.close()
    except PartitionSupervisorError as error:
        pipe.tell(GaveUp(error.exit_code, str(error)))
        log.debug("%s", error)  # the supervisor says it, once
        return begin_to_end(error.exit_code)
    except Exception as error:
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            pipe.tell(GaveUp(ExitCode.UNEXPECTED, NO_THREADS))
            return begin_to_end(ExitCode.UNEXPECTED)
        pipe.tell(GaveUp(ExitCode.UNEXPECTED, f"{type(error).__name__}: {error}"))
        log.exception("%s: unexpected", settings.partition)
        return begin_to_end(ExitCode.UNEXPECTED)
