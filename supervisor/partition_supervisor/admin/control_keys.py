"""Orders to a running group: keys under `control/`, which every supervisor watches and obeys.

Nobody is spoken to, so an order reaches hosts that are down at the moment, and outlives whoever gave it. Each is one
transaction that compares what it relies on: two people with two opinions overwrite nothing by accident.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from partition_supervisor.admin.group_documents import Documents, decode
from partition_supervisor.admin.group_reader import everything
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.listing import Snapshot
from partition_workers.errors import Misconfigured
from partition_workers.etcd.store import Compare, Delete, Get, KeyValue, Operation, Put, Target, Txn
from partition_workers.layout.documents import Drain, Host, Move, Parked, StoredOffset, now
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition


@dataclass(frozen=True, slots=True)
class Paused:
    """`before`: it was parked already, by a worker or a person; then nothing was written."""

    partition: Partition
    parked: Parked
    before: bool


@dataclass(frozen=True, slots=True)
class Resumed:
    """`parked`: what nobody had to mind any more; None: it was not parked."""

    partition: Partition
    parked: Parked | None


def _readable(found: KeyValue) -> Parked:
    """As far as it can be read: whatever stands there, the partition is parked by it."""
    try:
        return Parked.decode(found.value)
    except ValueError:
        return Parked(0, f"{found.key} cannot be read", "", "")


class Orders:
    def __init__(self, etcd: RetryingStore, keys: Keys) -> None:
        self._etcd, self._keys = etcd, keys

    def look(self) -> Documents:
        """All that etcd knows of the group, at one revision."""
        result = self._etcd.transact(everything(self._keys))
        return decode(
            self._keys, Snapshot(result.revision, tuple(item for found in result.answers for item in found))
        )

    # --- pause and resume

    def pause(self, partitions: Iterable[Partition], reason: str, by: str) -> list[Paused]:
        """Park them. Their owners commit and let go; a partition that is parked already keeps its reason."""
        return [self._pause(partition, reason, by) for partition in partitions]

    def _pause(self, partition: Partition, reason: str, by: str) -> Paused:
        key = self._keys.parked(partition)
        offset = self._offset(partition)
        parked = Parked(offset, reason, by, now())
        found = self._unless(key, 0, (Put(key, parked.encode()),))
        if found is None or found.value == parked.encode():
            return Paused(partition, parked, before=False)
        return Paused(partition, _readable(found), before=True)

    def _offset(self, partition: Partition) -> int:
        """Where it is now; its owner may come further before it hears of the pause."""
        found = self._get(self._keys.offset(partition))
        with contextlib.suppress(ValueError):  # `status` names what stands there
            return StoredOffset.decode(found.value).offset if found else 0
        return 0

    def resume(self, partitions: Iterable[Partition]) -> list[Resumed]:
        """Let them be owned again. What a record had on its conscience is forgotten with it."""
        return [self._resume(partition) for partition in partitions]

    def _resume(self, partition: Partition) -> Resumed:
        key = self._keys.parked(partition)
        found = self._get(key)
        removed = None
        while found is not None:  # it may be parked anew, for another reason, while we look
            removed = _readable(found)
            forget = Delete(key), Delete(self._keys.attempt(partition))
            found = self._unless(key, found.mod_revision, forget)
        return Resumed(partition, removed)

    # --- drain

    def drain(self, host: str) -> None:
        """Have a host give everything away. Raises Misconfigured when there is no such host."""
        while not self._while_there(host, (), (Put(self._keys.drain(host), Drain(now()).encode()),)):
            pass  # it said something new about itself meanwhile

    def undrain(self, host: str) -> bool:
        """Let a host, which need not be running, take partitions again. False: it was not drained."""
        key = self._keys.drain(host)
        found = self._get(key)
        if found is not None:
            self._unless(key, found.mod_revision, (Delete(key),))
        elif not self._get(self._keys.host(host)):
            raise self._no_such(host)
        return found is not None

    # --- move

    def move(self, partition: Partition, host: str) -> None:
        """Pin a partition to a host. Raises Misconfigured when that host is not there, or is leaving."""
        drained = self._keys.drain(host)
        not_drained = Compare(drained, Target.VERSION, 0)
        pin = Put(self._keys.move(partition), Move(host, now()).encode())
        while not self._while_there(host, (not_drained,), (pin,)):
            if self._get(drained):
                raise Misconfigured(
                    f"host {host!r} is being drained: it takes nothing."
                    f" End that with: partition-supervisor drain {host} --undo"
                )

    def forget_move(self, partition: Partition) -> str | None:
        """Leave a partition's place to the plan again. The host that it was pinned to."""
        key = self._keys.move(partition)
        found = self._get(key)
        if found is None:
            return None
        self._unless(key, found.mod_revision, (Delete(key),))
        with contextlib.suppress(ValueError):
            return Move.decode(found.value).to
        return "what is no name of a host"

    # --- what they rest upon

    def _while_there(self, host: str, compare: tuple[Compare, ...], success: tuple[Operation, ...]) -> bool:
        """Do it if the host is there at that revision and `compare` holds. Raises Misconfigured when it is not."""
        key = self._keys.host(host)
        seen = self._get(key)
        if seen is None:
            raise self._no_such(host)
        try:
            shown = Host.decode(seen.value)
        except ValueError as error:
            raise Misconfigured(f"no host {host!r}: {ForeignKey.because(key, error)}") from None
        if shown.draining:
            raise Misconfigured(f"host {host!r} is about to end, and gives everything away by itself")
        is_there = Compare(key, Target.MOD_REVISION, seen.mod_revision)
        return self._etcd.transact(Txn((is_there, *compare), success)).succeeded

    def _no_such(self, host: str) -> Misconfigured:
        listed = sorted(each.key.removeprefix(self._keys.hosts) for each in self._etcd.list(self._keys.hosts).items)
        there = f"there are {', '.join(listed)}" if listed else "no supervisor of this group is running"
        return Misconfigured(f"no host {host!r}: {there}")

    def _get(self, key: str) -> KeyValue | None:
        found = self._etcd.transact(Txn((), (Get(key),))).answers[0]
        return found[0] if found else None

    def _unless(self, key: str, seen: int, success: tuple[Operation, ...]) -> KeyValue | None:
        """Do it if `key` is as it was `seen` (its mod_revision; 0: absent). Otherwise what is there now."""
        unchanged = Compare(key, Target.MOD_REVISION, seen)
        result = self._etcd.transact(Txn((unchanged,), success, (Get(key),)))
        found = () if result.succeeded else result.answers[0]
        return found[0] if found else None
