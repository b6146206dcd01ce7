"""Owners move to where the plan wants them: one after the other, only to a ready standby, and only in quiet times."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.handovers import Handovers
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.placement import is_a_landslide
from partition_supervisor.control.planner import Planner
from partition_supervisor.control.restarts import Restarts
from partition_supervisor.control.successors import Successors
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.children import Children
from partition_workers.clock import Clock
from partition_workers.layout.documents import Standby
from partition_workers.log_events import event
from partition_workers.model import Partition

log = logging.getLogger(__name__)

#: So many seconds a move waits for workers that are starting, here or where it goes: they want the processor too.
WAIT_FOR_STARTS = 5.0
#: An owner leaves, and somebody waits for the next record: its replacement starts so many seconds later.
REPLACE_AFTER = 0.2
#: After most hosts vanished together, so many seconds without balancing.
LANDSLIDE_REST = 60.0


class QuietTime:
    """Whether owners may move: the hosts have been the same for `delay` seconds, and most did not vanish together.

    A pure function of what was seen and of the time (seconds).
    """

    def __init__(self, delay: float, now: float) -> None:
        self.begins = now + delay
        self._delay = delay
        self._hosts: Mapping[str, int] = {}
        self._not_before = 0.0
        #: How many hosts there were, and from when on; the last one counts until now.
        self._counts: list[tuple[float, int]] = []

    def see(self, hosts: Mapping[str, int], present: int, now: float) -> bool:
        """`hosts`: the places of those that take part; `present`: how many there are, also those that do not.

        Whether `hosts` are different from before.
        """
        changed = hosts != self._hosts
        if changed:
            self._hosts, self.begins = hosts, now + self._delay
        while len(self._counts) > 1 and now - self._counts[1][0] >= LANDSLIDE_REST:
            del self._counts[0]
        before = max((count for _, count in self._counts), default=0)
        if not self._counts or self._counts[-1][1] != present:
            self._counts.append((now, present))
            if is_a_landslide(before, present):
                log.warning(
                    "%d of %d hosts are gone: no balancing for a while",
                    before - present,
                    before,
                    extra=event("hosts-vanished"),
                )
                self._not_before = now + LANDSLIDE_REST
        return changed

    def has_come(self, now: float) -> bool:
        return now >= max(self.begins, self._not_before)


class Rebalancer:
    def __init__(
        self,
        config: Config,
        children: Children,
        cluster: ClusterState,
        planner: Planner,
        handovers: Handovers,
        successors: Successors,
        offers: LockOffers,
        restarts: Restarts,
        clock: Clock,
    ) -> None:
        self._host_id, self._children, self._cluster = config.host_id, children, cluster
        self._planner, self._handovers, self._successors = planner, handovers, successors
        self._offers, self._restarts, self._clock = offers, restarts, clock
        self._quiet = QuietTime(config.rebalance_delay, clock())
        self._waiting_since = clock()

    def see(self, hosts: Mapping[str, int], present: int) -> None:
        """Hosts as the next plan is going to see them."""
        if self._quiet.see(hosts, present, self._clock()):
            self._waiting_since = self._quiet.begins

    @property
    def may_move(self) -> bool:
        return self._quiet.has_come(self._clock())

    def move_next(self) -> None:
        """At most one of our owners, and not while anybody here is leaving."""
        if not self.may_move or any(child.is_leaving for child in self._children):
            return
        for partition, host in self._planner.plan.owners.items():
            if host == self._host_id or not self._cluster.is_well(host):
                continue
            if not self._handovers.may_be_offered(partition, host):
                continue
            for child in self._children.of(partition):
                if not child.is_owner:
                    continue
                if self._waits_for_starts(host):
                    return
                if self._move(child, host):
                    return

    def hand_over(self, child: Child, successors: tuple[Standby, ...] | None = None) -> None:
        """It leaves; where somebody is to follow, its replacement waits a moment."""
        if self._offers.leave(child, successors):
            self._restarts.postpone(child.partition, REPLACE_AFTER)

    def _move(self, child: Child, host: str) -> bool:
        """False: nobody is ready there."""
        ready = self._successors.of(child.partition, child.worker)
        planned = [each for each in ready if each.host == host]
        if not planned:
            return False
        log.info("%s: moving to %s", child.partition, host)
        self.hand_over(child, (*planned, *(each for each in ready if each.host != host)))
        self._waiting_since = self._clock()
        return True

    def _waits_for_starts(self, host: str) -> bool:
        if self._clock() - self._waiting_since >= WAIT_FOR_STARTS:
            return False
        return not (self._is_complete(host) and self._is_complete(self._host_id))

    def _is_complete(self, host: str) -> bool:
        """Whether every worker that the plan wants there is an owner or a ready standby."""
        return all(self._is_served(partition, host) for partition in self._planner.plan.workers_on(host))

    def _is_served(self, partition: Partition, host: str) -> bool:
        held = self._cluster.locks.get(partition)
        if held is not None and held.lock.host == host:
            return True
        return any(each.host == host for each in self._cluster.standbys.get(partition, {}).values())
