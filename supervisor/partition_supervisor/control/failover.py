"""A dead worker's lock, or a dead host's, goes to a successor; and one that does not confirm is passed over.

What a death needs comes in this order: the lock, for somebody waits for the next record; then, after a moment, the
dead worker's exit code, its lease, and its replacement.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from functools import partial
from sched import scheduler

from partition_supervisor.cluster import takeover
from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.takeover import Death, Named, Waiting
from partition_supervisor.cluster_state import ClusterState, Held, Locks
from partition_supervisor.config import Config
from partition_supervisor.control.lease_monitor import LeaseMonitor
from partition_supervisor.control.lock_offers import QUEUE_STEP, LockOffers
from partition_supervisor.control.successors import Successors
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import UNKNOWN, Children
from partition_workers.errors import ExitCode
from partition_workers.etcd.store import Store
from partition_workers.layout.documents import Standby, now
from partition_workers.log_events import event
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: Seconds after which a successor that has not entered is looked after. Then twice as long, each time, up to T: the
#: next one named gets the same, or a crowd on a slow machine would take the lock from each other for ever.
CONFIRM_WITHIN = 0.5
#: A part of T without a renewal of its lease says that a standby is dead: half a renewal more than it may take.
LATE = 1 / 2
#: The successor loads: the dead worker's lease and replacement come so many seconds later.
REPLACE_AFTER = 0.02
#: Seconds until the fork server has told how a worker ended, or does not answer; and between two looks.
CODE_WITHIN, CODE_EVERY = 1.0, 0.004
#: Seconds for etcd to answer about another host's death: if it does not, it may be this host that was cut off.
TIMEOUT_FOR_OTHERS = 3.0


class Failover:
    """`on_end(child, exit code)` is called for each end, once the lock has been seen to.

    `pending_exits`: so many have exited and have not been told to it yet.
    """

    def __init__(
        self,
        config: Config,
        children: Children,
        cluster: ClusterState,
        store: Store,
        background: BackgroundCalls,
        timers: scheduler,
        lease_monitor: LeaseMonitor,
        successors: Successors,
        offers: LockOffers,
        on_end: Callable[[Child, int], None],
    ) -> None:
        self.pending_exits = 0
        self._host_id, self._lease_ttl = config.host_id, config.lease_ttl
        self._children, self._cluster, self._store, self._keys = children, cluster, store, cluster.keys
        self._background, self._timers, self._lease_monitor = background, timers, lease_monitor
        self._successors, self._offers, self._on_end = successors, offers, on_end

    # --- a worker of this host

    def on_exit(self, child: Child) -> None:
        """First the lock, then everything else: somebody waits for the next record."""
        exit_seen = now()
        self._children.forget(child)
        self._lease_monitor.end(child)
        if not child.is_leaving and child.last_word is None:
            self._name_successor(child, exit_seen)
            return

        def ended(code: int) -> None:
            if code in (ExitCode.OK, ExitCode.HANDLER_GAVE_UP):
                self._clean_up(child, code)
            else:
                self._name_successor(child, exit_seen, code)  # it had announced its end, but was cut short

        self._reap(child, ended)

    def _name_successor(self, child: Child, exit_seen: str, code: int | None = None) -> None:
        """Then reap it, unless its `code` is known. Whatever becomes of the call to etcd, its end is seen to."""
        partition, deaths = child.partition, 0
        if child.is_owner:
            deaths = self._offers.deaths[partition] = (0 if child.has_committed else child.deaths) + 1
        death = Death(child.worker, exit_seen, deaths)
        successors, token = self._successors.of(partition, child.worker), child.token

        def done(successor: Named | None) -> None:
            if successor is not None:
                self.announce(partition, successor, death)
            self.pending_exits += 1
            self._timers.enter(REPLACE_AFTER if successor is not None else 0.0, 0, clean_up)

        def clean_up() -> None:
            self.pending_exits -= 1
            if code is None:
                self._reap(child, lambda learnt: self._clean_up(child, learnt))
            else:
                self._clean_up(child, code)

        self._background.run(
            lambda: takeover.take_over(self._store, self._keys, partition, death, successors, token),
            done,
            failed=lambda: done(None),
        )

    def _reap(self, child: Child, then: Callable[[int], None]) -> None:
        """Its exit code comes from the fork server, a moment after the kernel's word; or never."""
        self.pending_exits += 1
        until = self._timers.timefunc() + CODE_WITHIN

        def look() -> None:
            code = self._children.exit_code(child)
            if code is None and self._timers.timefunc() < until:
                self._timers.enter(CODE_EVERY, 0, look)
                return
            self.pending_exits -= 1
            self._children.reap(child)
            then(UNKNOWN if code is None else code)

        look()

    def _clean_up(self, child: Child, code: int) -> None:
        self._background.run(lambda: takeover.forget(self._store, child.settings.lease, child.logs))
        self._on_end(child, code)

    # --- another host

    def take_over_from(self, locks: Locks) -> Locks:
        """These owners on another host are dead: pass their locks on; each host first those whose successor is its
        own. Returns those that nobody is ready for: they are left to their leases, for the owner may live after all.
        """
        exit_seen = now()
        left: Locks = {}
        for partition, held, successors in self._successors.of_locks(locks):
            if not successors:
                left[partition] = held
            elif successors[0].host == self._host_id:
                self._take_over_lock(partition, held, successors, exit_seen)
            else:
                self._timers.enter(QUEUE_STEP, 0, partial(self._take_over_if_left, partition, held, exit_seen))
        return left

    def _take_over_if_left(self, partition: Partition, held: Held, exit_seen: str) -> None:
        successors = self._successors.of_lock(partition, held)
        if successors and self._cluster.locks.get(partition) == held:
            self._take_over_lock(partition, held, successors, exit_seen)

    def _take_over_lock(self, partition: Partition, held: Held, successors: list[Standby], exit_seen: str) -> None:
        store, keys = self._store, self._keys

        def take() -> tuple[Death, Named | None]:
            deaths = takeover.deaths_in_a_row(store, keys, partition, held.token, held.lock.deaths)
            death = Death(held.lock.worker, exit_seen, deaths)
            return death, takeover.take_over(
                store, keys, partition, death, successors, held.token, TIMEOUT_FOR_OTHERS, or_free=False
            )

        def taken(result: tuple[Death, Named | None]) -> None:
            death, successor = result
            if successor is not None:
                self.announce(partition, successor, death)

        self._background.run(take, taken)

    # --- the successor

    def announce(
        self, partition: Partition, named: Named, death: Death | None = None, patience: float = CONFIRM_WITHIN
    ) -> None:
        """A successor was named: tell it, if it is ours; and make sure that it is alive."""
        log.info("%s: the lock goes to %s on %s, token %d", partition, named.standby.worker[:8],
                 named.standby.host, named.token, extra=event("lock-passed-on"))  # fmt: skip
        if child := self._children.get(named.standby.worker):
            self._offers.name(child, named.token, named.offset)
        self._check_later(partition, named, death, patience)

    def _check_later(self, partition: Partition, named: Named, death: Death | None, patience: float) -> None:
        self._timers.enter(patience, 0, lambda: self._check(partition, named, death, patience))

    def _check(self, partition: Partition, named: Named, death: Death | None, patience: float) -> None:
        """If it has not entered and is dead, name another. Until one of the two is certain, or asking fails, look
        again; until the lock is seen to have gone on."""
        held = self._cluster.locks.get(partition)
        if held is not None and held.token > named.token:
            return
        longer = min(2 * patience, float(self._lease_ttl))
        again = partial(self._check_later, partition, named, death, longer)

        def looked(found: Named | Waiting | None) -> None:
            match found:
                case Named():
                    self.announce(partition, found, death, longer)
                case Waiting():
                    again()

        child = self._children.get(named.standby.worker)
        if child is not None and (child.is_owner or self._lease_monitor.answers(child)):
            if not child.is_owner:
                again()  # it is alive, as we know better than anybody
            return
        others = self._successors.of(partition, named.standby.worker)
        late = LATE * self._lease_ttl if child is None else 0.0
        if self._cluster.has_died(named.standby):
            late = -math.inf  # its kernel has said so: its lease is no sign of life
        self._background.run(
            lambda: takeover.pass_on(self._store, self._keys, partition, named, others, death, late),
            looked,
            failed=again,
        )
