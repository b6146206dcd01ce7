"""The record loop of an owner: read, handle, cut, commit; and the way back when a handler raises.

The fast path does per record only what must be per record: look at the flag, call the handler, watch the number of
touched keys. Everything else is per list.

When the handler raises, the state goes back to the last cut, and the records since then are handled again, one by
one, with a cut after each. That reaches the failing record with exactly the state it should have. The same way serves
a transaction that would grow past its limits: it finds out which record is to blame.

The records since the last cut are not kept for that, but read again. While they were kept, tens of thousands of
them at full speed, a worker handled about 0.6 of what a bare loop does per record, and 0.7 by batch; which part of
that was the garbage collector's and which the processor cache's was not taken apart.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from operator import length_hint

from partition_workers import log_sender
from partition_workers.clock import Clock
from partition_workers.commits import Commits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import (
    Bug,
    HandlerFailed,
    Lost,
    Misconfigured,
    PartitionSupervisorError,
    StateInvalid,
    StateTooLarge,
)
from partition_workers.etcd.store import Put
from partition_workers.handler import Handler
from partition_workers.handler_form import refuse_result
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Reader, Record, next_offset
from partition_workers.model import Offset
from partition_workers.ownership import transactions
from partition_workers.poison import PoisonGuard
from partition_workers.retry import delays
from partition_workers.state.mapping import State

log = logging.getLogger(__name__)

#: Seconds to wait for a record before orders and commits are looked after.
IDLE = 0.1
#: While a transaction is waited for, others may want something: seconds between two looks.
LOOK_UP = 0.1
#: More touched keys than this at the end of a record: cut now, or the next record may be one too many.
ENOUGH_KEYS = transactions.MAX_STATE_KEYS * 3 // 4


class Interrupted(Exception):
    """Raised between two attempts or commits when somebody wants something; nothing is lost by it."""


class RecordLoop:
    """Reads from `reader`, which is assigned at `offset`, and keeps `state` and `commits` in step."""

    def __init__(
        self,
        reader: Reader,
        handler: Handler,
        state: State,
        commits: Commits,
        interrupt: InterruptFlag,
        offset: int,
        commit_interval: float,
        max_retries: int,
        error_policy: ErrorPolicy,
        care: PoisonGuard,
        attempt_key: str,
        host: str,
        clock: Clock,
    ) -> None:
        self.offset = offset
        self.handled = 0
        self.rounds = 0
        self.has_been_idle = False
        self.on_first_record: Callable[[], None] | None = None
        self._reader, self._handler, self._state, self._commits = reader, handler, state, commits
        self._interrupt = interrupt
        self._interval = commit_interval
        self._max_retries = max_retries
        self._error_policy, self._poison_guard = error_policy, care
        self._attempt_key, self._host = attempt_key, host
        self._clock = clock
        self._uncut = 0
        self._cut_at = -math.inf  # the first cut is due at once, also on a machine that has just started
        self._alone_until = 0
        self._rest: list[Record] = []
        self._at_work: Iterator[Record] = iter([])
        self._off_the_clock = False
        self._attempted: Offset | None = None

    def place(self) -> tuple[int, int] | None:
        """Where the loop is. Any other thread may compare two answers: equal ones, and it has not moved. None: what
        takes its time is not the handler.

        What is left of the list in hand is known to its iterator, at no cost to the loop.
        """
        return None if self._off_the_clock else (self.rounds, length_hint(self._at_work))

    def turn(self) -> None:
        """Once round. Raises HandlerFailed, PartitionRefused and Lost."""
        self.rounds += 1
        self._commits.pump()
        records, self._rest = self._rest or self._reader.read(self._patience()), []
        if not records:
            if self._reader.at_end is not None and self._commits.committed == self.offset:
                self._commits.get_on()
                self.has_been_idle = True
            self._commits.send()
        else:
            if self.on_first_record:
                self.on_first_record()
                self.on_first_record = None
            if size := self._poison_guard.list_size(self.offset):
                self._handle_with_care(records, size)
            else:
                self._handle(records)
        if self._due():
            self.cut()

    def cut(self) -> None:
        """Make everything that was handled part of the next commit, and start that if none is under way."""
        if self._cut_or_go_back():
            self._cut_at = self._clock()
            self._commits.send()

    def finish(self) -> None:
        """Make everything that was handled part of the next commit, which will be the last: it is not sent yet."""
        self._cut_or_go_back()
        self.end_attempt()

    def end_attempt(self) -> None:
        """It is over, and nobody died of it: that goes with the next commit."""
        if self._attempted is not None:
            over = self._poison_guard.attempt_over(self._attempted)
            self._commits.attach(Put(self._attempt_key, over.encode()))
            self._attempted = None

    @contextlib.contextmanager
    def off_the_clock(self) -> Iterator[None]:
        """What takes time in here is not the handler's: a pause, an answer that is waited for."""
        self._off_the_clock = True
        try:
            yield
        finally:
            self.rounds += 1
            self._off_the_clock = False

    def heartbeat(self) -> None:
        """A long record says that all is well."""
        self.rounds += 1

    def _patience(self) -> float:
        if not self._uncut:
            return IDLE if self._commits.idle else 0.02
        return max(0.001, min(IDLE, self._cut_at + self._interval - self._clock()))

    def _due(self) -> bool:
        return bool(self._uncut or self._commits.waiting) and self._clock() - self._cut_at >= self._interval

    def _handle(self, records: list[Record]) -> None:
        if self._interval == 0 or self.offset < self._alone_until:
            self._one_by_one(records)
            return
        try:
            done = self._handle_list(records) if self._handler.batch else self._handle_each(records)
        except BaseException as error:  # whatever it raises: nothing but the handler runs in here
            self._go_back(records, error)
            return
        self._note(done, records[done - 1])
        self._rest = records[done:] + self._rest
        if self._state.touched() > ENOUGH_KEYS:
            self._cut_or_go_back()  # and sent when the interval is over, or when there is no room for more

    def _handle_with_care(self, records: list[Record], size: int) -> None:
        """Only so many, and committed before the next; see `poison.py`."""
        self._rest = records[size:]
        if size == 1:
            self._one_by_one(records[:1])
        else:
            self._handle(records[:size])
        self.cut()
        with contextlib.suppress(Interrupted):
            self._wait_for_commit()

    def _handle_each(self, records: list[Record]) -> int:
        handle, state, interrupt = self._handler.one, self._state, self._interrupt
        assert handle is not None
        touched = dict.keys(state)  # the length of a view is the cheapest way to ask how many there are
        self._at_work = at_work = iter(records)
        for record in at_work:
            if (result := handle(record, state)) is not None:
                refuse_result(result)
            if interrupt.raised or len(touched) > ENOUGH_KEYS:
                break
        return len(records) - length_hint(at_work)

    def _handle_list(self, records: list[Record]) -> int:
        assert self._handler.batch is not None
        # A copy: what becomes of its list is the handler's business.
        if (result := self._handler.batch(list(records), self._state)) is not None:
            refuse_result(result)
        return len(records)

    def _note(self, count: int, last: Record) -> None:
        self._uncut += count
        self.handled += count
        self.offset = next_offset(last)

    def _cut_or_go_back(self) -> bool:
        """False: it is still to be done."""
        try:
            self._cut()
        except (StateInvalid, StateTooLarge) as error:
            self._go_back([], error)
        except Interrupted:
            return False
        return True

    def _cut(self) -> None:
        """One cut up to `offset`. Nothing has changed when it raises StateInvalid, StateTooLarge or Interrupted."""
        changes = self._state.changes()
        if not self._commits.has_room_for(changes):
            if self._commits.in_flight:
                self._wait_for_commit()
            self._commits.send()
        self._commits.add(self.offset, changes)
        self._state.accept(changes)
        self._uncut = 0

    def _wait_for_commit(self) -> None:
        while not self._commits.settle(self._clock() + LOOK_UP):
            self.rounds += 1  # the handler is not to blame
            if self._interrupt.raised:
                raise Interrupted

    def _go_back(self, records: list[Record], error: BaseException) -> None:
        """Back to the last cut; from there everything up to the end of `records`, one by one."""
        log.debug("back to the last cut, %d records and %d: %r", self._uncut, len(records), error)
        self._alone_until = next_offset(records[-1]) if records else self.offset
        in_hand = not self._uncut
        self._forget()
        if in_hand:
            self._one_by_one(records)
        else:
            self.offset, self._rest = self._commits.offset, []
            self._reader.assign(self.offset)

    def _give_up(self, record: Record, error: BaseException, attempts: int) -> None:
        try:
            with self.off_the_clock():
                self._error_policy.give_up(record, f"{_said_by(error)} ({attempts} attempts)")
        except HandlerFailed as failed:
            raise failed from error
        self._note(1, record)
        self._cut()

    def _forget(self) -> None:
        self.handled -= self._uncut
        self._uncut = 0
        self._state.rollback()

    def _one_by_one(self, records: list[Record]) -> None:
        self._at_work = at_work = iter(records)
        for record in at_work:
            try:
                if self._interrupt.raised:
                    raise Interrupted
                if self._uncut:
                    self._cut()  # it was interrupted; what was handled before this record must survive its failure
                if self._poison_guard.is_poison(next_offset(record) - 1):
                    self._give_up_poison(record)
                else:
                    self._insist(record)
            except Interrupted:
                self._rest = [*(each for each in records if next_offset(each) > self.offset), *self._rest]
                return
            except (StateInvalid, StateTooLarge) as error:  # of what was handled before
                self._go_back([], error)
                return
            self._commits.send()

    def _give_up_poison(self, record: Record) -> None:
        """A record that has killed enough workers."""
        attempt = self._poison_guard.attempt(next_offset(record) - 1, self._host)
        with self.off_the_clock():
            died = f"it has killed {attempt.deaths} workers, on {', '.join(attempt.hosts[:-1])}"
            self._error_policy.give_up(record, died)
        self._note(1, record)
        self._cut()

    def _write_attempt(self, offset: Offset) -> None:
        """The record there may kill us: first write down that we try."""
        self._attempted = offset
        self._commits.attach(Put(self._attempt_key, self._poison_guard.attempt(offset, self._host).encode()))
        self._commits.send()
        self._wait_for_commit()
        self._commits.send()
        self._wait_for_commit()

    def _insist(self, record: Record) -> None:
        """Handle one record, with retries, and cut after it. Each attempt has the handler's time limit for itself."""
        offset = next_offset(record) - 1
        pauses = delays(0.1, 5.0)
        place = f"{record.topic()}[{record.partition()}] offset {offset}"
        for attempt in range(1, self._max_retries + 2):
            if self._interval == 0:
                self._wait_for_commit()
            if self._poison_guard.is_careful(offset):
                self._write_attempt(offset)
            self.rounds += 1
            try:
                self._handler.handle_alone(record, self._state)
                self._note(1, record)
                self._cut()
                self._attempted = None
                return
            except (Interrupted, Lost, Bug, Misconfigured):
                raise  # of the cut, not of the handler
            except BaseException as error:
                self._forget()
                self.offset = offset
                log_sender.keep_installed()
                log.warning("the handler failed at %s, attempt %d: %s", place, attempt, _said_by(error),
                            exc_info=_of_the_handler(error))  # fmt: skip
                if attempt > self._max_retries:
                    self._give_up(record, error, attempt)
                    return
            self._pause(next(pauses))

    def _pause(self, seconds: float) -> None:
        """Before the next attempt: whoever dies in here does not die of the record."""
        self.end_attempt()
        self._commits.send()
        with self.off_the_clock():
            self._interrupt.wait(seconds)
        if self._interrupt.raised:
            raise Interrupted


def _said_by(error: BaseException) -> str:
    """A message goes to etcd and into a header: not a megabyte of it."""
    return f"{type(error).__name__}: {_short(str(error))}"


def _short(message: str) -> str:
    return message if len(message) <= 1000 else message[:1000] + " ..."


def _of_the_handler(error: BaseException) -> BaseException | None:
    """The traceback that helps: none, where the message says it all."""
    return None if isinstance(error, PartitionSupervisorError) else error
