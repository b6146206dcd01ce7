"""Who owned what, when it changed hands, and how long ago the owner had renewed its lease then: seen from outside."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from partition_supervisor.cluster.peer_evidence import LATE, LeaseAge, SecondWitness
from partition_workers.errors import PartitionSupervisorError
from partition_workers.etcd.store import Change, LeaseTime, Store
from partition_workers.layout.documents import Cause, Lock
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

#: Seconds between two questions for the age of each owner's lease.
LOOK_EVERY = 0.2


@dataclass(frozen=True, slots=True)
class Moved:
    """A partition went from one owner to the next, at a time of `time.monotonic()`.

    `was_late`: the lease of the one before was not renewed for a renewal and a half; `was_there`: its process was.
    """

    partition: Partition
    at: float
    cause: str
    before: Lock
    after: Lock
    was_late: bool
    was_there: bool

    @property
    def was_needed(self) -> bool:
        return self.was_late or not self.was_there

    @property
    def was_robbed(self) -> bool:
        """Somebody took it from an owner that was alive and well."""
        return self.cause == Cause.TAKEN_OVER and not self.was_needed

    def __str__(self) -> str:
        state = "late" if self.was_late else "alive" if self.was_there else "gone"
        return f"{self.partition} {self.cause} from {self.before.host} ({state}) to {self.after.host}"


class LockObserver:
    """Two threads that ask etcd, on a way of their own. `moves` is what has happened, oldest first."""

    def __init__(self, store: Store, keys: Keys, lease_ttl: float) -> None:
        self.moves: list[Moved] = []
        #: Why it does not see everything any more; empty while it does.
        self.failed = ""
        self._store, self._keys = store, keys
        self._late_after = LATE * lease_ttl / 5
        self._owners: dict[Partition, Lock] = {}
        #: How an ownership stood when its lock was deleted: late, there.
        self._ended: dict[Partition, tuple[bool, bool]] = {}
        self._ages: dict[int, LeaseAge] = {}
        self._seen: dict[int, tuple[float, SecondWitness]] = {}
        self._stopped = threading.Event()
        listed = store.list(keys.locks)
        for item in listed.items:
            self._owners[keys.partition_of(item.key)] = Lock.decode(item.value)
        self._stream = store.watch((keys.locks,), listed.revision + 1)
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._watch, self._ask)]
        for each in self._threads:
            each.start()

    def count(self, host: str) -> int:
        """How many partitions it owns."""
        return sum(lock.host == host for lock in list(self._owners.values()))

    def close(self) -> None:
        self._stopped.set()
        self._stream.cancel()
        for each in self._threads:
            each.join(5.0)

    def _watch(self) -> None:
        try:
            for change in self._stream:
                self._take_in(change)
        except PartitionSupervisorError as error:
            self.failed = f"the watch ended: {error}"

    def _take_in(self, change: Change) -> None:
        partition = self._keys.partition_of(change.item.key)
        before = self._owners.get(partition)
        if change.deleted:
            if before is not None:
                self._ended[partition] = self._is_late(before), _is_there(before.pid)
            return
        after = Lock.decode(change.item.value)
        self._owners[partition] = after
        if before is None or before.worker == after.worker:
            return
        if partition not in self._ended:
            self._ended[partition] = self._is_late(before), _is_there(before.pid)
        was_late, was_there = self._ended.pop(partition)
        moved = Moved(partition, time.monotonic(), after.cause, before, after, was_late, was_there)
        self.moves.append(moved)

    def _is_late(self, lock: Lock) -> bool:
        """True unless it is certain that the lease was renewed."""
        at, age = self._seen.get(lock.lease_id, (0.0, None))
        return age is None or age.most + time.monotonic() - at >= self._late_after

    def _ask(self) -> None:
        while not self._stopped.wait(LOOK_EVERY):
            for lock in list(self._owners.values()):
                asked = time.monotonic()
                try:
                    found = self._store.time_to_live(lock.lease_id)
                except PartitionSupervisorError:
                    continue
                self._hear(lock.lease_id, asked, time.monotonic(), found)

    def _hear(self, lease: int, asked: float, answered: float, found: LeaseTime) -> None:
        if found.granted <= 0:
            return  # what it was before counts
        age = self._ages.setdefault(lease, LeaseAge()).hear(asked, answered, found)
        if age is not None:
            self._seen[lease] = answered, age


def _is_there(pid: int) -> bool:
    """Whether a process runs: not when only its parent has not asked for its end yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
