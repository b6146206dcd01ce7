"""Who owns a partition after whom: standbys learn that a lock is free or theirs, a dead worker's lock finds an heir.

Nothing here is decided by what a watch said: it only makes somebody ask etcd. Everything may therefore be said twice.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from sched import scheduler

from partition_supervisor.cluster import takeover
from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.takeover import Death, Named
from partition_supervisor.cluster_state import ClusterState, Held
from partition_supervisor.config import Config
from partition_supervisor.control.lease_monitor import LeaseMonitor
from partition_supervisor.control.placement import Plan
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.processes.child_state import ChildEvent
from partition_supervisor.processes.children import Child, Children
from partition_workers.errors import ExitCode
from partition_workers.etcd.store import Store
from partition_workers.layout.documents import Standby, now
from partition_workers.model import Offset, Partition, Token
from partition_workers.protocol import BecomeOwner, Compete, Leave

log = logging.getLogger(__name__)

#: A successor that has committed nothing after so many seconds may be dead too: name the next.
IMPATIENCE = 0.5
#: The heir loads, and somebody waits for the next record: the dead worker's lease and replacement come so much later.
YIELD_SECONDS = 0.02
#: Seconds for etcd to answer about another host's death: if it does not, it may be this host that was cut off.
PATIENCE_FOR_OTHERS = 3.0
#: A lock that is free: the planned host goes at once, the others after so many seconds for each place in the queue.
QUEUE_STEP = 0.15


class Failover:
    """`judge(child, exit code)` is told of each end, once the lock has been seen to."""

    def __init__(
        self,
        config: Config,
        children: Children,
        cluster: ClusterState,
        store: Store,
        background: BackgroundCalls,
        timers: scheduler,
        lease_monitor: LeaseMonitor,
        stopping: Stopping,
        on_end: Callable[[Child, int], None],
    ) -> None:
        self.plan = Plan({}, {}, ())
        self.pending_exits = 0
        self._config, self._children, self._cluster, self._store = config, children, cluster, store
        self._keys = cluster.keys
        self._background, self._timers, self._lease_monitor, self._stopping = (
            background,
            timers,
            lease_monitor,
            stopping,
        )
        self._on_end = on_end
        self._deaths: dict[Partition, int] = {}

    # --- the living ----------------------------------------------------------------------------------------------

    def tell_named(self, *partitions: Partition) -> None:
        """Is one of our standbys in the lock? It is told so."""
        for partition in partitions:
            held = self._cluster.locks.get(partition)
            child = self._children.get(held.lock.worker) if held is not None else None
            if held is not None and child is not None and child.is_ready:
                self._offer(child, held.token, held.lock.offset)

    def offer_or_release(self, *partitions: Partition) -> None:
        """For each of our workers: is the lock free, or its own, or must it let go?"""
        self.tell_named(*partitions)
        for partition in partitions:
            is_free = partition not in self._cluster.locks and partition not in self._cluster.parked
            for child in self._children.of(partition):
                if child.is_owner:
                    if partition in self._cluster.parked and not child.is_leaving:
                        self.leave(child, ())
                elif is_free and child.is_ready and child.standby is not None and not self._stopping.begun:
                    self._let_compete(child, child.standby)

    def leave(self, child: Child, successors: tuple[Standby, ...] | None = None) -> tuple[Standby, ...]:
        """Tell it to end, and see that it does; None: any ready standby may come after it. Returns who may."""
        child.advance(ChildEvent.TOLD_TO_LEAVE)
        self._timers.enter(self._config.graceful_timeout, 0, lambda: self._children.kill(child))
        if successors is None:
            successors = tuple(self.candidates(child.partition, child.worker))
        child.tell(Leave(successors))
        return successors

    def candidates(self, partition: Partition, besides: str) -> list[Standby]:
        """Ready standbys, those on the least burdened host first; none while the partition is parked."""
        if partition in self._cluster.parked:
            return []
        burden: dict[str, int] = defaultdict(int)
        for held in self._cluster.locks.values():
            burden[held.lock.host] += 1
        ready = [each for each in self._cluster.ready_standbys(partition, (besides,)) if self.is_staying(each)]
        return sorted(ready, key=lambda each: (self._cluster.is_leaving(each.host), burden[each.host]))

    def announce_successor(self, partition: Partition, named: Named, death: Death | None = None) -> None:
        """A successor was named: tell it, if it is ours; and make sure that it is alive."""
        log.info("%s: the lock goes to %s on %s, token %d", partition, named.standby.worker[:8],
                 named.standby.host, named.token)  # fmt: skip
        if child := self._children.get(named.standby.worker):
            self._offer(child, named.token, named.offset)

        self._timers.enter(
            IMPATIENCE, 0, lambda: self._check_successor(partition, named, death, self._config.lease_ttl)
        )

    def _check_successor(self, partition: Partition, named: Named, death: Death | None, left: float) -> None:
        """If it has not confirmed, name another. While nobody is ready, ask again; after `left` seconds its lease,
        if it is dead, has ended by itself."""
        held = self._cluster.locks.get(partition)
        others = self.candidates(partition, named.standby.worker)
        if others:
            self._background.run(
                lambda: takeover.pass_on(self._store, self._keys, partition, named, others, death),
                lambda next_one: self.announce_successor(partition, next_one, death) if next_one else None,
            )
        elif left > 0 and held is not None and held.token <= named.token:
            left -= IMPATIENCE
            self._timers.enter(IMPATIENCE, 0, lambda: self._check_successor(partition, named, death, left))

    def is_staying(self, standby: Standby) -> bool:
        """One of ours that was told to leave, or must leave soon, is no successor."""
        if standby.host != self._config.host_id:
            return True
        child = self._children.get(standby.worker)
        return child is not None and child.is_ready and not self._stopping.begun

    def _let_compete(self, child: Child, me: Standby) -> None:
        delay = self._place_in_queue(child.partition, me)
        child.tell(Compete(delay, self._lease_monitor.deadline(child), self._deaths.get(child.partition, 0)))

    def _offer(self, child: Child, token: Token, offset: Offset | None) -> None:
        if child.token != token and not child.is_owner:
            child.advance(ChildEvent.NAMED)
            child.token = token
            child.tell(BecomeOwner(token, self._lease_monitor.deadline(child), offset))

    def _place_in_queue(self, partition: Partition, me: Standby) -> float:
        """Seconds to wait before competing, so that a crowd does not ask for one lock at one instant."""
        planned = self.plan.owners.get(partition)
        queue = sorted(
            ({me.worker: me} | {each.worker: each for each in self._cluster.ready_standbys(partition)}).values(),
            key=lambda each: (each.host != planned, each.host, each.worker),
        )
        place = [each.worker for each in queue].index(me.worker)
        return place * QUEUE_STEP * random.uniform(1.0, 1.3)

    # --- the dead ------------------------------------------------------------------------------------------------

    def on_exit(self, child: Child) -> None:
        """First the lock, then everything else: somebody waits for the next record."""
        exit_seen = now()
        self._children.forget(child)
        self._lease_monitor.end(child)
        if not child.is_leaving and child.last_word is None:
            self._name_successor(child, exit_seen)
            return
        code = self._children.reap(child)
        if code in (ExitCode.OK, ExitCode.HANDLER_GAVE_UP):
            self._forget(child)
            self._on_end(child, code)
        else:
            self._name_successor(child, exit_seen, code)  # it had announced its end, but was cut short

    def _name_successor(self, child: Child, exit_seen: str, code: int | None = None) -> None:
        partition = child.partition
        deaths = 0
        if child.is_owner:
            deaths = self._deaths[partition] = (0 if child.has_committed else child.deaths) + 1
        death = Death(child.worker, exit_seen, deaths)
        successors = self.candidates(partition, child.worker)
        token = child.token

        def found(successor: Named | None) -> None:
            if successor is not None:
                self.announce_successor(partition, successor, death)
            self.pending_exits += 1
            self._timers.enter(YIELD_SECONDS if successor is not None else 0.0, 0, clear_up)

        def clear_up() -> None:
            self.pending_exits -= 1
            self._forget(child)
            self._on_end(child, self._children.reap(child) if code is None else code)

        self._background.run(
            lambda: takeover.take_over(self._store, self._keys, partition, death, successors, token), found
        )

    def take_over_host(self, host: str) -> None:
        """Nobody is left on another host: pass its locks on; each host first those whose heir is its own."""
        exit_seen = now()
        for partition, held in list(self._cluster.locks.items()):
            if held.lock.host == host:
                take = partial(self._take_over_lock, partition, held, exit_seen)
                successors = self._successors_of(partition, held)
                is_ours = not successors or successors[0].host == self._config.host_id
                if is_ours:
                    take()
                else:
                    self._timers.enter(QUEUE_STEP, 0, take)

    def _successors_of(self, partition: Partition, held: Held) -> list[Standby]:
        planned = self.plan.owners.get(partition)
        return sorted(self.candidates(partition, held.lock.worker), key=lambda each: each.host != planned)

    def _take_over_lock(self, partition: Partition, held: Held, exit_seen: str) -> None:
        if self._cluster.locks.get(partition) != held:
            return
        successors = self._successors_of(partition, held)

        def take() -> tuple[Death, Named | None]:
            deaths = takeover.deaths_in_a_row(self._store, self._keys, partition, held.token, held.lock.deaths)
            death = Death(held.lock.worker, exit_seen, deaths)
            return death, takeover.take_over(
                self._store, self._keys, partition, death, successors, held.token, PATIENCE_FOR_OTHERS
            )

        def taken(result: tuple[Death, Named | None]) -> None:
            death, successor = result
            if successor is not None:
                self.announce_successor(partition, successor, death)

        self._background.run(take, taken)

    def _forget(self, child: Child) -> None:
        self._background.run(lambda: takeover.forget(self._store, child.settings.lease, child.logs))
