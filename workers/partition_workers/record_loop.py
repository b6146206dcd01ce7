"""The record loop of an owner: read, handle, cut, commit; and the way back when a handler raises.

The fast path does per record only what must be per record: call the handler, look whether it touched what has to be
looked at, look at the flag. Everything else is per list.

When the handler raises, the state goes back to the last cut, and the records since then are handled again, one by
one, with a cut after each (`one_by_one.py`). That reaches the failing record with exactly the state it should have.
The same way serves changes that no transaction can hold: it finds out which record is to blame. But lists that are
handled as a whole are made shorter first, until they fit, and stay so.

The records since the last cut are not kept for that, but read again. While they were kept, tens of thousands of
them at full speed, a worker handled about 0.6 of what a bare loop does per record, and 0.7 by batch.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from partition_workers.clock import Clock
from partition_workers.commit_pace import IDLE, CommitPace
from partition_workers.commits import Commits
from partition_workers.counts import Handled
from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import NOT_OF_THE_RECORD, OF_A_CUT, Bug, OutputsLost, RequestTooLarge, Unavailable
from partition_workers.handler import Handler
from partition_workers.handler_outage import HandlerOutage
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Reader, Record, next_offset
from partition_workers.list_size import ListSize
from partition_workers.one_by_one import OneByOne
from partition_workers.poison import PoisonGuard
from partition_workers.progress import Interrupted, Progress
from partition_workers.state.mapping import State
from partition_workers.whole_lists import WholeLists

log = logging.getLogger(__name__)


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
        self.has_been_idle = False
        self.on_first_record: Callable[[], None] | None = None
        self._reader, self._handler, self._state, self._commits = reader, handler, state, commits
        self._interrupt, self._poison_guard = interrupt, care
        self._progress = Progress(state, commits, interrupt, offset, clock, handler)
        self._one_by_one = OneByOne(
            self._progress, handler, interrupt, commit_interval == 0, max_retries, error_policy, care,
            attempt_key, host,
        )  # fmt: skip
        self._outage = HandlerOutage(self._progress, interrupt, str(reader.partition))
        self._pace = CommitPace(commit_interval, clock)
        self._alone_until = 0
        self._whole_lists = WholeLists(handler, state, interrupt, ListSize(commits.limits), commits.outputs)
        self._rest: list[Record] = []

    @property
    def offset(self) -> int:
        return self._progress.offset

    @property
    def handled(self) -> int:
        return self._progress.handled

    @property
    def counts(self) -> Handled:
        return self._progress.counts

    def place(self) -> tuple[int, ...] | None:
        """Where the loop is. Any other thread may compare two answers: equal ones, and it has not moved. None: what
        takes its time is not the handler.

        What is left of a list in hand is known to its iterator, at no cost to the loop.
        """
        if self._progress.is_off_the_clock:
            return None
        return self._progress.rounds, self._whole_lists.left(), self._one_by_one.left()

    def off_the_clock(self) -> contextlib.AbstractContextManager[None]:
        """What takes time in here is not the handler's: a pause, an answer that is waited for."""
        return self._progress.off_the_clock()

    def end_attempt(self) -> None:
        """It is over, and nobody died of it: that goes with the next commit."""
        self._one_by_one.end_attempt()

    def heartbeat(self) -> None:
        """A long record says that all is well."""
        self._progress.rounds += 1

    def turn(self) -> None:
        """Once round. Raises HandlerFailed, PartitionRefused and Lost."""
        self._progress.rounds += 1
        with self._going_back_if_refused():
            self._commits.pump()
            if not self._progress.restore():
                self._interrupt.wait(IDLE)
                return
            records = self._rest or self._read()
            self._rest = []
            if not records:
                self._progress.pass_over(self._reader.at_end)
                if self._reader.at_end is not None and self._commits.committed == self.offset:
                    self._commits.get_on()
                    self.has_been_idle = True
            if records and (size := self._poison_guard.list_size(self.offset)):
                self._handle_with_care(records, size)
            elif records:
                self._handle(records)
            self._commit_if_due()

    def start_at(self, offset: int) -> None:
        """Before the first record, and with nothing in flight: the target of the handler stands there."""
        self._commits.start_at(offset)
        self._progress.offset = offset
        self._reader.assign(offset)

    def finish(self) -> None:
        """Make everything that was handled part of the next commit, which will be the last: it is not sent yet."""
        with self._going_back_if_refused():
            self._cut_or_go_back()
        self.end_attempt()

    def abandon(self) -> None:
        """Forget what was handled since the last commit that was sent: it may be of another topic."""
        self._progress.forget()
        self._commits.abandon()
        self._progress.offset, self._rest = self._commits.offset, []

    # --- when to read and to cut --------------------------------------------------------------------------------

    def _read(self) -> list[Record]:
        records = self._reader.read(self._pace.patience(self._progress.uncut > 0, self._commits.idle))
        if records:
            found = next_offset(records[0]) - 1
            if found < self.offset:
                raise Bug(f"{self._reader.partition}: offset {found} was read again, the next is {self.offset}")
            if self.on_first_record:
                self.on_first_record()
                self.on_first_record = None
        return records

    def _commit_if_due(self) -> None:
        is_something = self._progress.uncut or self._progress.has_passed_over
        if is_something and self._pace.is_time_to_cut:
            self._cut_or_go_back()
        if self._commits.waiting and self._pace.is_time_to_send:
            self._send()

    def _send(self) -> None:
        if not self._commits.in_flight:
            self._commits.send()
            self._pace.sent()

    def _cut_or_go_back(self) -> None:
        """If somebody wants something, or the state is still to be read again, it is left for later."""
        try:
            if not self._progress.dropped:
                self._progress.cut()
                self._pace.cut()
        except Interrupted:
            pass
        except OF_A_CUT as error:
            self._go_back([], error)

    # --- handling ---------------------------------------------------------------------------------------------

    def _handle(self, records: list[Record]) -> None:
        if self._pace.interval == 0 or self.offset < self._alone_until:
            self._handle_alone(records)
            return
        begun = time.perf_counter()
        try:
            done = self._whole_lists.handle(records)
        except NOT_OF_THE_RECORD:
            raise
        except BaseException as error:  # whatever it raises: nothing but the handler runs in here
            self._go_back(records, error)
            return
        self._progress.counts.seconds += time.perf_counter() - begun
        self._progress.note(done, records[done - 1])
        self._rest = records[done:] + self._rest
        if self._state.is_full() or self._commits.wants_cut:
            self._cut_or_go_back()  # and sent when the interval is over, or when there is no room for more

    def _handle_with_care(self, records: list[Record], size: int) -> None:
        """Only so many, and committed before the next; see `poison.py`."""
        self._rest = records[size:]
        (self._handle_alone if size == 1 else self._handle)(records[:size])
        self._cut_or_go_back()
        self._send()
        with contextlib.suppress(Interrupted):
            self._progress.wait_for_commit()

    def _handle_alone(self, records: list[Record]) -> None:
        try:
            self._one_by_one.handle(records)
        except Interrupted:
            self._rest = [*(each for each in records if next_offset(each) > self.offset), *self._rest]
        except OF_A_CUT as error:  # of what was handled before
            self._go_back([], error)

    # --- the ways back -----------------------------------------------------------------------------------------

    def _go_back(self, records: list[Record], error: BaseException) -> None:
        """Back to the last cut; from there everything up to the end of `records`, one by one or in shorter lists.

        All of them are read again, those in hand as well: the handler may have changed them.
        """
        uncut = self._progress.uncut
        log.debug("back to the last cut, %d records and %d: %r", uncut, len(records), error)
        self._progress.forget()
        if not self._whole_lists.are_shorter(error, uncut, self._reader.partition):
            self._alone_until = next_offset(records[-1]) if records else self.offset
        self._read_again()

    def _read_again(self) -> None:
        self._progress.offset, self._rest = self._commits.offset, []
        self._reader.assign(self.offset)

    @contextlib.contextmanager
    def _going_back_if_refused(self) -> Iterator[None]:
        """What etcd did not take goes in smaller pieces; what Kafka did not, as it was; what the handler cannot do
        while something is away, later."""
        try:
            yield
        except (RequestTooLarge, OutputsLost) as error:
            if isinstance(error, RequestTooLarge):
                self._alone_until = max(self._alone_until, self.offset)
            self._progress.drop()
            self._read_again()
        except Unavailable as error:
            self._go_back([], error)
            self.end_attempt()
            self._outage.wait(error)
