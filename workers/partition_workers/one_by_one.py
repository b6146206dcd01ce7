"""One record at a time: the way to the record that makes trouble, and what is tried with it.

Each record is handled alone, and a cut is made after it, so a record that fails is reached with exactly the state
that it should have. It is tried again a few times; then `--on-error` decides.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from operator import length_hint

from partition_workers import log_sender
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import (
    NOT_OF_THE_RECORD,
    OF_A_CUT,
    FlushFailed,
    HandlerFailed,
    PartitionSupervisorError,
)
from partition_workers.etcd.store import Put
from partition_workers.handler import Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.original import Original
from partition_workers.kafka.reader import Record, next_offset
from partition_workers.log_events import event
from partition_workers.model import Offset
from partition_workers.poison import PoisonGuard
from partition_workers.progress import Interrupted, Progress
from partition_workers.retry import delays

log = logging.getLogger(__name__)


class OneByOne:
    """`committed_each`: the commit of each record is waited for before the next is handled."""

    def __init__(
        self,
        progress: Progress,
        handler: Handler,
        interrupt: InterruptFlag,
        committed_each: bool,
        max_retries: int,
        error_policy: ErrorPolicy,
        care: PoisonGuard,
        attempt_key: str,
        host: str,
    ) -> None:
        self._progress, self._commits, self._state = progress, progress.commits, progress.state
        self._handler, self._interrupt = handler, interrupt
        self._committed_each, self._max_retries = committed_each, max_retries
        self._error_policy, self._poison_guard = error_policy, care
        self._attempt_key, self._host = attempt_key, host
        self._at_work: Iterator[Record] = iter([])
        self._attempted: Offset | None = None

    def left(self) -> int:
        """How many records of the list in hand were not begun; for any thread."""
        return length_hint(self._at_work)

    def handle(self, records: list[Record]) -> None:
        """All of them. Raises Interrupted between two attempts; what is left are those from `progress.offset` on.

        Raises FlushFailed, StateInvalid and StateTooLarge of what was handled before and not cut; HandlerFailed,
        Lost, RequestTooLarge and OutputsLost; and Unavailable when the handler does.
        """
        self._at_work = at_work = iter(records)
        for record in at_work:
            if self._interrupt.raised:
                raise Interrupted
            if self._progress.uncut:
                self._progress.cut()  # it was interrupted; what was handled before must survive this one's failure
            if self._poison_guard.is_poison(next_offset(record) - 1):
                self._give_up_poison(record)
            else:
                self._insist(record)
            self._commits.send()

    def end_attempt(self) -> None:
        """It is over, and nobody died of it: that goes with the next commit."""
        if self._attempted is not None:
            over = self._poison_guard.attempt_over(self._attempted)
            self._commits.attach(Put(self._attempt_key, over.encode()))
            self._attempted = None

    def _give_up_poison(self, record: Record) -> None:
        """A record that has killed enough workers."""
        attempt = self._poison_guard.attempt(next_offset(record) - 1, self._host)
        self._pass_over(record, f"it has killed {attempt.deaths} workers, on {', '.join(attempt.hosts[:-1])}")

    def _write_attempt(self, offset: Offset) -> None:
        """The record there may kill us: first write down that we try."""
        self._attempted = offset
        self._commits.attach(Put(self._attempt_key, self._poison_guard.attempt(offset, self._host).encode()))
        self._commits.send()
        self._progress.wait_for_commit()
        self._commits.send()
        self._progress.wait_for_commit()

    def _insist(self, record: Record) -> None:
        """Handle one record, with retries, and cut after it. Each attempt has the handler's time limit for itself."""
        offset = next_offset(record) - 1
        original = Original(record)
        pauses = delays(0.1, 5.0)
        place = f"{record.topic()}[{record.partition()}] offset {offset}"
        for attempt in range(1, self._max_retries + 2):
            if self._committed_each:
                self._progress.wait_for_commit()
            if self._poison_guard.is_careful(offset):
                self._write_attempt(offset)
            self._progress.rounds += 1
            error = self._try(record)
            if error is None:
                self._attempted = None
                return
            self._progress.forget()
            self._progress.offset = offset
            original.restore()
            log_sender.keep_installed()
            log.warning("the handler failed at %s, attempt %d: %s", place, attempt, _said_by(error),
                        exc_info=_of_the_handler(error), extra=event("handler-failed"))  # fmt: skip
            if attempt > self._max_retries:
                self._give_up(record, error, attempt)
                return
            self._progress.counts.retries += 1
            self._pause(next(pauses))

    def _try(self, record: Record) -> BaseException | None:
        """What the record failed with, in the handler or in its cut. Raises whatever else becomes of a cut: then it
        is not the record that is tried again."""
        begun = time.perf_counter()
        try:
            self._handler.handle_alone(record, self._state)
            self._state.settle()
        except (Interrupted, *NOT_OF_THE_RECORD):
            raise
        except BaseException as error:
            return error
        self._progress.counts.seconds += time.perf_counter() - begun
        self._progress.note(1, record)
        try:
            self._progress.cut()
        except OF_A_CUT as error:
            return error
        return None

    def _pause(self, seconds: float) -> None:
        """Before the next attempt: whoever dies in here does not die of the record."""
        self.end_attempt()
        self._commits.send()
        with self._progress.off_the_clock():
            self._interrupt.wait(seconds)
        if self._interrupt.raised:
            raise Interrupted

    def _give_up(self, record: Record, error: BaseException, attempts: int) -> None:
        try:
            self._pass_over(record, f"{_said_by(error)} ({attempts} attempts)")
        except HandlerFailed as failed:
            raise failed from error

    def _pass_over(self, record: Record, reason: str) -> None:
        """If that is what shall happen. Raises HandlerFailed if not."""
        with self._progress.off_the_clock():
            sent = self._error_policy.give_up(record, reason)
        self._progress.counts.dead_letters += sent
        self._progress.counts.skipped += not sent
        self._progress.note(1, record)
        try:
            self._progress.cut()
        except FlushFailed as failed:  # passing over more would not help
            raise HandlerFailed(f"{reason}; it was to be passed over, but {failed}") from failed


def _said_by(error: BaseException) -> str:
    """A message goes to etcd and into a header: not a megabyte of it."""
    named = "" if isinstance(error, FlushFailed) else f"{type(error).__name__}: "
    return named + _short(str(error))


def _short(message: str) -> str:
    return message if len(message) <= 1000 else message[:1000] + " ..."


def _of_the_handler(error: BaseException) -> BaseException | None:
    """The traceback that helps: none, where the message says it all."""
    if isinstance(error, FlushFailed):
        return error.__cause__
    return None if isinstance(error, PartitionSupervisorError) else error
