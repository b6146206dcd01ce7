"""What happens to locks and standbys, with the moment it was seen: one watch on etcd from outside.

It disturbs nobody: etcd sends each change to one more watcher. What it sees it sees about a millisecond late.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from partition_workers.errors import PartitionSupervisorError
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions, parse_endpoints
from partition_workers.etcd.store import Change
from partition_workers.layout.documents import Lock, Standby
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition


class Sightings:
    """All of a group, from its beginning on. Moments are CLOCK_MONOTONIC in seconds."""

    def __init__(self, etcd_endpoints: str, keys: Keys) -> None:
        self.locks: dict[Partition, Lock] = {}
        self.standbys: dict[str, tuple[Partition, Standby]] = {}
        self.ready_at: dict[str, float] = {}
        """When each worker became a ready standby."""
        self._keys = keys
        self._store = Etcd(EtcdOptions(parse_endpoints(etcd_endpoints)))
        self._seen = threading.Condition()
        self._stream = self._store.watch((keys.locks, keys.standbys), 0)
        threading.Thread(target=self._watch, daemon=True).start()

    def wait_for(self, what: str, check: Callable[[], bool], deadline: float) -> float:
        """When `check` came true. Raises TimeoutError, naming `what`, after `deadline` seconds."""
        with self._seen:
            if not self._seen.wait_for(check, deadline):
                raise TimeoutError(f"not within {deadline:g} s: {what}")
            return time.monotonic()

    def waiting(self, partition: Partition | None = None) -> list[Standby]:
        """Ready standbys, without who was just named as the owner."""
        owners = {lock.worker for lock in self.locks.values()}
        return [
            standby
            for worker, (place, standby) in list(self.standbys.items())
            if worker not in owners and partition in (None, place)
        ]

    def close(self) -> None:
        self._stream.cancel()
        self._store.close()

    def _watch(self) -> None:
        try:
            for change in self._stream:
                at = time.monotonic()
                with self._seen:
                    self._note(change, at)
                    self._seen.notify_all()
        except PartitionSupervisorError:
            pass  # closed; whoever waits for more is told by its deadline

    def _note(self, change: Change, at: float) -> None:
        key, partition = change.item.key, self._keys.partition_of(change.item.key)
        if key.startswith(self._keys.locks):
            if change.deleted:
                self.locks.pop(partition, None)
            else:
                self.locks[partition] = Lock.decode(change.item.value)
        elif change.deleted:
            self.standbys.pop(key.rpartition("/")[2], None)
        else:
            standby = Standby.decode(change.item.value)
            self.standbys[standby.worker] = partition, standby
            self.ready_at[standby.worker] = at
