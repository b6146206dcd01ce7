"""Reading the picture of a group: what etcd holds, at one revision, and where Kafka says the partitions end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from partition_supervisor.admin.group_documents import Documents, decode, draw, suspects
from partition_supervisor.admin.group_view import GroupView
from partition_supervisor.cluster.retry import until_etcd_answers
from partition_supervisor.kafka.end_offsets import EndOffsets, Ends
from partition_supervisor.listing import Snapshot, read_all
from partition_workers.errors import PartitionSupervisorError, Unreachable
from partition_workers.etcd.store import Get, Store, Txn
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

#: Seconds that Kafka gets to answer, and while it has not answered before. The picture is shown without it, too.
KAFKA_PATIENCE, KAFKA_PATIENCE_AGAIN = 3.0, 0.5
#: Seconds without a commit, and with a record that waits for as long, after which a partition stands still: twice
#: what one record may take by default.
STALLED_AFTER = 120.0


def everything(keys: Keys) -> Txn:
    """One linearizable reading of all that a picture needs."""
    return Txn((), (*read_all(keys).success, Get(keys.offsets, prefix=True), Get(keys.sizes, prefix=True)))


class GroupReader:
    """Reads pictures, one after the other, of the etcd at `where`. `warn` is told once when Kafka falls silent."""

    def __init__(
        self,
        store: Store,
        where: str,
        keys: Keys,
        ends: EndOffsets,
        warn: Callable[[str], None],
        stalled_after: float = STALLED_AFTER,
    ) -> None:
        self._store, self._where, self._keys, self._ends, self._warn = store, where, keys, ends, warn
        self._stalled_after = stalled_after
        self._kafka_answers = True

    def read(self, timeout: float) -> GroupView:
        """Raises Unreachable when etcd does not answer within `timeout` seconds; Kafka may be silent."""
        result = until_etcd_answers(lambda: self._store.transact(everything(self._keys)), timeout, self._where)
        items = tuple(item for found in result.answers for item in found)
        documents = decode(self._keys, Snapshot(result.revision, items))
        ends = self._ends_of(documents.partitions, timeout)
        gone = {each for each in documents.partitions if ends.lacks(each)}
        stalled = self._stalled(documents, ends, min(timeout, KAFKA_PATIENCE))
        return draw(documents, ends.offsets, gone, stalled, self._alarms())

    def _alarms(self) -> tuple[str, ...]:
        with contextlib.suppress(PartitionSupervisorError):  # who may not ask sees the rest
            return self._store.alarms()
        return ()

    def _stalled(self, documents: Documents, ends: Ends, timeout: float) -> dict[Partition, float]:
        """Those that have not committed for long, and whose next record has been there for as long: one that was
        idle, and has just got a record, has not stood still. One more question, about the few that may have."""
        ages = suspects(documents, ends.offsets, self._stalled_after)
        if not ages:
            return {}
        since = int((time.time() - self._stalled_after) * 1000)
        newer = self._ends.at_time(ages, since, timeout)
        return {
            each: age
            for each, age in ages.items()
            if each in newer and (newer[each] < 0 or newer[each] > documents.offsets[each].offset)
        }

    def _ends_of(self, partitions: frozenset[Partition], timeout: float) -> Ends:
        if not partitions:
            return Ends()
        patience = KAFKA_PATIENCE if self._kafka_answers else KAFKA_PATIENCE_AGAIN
        try:
            ends = self._ends.of({partition.topic for partition in partitions}, min(patience, timeout))
        except Unreachable as error:
            if self._kafka_answers:
                self._warn(f"{error} LOG-END-OFFSET and LAG are not known.")
            self._kafka_answers = False
            return Ends()
        self._kafka_answers = True
        return ends
