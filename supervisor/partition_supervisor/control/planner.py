"""The plan of this host: `placement.plan` asked about the cluster as it is seen from here."""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import dataclass

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.placement import Plan, plan
from partition_workers.log_events import event
from partition_workers.model import Partition

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is different: partitions that were added, that are gone, and those whose topic has another id."""

    new: Set[Partition]
    gone: Set[Partition]
    anew: Set[Partition]


class Planner:
    """`plan` is the last one that was made; `topic_ids` are the partitions there are, each with its topic's id."""

    def __init__(self, config: Config, cluster: ClusterState, topic_ids: dict[Partition, str]) -> None:
        self.plan = Plan({}, {}, ())
        self.topic_ids = topic_ids
        self._host_id, self._workers, self._cluster = config.host_id, config.workers, cluster
        self._forget()

    def _forget(self) -> None:
        """What the plan depends on, as of the last look: nothing yet."""
        in_order = sorted(self.topic_ids)
        self._owners = dict.fromkeys(in_order, "")
        self._standbys: dict[Partition, list[str]] = {partition: [] for partition in in_order}
        self._unseen: set[Partition] = set(in_order)
        self._rest: tuple[object, ...] = ()
        self._wanted: dict[Partition, int] = {}

    @property
    def places(self) -> int:
        """How many workers this host may run."""
        return self._workers or len(self.topic_ids)

    @property
    def is_drained(self) -> bool:
        return self._host_id in self._cluster.drained

    def resize(self, change: int) -> int:
        """So many places more or less, but one at least. The number from now on."""
        self._workers = max(1, self.places + change)
        return self._workers

    def learn(self, topic_ids: dict[Partition, str]) -> Learnt:
        """All partitions that there are now, each with its topic's id."""
        before, self.topic_ids = self.topic_ids, topic_ids
        self._forget()
        new, gone = topic_ids.keys() - before.keys(), before.keys() - topic_ids.keys()
        if new:
            log.info("new partitions: %s", ", ".join(map(str, sorted(new))))
        if gone:
            log.warning(
                "Kafka has %s no more: their workers end",
                ", ".join(map(str, sorted(gone))),
                extra=event("partitions-gone"),
            )
        anew = {each for each in topic_ids.keys() & before.keys() if topic_ids[each] != before[each]}
        return Learnt(new, gone, anew)

    def hosts(self) -> dict[str, int]:
        """The places of each host that may own something."""
        hosts = {
            host: each.workers or len(self.topic_ids)
            for host, each in self._cluster.living_hosts.items()
            if not each.draining and host not in self._cluster.drained
        }
        if not self.is_drained:
            hosts[self._host_id] = self.places
        return hosts

    def count_present(self) -> int:
        """How many hosts are there, drained or not."""
        return len({*self._cluster.living_hosts, self._host_id})

    def make(self, hosts: dict[str, int], held: bool) -> dict[Partition, int]:
        """Plan for `hosts`, where nothing moves if `held`; the last plan stands if nothing that it depends on is
        different. How many workers are wanted here, by partition."""
        rest = (hosts, held, dict(self._cluster.moves))
        if self._are_elsewhere() or rest != self._rest:
            self._rest, before = rest, self.plan.left_out
            self.plan = plan(hosts, list(self._owners), self._owners, self._standbys, self._cluster.moves, held)
            self._wanted = self.plan.workers_on(self._host_id)
            if self.plan.left_out and self.plan.left_out != before:
                partitions, places = len(self.topic_ids), sum(hosts.values())
                log.warning(
                    "%d places for %d partitions: nobody serves %s. Add %d with --workers, or another host",
                    places, partitions, ", ".join(map(str, self.plan.left_out)), partitions - places,
                    extra=event("partitions-uncovered"),
                )  # fmt: skip
        return self._wanted

    def _are_elsewhere(self) -> bool:
        """Whether owners or standbys are on other hosts than at the last look."""
        changed = False
        for partition in (self._cluster.take_changed() | self._unseen) & self._owners.keys():
            held, ready = self._cluster.locks.get(partition), self._cluster.standbys.get(partition, {}).values()
            there = held.lock.host if held else "", [each.host for each in ready]
            if there != (self._owners[partition], self._standbys[partition]):
                changed = True
                self._owners[partition], self._standbys[partition] = there
        self._unseen = set()
        return changed
