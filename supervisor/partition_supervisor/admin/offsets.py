"""Where partitions stand, and setting them elsewhere: what `offsets show` and `offsets reset` decide and do.

A reset is one transaction for each partition that counts only while nobody owns it and its offset is what was looked
at. The token stays, so that every later token is greater than any that ever committed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from partition_supervisor.admin.group_documents import decode
from partition_supervisor.admin.group_view import Worker
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.cluster_state import UNREADABLE
from partition_supervisor.kafka.end_offsets import Extent
from partition_supervisor.listing import Snapshot
from partition_workers.errors import ExitCode, Misconfigured, PartitionSupervisorError
from partition_workers.etcd.store import Compare, Delete, Get, KeyValue, Operation, Put, Target, Txn
from partition_workers.layout.documents import Lock, StoredOffset, now
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys
from partition_workers.model import JSON, Partition

SCHEMA_VERSION = 1


class ResetRefused(PartitionSupervisorError):
    """Raised when an offset must not be set now: somebody owns the partition, or has just changed it."""

    exit_code = ExitCode.CONDITION_NOT_MET


class To(StrEnum):
    """Kafka's words for where an offset can be set."""

    EARLIEST = "to-earliest"
    LATEST = "to-latest"
    OFFSET = "to-offset"
    DATETIME = "to-datetime"
    SHIFT = "shift-by"


@dataclass(frozen=True, slots=True)
class Aim:
    """`number`: the offset, the shift, or milliseconds since 1970."""

    to: To
    number: int = 0

    @property
    def milliseconds(self) -> int | None:
        """The time to ask Kafka about."""
        return self.number if self.to is To.DATETIME else None


@dataclass(frozen=True, slots=True)
class Stored:
    """`revision` is the mod_revision of the offset key; 0 with None: there is none."""

    offset: StoredOffset | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition as etcd shows it. `end`: where Kafka says it ends."""

    partition: Partition
    stored: Stored = Stored()
    owner: Lock | None = None
    parked: bool = False
    end: int | None = None

    @property
    def offset(self) -> int | None:
        return self.stored.offset.offset if self.stored.offset else None

    @property
    def prepared(self) -> str | None:
        """The step with outputs that is not applied yet, by its number."""
        return (self.stored.offset.prepared or None) if self.stored.offset else None

    @property
    def lag(self) -> int | None:
        return None if self.offset is None or self.end is None else max(0, self.end - self.offset)

    def as_json(self) -> dict[str, JSON]:
        stored, owner = self.stored.offset, self.owner
        return {
            "topic": self.partition.topic,
            "partition": self.partition.number,
            "offset": self.offset,
            "end_offset": self.end,
            "lag": self.lag,
            "token": stored.token if stored else None,
            "committed_at": stored.at if stored else None,
            "prepared": self.prepared,
            "owner": Worker.named_in(owner).as_json() if owner and owner is not UNREADABLE else None,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One offset to be set. `note`: why it is not exactly what was asked for."""

    standing: Standing
    target: int
    topic_id: str = ""
    note: str = ""

    @property
    def partition(self) -> Partition:
        return self.standing.partition

    def as_json(self) -> dict[str, JSON]:
        return {
            "topic": self.partition.topic,
            "partition": self.partition.number,
            "offset": self.standing.offset,
            "new_offset": self.target,
            "note": self.note or None,
            "prepared": self.standing.prepared,
        }


def plan(aim: Aim, standings: Iterable[Standing], extents: Mapping[Partition, Extent]) -> list[Step]:
    """What would be set where. Raises Misconfigured for a partition that Kafka does not have."""
    steps = []
    for standing in standings:
        extent = extents.get(standing.partition)
        if extent is None:
            raise Misconfigured(f"Kafka has no partition {standing.partition}, or it has no leader now")
        target, note = aim_at(aim, standing, extent)
        steps.append(Step(standing, target, extent.topic_id, note))
    return steps


def aim_at(aim: Aim, standing: Standing, extent: Extent) -> tuple[int, str]:
    """The new offset, within what the partition holds, and a note if that is not what was asked for."""
    match aim.to:
        case To.EARLIEST:
            return extent.earliest, ""
        case To.LATEST:
            return extent.latest, ""
        case To.DATETIME:
            if extent.at_time is None:
                return extent.latest, "no record is as new as that: the end is taken"
            return extent.at_time, ""
        case To.SHIFT:
            if standing.offset is None:
                raise ResetRefused(f"{standing.partition} has no offset yet that could be shifted")
            wanted = standing.offset + aim.number
        case To.OFFSET:
            wanted = aim.number
    if wanted < extent.earliest:
        return extent.earliest, f"{wanted} is before the first record: {extent.earliest} is taken"
    if wanted > extent.latest:
        return extent.latest, f"{wanted} is past the end: {extent.latest} is taken"
    return wanted, ""


