"""Asking etcd for so many seconds, then saying that it is unreachable: at a supervisor's start, and for commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from partition_workers.errors import Denied, Refused, Retry, Unreachable
from partition_workers.etcd.store import Get, KeyRange, KeyValue, Listing, Store, Txn, TxnResult, WatchStream
from partition_workers.retry import delays, time_is_up, until_answered

T = TypeVar("T")

#: Seconds between two tries, the first and the longest; the store turns to the next endpoint by itself.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.2
#: Reads in a transaction; etcd takes 128.
AT_ONCE = 100
RIGHTS = "are --etcd-user and its password right, and may it read and write below --etcd-prefix?"


def until_etcd_answers(ask: Callable[[], T], seconds: float, where: str) -> T:
    """Raises Unreachable when nobody has answered at `where` (the endpoints, for the message) for so long.

    And Refused, at once, when we are not let in: who asks is there to change that.
    """

    def ask_and_end_if_denied() -> T:
        try:
            return ask()
        except Denied as error:
            raise Refused(f"{error}: {RIGHTS}") from None

    try:
        return until_answered(ask_and_end_if_denied, delays(FIRST_PAUSE, LONGEST_PAUSE), time_is_up(seconds))
    except Retry as error:
        raise etcd_unreachable(where, error) from None


def etcd_unreachable(where: str, error: Retry) -> Unreachable:
    """What is said when nobody answers there."""
    return Unreachable(f"etcd does not answer at {where} ({error}): is it running, and is --etcd-endpoints right?")


class RetryingStore:
    """A store that is asked again when it was silent. `where`: its endpoints, for the message."""

    def __init__(self, store: Store, seconds: float, where: str) -> None:
        self._store, self._seconds, self._where = store, seconds, where

    def transact(self, txn: Txn) -> TxnResult:
        """Raises Unreachable.

        A transaction may be sent again after its answer was lost, so a refusal can be the work of its own first
        copy: whoever writes must look for what he wrote before he believes that somebody else did.
        """
        return until_etcd_answers(lambda: self._store.transact(txn), self._seconds, self._where)

    def list(self, prefix: str) -> Listing:
        """Raises Unreachable."""
        return until_etcd_answers(lambda: self._store.list(prefix), self._seconds, self._where)

    def get_each(self, keys: Sequence[str]) -> Iterator[KeyValue | None]:
        """What stands at each of them, in their order; None: nothing. Raises Unreachable."""
        for first in range(0, len(keys), AT_ONCE):
            for found in self.transact(Txn((), tuple(map(Get, keys[first : first + AT_ONCE])))).answers:
                yield found[0] if found else None

    def watch(self, places: tuple[str | KeyRange, ...], start_revision: int) -> WatchStream:
        """Not tried again: whoever watches lists again when it breaks."""
        return self._store.watch(places, start_revision)
