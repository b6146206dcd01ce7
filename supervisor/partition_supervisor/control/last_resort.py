"""A drained host stays the last resort: it serves what nobody else does, until somebody can.

The plan gives it only what the others have no places for. But who has a place may not be able to use it: its worker
crashes, or never gets ready. So a partition that nobody else owns or stands by for, for a while, gets a worker here.
"""

from __future__ import annotations

from collections.abc import Collection

from partition_supervisor.cluster_state import ClusterState
from partition_workers.clock import Clock
from partition_workers.model import Partition

#: Seconds that others have to get ready.
AFTER = 5.0


class LastResort:
    def __init__(self, host_id: str, cluster: ClusterState, clock: Clock) -> None:
        self._host_id, self._cluster, self._clock = host_id, cluster, clock
        self._alone_since: dict[Partition, float] = {}
        self._wanted: frozenset[Partition] = frozenset()

    def has_changed(self, partitions: Collection[Partition]) -> bool:
        """Whether others are to be served here than at the last `look`."""
        return self._find(partitions) != self._wanted

    def look(self, partitions: Collection[Partition]) -> frozenset[Partition]:
        """Those of `partitions` that this host, which is drained, is to serve all the same."""
        self._wanted = self._find(partitions)
        return self._wanted

    def forget(self) -> None:
        """It is not drained."""
        self._alone_since, self._wanted = {}, frozenset()

    def _find(self, partitions: Collection[Partition]) -> frozenset[Partition]:
        now = self._clock()
        alone = [each for each in partitions if not self._others_serve(each)]
        self._alone_since = {each: self._alone_since.get(each, now) for each in alone}
        return frozenset(each for each, since in self._alone_since.items() if now - since >= AFTER)

    def _others_serve(self, partition: Partition) -> bool:
        if partition in self._cluster.parked:
            return True
        held = self._cluster.locks.get(partition)
        if held is not None and held.lock.host != self._host_id:
            return True
        return any(each.host != self._host_id for each in self._cluster.ready_standbys(partition))
