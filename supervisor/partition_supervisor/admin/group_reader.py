"""Reading the picture of a group: what etcd holds, at one revision, and where Kafka says the partitions end."""

from __future__ import annotations

from collections.abc import Callable

from partition_supervisor.admin.group_view import GroupView, decode, draw
from partition_supervisor.cluster.retry import until_etcd_answers
from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_supervisor.listing import Snapshot, read_all
from partition_workers.errors import Unreachable
from partition_workers.etcd.store import Get, Store, Txn
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

#: Seconds that Kafka gets to answer, and while it has not answered before. The picture is shown without it, too.
KAFKA_PATIENCE, KAFKA_PATIENCE_AGAIN = 3.0, 0.5


def everything(keys: Keys) -> Txn:
    """One linearizable reading of all that a picture needs."""
    return Txn((), (*read_all(keys).success, Get(keys.offsets, prefix=True), Get(keys.sizes, prefix=True)))


class GroupReader:
    """Reads pictures, one after the other, of the etcd at `where`. `warn` is told once when Kafka falls silent."""

    def __init__(self, store: Store, where: str, keys: Keys, ends: EndOffsets, warn: Callable[[str], None]) -> None:
        self._store, self._where, self._keys, self._ends, self._warn = store, where, keys, ends, warn
        self._kafka_answers = True

    def read(self, timeout: float) -> GroupView:
        """Raises Unreachable when etcd does not answer within `timeout` seconds; Kafka may be silent."""
        result = until_etcd_answers(lambda: self._store.transact(everything(self._keys)), timeout, self._where)
        items = tuple(item for found in result.answers for item in found)
        documents = decode(self._keys, Snapshot(result.revision, items))
        return draw(documents, self._end_offsets(documents.partitions, timeout))

    def _end_offsets(self, partitions: frozenset[Partition], timeout: float) -> dict[Partition, int]:
        if not partitions:
            return {}
        patience = KAFKA_PATIENCE if self._kafka_answers else KAFKA_PATIENCE_AGAIN
        try:
            ends = self._ends.of({partition.topic for partition in partitions}, min(patience, timeout))
        except Unreachable as error:
            if self._kafka_answers:
                self._warn(f"{error} LOG-END-OFFSET and LAG are not known.")
            self._kafka_answers = False
            return {}
        self._kafka_answers = True
        return ends
