"""An owner that is late with its lease starts no record until etcd has said that the lock is still its own."""

from __future__ import annotations

import logging
from collections.abc import Callable

from partition_workers.errors import Lost, Retry
from partition_workers.etcd.store import Store
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.keys import Keys
from partition_workers.lease_watchdog import LeaseWatchdog
from partition_workers.lifecycle import Lifecycle, LifecycleEvent
from partition_workers.log_events import event
from partition_workers.model import Partition, Token
from partition_workers.ownership import transactions
from partition_workers.protocol import Resumed, Suspended
from partition_workers.supervisor_pipe import SupervisorPipe

log = logging.getLogger(__name__)

#: Seconds between two looks at the lease, at most.
LOOK = 0.2


class Suspension:
    """For one ownership. `on_look` is called with each look: the record loop stands still for a good reason."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        partition: Partition,
        token: Token,
        lease: LeaseWatchdog,
        pipe: SupervisorPipe,
        interrupt: InterruptFlag,
        lifecycle: Lifecycle,
        on_look: Callable[[], None],
    ) -> None:
        self._store, self._keys, self._partition, self._token = store, keys, partition, token
        self._lease, self._pipe, self._interrupt, self._lifecycle = lease, pipe, interrupt, lifecycle
        self._on_look = on_look

    def wait(self) -> None:
        """Until the lock is known to be ours again. Raises Lost when it is not."""
        self._lifecycle.advance(LifecycleEvent.LEASE_LATE)
        self._pipe.tell(Suspended())
        log.warning(
            "%s: suspended: etcd has been silent for three quarters of the lease's time",
            self._partition,
            extra=event("owner-suspended"),
        )
        while not self._is_certain_again():
            self._interrupt.wait(LOOK)
            self._interrupt.clear()
            self._on_look()
            if self._lease.gone or self._pipe.orphaned:
                raise Lost(f"{self._partition}: the lease ended while suspended")
        self._lifecycle.advance(LifecycleEvent.LOCK_CHECKED)
        self._pipe.tell(Resumed())
        self._interrupt.set()  # orders may have come meanwhile

    def _is_certain_again(self) -> bool:
        """Nothing is asked while renewals are late but may still be in time. Something is once the lease may be over:
        the lock may be another's by then, or etcd another cluster, where nobody answers for our lease."""
        is_late = self._lease.late
        if is_late and not self._lease.is_over():
            return False
        try:
            result = self._store.transact(transactions.still_mine(self._keys, self._partition, self._token))
        except Retry:
            return False
        if not result.succeeded:
            raise Lost(f"{self._partition} has another owner by now")
        return not is_late
