"""The plan of this host: `placement.plan` asked about the cluster as it is seen from here."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.config import Config
from partition_supervisor.control.placement import Plan
from partition_supervisor.control.shares import Unfit
from partition_supervisor.control.topic_placement import plan_by_topics
from partition_supervisor.group_settings import count_partitions
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
        self._own_topics, self._counts = frozenset(config.topics), count_partitions(topic_ids)
        self._others: dict[str, int] = {}
        self._kept_by_drained: dict[Partition, str] = {}
        self._forget()

    def _forget(self) -> None:
        """What the plan depends on, as of the last look: nothing yet."""
        others = (Partition(topic, number) for topic, count in self._others.items() for number in range(count))
        in_order = sorted([*self.topic_ids, *others])
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
        self._counts = count_partitions(topic_ids)
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
        """The places of each host that may own something; those that are drained only what nobody else can take."""
        hosts = {
            host: each.workers or sum(self._count(topic, count) for topic, count in each.topics.items())
            or len(self.topic_ids)
            for host, each in self._cluster.living_hosts.items()
            if not each.draining
        }  # fmt: skip
        return hosts | {self._host_id: self.places}

    def taking(self, hosts: Mapping[str, int]) -> dict[str, int]:
        """Those of them that are not drained."""
        return {host: places for host, places in hosts.items() if host not in self._cluster.drained}

    def count_present(self) -> int:
        """How many hosts are there, drained or not."""
        return len({*self._cluster.living_hosts, self._host_id})

    def make(self, hosts: dict[str, int], held: bool) -> dict[Partition, int]:
        """Plan for `hosts`, where nothing moves if `held`; the last plan stands if nothing that it depends on is
        different. How many workers are wanted here, by partition."""
        others, unfit = self._topics_of_others(), self._unfit()
        if others != self._others:
            self._others = others
            self._forget()
        moves, topics = dict(self._cluster.moves), self._topics()
        rest = (hosts, held, moves, topics, unfit)
        if self._are_elsewhere() or rest != self._rest:
            self._rest, before = rest, self.plan.left_out
            partitions = list(self._owners)
            self.plan = plan_by_topics(hosts, topics, partitions, self._owners, self._standbys, moves, held, unfit)
            self._wanted = self.plan.workers_on(self._host_id)
            if self.plan.left_out and self.plan.left_out != before:
                self._name_left_out(len(self._owners), sum(hosts.values()))
            self._name_kept_by_drained(unfit.drained)
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

    def _name_left_out(self, partitions: int, places: int) -> None:
        names = ", ".join(map(str, self.plan.left_out))
        if places < partitions:
            log.warning(
                "%d places for %d partitions: nobody serves %s. Add %d with --workers, or another host",
                places, partitions, names, partitions - places, extra=event("partitions-uncovered"),
            )  # fmt: skip
        else:
            log.warning(
                "nobody serves %s: the hosts that have their topic have no places left. Give these more with"
                " --workers, or start others with that --topic",
                names, extra=event("partitions-uncovered"),
            )  # fmt: skip

    def _topics(self) -> dict[str, frozenset[str]]:
        """Of each host that says which it has."""
        said = {host: frozenset(each.topics) for host, each in self._cluster.living_hosts.items() if each.topics}
        return said | {self._host_id: self._own_topics}

    def _topics_of_others(self) -> dict[str, int]:
        """Topics that this host does not have, with their partitions: all hosts plan for all, and so alike."""
        others: dict[str, int] = {}
        for host in self._cluster.living_hosts.values():
            for topic in host.topics.keys() - self._own_topics:
                others[topic] = max(host.topics[topic], others.get(topic, 0))
        return others

    def _count(self, topic: str, said: int) -> int:
        """How many partitions a topic has: of its own ones this host knows better than what another one said."""
        return self._counts.get(topic, said)

    def _unfit(self) -> Unfit:
        unable = {host for host, each in self._cluster.hosts.items() if not each.able}
        return Unfit(frozenset(unable), frozenset(self._cluster.drained))

    def _name_kept_by_drained(self, drained: frozenset[str]) -> None:
        """Once, what drained hosts have to serve because the others have too few places."""
        kept = {p: host for p, host in self.plan.owners.items() if host in drained} if drained else {}
        if kept and kept != self._kept_by_drained:
            told = ", ".join(f"{partition} ({host})" for partition, host in kept.items())
            log.warning(
                "drained hosts keep what the others have no places for: %s. Add %d with --workers, or another host",
                told, len(kept), extra=event("drained-host-keeps"),
            )  # fmt: skip
        self._kept_by_drained = kept
