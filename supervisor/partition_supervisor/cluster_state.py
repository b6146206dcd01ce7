"""What etcd knows of the whole group, as this host sees it.

One watch serves the host: on locks, standbys, hosts and orders; not on commits. A watch is a hint, not a promise, so
everything is also read anew every few seconds, in one linearizable transaction; whatever a watch would have told,
that reading finds.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from partition_supervisor.listing import Snapshot
from partition_workers.etcd.store import Change, KeyValue
from partition_workers.layout.documents import Host, Lock, Move, Parked, Standby
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition, Token


@dataclass(frozen=True, slots=True)
class Held:
    """A lock and its token."""

    lock: Lock
    token: Token


Locks = dict[Partition, Held]


@dataclass(frozen=True, slots=True)
class _Dead:
    """A life of a host that has ended: its link, and the standbys that ended with it."""

    link: str
    workers: frozenset[str]


@dataclass
class ClusterState:
    """A picture that only moves forward: an older listing never undoes a newer change."""

    keys: Keys
    revision: int = 0
    locks: dict[Partition, Held] = field(default_factory=dict)
    standbys: dict[Partition, dict[str, Standby]] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    parked: dict[Partition, Parked] = field(default_factory=dict)
    moves: dict[Partition, str] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    #: Hosts that died before their leases ended.
    _dead: dict[str, _Dead] = field(default_factory=dict)

    def list_anew(self, snapshot: Snapshot) -> bool:
        """Take over a listing; False if we know better by now."""
        if snapshot.revision < self.revision:
            return False
        self.revision = snapshot.revision
        self.locks, self.standbys, self.hosts = {}, {}, {}
        self.parked, self.moves, self.drained = {}, {}, set()
        for item in snapshot.items:
            self._put(item)
        return True

    def change(self, change: Change) -> Partition | None:
        """Take in one change. The partition it speaks of, if it does."""
        item = change.item
        if item.mod_revision < self.revision:
            return None
        self.revision = item.mod_revision
        return self._delete(item) if change.deleted else self._put(item)

    def ready_standbys(self, partition: Partition, besides: tuple[str, ...] = ()) -> list[Standby]:
        """Warm workers that could own the partition, those that have waited longest first."""
        owner = self.locks.get(partition)
        skip = {*besides, owner.lock.worker if owner else ""}
        ready = self.standbys.get(partition, {}).values()
        living = (each for each in ready if each.worker not in skip and not self._has_died(each))
        return sorted(living, key=lambda each: each.since)

    def is_leaving(self, host: str) -> bool:
        """Whether whatever goes there has to go on soon: its supervisor was told to stop, or cannot read Kafka."""
        return host in self.hosts and (self.hosts[host].draining or self.cannot_read(host))

    def cannot_read(self, host: str) -> bool:
        """Whether Kafka does not answer it, and answers others."""
        others = self.living_hosts
        return host in others and not others[host].reads_kafka and any(each.reads_kafka for each in others.values())

    # --- hosts that died, and are still in etcd

    @property
    def living_hosts(self) -> dict[str, Host]:
        return {name: host for name, host in self.hosts.items() if not self.is_dead(name)}

    def presume_dead(self, host: str, link: str) -> bool:
        """False: it is in another life by now, or gone from etcd too."""
        if host not in self.hosts or self.hosts[host].link != link:
            return False
        everywhere = (standby for ready in self.standbys.values() for standby in ready.values())
        self._dead[host] = _Dead(link, frozenset(each.worker for each in everywhere if each.host == host))
        return True

    def presume_alive(self, host: str, link: str) -> bool:
        """False: it was not that life which was taken for ended."""
        if host not in self._dead or self._dead[host].link != link:
            return False
        del self._dead[host]
        return True

    def is_dead(self, host: str) -> bool:
        """While its keys outlive it. Back in etcd with another link, it is alive."""
        if host not in self._dead:
            return False
        return host not in self.hosts or self.hosts[host].link == self._dead[host].link

    def _has_died(self, standby: Standby) -> bool:
        """Its host may be back before the keys of its former life are gone."""
        dead = self._dead.get(standby.host)
        return dead is not None and (standby.worker in dead.workers or self.is_dead(standby.host))

    def _put(self, item: KeyValue) -> Partition | None:
        keys = self.keys
        with contextlib.suppress(ValueError, IndexError):  # a foreign key under our root is nothing to us
            if item.key.startswith(keys.hosts):
                self.hosts[item.key.removeprefix(keys.hosts)] = Host.decode(item.value)
                return None
            if item.key.startswith(keys.drains):
                self.drained.add(item.key.removeprefix(keys.drains))
                return None
            partition = keys.partition_of(item.key)
            if item.key.startswith(keys.locks):
                self.locks[partition] = Held(Lock.decode(item.value), item.mod_revision)
            elif item.key.startswith(keys.standbys):
                standby = Standby.decode(item.value)
                self.standbys.setdefault(partition, {})[standby.worker] = standby
            elif item.key.startswith(keys.parked_ones):
                self.parked[partition] = Parked.decode(item.value)
            elif item.key.startswith(keys.moves):
                self.moves[partition] = Move.decode(item.value).to
            return partition
        return None

    def _delete(self, item: KeyValue) -> Partition | None:
        keys = self.keys
        with contextlib.suppress(ValueError, IndexError):
            if item.key.startswith(keys.hosts):
                self.hosts.pop(item.key.removeprefix(keys.hosts), None)
                return None
            if item.key.startswith(keys.drains):
                self.drained.discard(item.key.removeprefix(keys.drains))
                return None
            partition = keys.partition_of(item.key)
            if item.key.startswith(keys.locks):
                self.locks.pop(partition, None)
            elif item.key.startswith(keys.standbys):
                self.standbys.get(partition, {}).pop(item.key.rpartition("/")[2], None)
            elif item.key.startswith(keys.parked_ones):
                self.parked.pop(partition, None)
            elif item.key.startswith(keys.moves):
                self.moves.pop(partition, None)
            return partition
        return None
