"""The picture of a group: who owns which partition, how far it is, and who stands by.

Made from what etcd holds at one revision and where Kafka says the partitions end; drawn by `status` and read by
machines as JSON, whose form is public.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.listing import Snapshot
from partition_workers.etcd.store import KeyValue
from partition_workers.layout.document import Document
from partition_workers.layout.documents import Host, Lock, Parked, Size, Standby, StoredOffset
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys
from partition_workers.model import JSON, Partition, Token

AnyDocument = TypeVar("AnyDocument", bound=Document)

SCHEMA_VERSION = 1


class PartitionState(StrEnum):
    """`parked`: nobody may own it until a person says so; `unowned`: nobody does at the moment."""

    OWNED = "owned"
    UNOWNED = "unowned"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process; `pid` is its own, the one to kill."""

    host: str
    pid: int
    worker: str

    @classmethod
    def named_in(cls, document: Lock | Standby) -> Worker:
        return cls(document.host, document.pid, document.worker)

    def as_json(self) -> JSON:
        return {"host": self.host, "pid": self.pid, "worker": self.worker}


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition. None stands for what is not known."""

    partition: Partition
    state: PartitionState
    owner: Worker | None = None
    token: Token | None = None
    offset: int | None = None
    end_offset: int | None = None
    standbys: tuple[Worker, ...] = ()
    reason: str | None = None
    since: str | None = None
    size: Size | None = None

    @property
    def lag(self) -> int | None:
        """How many records are still to be processed. Never negative: the two numbers are not read at once."""
        if self.offset is None or self.end_offset is None:
            return None
        return max(0, self.end_offset - self.offset)

    def as_json(self) -> JSON:
        return {
            "topic": self.partition.topic,
            "partition": self.partition.number,
            "owner": self.owner.as_json() if self.owner else None,
            "token": self.token,
            "offset": self.offset,
            "end_offset": self.end_offset,
            "lag": self.lag,
            "standbys": [standby.as_json() for standby in self.standbys],
            "state": self.state.value,
            "reason": self.reason,
            "since": self.since,
            "state_keys": self.size.keys if self.size else None,
            "state_bytes": self.size.bytes if self.size else None,
        }


@dataclass(frozen=True, slots=True)
class HostView:
    """One running supervisor. `workers`: how many it may run; 0: one for each partition."""

    host: str
    pid: int
    workers: int
    version: str
    started: str
    draining: bool

    @classmethod
    def of(cls, host: str, document: Host, drained: bool) -> HostView:
        """`drained`: somebody ordered it; the host's own word is that it stops."""
        draining = document.draining or drained
        return cls(host, document.pid, document.workers, document.version, document.started, draining)

    def as_json(self) -> JSON:
        return {
            "host": self.host,
            "pid": self.pid,
            "workers": self.workers,
            "version": self.version,
            "started": self.started,
            "draining": self.draining,
        }


@dataclass(frozen=True, slots=True)
class GroupView:
    partitions: tuple[PartitionView, ...] = ()
    hosts: tuple[HostView, ...] = ()
    foreign: tuple[ForeignKey, ...] = ()
    #: Of etcd: NOSPACE, CORRUPT.
    alarms: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.partitions and not self.hosts

    @property
    def complaints(self) -> tuple[PartitionView, ...]:
        """The partitions that nobody processes, or that do not advance."""
        return tuple(each for each in self.partitions if each.state is not PartitionState.OWNED or each.reason)

    def confirmed_by(self, later: GroupView) -> GroupView:
        """`later`, without complaints about partitions that stood still here and have advanced since."""
        before = {each.partition: each.offset for each in self.partitions}
        return dataclasses.replace(
            later,
            partitions=tuple(
                dataclasses.replace(each, reason=None)
                if each.state is PartitionState.OWNED and each.offset != before.get(each.partition)
                else each
                for each in later.partitions
            ),
        )

    def as_json(self) -> dict[str, JSON]:
        return {
            "schema_version": SCHEMA_VERSION,
            "partitions": [each.as_json() for each in self.partitions],
            "hosts": [each.as_json() for each in self.hosts],
            "foreign_keys": [{"key": e.key, "why": e.why, "command": e.command} for e in self.foreign],
            "alarms": [*self.alarms],
        }


@dataclass(frozen=True, slots=True)
class Documents:
    """What etcd holds of a group, decoded."""

    cluster: ClusterState
    offsets: Mapping[Partition, StoredOffset]
    sizes: Mapping[Partition, Size]
    foreign: tuple[ForeignKey, ...] = ()

    @property
    def partitions(self) -> frozenset[Partition]:
        """All that any key speaks of."""
        cluster = self.cluster
        return frozenset().union(cluster.locks, cluster.standbys, cluster.parked, self.offsets)


