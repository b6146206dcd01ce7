"""What workers here are told about their partition's lock: that it is theirs, that it is free, that they must let go.

Nothing here is decided by what a watch said: it only makes somebody ask etcd. Everything may therefore be said twice.
"""

from __future__ import annotations

import random
from sched import scheduler

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.control.lease_monitor import LeaseMonitor
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.control.successors import Successors
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.child_state import ChildEvent
from partition_supervisor.processes.children import Children
from partition_workers.layout.documents import Standby
from partition_workers.model import Offset, Partition, Token
from partition_workers.protocol import BecomeOwner, Compete, Leave

#: A lock that is free: the planned host goes at once, the others after so many seconds for each place in the queue.
QUEUE_STEP = 0.15


class LockOffers:
    """`deaths`: how many owners of a partition have died in a row here without a commit (see `poison.py`)."""

    def __init__(
        self,
        children: Children,
        cluster: ClusterState,
        successors: Successors,
        lease_monitor: LeaseMonitor,
        timers: scheduler,
        stopping: Stopping,
        graceful_timeout: float,
    ) -> None:
        self.deaths: dict[Partition, int] = {}
        self._children, self._cluster, self._successors = children, cluster, successors
        self._lease_monitor, self._timers, self._stopping = lease_monitor, timers, stopping
        self._graceful_timeout = graceful_timeout

    def tell_named(self, *partitions: Partition) -> None:
        """Is one of our standbys in the lock? It is told so."""
        for partition in partitions:
            held = self._cluster.locks.get(partition)
            child = self._children.get(held.lock.worker) if held is not None else None
            if held is not None and child is not None and child.is_ready:
                self.name(child, held.token, held.lock.offset)

    def name(self, child: Child, token: Token, offset: Offset | None) -> None:
        """It is in the lock under `token`: it is told so, once."""
        if child.token != token and not child.is_owner:
            child.advance(ChildEvent.NAMED)
            child.token = token
            child.tell(BecomeOwner(token, self._lease_monitor.deadline(child), offset))

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
        self._timers.enter(self._graceful_timeout, 0, lambda: self._children.kill(child))
        if successors is None:
            successors = tuple(self._successors.of(child.partition, child.worker))
        child.tell(Leave(successors))
        return successors

    def _let_compete(self, child: Child, me: Standby) -> None:
        """Not all at one instant: each after a delay by its place in the queue."""
        place = self._successors.place_in_queue(child.partition, me)
        delay = place * QUEUE_STEP * random.uniform(1.0, 1.3)
        child.tell(Compete(delay, self._lease_monitor.deadline(child), self.deaths.get(child.partition, 0)))
