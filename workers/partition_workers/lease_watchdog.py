"""The lease of an owner, as the owner sees it: good, late, or gone; and renewed only while the record loop moves.

The keeper's threads write here, the record loop reads; whatever matters to it raises the flag. Whether the loop moves
is asked before each renewal, which depends on it, and more often by a thread of its own: renewals may be ten seconds
apart, and somebody waits for the record behind the one that hangs.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable

from partition_workers.clock import Clock
from partition_workers.etcd.store import Store
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.ownership.lease_keeper import LeaseKeeper
from partition_workers.protocol import GotStuck, RenewedLease
from partition_workers.supervisor_pipe import SupervisorPipe

#: Seconds between two looks at the record loop, at most.
LOOK = 0.25
#: Seconds after the end of its lease at which the kernel ends an owner none of whose threads has run meanwhile.
KERNEL_GRACE = 2.0
#: Seconds in which the first record is read before this process begins to renew its lease, which is good by then.
YIELD_SECONDS = 0.01


class LeaseWatchdog:
    """`lease` and its time in the hands of its owner. Times in seconds."""

    def __init__(
        self,
        store: Store,
        lease: int,
        ttl: float,
        pipe: SupervisorPipe,
        interrupt: InterruptFlag,
        clock: Clock,
        limit: float,
        kill_after: Callable[[float], None] = lambda _seconds: None,
        patience: float | None = None,
    ) -> None:
        """`kill_after(seconds)`: the kernel ends this process, unless it is called again before that.

        `patience`: seconds that etcd may take to confirm a renewal, before another endpoint is asked.
        """
        self.gone = False
        self.late = False
        self.deadline = 0.0
        self._lease, self._ttl, self._pipe, self._interrupt, self._clock = lease, ttl, pipe, interrupt, clock
        self._limit, self._kill_after = limit, kill_after
        self._place: Callable[[], object] = lambda: None
        self._last_place: object = None
        self._moved_at = clock()
        self._stuck = False
        self._looking = threading.Lock()
        self._begun = threading.Event()
        self._stopped = threading.Event()
        self._main = threading.main_thread().ident
        self._keeper = LeaseKeeper(
            store, ttl / 5, on_renewed=self._renewed, on_gone=self._lost, on_late=self._is_late, clock=clock,
            patience=patience,
        )  # fmt: skip
        threading.Thread(target=self._look_after_it, name="progress", daemon=True).start()

    def start(self) -> None:
        """Renew it ourselves from now on. This takes no time: the threads are there."""
        self._live_on()
        self._begun.set()

    def stop(self) -> None:
        self._stopped.set()
        self._begun.set()
        self._keeper.close()

    def is_over(self) -> bool:
        """Whether the lease may have ended by now."""
        return self.gone or self._clock() > self.deadline

    def watch_over(self, place: Callable[[], object]) -> None:
        """From now on `place` must change within the limit, or renewals end."""
        self._moved_at = self._clock()
        self._place = place

    def _look_after_it(self) -> None:
        self._begun.wait()
        if self._stopped.wait(YIELD_SECONDS):
            return
        self._keeper.keep(self._lease, self._ttl, self._moving, self.deadline)
        while not self._stopped.wait(min(LOOK, self._limit / 4) if self._limit else LOOK):
            self._live_on()
            self._moving()

    def _live_on(self) -> None:
        """A handler that lets no other thread run is ended by its supervisor, when its lease is late. Where there is
        no supervisor any more the kernel does it."""
        self._kill_after(self._ttl + KERNEL_GRACE)

    def _moving(self) -> bool:
        with self._looking:
            return self._moves()

    def _moves(self) -> bool:
        place, now = self._place(), self._clock()
        if place != self._last_place or place is None or not self._limit:
            self._last_place, self._moved_at, self._stuck = place, now, False
        if now - self._moved_at < self._limit or not self._limit:
            return True
        if not self._stuck:
            self._stuck = True
            frame = sys._current_frames().get(self._main or 0)
            stack = "".join(traceback.format_stack(frame)) if frame else ""
            self._pipe.tell(GotStuck(now - self._moved_at, stack))
        return False

    def _renewed(self, _lease: int, deadline: float) -> None:
        self.deadline = deadline
        self._pipe.tell(RenewedLease(deadline))
        if self.late:
            self.late = False
            self._interrupt.set()

    def _is_late(self, _lease: int) -> None:
        self.late = True
        self._interrupt.set()

    def _lost(self, _lease: int) -> None:
        self.gone = True
        self._interrupt.set()
