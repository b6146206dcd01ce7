"""One worker of this host: a handle on its process, and what it last said."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass

from partition_supervisor.processes.child_state import GOING, OWNING, READY, ChildEvent, ChildState, advance
from partition_supervisor.processes.launch import Launched
from partition_supervisor.processes.log_receiver import FromWorker
from partition_supervisor.processes.pipe import WorkerPipe
from partition_workers.counts import NOTHING, Counts
from partition_workers.layout.documents import Standby
from partition_workers.model import Partition, Token
from partition_workers.protocol import AnswerPing, GaveUp, Order, WasParked, WorkerSettings

log = logging.getLogger(__name__)

#: Pings without an answer after which no more are sent: the pipe of a stopped process must not fill up.
UNANSWERED = 10


@dataclass
class Child:
    """One worker process, and what it last said.

    `token` is the one under which it was named, or owns the partition. `deadline`, of its lease as an owner, is in
    seconds of CLOCK_BOOTTIME; `started_at` and `ready_at` are in those of the loop's clock.
    """

    settings: WorkerSettings
    pipe: WorkerPipe
    logs: FromWorker
    #: 0 until its process was made.
    pid: int = 0
    state: ChildState = ChildState.STARTING
    started_at: float = 0.0
    standby: Standby | None = None
    ready_at: float | None = None
    token: Token | None = None
    offset: int | None = None
    deaths: int = 0
    has_committed: bool = False
    deadline: float | None = None
    ended_by_us: bool = False
    #: It has handed over, given up or done its work: what it owned is not its own any more.
    has_let_go: bool = False
    pinged: int = 0
    unanswered: int = 0
    answered: int = 0
    answered_at: float = 0.0
    launched: Launched | None = None
    exit_fd: int = -1
    last_word: GaveUp | WasParked | None = None
    #: What it has counted as an owner, as of its last report.
    counts: Counts = NOTHING
    #: Keys and bytes, once they were measured.
    state_size: tuple[int, int] | None = None
    suspended_at: float | None = None
    #: Since when a step with outputs is open, on the clock of leases, if it is so for longer than usual.
    step_open_since: float | None = None

    @property
    def worker(self) -> str:
        return self.settings.worker

    @property
    def partition(self) -> Partition:
        return self.settings.partition

    @property
    def max_records(self) -> int:
        return self.settings.max_records

    def advance(self, event: ChildEvent) -> None:
        self.state = advance(self.state, event)

    @property
    def is_ready(self) -> bool:
        """A standby that could become the owner now."""
        return self.state in READY

    @property
    def is_idle(self) -> bool:
        """Neither owner nor named, and not told to leave: nobody waits for it."""
        return self.state in (ChildState.STARTING, ChildState.STANDBY)

    @property
    def is_owner(self) -> bool:
        return self.state in OWNING

    def owns(self, now: float) -> bool:
        """Whether the partition is still its own for all that is known here at `now` (seconds, CLOCK_BOOTTIME).

        When its lease is over others may own it: who is cut off from etcd does not hear of them.
        """
        return self.is_owner and not self.has_let_go and (self.deadline is None or now < self.deadline)

    @property
    def is_leaving(self) -> bool:
        return self.state in GOING

    def tell(self, order: Order) -> None:
        self.pipe.send(order)

    def ping(self) -> None:
        """Ask it for a sign of life, unless it has left out so many that its pipe might fill up."""
        if self.unanswered >= UNANSWERED:
            self.pipe.flush()
            return
        self.pinged += 1
        self.unanswered += 1
        self.tell(AnswerPing(self.pinged))

    def hear_answer(self, number: int, now: float) -> None:
        """`now`: seconds, CLOCK_BOOTTIME."""
        self.answered, self.answered_at, self.unanswered = number, now, 0

    def signal(self, number: signal.Signals) -> None:
        """By its pidfd, for its number may be another's by now."""
        if self.launched is None:
            return
        try:
            if self.exit_fd != self.launched.status:
                signal.pidfd_send_signal(self.exit_fd, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError as error:  # its handler took another user's rights
            log.error("%s: pid %d cannot be signalled: %s", self.partition, self.pid, error)

    def kill(self) -> None:
        """One that is not there yet dies by its pipe when it is."""
        self.ended_by_us = True
        if self.launched is None:
            self.pipe.hang_up()
        self.signal(signal.SIGKILL)
