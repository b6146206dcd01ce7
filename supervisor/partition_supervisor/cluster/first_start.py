"""Where partitions begin with `--start latest`: at the ends that they had when the group started for the first time.

They are written down once for each topic, so that a partition that is read for the first time an hour later loses
nothing of that hour; and one that is not among them was added later, and begins at its first record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from partition_workers.errors import Misconfigured, Retry, Unreachable
from partition_workers.etcd.store import Compare, Get, KeyValue, Put, Store, Target, Txn
from partition_workers.layout.documents import FirstStart, now
from partition_workers.layout.foreign import ForeignKey
from partition_workers.layout.keys import Keys
from partition_workers.model import Offset, Partition

#: Seconds between two tries.
PAUSE = 0.2

AskEnds = Callable[[str], Mapping[Partition, Offset]]


def start_offsets(
    store: Store, keys: Keys, topic_ids: Mapping[Partition, str], ends: AskEnds, timeout: float
) -> dict[Partition, Offset]:
    """For each partition that existed when its topic was first read. `ends(topic)` may raise Unreachable.

    Raises Unreachable when Kafka or etcd does not tell within `timeout` seconds, and Misconfigured when what is
    written down is none of ours.
    """
    until = time.monotonic() + timeout
    found: dict[Partition, Offset] = {}
    for topic in sorted({each.topic for each in topic_ids}):
        partitions = sorted(each for each in topic_ids if each.topic == topic)
        document = _document(store, keys.topic(topic), partitions, topic_ids[partitions[0]], ends, until)
        found |= known_from(document, partitions, topic_ids[partitions[0]])
    return found


def known_from(document: FirstStart, partitions: Collection[Partition], topic_id: str) -> dict[Partition, Offset]:
    """Nothing, for a topic that was made anew since: all of its partitions were added later."""
    if "" not in (document.topic_id, topic_id) and document.topic_id != topic_id:
        return {}
    return {each: document.offsets[each.number] for each in partitions if each.number < len(document.offsets)}


def _decoded(found: KeyValue) -> FirstStart:
    try:
        return FirstStart.decode(found.value)
    except ValueError as error:
        raise Misconfigured(f"--start latest: in etcd: {ForeignKey.because(found.key, error)}") from None


def _document(
    store: Store, key: str, partitions: Sequence[Partition], topic_id: str, ends: AskEnds, until: float
) -> FirstStart:
    """What was written at the first start; if this is the first, it is written now."""
    while True:
        try:
            if (found := store.transact(Txn((), (Get(key),))).answers[0]) != ():
                return _decoded(found[0])
            at = ends(partitions[0].topic)
            if all(each in at for each in partitions):
                made = FirstStart(topic_id, [at[each] for each in partitions], now())
                store.transact(Txn((Compare(key, Target.VERSION, 0),), (Put(key, made.encode()),)))
                continue  # another supervisor may have been faster
            failure = "a partition has no leader now"
        except (Retry, Unreachable) as error:
            failure = str(error)
        if time.monotonic() > until:
            raise Unreachable(f"the ends that --start latest begins at cannot be written down: {failure}")
        time.sleep(PAUSE)  # nothing to wait upon but Kafka and etcd themselves
