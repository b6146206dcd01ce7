"""Who can own a partition next, and in which order they are asked. Questions only: nothing is told to anybody."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from partition_supervisor.cluster_state import ClusterState, Held, Locks
from partition_supervisor.control.handovers import Handovers
from partition_supervisor.control.planner import Planner
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.processes.children import Children
from partition_workers.layout.documents import Standby
from partition_workers.model import Partition


class Successors:
    def __init__(
        self,
        host_id: str,
        children: Children,
        cluster: ClusterState,
        planner: Planner,
        handovers: Handovers,
        stopping: Stopping,
    ) -> None:
        self._host_id, self._children, self._cluster = host_id, children, cluster
        self._planner, self._handovers, self._stopping = planner, handovers, stopping

    def of(self, partition: Partition, besides: str) -> list[Standby]:
        """Ready standbys, those on the least burdened host first, and on hosts that may not take it last; none while
        the partition is parked."""
        return self._by_burden(partition, besides, self._burdens())

    def of_lock(self, partition: Partition, held: Held) -> list[Standby]:
        """The same for another host's lock: those on the host that is planned to have it first."""
        planned, doubts = self._planner.plan.owners.get(partition), self._doubts(partition)
        found = self.of(partition, held.lock.worker)
        return sorted(found, key=lambda each: (doubts(each.host), each.host != planned))

    def of_locks(self, locks: Locks) -> list[tuple[Partition, Held, list[Standby]]]:
        """For each of these, of a host that died: spread over the others, in the same way on each of them."""
        burdens = self._burdens()
        found = []
        for partition, held in sorted(locks.items()):
            successors = self._by_burden(partition, held.lock.worker, burdens)
            if successors:
                burdens[successors[0].host] += 1
            found.append((partition, held, successors))
        return found

    def is_staying(self, standby: Standby) -> bool:
        """One of ours that was told to leave, or must leave soon, is no successor."""
        if standby.host != self._host_id:
            return True
        child = self._children.get(standby.worker)
        return child is not None and child.is_ready and not self._stopping.begun

    def place_in_queue(self, partition: Partition, me: Standby) -> int:
        """How many go before `me` when the lock is free: the planned host, then all by name; hosts that may not take
        it last."""
        planned, doubts = self._planner.plan.owners.get(partition), self._doubts(partition)
        queue = sorted(
            ({me.worker: me} | {each.worker: each for each in self._cluster.ready_standbys(partition)}).values(),
            key=lambda each: (doubts(each.host), each.host != planned, each.host, each.worker),
        )
        return [each.worker for each in queue].index(me.worker)

    def _by_burden(self, partition: Partition, besides: str, burdens: Mapping[str, int]) -> list[Standby]:
        if partition in self._cluster.parked:
            return []
        ready = [each for each in self._cluster.ready_standbys(partition, (besides,)) if self.is_staying(each)]
        doubts = self._doubts(partition)
        return sorted(ready, key=lambda each: (doubts(each.host), burdens[each.host]))

    def _doubts(self, partition: Partition) -> Callable[[str], int]:
        """How little a host is to be trusted with the partition: it was offered it, or something else, in vain; or
        it is not well; or it has to give everything away."""

        def of(host: str) -> int:
            if self._cluster.is_leaving(host):
                return 3
            if not self._cluster.is_well(host):
                return 2
            return int(not self._handovers.may_be_offered(partition, host))

        return of

    def _burdens(self) -> dict[str, int]:
        burdens: dict[str, int] = defaultdict(int)
        for held in self._cluster.locks.values():
            burdens[held.lock.host] += 1
        return burdens