def reset_transaction(keys: Keys, step: Step, new: StoredOffset, drop_state: bool) -> Txn:
    """Set it if nobody owns the partition and its offset is what was seen; else show why not."""
    partition = step.partition
    lock, offset = keys.lock(partition), keys.offset(partition)
    state = (Delete(keys.state(partition), prefix=True), Delete(keys.changes(partition), prefix=True))
    also: tuple[Operation, ...] = (*state, Delete(keys.size(partition))) if drop_state else ()
    return Txn(
        (
            Compare(lock, Target.VERSION, 0),
            Compare(offset, Target.MOD_REVISION, step.standing.stored.revision),
        ),
        (Put(offset, new.encode()), Delete(keys.attempt(partition)), Delete(keys.prepared(partition)), *also),
        (Get(lock), Get(offset)),
    )


def why_not_to_resume(standing: Standing, extent: Extent | None) -> str | None:
    """What would go wrong with a partition that goes on where it stands, and the command that helps."""
    stored, partition = standing.stored.offset, standing.partition
    if stored is None or extent is None:
        return None
    reset = f"first: partition-supervisor offsets reset {partition} --to-earliest --execute"
    if "" not in (stored.topic_id, extent.topic_id) and stored.topic_id != extent.topic_id:
        return f"its topic was deleted and created anew, so offset {stored.offset} means nothing any more; {reset}"
    if not extent.earliest <= stored.offset <= extent.latest:
        return f"Kafka has offsets {extent.earliest} to {extent.latest}, and not {stored.offset}; {reset}"
    return None


def refuse_owned(standings: Iterable[Standing]) -> None:
    """Raises ResetRefused, with the owners and what to do."""
    owned = [(each.partition, each.owner) for each in standings if each.owner]
    if locked := [str(partition) for partition, owner in owned if owner is UNREADABLE]:
        raise ResetRefused(f"nobody can read who has the lock of {', '.join(locked)}: `status` names what removes it")
    if owned:
        names = ", ".join(f"{p} has an owner ({owner.host}, pid {owner.pid})" for p, owner in owned)
        which = " ".join(str(p) for p, _ in owned)
        raise ResetRefused(f"{names}. First: partition-supervisor pause {which} --wait")


class Offsets:
    """The offsets of a group in etcd."""

    def __init__(self, etcd: RetryingStore, keys: Keys) -> None:
        self._etcd, self._keys = etcd, keys
        self.foreign: tuple[ForeignKey, ...] = ()

    def look(self) -> dict[Partition, Standing]:
        """Everything that etcd has an offset, an owner or a pause for, at one revision. What is none of ours is in
        `foreign` then, and an offset that nobody can read is none, which a reset may replace."""
        keys = self._keys
        wanted = tuple(Get(prefix, prefix=True) for prefix in (keys.locks, keys.offsets, keys.parked_ones))
        result = self._etcd.transact(Txn((), wanted))
        items = tuple(item for found in result.answers for item in found)
        documents = decode(keys, Snapshot(result.revision, items))
        cluster, revisions = documents.cluster, dict(self._revisions(items))
        self.foreign = tuple(sorted((*cluster.foreign.values(), *documents.foreign), key=lambda each: each.key))
        return {
            each: Standing(
                each,
                Stored(documents.offsets.get(each), revisions.get(each, 0)),
                cluster.locks[each].lock if each in cluster.locks else None,
                each in cluster.parked,
            )
            for each in sorted({*cluster.locks, *revisions, *cluster.parked})
        }

    def _revisions(self, items: Iterable[KeyValue]) -> Iterator[tuple[Partition, int]]:
        """Of whatever stands where an offset belongs."""
        for item in items:
            with contextlib.suppress(ValueError):
                partition = self._keys.partition_of(item.key)
                if item.key == self._keys.offset(partition):
                    yield partition, item.mod_revision

    def set(self, step: Step, drop_state: bool) -> None:
        """Raises ResetRefused when somebody owns the partition by now, or its offset has changed."""
        before = step.standing.stored.offset
        given_at = self._etcd.transact(Txn((), (Get(self._keys.lock(step.partition)),))).revision
        new = StoredOffset(step.target, before.token if before else 0, 0, step.topic_id, now(), reset=given_at)
        result = self._etcd.transact(reset_transaction(self._keys, step, new, drop_state))
        if result.succeeded:
            return
        lock, offset = result.answers
        if offset and offset[0].value == new.encode():
            return  # an earlier copy of the same transaction had landed
        if lock and (standing := self.look().get(step.partition)):
            refuse_owned([standing])
        raise ResetRefused(f"{step.partition}: its offset has just been changed by somebody else; look again")
