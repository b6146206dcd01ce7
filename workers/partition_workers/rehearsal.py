"""A takeover that a standby goes through while it has the time, and that etcd refuses.

Whatever is done for the first time costs more than the second: pages of memory that are still shared with the fork
server are copied, code runs that never ran. Of 147 pages that a successor touched first between its order and its
first record 75 were such, and 0.5 of the 4.0 milliseconds of processor time that it took.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from partition_workers.errors import Lost
from partition_workers.etcd.store import KeyValue, TxnResult
from partition_workers.layout.documents import Attempt, Cause, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.owner import Owner
from partition_workers.ownership.loaded import Loaded, confirmed
from partition_workers.ownership.lock import NEVER


def rehearse(make_owner: Callable[[Loaded], Owner], keys: Keys, partition: Partition, me: Standby) -> None:
    """Be an owner until its first commit is refused; an answer that is late is not waited for."""
    owner = make_owner(_as_loaded(keys, partition, me))
    owner.enter()
    with contextlib.suppress(Lost):
        owner.has_entered()


def _as_loaded(keys: Keys, partition: Partition, me: Standby) -> Loaded:
    """What etcd would answer, under a token that cannot be."""

    def found(key: str, value: bytes) -> tuple[KeyValue, ...]:
        return (KeyValue(key, value, 1, NEVER, NEVER),)

    standing = (
        found(keys.lock(partition), Lock.naming(me, Cause.TAKEN_OVER).encode()),
        found(keys.offset(partition), StoredOffset(0, 1, 1, "", now()).encode()),
        found(keys.attempt(partition), Attempt(0, 0, [me.host], under_way=False).encode()),
        (),
        (),
    )
    loaded = confirmed(keys, partition, NEVER, TxnResult(True, 0, (*standing, ())))
    assert loaded is not None
    return loaded
