"""Wanted and present: workers that the plan wants here are started, those that are too many end."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.last_resort import LastResort
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.planner import Planner
from partition_supervisor.control.rebalance import Rebalancer
from partition_supervisor.control.restarts import Restarts
from partition_supervisor.control.rolling_restart import RollingRestart
from partition_supervisor.control.successors import Successors
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.child_state import ChildState
from partition_supervisor.processes.children import Children
from partition_workers.clock import Clock
from partition_workers.model import Partition

#: So many workers start at one time. All at once, hundreds would starve each other until their leases end.
STARTING_AT_ONCE = 8 * (os.cpu_count() or 1)
#: Seconds after which a worker that is not ready is not starting any more: it waits, for Kafka or in `open()`, and
#: needs no processor that others could use.
STARTS_FOR = 10.0
#: Comparing rests so many times as long as it took, and so many seconds at the most. While hundreds of workers come
#: or go there is a change in every round, and exits and reports want the time.
REST, LONGEST_REST = 3.0, 0.05
#: Seconds for which the plan must want the same here before standbys that are too many are ended. While hosts and
#: workers come, what is too much now may be right in a moment, and would be started again.
SURPLUS_AFTER = 1.0


@dataclass
class Difference:
    """What is to be done. `waits`: somebody is too much, and is not ended yet; `brakes`: somebody is missing, and is
    not started yet because others start."""

    start: list[Partition] = field(default_factory=list)
    end: list[Child] = field(default_factory=list)
    waits: bool = False
    brakes: bool = False


def compare(
    wanted: Mapping[Partition, int],
    present: Mapping[Partition, Sequence[Child]],
    room: int,
    most_starts: int,
    is_bare: Callable[[Partition], bool],
    may_end: Callable[[Child], bool],
) -> Difference:
    """`wanted`: how many workers of each partition; `present`: those that stay; `room`: places that are left here,
    negative when there are too many workers already; `most_starts`: so many may be started now.

    A partition that `is_bare` has nobody anywhere: a full host starts one more for it, and ends another after that.
    Of those that are too many, as many end as there are too many for the host, and otherwise one that `may_end`: to
    end is work, and others hand over meanwhile. Those that are not ready yet end first. Owners are left alone, and so
    is who was named in the lock.
    """
    difference = Difference()
    for partition, workers in present.items():
        missing = wanted.get(partition, 0) - len(workers)
        if missing > 0:
            for _ in range(min(missing, max(0, room + is_bare(partition)))):
                if len(difference.start) >= most_starts:
                    difference.brakes = True
                    break
                difference.start.append(partition)
                room -= 1
            continue
        if missing == 0:
            continue
        idle = sorted((each for each in workers if each.is_idle), key=lambda each: each.is_ready)
        for child in idle[:-missing]:
            if room < 0 or (not difference.end and may_end(child)):
                difference.end.append(child)
                room += 1
            else:
                difference.waits = True
    return difference


class Reconciler:
    def __init__(
        self,
        config: Config,
        children: Children,
        cluster: ClusterState,
        planner: Planner,
        successors: Successors,
        offers: LockOffers,
        rebalancer: Rebalancer,
        rolling_restart: RollingRestart,
        restarts: Restarts,
        clock: Clock,
    ) -> None:
        self._config, self._children, self._cluster = config, children, cluster
        self._planner, self._successors, self._offers = planner, successors, offers
        self._rebalancer, self._rolling_restart, self._restarts = rebalancer, rolling_restart, restarts
        self._clock = clock
        self._last_resort = LastResort(config.host_id, cluster, clock)
        self._wanted: dict[Partition, int] = {}
        self._wanted_since = clock()
        self._moves_are_held = True
        self._surplus_waits = self._starts_wait = False
        self._rests_until = -math.inf

    @property
    def rest(self) -> float:
        """Seconds until it is time to compare again; less than 0: it is."""
        return self._rests_until - self._clock()

    @property
    def is_due(self) -> bool:
        """Whether time alone has made a difference: what is too much may end now, owners may move, or those that
        start take so long that others need not wait for them."""
        surplus_may_end = self._surplus_waits and self._is_settled
        may_start = self._starts_wait and self._count_starting() < STARTING_AT_ONCE
        moves_may_begin = self._moves_are_held and self._rebalancer.may_move
        is_needed = self._planner.is_drained and self._last_resort.has_changed(self._planner.topic_ids)
        return surplus_may_end or may_start or moves_may_begin or is_needed

    def reconcile(self) -> None:
        """Make a new plan; start what is missing here, end what is too much."""
        begun = self._clock()
        self._compare()
        took = self._clock() - begun
        self._rests_until = begun + took + min(REST * took, LONGEST_REST)

    def _compare(self) -> None:
        self._plan_anew()
        staying: dict[Partition, list[Child]] = defaultdict(list)
        for child in self._children:
            if not child.is_leaving:
                staying[child.partition].append(child)
        wanted = self._wanted
        if (extra := self._rolling_restart.extra) is not None:
            wanted = {**wanted, extra: wanted.get(extra, 0) + 1}
        different = {p for p in wanted.keys() | staying.keys() if wanted.get(p, 0) != len(staying.get(p, ()))}
        present = {p: staying[p] for p in self._planner.topic_ids if p in different} if different else {}
        room = self._places - sum(map(len, staying.values()))
        starts = STARTING_AT_ONCE - self._count_starting()
        difference = compare(wanted, present, room, starts, self._is_bare, self._may_end)
        self._surplus_waits, self._starts_wait = difference.waits, difference.brakes
        for child in difference.end:
            self._offers.leave(child, ())
        for partition in difference.start:
            self._start(partition)
        if not self._planner.is_drained:
            for partition in self._planner.plan.left_out:
                for child in present.get(partition, ()):
                    if child.is_owner:
                        self._offers.leave(child)

    def _plan_anew(self) -> None:
        hosts = self._planner.hosts()
        self._rebalancer.see(self._planner.taking(hosts), self._planner.count_present())
        self._moves_are_held = not self._rebalancer.may_move
        wanted = self._planner.make(hosts, self._moves_are_held)
        if self._planner.is_drained:
            wanted = dict.fromkeys(self._last_resort.look(self._planner.topic_ids), 1) | wanted
        else:
            self._last_resort.forget()
        if wanted != self._wanted:
            self._wanted, self._wanted_since = wanted, self._clock()

    @property
    def _is_settled(self) -> bool:
        return self._clock() - self._wanted_since >= SURPLUS_AFTER

    def _count_starting(self) -> int:
        begun_after = self._clock() - STARTS_FOR
        return sum(child.state is ChildState.STARTING and child.started_at > begun_after for child in self._children)

    @property
    def _places(self) -> int:
        """A replacement comes before the one that it replaces goes, so there may be one worker more than places."""
        return self._planner.places + (self._is_settled or self._rolling_restart.is_under_way)

    def _is_bare(self, partition: Partition) -> bool:
        return partition not in self._cluster.locks and not self._cluster.standbys.get(partition)

    def _may_end(self, child: Child) -> bool:
        """Not while anybody leaves, and not the last one that is ready, while somebody is going to be."""
        if not self._is_settled or any(each.is_leaving for each in self._children):
            return False
        if not child.is_ready or not self._planner.plan.standbys.get(child.partition):
            return True
        ready = self._cluster.ready_standbys(child.partition, (child.worker,))
        return any(self._successors.is_staying(each) for each in ready)

    def _start(self, partition: Partition) -> None:
        """That it cannot be started is an outcome like another: it is said, and tried again later."""
        if not self._restarts.may_start(partition):
            return
        topic_id, readers = self._planner.topic_ids[partition], self._planner.places
        try:
            child = self._children.start(
                lambda worker, lease: self._config.for_worker(partition, worker, lease, topic_id, readers)
            )
            child.started_at = self._clock()
        except (OSError, RuntimeError) as error:
            self._restarts.could_not_start(partition, error)
