"""What etcd holds of a group, decoded, and the picture that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from partition_supervisor.admin.group_view import GroupView, HostView, PartitionState, PartitionView, Worker
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.group_settings import differences
from partition_supervisor.listing import Snapshot
from partition_workers.etcd.store import KeyValue
from partition_workers.layout.document import Document
from partition_workers.layout.documents import History, Host, Parked, Size, Standby, StoredOffset
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

AnyDocument = TypeVar("AnyDocument", bound=Document)


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
        dict(read_each(keys, _below(keys.offsets, snapshot), StoredOffset, foreign)),
        dict(read_each(keys, _below(keys.sizes, snapshot), Size, foreign)),
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
        differences(cluster.hosts),
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
    """A time of a document; None for what is none, or says not of which time zone."""
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _partition(
    documents: Documents, partition: Partition, end: int | None, is_gone: bool, stalled: float | None
) -> PartitionView:
    cluster = documents.cluster
    held, parked = cluster.locks.get(partition), cluster.parked.get(partition)
    stored = documents.offsets.get(partition)
    offset = stored or parked
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
        step=(stored.prepared, stored.at) if stored is not None and stored.prepared else None,
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


def _below(prefix: str, snapshot: Snapshot) -> Iterator[KeyValue]:
    return (item for item in snapshot.items if item.key.startswith(prefix))


def read_each(
    keys: Keys, items: Iterable[KeyValue], kind: type[AnyDocument], foreign: list[ForeignKey]
) -> Iterator[tuple[Partition, AnyDocument]]:
    """The documents, each with its partition; what is none of ours goes to `foreign`."""
    for item in items:
        try:
            partition, document = keys.partition_of(item.key), kind.decode(item.value)
            if item.key != (spelled := _SPELLED[kind](keys, partition, document)):
                raise ValueError(f"what stands there belongs to {spelled}")
        except ValueError as error:
            foreign.append(ForeignKey.because(item.key, error))
        else:
            yield partition, document


#: The key of each kind of document: one that stands elsewhere, as below that key, is not the partition's.
_SPELLED: Mapping[type[Document], Callable[[Keys, Partition, Any], str]] = {
    StoredOffset: lambda keys, partition, _: keys.offset(partition),
    Size: lambda keys, partition, _: keys.size(partition),
    Standby: lambda keys, partition, standby: keys.standby(partition, standby.worker),
    History: lambda keys, partition, record: keys.history(partition, record.token),
}
