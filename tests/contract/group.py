"""A group in a store: whatever is done to one partition, in the words of the design."""

from __future__ import annotations

import threading
import time
import uuid

from partition_workers.commits import Commits
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.store import Change, Operation, Put, Txn, TxnResult
from partition_workers.layout.documents import Cause, History, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.loaded import Loaded
from partition_workers.ownership.lock import PartitionLock
from tests.fakes.etcd import FakeEtcd

AnyStore = Etcd | FakeEtcd

P = Partition("events", 3)


class Group:
    def __init__(self, store: AnyStore, prefix: str) -> None:
        self.store, self.keys = store, Keys(prefix.rstrip("/"))
        self.since = store.list(prefix).revision

    def standby(self, name: str) -> Standby:
        grant = self.store.grant(60, uuid.uuid4().int & 0x7FFF_FFFF_FFFF_FFFF)
        made = Standby(name, f"host-of-{name}", 1, f"{grant.lease:x}", now())
        self.store.transact(Txn((), (Put(self.keys.standby(P, name), made.encode(), grant.lease),)))
        return made

    def lock_of(self, who: Standby) -> PartitionLock:
        return PartitionLock(self.store, self.keys, P, who, lambda: False)

    def acquire(self, who: Standby) -> Loaded | None:
        return self.lock_of(who).acquire()

    def own(self, who: Standby) -> Loaded:
        loaded = self.acquire(who)
        assert loaded is not None
        return loaded

    def confirm(self, who: Standby, token: int) -> Loaded | None:
        return self.lock_of(who).confirm(token)

    def enter(self, who: Standby, token: int) -> Loaded | None:
        """What an owner that was named does: confirm, and a first commit that says so."""
        loaded = self.confirm(who, token)
        if loaded is not None:
            begun = History(token, who.worker, who.host, who.pid, loaded.lock.cause, now())
            commits = self.commits(loaded)
            commits.attach(*transactions.enter(self.keys, P, begun))
            assert commits.drain(soon())
        return loaded

    def commits(self, loaded: Loaded) -> Commits:
        offset = loaded.offset.offset if loaded.offset else 0
        return Commits(
            self.store, self.keys, P, loaded.token, "topic-id", offset, loaded.offset_revision, time.monotonic
        )

    def commit(self, token: int, seen: int, number: int, sequence: int, **changes: bytes | None) -> TxnResult:
        offset = StoredOffset(number, token, sequence, "topic-id", now())
        return self.store.transact(transactions.commit(self.keys, P, seen, offset, changes))

    def take_over(self, token: int, successor: Standby | None) -> TxnResult:
        lock = Lock.naming(successor, Cause.TAKEN_OVER) if successor else None
        return self.store.transact(transactions.take_over(self.keys, P, token, lock))

    def pass_on(self, token: int, successor: Standby | None) -> TxnResult:
        lock = Lock.naming(successor, Cause.TAKEN_OVER) if successor else None
        return self.store.transact(transactions.pass_on(self.keys, P, token, lock))

    def give_to(self, successor: Standby) -> tuple[Operation, ...]:
        return transactions.give_to(self.keys, P, Lock.naming(successor, Cause.HANDED_OVER))

    def owner(self) -> tuple[str, int] | None:
        found = self.store.get(self.keys.lock(P))
        return (Lock.decode(found.value).worker, found.mod_revision) if found else None

    def offset(self) -> tuple[int, int, int] | None:
        found = self.store.get(self.keys.offset(P))
        if found is None:
            return None
        stored = StoredOffset.decode(found.value)
        return stored.offset, stored.token, stored.sequence

    def state(self) -> dict[str, bytes]:
        prefix = self.keys.state(P)
        return {each.key.removeprefix(prefix): each.value for each in self.store.list(prefix).items}

    def history_of_the_lock(self) -> list[Change]:
        """All that ever happened to the lock, up to now."""
        end = self.store.transact(Txn((), (Put(f"{self.keys.locks}end", b""),))).revision
        watch = self.store.watch((self.keys.locks,), self.since + 1)
        guard = threading.Timer(10, watch.cancel)
        guard.start()
        changes = []
        for change in watch:
            if change.item.mod_revision >= end:
                break
            changes.append(change)
        guard.cancel()
        watch.cancel()
        return changes


def soon() -> float:
    return time.monotonic() + 10.0
