"""How a standby becomes the owner: it takes a lock that is free, or confirms one that it was given.

Both end with etcd's own word and everything that an owner needs. Nothing is believed for having been told. Both may
be repeated: an unknown outcome is asked again, and the answer shows what had happened.

A small state comes with the answer that confirms the lock. A large one is read in pages (`state_pages.py`), by an
owner that has said before that it is here: nobody takes the lock from who is at work.

Holding this lock does not stop a paused process from acting; the token in its commits does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable

from partition_workers.errors import Lost, Retry
from partition_workers.etcd.store import Store, Txn, TxnResult
from partition_workers.layout.documents import Cause, History, Lock, Parked, Standby, holder_of, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Offset, Partition, Token
from partition_workers.ownership import transactions
from partition_workers.ownership.loaded import Loaded, acquired, confirmed
from partition_workers.ownership.state_pages import StatePages
from partition_workers.retry import delays, until_answered

log = logging.getLogger(__name__)

#: No key was ever written at this revision; and a key that is not there counts as written at 0.
NEVER = -1


class PartitionLock:
    """One worker's way to the lock of its partition. `hopeless()`: the lease is gone, stop asking.
    `on_offset(offset)` is called when a lock was taken whose state is yet to be read."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        partition: Partition,
        me: Standby,
        hopeless: Callable[[], bool],
        on_offset: Callable[[Offset], None] = lambda _offset: None,
    ) -> None:
        self._store, self._keys, self._partition, self._me = store, keys, partition, me
        self._hopeless, self._on_offset = hopeless, on_offset
        self._pages = StatePages(store, keys, partition, self._confirm_by_all, hopeless)

    def acquire(self, deaths: int = 0) -> Loaded | None:
        """Take the lock if nobody has it and the partition is not parked. Raises Lost when our lease is gone.

        What comes with it may not be complete: see `read_rest`.
        """
        lock = Lock.naming(self._me, Cause.ACQUIRED, deaths=deaths)
        result = self._ask(lambda: transactions.acquire(self._keys, self._partition, lock))
        if result.succeeded:
            taken = acquired(self._keys, self._partition, result)
            if taken.offset is not None:
                self._on_offset(taken.offset.offset)
            return self._with_small_state(taken)
        found = result.answers[0]
        if found and holder_of(found[0].value) == self._me.worker:
            return self.confirm(found[0].mod_revision)  # an earlier try had landed, or we were named meanwhile
        return None

    def confirm(self, token: Token) -> Loaded | None:
        """Make sure that the lock is ours under `token`; None when it is not. As complete as `acquire`."""
        whole = True

        def ask() -> Txn:
            nonlocal whole
            asked = transactions.confirm(self._keys, self._partition, token, whole=whole)
            whole = False  # what did not arrive may have been too much
            return asked

        found = confirmed(self._keys, self._partition, token, self._ask(ask))
        if found is None:  # the one member that was asked may be behind: all are asked
            return self._confirm_by_all(token)
        return self._if_ours(found)

    def enter(self, begun: History) -> None:
        """Say that somebody is at work here, before the state is read: or whoever named us takes us for dead after
        a while. Raises Lost when the lock is not ours any more.
        """
        result = self._ask(lambda: transactions.enter_before_loading(self._keys, self._partition, begun))
        if not result.succeeded:
            raise Lost(f"{self._partition} has another owner by now")

    def read_rest(self, loaded: Loaded, stop: Callable[[], bool]) -> Loaded:
        """The rest of the state, however long it takes; not complete if `stop()` came first. Raises Lost."""
        return self._pages.read_rest(loaded, stop)

    def leave_unread(self, closed: History, successor: Lock | None) -> Token | None:
        """Give the lock to the successor, or up, without having read the state. The successor's token; None: it has
        no lock. Raises LeaseGone, which is the successor's, and Lost when ours may be over."""
        result = self._ask(lambda: transactions.leave_unread(self._keys, self._partition, closed, successor))
        if result.succeeded:
            return result.revision if successor else None
        found = result.answers[0]  # an earlier try may have landed
        is_given = successor is not None and found and holder_of(found[0].value) == successor.worker
        return found[0].mod_revision if is_given else None

    def park(self, reason: str) -> None:
        """Give the lock up, if it is ours, and let nobody take it until a person said so."""
        parked = Parked(0, reason, self._me.host, now())

        def try_to_park() -> None:
            found = self._store.get(self._keys.lock(self._partition))
            if found is not None and holder_of(found.value) == self._me.worker:
                self._store.transact(
                    transactions.park_unread(self._keys, self._partition, found.mod_revision, parked)
                )

        with contextlib.suppress(Retry):  # the lease is over: the next owner finds the same
            until_answered(try_to_park, delays(0.02, 0.5), self._hopeless)

    def rehearse(self) -> None:
        """Confirm under a token that cannot be ours: see `rehearsal.py`. Raises Retry."""
        self._store.transact(transactions.confirm(self._keys, self._partition, NEVER))

    def _confirm_by_all(self, token: Token) -> Loaded | None:
        """Without the state."""
        result = self._ask(
            lambda: transactions.confirm(self._keys, self._partition, token, serializable=False, whole=False)
        )
        found = confirmed(self._keys, self._partition, token, result)
        return self._with_small_state(self._if_ours(found)) if found is not None else None

    def _if_ours(self, found: Loaded) -> Loaded | None:
        """Two workers under one token could take each other's commits for their own."""
        if found.lock.worker == self._me.worker:
            return found
        log.error("%s: token %d was offered to us, and is that of worker %s on %s",
                  self._partition, found.token, found.lock.worker, found.lock.host)  # fmt: skip
        return None

    def _with_small_state(self, found: Loaded | None) -> Loaded | None:
        """One question more, unless the state is noted to be large. If no answer comes, it is read in pages."""
        if found is None or found.size is not None:
            return found
        prefix = self._keys.state(self._partition)
        try:
            page = self._store.page(prefix, "", transactions.WHOLE, found.revision)
        except Retry:
            return found
        state = {key.removeprefix(prefix): value for key, value in page.items}
        return dataclasses.replace(found, state=state, complete=not page.more and found.is_folded)

    def _ask(self, make: Callable[[], Txn]) -> TxnResult:
        try:
            return until_answered(lambda: self._store.transact(make()), delays(0.02, 0.5), self._hopeless)
        except Retry:
            raise Lost(f"{self._partition}: the lease ran out before etcd answered") from None
