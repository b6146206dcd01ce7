"""The state of a partition as it is stored: its own keys, and over them what is not folded into those yet."""

from __future__ import annotations

from partition_workers.etcd.store import Store
from partition_workers.layout.changes import apply, numbered
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition


def stored_state(store: Store, keys: Keys, partition: Partition) -> dict[str, bytes]:
    """The JSON of each key. One state, if whoever asks owns the partition, or nobody does; else perhaps a mixture.
    Raises Retry, Unreadable."""
    state, changes = keys.state(partition), keys.changes(partition)
    entries = {each.key.removeprefix(changes): each.value for each in store.list(changes).items}
    own = {each.key.removeprefix(state): each.value for each in store.list(state).items}
    return apply(own, numbered(changes, entries).values())