def decode(keys: Keys, snapshot: Snapshot) -> Documents:
    """Read the keys of a group. Those that are not ours are named in `foreign`, and otherwise passed over."""
    others = tuple(item for item in snapshot.items if not item.key.startswith((keys.offsets, keys.sizes)))
    cluster = ClusterState(keys)
    cluster.list_anew(Snapshot(snapshot.revision, others))
    foreign: list[ForeignKey] = []
    return Documents(
        cluster,
        _documents(keys, snapshot.items, keys.offsets, StoredOffset, foreign),
        _documents(keys, snapshot.items, keys.sizes, Size, foreign),
        tuple(foreign),
    )


def draw(
    documents: Documents,
    ends: Mapping[Partition, int],
    gone: Collection[Partition] = (),
    stalled: Mapping[Partition, float] | None = None,
    alarms: tuple[str, ...] = (),
) -> GroupView:
    """The picture. `ends` may know partitions that etcd does not know yet, and lack some, or all. `gone`: Kafka does
    not have them any more. `stalled`: for how many seconds they have not advanced, though they have more."""
    cluster = documents.cluster
    return GroupView(
        tuple(
            _partition(documents, each, ends.get(each), each in gone, (stalled or {}).get(each))
            for each in sorted({*documents.partitions, *ends})
        ),
        tuple(HostView.of(name, cluster.hosts[name], name in cluster.drained) for name in sorted(cluster.hosts)),
        tuple(sorted((*cluster.foreign.values(), *documents.foreign), key=lambda each: each.key)),
        alarms,
    )


def suspects(documents: Documents, ends: Mapping[Partition, int], after: float) -> dict[Partition, float]:
    """The owned partitions that have more, and whose offset was committed more than `after` seconds ago; each with
    that time. By the clocks of two hosts, so this alone proves nothing."""
    moment = datetime.now(UTC)
    ages = {
        each: (moment - written).total_seconds()
        for each, stored in documents.offsets.items()
        if each in documents.cluster.locks and ends.get(each, 0) > stored.offset and (written := time_of(stored.at))
    }
    return {each: age for each, age in ages.items() if age > after}


def time_of(written: str) -> datetime | None:
    """A time of a document; None for what is none."""
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        return None


def _partition(
    documents: Documents, partition: Partition, end: int | None, is_gone: bool, stalled: float | None
) -> PartitionView:
    cluster = documents.cluster
    held, parked = cluster.locks.get(partition), cluster.parked.get(partition)
    offset = documents.offsets.get(partition) or parked
    standbys = tuple(map(Worker.named_in, cluster.ready_standbys(partition)))
    blocked = held is not None and not held.is_owned
    if blocked:
        held = None
    state = PartitionState.PARKED if parked else PartitionState.OWNED if held else PartitionState.UNOWNED
    return PartitionView(
        partition,
        state,
        owner=Worker.named_in(held.lock) if held else None,
        token=held.token if held else None,
        offset=offset.offset if offset else None,
        end_offset=end,
        standbys=standbys,
        reason=_reason(state, parked, blocked, partition, cluster.hosts, bool(standbys), is_gone, stalled),
        since=parked.at if parked else held.lock.since if held else None,
        size=documents.sizes.get(partition),
    )


def _reason(
    state: PartitionState, parked: Parked | None, blocked: bool, partition: Partition, hosts: Mapping[str, Host],
    any_standby: bool, is_gone: bool, stalled: float | None,
) -> str | None:  # fmt: skip
    if is_gone:
        return "Kafka does not have it any more; see partition-supervisor offsets forget"
    if parked:
        return parked.reason
    if blocked:
        return "nobody holds its lock, and nothing ends it"
    if state is PartitionState.OWNED and stalled is not None:
        return f"it has not advanced for {stalled:,.0f} s, though it has more"
    if state is PartitionState.OWNED or any_standby:
        return None
    resting = [f"on {name} {host.resting[str(partition)]}" for name, host in sorted(hosts.items())
               if str(partition) in host.resting]  # fmt: skip
    return "; ".join(resting) or ("no worker stands by" if hosts else "no supervisor is running")


def _documents(
    keys: Keys, items: Iterable[KeyValue], prefix: str, kind: type[AnyDocument], foreign: list[ForeignKey]
) -> dict[Partition, AnyDocument]:
    """Those below `prefix`; what is there and none of ours goes to `foreign`."""
    read: dict[Partition, AnyDocument] = {}
    for item in items:
        if item.key.startswith(prefix):
            try:
                read[keys.partition_of(item.key)] = kind.decode(item.value)
            except ValueError as error:
                foreign.append(ForeignKey(item.key, f"is none of ours: {error}"))
    return read
