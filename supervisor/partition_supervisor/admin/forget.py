"""Forgetting partitions that Kafka does not have any more: what `offsets forget` decides and does."""

from __future__ import annotations

from collections.abc import Iterable

from partition_supervisor.admin.offsets import ResetRefused, Standing
from partition_supervisor.cluster.retry import RetryingStore
from partition_supervisor.kafka.end_offsets import Ends
from partition_workers.etcd.store import Compare, Delete, Get, Operation, Target, Txn
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition


def refuse_existing(partitions: Iterable[Partition], ends: Ends, where: str) -> None:
    """Raises ResetRefused for a partition that Kafka has, or may have."""
    present = [each for each in partitions if not ends.lacks(each)]
    if present:
        raise ResetRefused(
            f"Kafka at {where} has {', '.join(map(str, present))}, or cannot tell: only what is gone is forgotten."
            f" To begin anew: partition-supervisor offsets reset {' '.join(map(str, present))}"
            " --to-earliest --drop-state"
        )


def forget_transaction(keys: Keys, standing: Standing, topic_is_gone: bool) -> Txn:
    """Delete everything of it, if nobody owns it and its offset is what was seen; else show why not."""
    partition = standing.partition
    lock, offset = keys.lock(partition), keys.offset(partition)
    also: tuple[Operation, ...] = (Delete(keys.topic(partition.topic)),) if topic_is_gone else ()
    return Txn(
        (Compare(lock, Target.VERSION, 0), Compare(offset, Target.MOD_REVISION, standing.stored.revision)),
        (
            Delete(offset),
            Delete(keys.state(partition), prefix=True),
            Delete(keys.changes(partition), prefix=True),
            Delete(keys.histories(partition), prefix=True),
            Delete(keys.attempt(partition)),
            Delete(keys.prepared(partition)),
            Delete(keys.size(partition)),
            Delete(keys.parked(partition)),
            Delete(keys.move(partition)),
            *also,
        ),
        (Get(lock), Get(offset)),
    )


def forget(etcd: RetryingStore, keys: Keys, standings: Iterable[Standing], ends: Ends) -> None:
    """One after the other. Raises ResetRefused when one has an owner, or has just changed."""
    for standing in standings:
        topic_is_gone = ends.topics.get(standing.partition.topic) is None
        result = etcd.transact(forget_transaction(keys, standing, topic_is_gone))
        if not result.succeeded and any(result.answers):  # nothing there: an earlier copy had landed
            raise ResetRefused(f"{standing.partition} has an owner, or has just changed: look again in a moment")
