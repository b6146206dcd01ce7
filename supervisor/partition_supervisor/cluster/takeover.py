"""A dead worker's lock goes straight to a warm standby: what is said to etcd, in blocking calls.

This runs in a thread of the supervisor, never in its loop. The worker is known to be gone, its process was reaped;
should that ever be wrong, its commits are refused all the same, because every write to the lock ends the token.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from partition_workers.errors import LeaseGone, Retry
from partition_workers.etcd.store import Compare, Put, Store, Target, Txn, TxnResult
from partition_workers.layout import documents
from partition_workers.layout.documents import Cause, History, Lock, Standby, holder_of
from partition_workers.layout.keys import Keys
from partition_workers.model import Offset, Partition, Token
from partition_workers.ownership import transactions
from partition_workers.retry import delays, time_is_up, until_answered

#: Seconds after which etcd's silence ends the attempt; the lease then decides.
PATIENCE = 30.0
#: Seconds before etcd is asked again, the first and the longest.
PAUSES = 0.02, 0.5


@dataclass(frozen=True, slots=True)
class Named:
    """The lock is `standby`'s now, under `token`. `offset`: where the owner before has ended, if it said so."""

    standby: Standby
    token: Token
    offset: Offset | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The successor has given no sign of life, and nobody else could be named yet: look again later."""


@dataclass(frozen=True, slots=True)
class Death:
    """A worker's: when it was seen, and the how manieth it was in a row without a commit (see `poison.py`)."""

    worker: str
    exit_seen: str
    deaths: int


def take_over(
    store: Store,
    keys: Keys,
    partition: Partition,
    death: Death,
    standbys: Sequence[Standby],
    token: Token | None = None,
    patience: float = PATIENCE,
    or_free: bool = True,
) -> Named | None:
    """Name a successor for the lock of the dead worker, or free it. None: it had no lock, or nobody is ready.

    `token`: the dead worker's, where known; a wrong one costs one more question. `patience`: so many seconds etcd
    may be silent. `or_free`: False leaves the lock to its lease when nobody is ready.
    """
    with contextlib.suppress(Retry):
        return _take_over(store, keys, partition, death, list(standbys), token, time_is_up(patience), or_free)
    return None


def _take_over(
    store: Store,
    keys: Keys,
    partition: Partition,
    death: Death,
    candidates: list[Standby],
    token: Token | None,
    given_up: Callable[[], bool],
    or_free: bool,
) -> Named | None:
    if token is None:
        found = until_answered(lambda: store.get(keys.lock(partition)), delays(*PAUSES), given_up)
        is_its_own = found is not None and holder_of(found.value) == death.worker
        token = found.mod_revision if found is not None and is_its_own else None
    while token is not None and not given_up():
        if not candidates and not or_free:
            return None
        successor = candidates[0] if candidates else None
        lock = _successor_lock(successor, death) if successor else None
        take = transactions.take_over(keys, partition, token, lock)
        try:
            result = until_answered(partial(store.transact, take), delays(*PAUSES), given_up)
        except LeaseGone:
            candidates.pop(0)
            continue
        if result.succeeded:
            return Named(successor, result.revision) if successor else None
        holder, token = _holder(result)
        if holder is not None and successor is not None and holder == successor.worker and token is not None:
            return Named(successor, token)  # an earlier try had landed
        if holder != death.worker:
            return None
    return None


def pass_on(
    store: Store,
    keys: Keys,
    partition: Partition,
    named: Named,
    standbys: Sequence[Standby],
    death: Death | None,
    late: float,
) -> Named | Waiting | None:
    """Impatience: if the successor has given no sign of life, name the next one. None: it has, or the lock moved on.

    Its lease is a sign of life too: one that was renewed within the last `late` seconds is that of somebody who is
    slow, and to take the lock from him helps nobody. Safe however wrong it is: the worst case is that the slow
    successor's first transaction is refused.
    """
    try:
        if not store.transact(transactions.has_not_entered(keys, partition, named.token)).succeeded:
            return None
        lease = store.time_to_live(named.standby.lease_id)
    except Retry:
        return Waiting()
    if lease.left > 0 and lease.granted - lease.left - 1 <= late:
        return Waiting()
    for candidate in standbys:
        lock = _successor_lock(candidate, death)
        try:
            pass_it_on = transactions.pass_on(keys, partition, named.token, lock)
            result = until_answered(partial(store.transact, pass_it_on), islice(delays(*PAUSES), 5))
        except (LeaseGone, Retry):
            continue
        return Named(candidate, result.revision) if result.succeeded else None
    return Waiting()


def note_not_taken(store: Store, keys: Keys, partition: Partition, record: History) -> None:
    """In history, for people: who had the lock under that token, which is over, has never entered."""
    key = keys.history(partition, record.token)
    absent = Compare(key, Target.VERSION, 0)
    with contextlib.suppress(Retry):
        note = Txn((absent,), (Put(key, record.encode()),))
        until_answered(lambda: store.transact(note), islice(delays(*PAUSES), 5))


def deaths_in_a_row(store: Store, keys: Keys, partition: Partition, token: Token, before: int) -> int:
    """How many owners died without getting on, the one of `token` included; it began when it were `before`.

    Its host is gone, so only etcd knows whether it has got on. In doubt it has not: care costs a moment, carelessness
    may cost a host.
    """
    if before:
        with contextlib.suppress(Retry, ValueError):
            stored = store.get(keys.offset(partition))
            offset = documents.StoredOffset.decode(stored.value) if stored is not None else None
            if offset is not None and offset.token == token:
                return offset.deaths
    return before + 1


def forget(store: Store, lease: int, logs: logging.Handler) -> None:
    """What remains of a dead worker: its lease, with its standby key, and the reader of its log."""
    try:
        with contextlib.suppress(Retry, LeaseGone):  # it ends by itself
            store.revoke(lease)
    finally:
        logs.close()


def _successor_lock(standby: Standby, death: Death | None) -> Lock:
    if death is None:
        return Lock.naming(standby, Cause.HANDED_OVER)
    return Lock.naming(standby, Cause.TAKEN_OVER, death.exit_seen, death.deaths)


def _holder(result: TxnResult) -> tuple[str | None, Token | None]:
    lock = result.answers[-1]
    return (holder_of(lock[0].value), lock[0].mod_revision) if lock else (None, None)
