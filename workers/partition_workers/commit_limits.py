"""How much one transaction may change: our own limits, and those that this etcd turns out to have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from partition_workers.change_log import DIRECT
from partition_workers.errors import RequestTooLarge, StateTooLarge, TooManyOperations
from partition_workers.log_events import event
from partition_workers.ownership.transactions import MAX_CHANGED_KEYS, MAX_STATE_BYTES, MAX_STATE_KEYS

log = logging.getLogger(__name__)

#: What is left of a refused size for cuts that are merged: the next one shall not be refused as well.
_STEP_BACK = 2

#: Keys that a plain transaction holds beside the lock, the offset and the history.
_PLAIN = 100


@dataclass
class CommitLimits:
    """In state keys, and in bytes as etcd counts them.

    A transaction of several records stops at half of what one record may change: while etcd writes it, it does
    nothing for the other partitions.
    """

    most_keys: int = MAX_CHANGED_KEYS
    most_bytes: int = MAX_STATE_BYTES
    """What one record may change, or one list that is handled as a whole."""
    keys: int = MAX_CHANGED_KEYS // 2
    size: int = MAX_STATE_BYTES // 2
    """What several together may."""
    direct: int = MAX_STATE_KEYS
    """So many keys are written one by one; more are stored as one value, see `change_log.py`."""
    reason: str = ""
    """What etcd said when it refused."""

    @property
    def full_at(self) -> tuple[int, int]:
        """After so much a cut is made; the next record still has room."""
        return max(1, self.keys // 2), max(1, self.size // 2)

    def allow(self, keys: int, size: int, alone: bool) -> bool:
        if alone:
            return keys <= self.most_keys and size <= self.most_bytes
        return keys <= self.keys and size <= self.size

    def allow_list(self, keys: int, size: int, times: float) -> bool:
        """Whether a list that many times as long is far from too much, if this one changed so much."""
        return keys * times < self.most_keys / 2 and size * times < self.most_bytes / 2

    def learn(self, error: RequestTooLarge, keys: int, size: int) -> None:
        """etcd has refused so much. Less than that may be taken, from one record; several keep away from it."""
        self.reason = str(error)
        if isinstance(error, TooManyOperations):
            self.direct = _PLAIN if keys > _PLAIN else max(1, keys // _STEP_BACK)
        else:
            self.most_bytes = size - 1
            self.size = min(self.size, max(1, size // _STEP_BACK))

    def refused(
        self, error: RequestTooLarge, place: str, prefix: str, changes: Mapping[str, bytes | None], direct: int
    ) -> None:
        """The same, of changed state keys below `prefix`, of which so many were to be written one by one, and said.
        `place`: what is gone back to."""
        size = size_of(prefix, changes)
        self.learn(error, direct, size)
        log.warning("%s: a commit of %d state keys with %d bytes was refused: %s; going back, to make smaller ones",
                    place, len(changes), size, error, extra=event("commit-too-large"))  # fmt: skip

    def refusal(self, keys: int, size: int) -> StateTooLarge:
        most = f"a transaction holds {self.most_keys:,} keys and {self.most_bytes:,} bytes"
        why = f"so much was refused: {self.reason}" if self.reason else most
        return StateTooLarge(
            f"one record changes {keys} state keys with {size:,} bytes; {why}: keep less state, or spread its changes"
            " over more records"
        )


def size_of(prefix: str, changes: Mapping[str, bytes | None]) -> int:
    """Of changed state keys below `prefix`, in bytes as etcd counts them: keys whole, and something for each put; or
    as one value."""
    each_key = len(prefix.encode()) + 32 if len(changes) <= DIRECT else 4
    names = len("".join(changes).encode())
    return len(changes) * each_key + names + sum(map(len, filter(None, changes.values())))


def fit_together(prefix: str, one: Mapping[str, bytes | None], other: Mapping[str, bytes | None]) -> bool:
    """Whether both go in one transaction, whatever each of them is alone."""
    if not one or not other:
        return True
    size = size_of(prefix, one) + size_of(prefix, other)
    return size <= MAX_STATE_BYTES and len(one) + len(other) <= MAX_STATE_KEYS
