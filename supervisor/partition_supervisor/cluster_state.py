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
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys, is_name
from partition_workers.model import Partition, Token


@dataclass(frozen=True, slots=True)
class Held:
    """A lock and its token. `backed`: a lease ends it if its owner dies without a word."""

    lock: Lock
    token: Token
    backed: bool = True

    @property
    def is_owned(self) -> bool:
        """Whether anybody can be working under it: an owner's lock hangs on a lease, and says whose it is."""
        return self.backed and self.lock is not UNREADABLE


#: Stands for a lock whose value nobody can read.
UNREADABLE = Lock("", "", 0, "0", "", "")
UNBACKED = "is a lock that no worker holds: it hangs on no lease, so somebody wrote it by hand, and it stays"


Locks = dict[Partition, Held]


@dataclass(frozen=True, slots=True)
class _Dead:
    """A life of a host that has ended: its link, and the standbys that ended with it."""

    link: str
    workers: frozenset[str]


@dataclass
class ClusterState:
    """A picture that only moves forward: an older listing never undoes a newer change; unless etcd went back."""

    keys: Keys
    revision: int = 0
    locks: dict[Partition, Held] = field(default_factory=dict)
    standbys: dict[Partition, dict[str, Standby]] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    parked: dict[Partition, Parked] = field(default_factory=dict)
    moves: dict[Partition, str] = field(default_factory=dict)
    drained: set[str] = field(default_factory=set)
    #: Hosts that this one has not heard for a second, on its own connection.
    silent: frozenset[str] = frozenset()
    #: What nobody of us can have written, by its key.
    foreign: dict[str, ForeignKey] = field(default_factory=dict)
    #: Hosts that died before their leases ended.
    _dead: dict[str, _Dead] = field(default_factory=dict)
    #: All of it as it was read, by its key.
    _items: dict[str, KeyValue] = field(default_factory=dict)
    _changed: set[Partition] = field(default_factory=set)

    def list_anew(self, snapshot: Snapshot) -> bool:
        """Take over a listing; False if we know better by now."""
        if snapshot.revision < self.revision and not snapshot.went_back_from:
            return False
        self.revision = snapshot.revision
        listed = {item.key: item for item in snapshot.items}
        for gone in self._items.keys() - listed.keys():
            self._delete(self._items[gone])
        for item in snapshot.items:
            if item != self._items.get(item.key):  # to read all of them takes long, and nearly all are known
                self._put(item)
        return True

    def change(self, change: Change) -> Partition | None:
        """Take in one change. The partition it speaks of, if it does."""
        item = change.item
        if item.mod_revision < self.revision:
            return None
        self.revision = item.mod_revision
        return self._delete(item) if change.deleted else self._put(item)

    def take_changed(self) -> set[Partition]:
        """Partitions of which anything changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def ready_standbys(self, partition: Partition, besides: tuple[str, ...] = ()) -> list[Standby]:
        """Warm workers that could own the partition, those that have waited longest first."""
        owner = self.locks.get(partition)
        skip = {*besides, owner.lock.worker if owner else ""}
        ready = self.standbys.get(partition, {}).values()
        living = (each for each in ready if each.worker not in skip and not self.has_died(each))
        return sorted(living, key=lambda each: each.since)

    def is_leaving(self, host: str) -> bool:
        """Whether whatever goes there has to go on soon: its supervisor was told to stop, or it is drained."""
        return host in self.drained or (host in self.hosts and self.hosts[host].draining)

    def is_well(self, host: str) -> bool:
        """Whether it may be given anything: it says that it is fit for it, and is heard."""
        shown = self.hosts.get(host)
        return (shown is None or shown.able) and host not in self.silent and not self.cannot_read(host)

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

    def has_died(self, standby: Standby) -> bool:
        """Its host may be back before the keys of its former life are gone."""
        dead = self._dead.get(standby.host)
        return dead is not None and (standby.worker in dead.workers or self.is_dead(standby.host))

    def _put(self, item: KeyValue) -> Partition | None:
        self._items[item.key] = item
        self.foreign.pop(item.key, None)
        try:
            return self._note(self._take_in(item))
        except ValueError as error:
            self.foreign[item.key] = ForeignKey.because(item.key, error)
        return self._note(self._make_do_without(item))

    def _delete(self, item: KeyValue) -> Partition | None:
        self._items.pop(item.key, None)
        self.foreign.pop(item.key, None)
        return self._note(self._let_go(item))

    def _note(self, partition: Partition | None) -> Partition | None:
        if partition is not None:
            self._changed.add(partition)
        return partition

    def _take_in(self, item: KeyValue) -> Partition | None:
        """Raises ValueError for what nobody of us can have written."""
        keys = self.keys
        if item.key.startswith(keys.hosts):
            name = item.key.removeprefix(keys.hosts)
            if not is_name(name):
                raise ValueError("no host can be called so")
            self.hosts[name] = Host.decode(item.value)
            return None
        if item.key.startswith(keys.drains):
            self.drained.add(item.key.removeprefix(keys.drains))
            return None
        partition = keys.partition_of(item.key)
        if item.key == keys.lock(partition):
            self.locks[partition] = Held(Lock.decode(item.value), item.mod_revision, item.lease != 0)
            if not item.lease:
                self.foreign[item.key] = ForeignKey(item.key, UNBACKED)
        elif item.key.startswith(keys.standbys):
            standby = Standby.decode(item.value)
            if item.key != keys.standby(partition, standby.worker):
                raise ValueError(f"it names the worker {standby.worker}")
            self.standbys.setdefault(partition, {})[standby.worker] = standby
        elif item.key == keys.parked(partition):
            self.parked[partition] = Parked.decode(item.value)
        elif item.key == keys.move(partition):
            self.moves[partition] = Move.decode(item.value).to
        else:
            raise ValueError("there is no such kind of key")
        return partition

    def _make_do_without(self, item: KeyValue) -> Partition | None:
        """A value that nobody can read still stands where it stands: a lock there keeps others out, and so does
        whatever says that a partition is parked."""
        keys = self.keys
        if item.key.startswith(keys.hosts):
            self.hosts.pop(item.key.removeprefix(keys.hosts), None)
            return None
        with contextlib.suppress(ValueError):
            partition = keys.partition_of(item.key)
            if item.key == keys.lock(partition):
                self.locks[partition] = Held(UNREADABLE, item.mod_revision, item.lease != 0)
            elif item.key == keys.parked(partition):
                self.parked[partition] = Parked(0, f"{item.key} cannot be read", "", "")
            elif item.key == keys.move(partition):
                self.moves.pop(partition, None)
            elif item.key.startswith(keys.standbys):
                self.standbys.get(partition, {}).pop(item.key.rpartition("/")[2], None)
            return partition
        return None

    def _let_go(self, item: KeyValue) -> Partition | None:
        keys = self.keys
        if item.key.startswith(keys.hosts):
            self.hosts.pop(item.key.removeprefix(keys.hosts), None)
            return None
        if item.key.startswith(keys.drains):
            self.drained.discard(item.key.removeprefix(keys.drains))
            return None
        with contextlib.suppress(ValueError):
            partition = keys.partition_of(item.key)
            if item.key == keys.lock(partition):
                self.locks.pop(partition, None)
            elif item.key.startswith(keys.standbys):
                self.standbys.get(partition, {}).pop(item.key.rpartition("/")[2], None)
            elif item.key == keys.parked(partition):
                self.parked.pop(partition, None)
            elif item.key == keys.move(partition):
                self.moves.pop(partition, None)
            return partition
        return None
