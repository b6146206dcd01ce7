"""Calls to a store that its tests make all the time, and how they read the answers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from partition_workers.errors import Unavailable
from partition_workers.etcd.client import Etcd
from partition_workers.etcd.options import EtcdOptions
from partition_workers.etcd.store import (
    Change,
    Delete,
    KeyValue,
    Put,
    Store,
    Txn,
    WatchStream,
)
from tests.eventually import eventually


def put(store: Store, key: str, value: bytes = b"", lease: int = 0) -> int:
    """Write one key. Returns the revision."""
    return store.transact(Txn((), (Put(key, value, lease),))).revision


def delete(store: Store, key: str, *, prefix: bool = False) -> int:
    return store.transact(Txn((), (Delete(key, prefix),))).revision


def is_answered(store: Store, key: str) -> bool:
    try:
        store.get(key)
    except Unavailable:
        return False
    return True


def connected(options: EtcdOptions, key: str) -> tuple[Etcd, int]:
    """A client whose first call, which wrote `key`, its first endpoint has answered in time; and the revision."""

    def attempt() -> tuple[Etcd, int] | None:
        etcd = Etcd(options)
        try:
            return etcd, put(etcd, key)
        except Unavailable:
            etcd.close()
            return None

    found = eventually("the first endpoint answers in time", attempt)
    assert found is not None
    return found


def new_lease() -> int:
    return uuid.uuid4().int & 0x7FFF_FFFF_FFFF_FFFF


def names(items: Iterable[KeyValue], prefix: str) -> list[str]:
    return [item.key.removeprefix(prefix) for item in items]


@contextmanager
def ended_after(seconds: float, cancel: Callable[[], None]) -> Iterator[None]:
    """A deadline for iterating a stream."""
    timer = threading.Timer(seconds, cancel)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def take(watch: WatchStream, number: int) -> list[Change]:
    """The next changes of a watch; fewer if they do not come within ten seconds."""
    with ended_after(10, watch.cancel):
        return [change for _, change in zip(range(number), watch, strict=False)]


def told(changes: Iterable[Change], prefix: str) -> list[tuple[str, str, bytes]]:
    return [
        ("deleted" if each.deleted else "put", each.item.key.removeprefix(prefix), each.item.value)
        for each in changes
    ]
