"""How far an owner is: what was handled, what of it is cut, and the way back from what cannot be kept.

State, offset and commits are kept in step here. A cut makes everything that was handled part of the next commit.
There are two ways back: to the last cut, which costs nothing, because the state knows it; and to the last commit,
when etcd does not take what was cut: then the state is read again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from partition_workers.clock import Clock
from partition_workers.commits import Commits
from partition_workers.counts import Handled
from partition_workers.errors import Retry
from partition_workers.handler import Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Record, next_offset
from partition_workers.state.mapping import State

#: While a transaction is waited for, others may want something: seconds between two looks.
LOOK_UP = 0.1
#: Seconds until it is looked whether Kafka takes outputs.
SOON = 0.01


class Interrupted(Exception):
    """Raised between two attempts or commits when somebody wants something; nothing is lost by it."""


class Progress:
    """Of one ownership, from `offset` on. Only the record loop's thread changes it."""

    def __init__(
        self, state: State, commits: Commits, interrupt: InterruptFlag, offset: int, clock: Clock, handler: Handler
    ) -> None:
        self.state, self.commits = state, commits
        self._handler = handler
        self.offset = offset
        self.handled = 0
        #: For metrics: it never goes back.
        self.counts = Handled()
        self.uncut = 0
        self.has_passed_over = False
        self.rounds = 0
        """Whoever watches us sees by this that something goes on."""
        self.is_off_the_clock = False
        self._interrupt, self._clock = interrupt, clock
        self._dropped = False
        self._set_limits()

    def note(self, count: int, last: Record) -> None:
        """So many records were handled, up to this one."""
        self.uncut += count
        self.handled += count
        self.counts.records += count
        self.offset = next_offset(last)

    def pass_over(self, end: int | None) -> None:
        """What is left before the end can never be read: marks of transactions, aborted records, compacted gaps."""
        if end is not None and end > self.offset:
            self.offset, self.has_passed_over = end, True

    def cut(self) -> None:
        """One cut up to `offset`, of what the handler has flushed. Nothing has changed when it raises FlushFailed,
        StateInvalid, StateTooLarge or Interrupted.

        Waits, if neither the transaction in flight nor the next has room. Raises Lost, RequestTooLarge and
        OutputsLost then.
        """
        if self.uncut:
            self._flush()
        changes = self.state.changes()
        while not self.commits.add(self.offset, changes, self.uncut):
            self._make_room()
        self.state.accept()
        self.uncut, self.has_passed_over = 0, False

    def _flush(self) -> None:
        """It has the handler's time limit for itself."""
        self.rounds += 1
        begun = time.perf_counter()
        self._handler.flush()
        self.counts.seconds += time.perf_counter() - begun

    def _make_room(self) -> None:
        """For a cut that has none beside those that wait."""
        if self.commits.in_flight:
            self.wait_for_commit()
        self.commits.send()
        if not self.commits.in_flight:  # those that wait need more than etcd
            self.rounds += 1
            self._interrupt.wait(SOON)
            self.commits.pump()
            if self._interrupt.raised:
                raise Interrupted

    def wait_for_commit(self) -> None:
        """Until what is in flight is stored. Raises Interrupted, Lost, RequestTooLarge, OutputsLost."""
        while not self.commits.settle(self._clock() + LOOK_UP):
            self.rounds += 1
            if self._interrupt.raised:
                raise Interrupted

    @contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """What takes time in here is not the handler's: a pause, an answer that is waited for."""
        self.is_off_the_clock = True
        try:
            yield
        finally:
            self.rounds += 1
            self.is_off_the_clock = False

    def forget(self) -> None:
        """Back to the state of the last cut; the offset is the caller's business."""
        self.handled -= self.uncut
        self.uncut, self.has_passed_over = 0, False
        self.state.rollback()
        self.commits.outputs.forget()

    def drop(self) -> None:
        """The commits since `committed` are dropped: the state has to be read again, and the records handled."""
        self._dropped = True
        self.forget()
        self.offset = self.commits.offset
        self._set_limits()

    def restore(self) -> bool:
        """Whether the state is that of `offset`, after reading it if need be. False: etcd did not answer."""
        if self._dropped:
            try:
                self.state.replace(self.commits.stored_state())
            except Retry:
                return False
            self._dropped = False
        return True

    @property
    def dropped(self) -> bool:
        """Whether the state is not that of `offset`; nothing must be handled or cut."""
        return self._dropped

    def _set_limits(self) -> None:
        self.state.full_at = self.commits.limits.full_at
