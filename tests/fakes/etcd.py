"""An etcd in memory: the `Store` of `store.py` with etcd's semantics, a clock of one's own, and faults to order.

It is as good as `tests/contract/test_store.py` proves, which runs against it and the real one. What it leaves
out: leader changes, members, and that a lease may live longer than its TTL.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import count

from partition_workers.errors import Compacted, LeaseGone, NoSpace, PartitionSupervisorError, Refused, Unavailable
from partition_workers.etcd.store import (
    Change,
    Compare,
    Delete,
    Get,
    Grant,
    KeyRange,
    KeyValue,
    LeaseTime,
    Listing,
    Lists,
    Operation,
    Page,
    Put,
    Renewal,
    Target,
    Txn,
    TxnResult,
)
from tests.fakes.clock import FakeClock
from tests.fakes.etcd_limits import MAX_OPERATIONS, MAX_REQUEST_BYTES, check, in_bytes, operations_of
from tests.fakes.etcd_streams import FakeKeepalive, FakeStream, FakeWatch

MIN_TTL = 2

#: What the transaction that a fault was ordered for goes through: the error to raise, and whether it is done.
_Fault = tuple[PartitionSupervisorError, bool]


@dataclass
class _Lease:
    ttl: int
    expires: float
    keys: set[str] = field(default_factory=set)


class FakeEtcd:
    """Leases run out by `clock`, which counts seconds: when it is advanced, or else with the next call."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.clock = clock or FakeClock()
        if isinstance(self.clock, FakeClock):
            self.clock.subscribe(self._expire_due)
        self.max_operations, self.max_request_bytes = MAX_OPERATIONS, MAX_REQUEST_BYTES
        self.revision = 1
        self._compacted = 0
        self._keys: dict[str, KeyValue] = {}
        self._leases: dict[int, _Lease] = {}
        self._history: list[Change] = []
        self._versions: dict[str, list[Change]] = {}
        self._streams: list[FakeStream] = []
        self._faults: deque[_Fault | None] = deque()
        self._page_faults: deque[PartitionSupervisorError | None] = deque()
        self._lease_ids = count(0x5EED_0001)
        self._closed = False
        #: Its quota is used up: nothing can be put or granted, leases are renewed.
        self.full = False
        self._changed = threading.Condition(threading.RLock())

    # --- faults

    def fail_next(self, error: PartitionSupervisorError | None = None, *, applied: bool, after: int = 0) -> None:
        """The next transaction, `after` so many others, raises `error` (default Unavailable), `applied` or not.

        Orders queue up.
        """
        with self._changed:
            self._faults.extend([None] * after)
            self._faults.append((error or Unavailable("the fake etcd was told to fail"), applied))

    def fail_pages(self, *errors: PartitionSupervisorError | None) -> None:
        """The next pages raise these, one each; None: that one is answered. Orders queue up."""
        with self._changed:
            self._page_faults.extend(errors)

    def age(self, lease: int, seconds: float) -> None:
        """As if the last renewal of a lease lay so much further back."""
        with self._changed:
            self._leases[lease].expires -= seconds

    def expire(self, lease: int) -> None:
        """End a lease now, as if its time had run out."""
        with self._changed:
            self._end_lease(lease)

    def break_streams(self, error: PartitionSupervisorError | None = None) -> None:
        """Open streams raise `error` (default Unavailable) once they have said what they know."""
        with self._changed:
            for stream in self._streams:
                stream.error = error or Unavailable("the fake etcd broke its streams")
            self._changed.notify_all()

    # --- transactions

    def transact(self, txn: Txn) -> TxnResult:
        with self._changed:
            self._begin()
            check(txn, self.max_operations, self.max_request_bytes)
            fault = self._faults.popleft() if self._faults else None
            if fault is None:
                return self._apply(txn)
            error, applied = fault
            if applied:
                self._apply(txn)
            raise error

    def transact_soon(self, txn: Txn) -> Future[TxnResult]:
        promise: Future[TxnResult] = Future()
        promise.set_running_or_notify_cancel()
        try:
            promise.set_result(self.transact(txn))
        except PartitionSupervisorError as error:
            promise.set_exception(error)
        return promise

    def _apply(self, txn: Txn) -> TxnResult:
        succeeded = all(map(self._holds, txn.compare))
        branch = txn.success if succeeded else txn.failure
        for operation in branch:
            if isinstance(operation, Put) and operation.lease and operation.lease not in self._leases:
                raise LeaseGone(f"the fake etcd does not know lease {operation.lease:x}")
        if self.full and any(isinstance(operation, Put) for operation in branch):
            raise NoSpace("the fake etcd takes no more writes, its database quota is used up")
        changes: list[Change] = []
        answers = tuple(self._do(operation, changes) for operation in branch)
        if succeeded:
            for operation in operations_of(txn.many):
                self._do(operation, changes)
        self._record(changes)
        return TxnResult(succeeded, self.revision, answers)

    def _holds(self, compare: Compare) -> bool:
        item = self._keys.get(compare.key)
        if compare.target is Target.VALUE:
            return item is not None and item.value == compare.value
        if item is None:
            return compare.value == 0
        return compare.value == (item.version if compare.target is Target.VERSION else item.mod_revision)

    def _do(self, operation: Operation, changes: list[Change]) -> tuple[KeyValue, ...]:
        match operation:
            case Get(key, prefix, limit, names):
                found = self._found(key, prefix)[: limit or None]
                return tuple(replace(each, value=b"") for each in found) if names else found
            case Put(key, value, lease):
                changes.append(self._put(key, value, lease))
            case Delete(key, prefix):
                changes.extend(self._delete(item.key) for item in self._found(key, prefix))
        return ()

    def _found(self, key: str, prefix: bool) -> tuple[KeyValue, ...]:
        if not prefix:
            return (self._keys[key],) if key in self._keys else ()
        names = sorted((name for name in self._keys if name.startswith(key)), key=in_bytes)
        return tuple(self._keys[name] for name in names)

    def _put(self, key: str, value: bytes, lease: int) -> Change:
        revision = self.revision + 1
        old = self._keys.get(key)
        version, created = (old.version + 1, old.create_revision) if old else (1, revision)
        self._detach(key)
        if lease:
            self._leases[lease].keys.add(key)
        self._keys[key] = KeyValue(key, value, version, created, revision, lease)
        return Change(self._keys[key], deleted=False)

    def _delete(self, key: str) -> Change:
        self._detach(key)
        del self._keys[key]
        return Change(KeyValue(key, b"", 0, 0, self.revision + 1), deleted=True)

    def _detach(self, key: str) -> None:
        for lease in self._leases.values():
            lease.keys.discard(key)

    def _record(self, changes: list[Change]) -> None:
        if changes:
            self.revision += 1
            self._history.extend(changes)
            for each in changes:
                self._versions.setdefault(each.item.key, []).append(each)
            self._changed.notify_all()

    # --- reads

    def get(self, key: str) -> KeyValue | None:
        with self._changed:
            self._begin()
            return self._keys.get(key)

    def list(self, prefix: str) -> Listing:
        with self._changed:
            self._begin()
            return Listing(self.revision, self._found(prefix, prefix=True))

    def page(
        self, prefix: str, after: str = "", limit: int = 0, revision: int = 0, large: float | None = None
    ) -> Page:
        with self._changed:
            self._begin()
            if self._page_faults and (error := self._page_faults.popleft()):
                raise error
            if revision > self.revision:
                raise Unavailable(f"the fake etcd has not heard of revision {revision} yet")
            if revision and revision < self._compacted:
                raise Compacted(revision)
            found = [each for each in self._as_of(prefix, revision) if in_bytes(each.key) > in_bytes(after)]
            shown = found[: limit or None]
            items = tuple((each.key, each.value) for each in shown)
            return Page(self.revision, items, len(shown) < len(found))

    def _as_of(self, prefix: str, revision: int) -> tuple[KeyValue, ...]:
        if not revision:
            return self._found(prefix, prefix=True)
        names = sorted((name for name in self._versions if name.startswith(prefix)), key=in_bytes)
        known = ([each for each in self._versions[name] if each.item.mod_revision <= revision] for name in names)
        return tuple(each[-1].item for each in known if each and not each[-1].deleted)

    def watch(self, places: tuple[str | KeyRange, ...], start_revision: int) -> FakeWatch:
        with self._changed:
            self._begin()
            watch = FakeWatch(self, places, start_revision or self.revision + 1)
            self._streams.append(watch)
            return watch

    def compact(self, revision: int) -> None:
        """Forget the history before `revision`. Raises Compacted if it is gone, Refused if it is to come."""
        with self._changed:
            self._begin()
            if revision <= self._compacted:
                raise Compacted(revision)
            if revision > self.revision:
                raise Refused(f"revision {revision} is yet to come")
            self._compacted = revision
            self._history = [each for each in self._history if each.item.mod_revision >= revision]
            self._changed.notify_all()

    # --- leases

    def grant(self, ttl: int, lease: int = 0) -> Grant:
        with self._changed:
            self._begin()
            if self.full:
                raise NoSpace("the fake etcd grants nothing, its database quota is used up")
            known = self._leases.get(lease)
            if known is not None:
                return Grant(lease, max(1, int(known.expires - self.clock())))
            granted = lease or next(self._lease_ids)
            ttl = max(ttl, MIN_TTL)
            self._leases[granted] = _Lease(ttl, self.clock() + ttl)
            return Grant(granted, ttl)

    def time_to_live(self, lease: int) -> LeaseTime:
        with self._changed:
            self._begin()
            known = self._leases.get(lease)
            return LeaseTime(known.ttl, int(known.expires - self.clock())) if known else LeaseTime(0, 0)

    def revoke(self, lease: int) -> None:
        with self._changed:
            self._begin()
            self._end_lease(lease)

    def keepalive(self, lists: Lists) -> FakeKeepalive:
        with self._changed:
            self._begin()
            stream = FakeKeepalive(self, lists)
            self._streams.append(stream)
            return stream

    def renew(self, lease: int) -> Renewal:
        """What one request of a keepalive stream does."""
        with self._changed:
            self._begin()
            known = self._leases.get(lease)
            if known is None:
                return Renewal(lease, 0)
            known.expires = self.clock() + known.ttl
            return Renewal(lease, known.ttl)

    def alarms(self) -> tuple[str, ...]:
        with self._changed:
            self._begin()
            return ("NOSPACE",) if self.full else ()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for stream in tuple(self._streams):
                stream.cancel()

    def _begin(self) -> None:
        """What every call begins with."""
        if self._closed:
            raise Unavailable("the fake etcd is closed")
        self._expire_due()

    def _expire_due(self) -> None:
        with self._changed:
            now = self.clock()
            for lease in [lease for lease, each in self._leases.items() if each.expires <= now]:
                self._end_lease(lease)

    def _end_lease(self, lease: int) -> None:
        ended = self._leases.get(lease)
        if ended is None:
            return
        keys = sorted(ended.keys, key=in_bytes)
        changes = [self._delete(key) for key in keys]
        del self._leases[lease]
        self._record(changes)
