"""The end of an ownership: what was handled is committed, and in the same transaction is said who goes on.

On the way there it may turn out that what waits cannot be committed: etcd does not take so much, or outputs that are
not kept were lost. Nobody is left to handle their records again but the next owner. So what is said is the offset
that is stored, which is an earlier one then.
"""

from __future__ import annotations

from collections.abc import Callable

from partition_workers.commits import Commits
from partition_workers.errors import Lost, OutputsLost, RequestTooLarge
from partition_workers.etcd.store import Operation
from partition_workers.layout.documents import Cause, Ending, Lock, Parked, Standby, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Offset, Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.history import OwnHistory

LastWord = Callable[[Offset], tuple[Operation, ...]]


class LastCommit:
    """`until`: on the clock of the commits."""

    def __init__(self, commits: Commits, history: OwnHistory, keys: Keys, partition: Partition, host: str) -> None:
        self._commits, self._history, self._keys, self._partition = commits, history, keys, partition
        self._host = host

    def hand_over(self, successor: Standby, until: float) -> bool:
        """False: not answered in time. Raises LeaseGone when the successor's is; and Lost."""

        def name(offset: Offset) -> tuple[Operation, ...]:
            named = Lock.naming(successor, Cause.HANDED_OVER, offset=offset)
            return transactions.give_to(self._keys, self._partition, named)

        return self._insist(Ending.HANDED_OVER, name, until)

    def let_go(self, until: float, reason: str | None = None) -> None:
        """Raises Lost."""
        if not self._insist(Ending.STOPPED, lambda _offset: self._free(), until, reason):
            raise self._unanswered()

    def park(self, reason: str, until: float) -> Offset:
        """Where: right before the record that cannot be handled, and everything before it is committed.

        Raises Lost. Where the rest cannot be committed nothing is parked, for it would be at an earlier record, which
        nothing is wrong with, and where people would pass over that one: the next owner comes to the right place.
        """

        def park(offset: Offset) -> tuple[Operation, ...]:
            parked = Parked(offset, reason, self._host, now())
            return transactions.park(self._keys, self._partition, parked)

        offset = self._commits.offset
        try:
            if not self._say(Ending.PARKED, park, until, reason):
                raise self._unanswered()
        except (RequestTooLarge, OutputsLost) as lost:
            self.let_go(until, reason)
            raise Lost(f"{self._partition}: not parked at offset {offset}, for what came before it was not committed,"
                       f" and the next owner handles that again: {lost}; {reason}") from lost  # fmt: skip
        return offset

    def _free(self) -> tuple[Operation, ...]:
        return transactions.let_go(self._keys, self._partition)

    def _insist(self, ending: Ending, last_word: LastWord, until: float, reason: str | None = None) -> bool:
        try:
            return self._say(ending, last_word, until, reason)
        except (RequestTooLarge, OutputsLost):
            return self._say(ending, last_word, until, reason)  # it is dropped, and nothing else waits

    def _say(self, ending: Ending, last_word: LastWord, until: float, reason: str | None) -> bool:
        offset = self._commits.offset
        return self._commits.drain(until, (self._history.closed(ending, offset, reason), *last_word(offset)))

    def _unanswered(self) -> Lost:
        return Lost(f"{self._partition}: the last commit was not answered in time")
