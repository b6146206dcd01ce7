"""Commits of an owner that produces, whatever is promised of its outputs: they go with the cut in which they were
made, and when that goes back, they do too.

What Kafka does not take is sent again with the next step, for as long as that can help. Where it never will, because
of one record, that shall be the error of the record that produced it. So all since the last commit goes back, and is
handled record by record; when the cut that is refused is one record's, `produce` refuses it while that is handled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from partition_workers.commit_flight import Flight
from partition_workers.commit_trouble import CommitTrouble
from partition_workers.commits import Commits
from partition_workers.errors import OutputsLost, OutputsRefused, PartitionRefused, RequestTooLarge, Unavailable
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.layout.changes import Changes
from partition_workers.model import Offset
from partition_workers.outputs.buffer import FULL_AT, Output, Outputs
from partition_workers.outputs.gathered import Cut, Gathered
from partition_workers.retry import delays

#: Kafka has said so often, with nothing committed between, what it will say again: then a person has to look.
ENOUGH = 10


class Blamed(NamedTuple):
    """One record, what it produced to which topic, and what Kafka said of that."""

    cut: Cut
    topic: str
    why: str


class ProducingCommits(Commits):
    def __init__(self, *arguments: Any, outputs: Outputs) -> None:
        """`arguments`: those of `Commits`."""
        super().__init__(*arguments)
        self.outputs = outputs
        self._gathered = Gathered()
        """Of the cuts that wait."""
        self._is_closed = False
        self._failures, self._not_before = delays(0.05, 2.0), 0.0
        self._stuck_at: Offset | None = None
        """Where it stands since a step failed."""
        self._said: tuple[str, int] = "", 0
        """By Kafka, since then, and how often."""
        self._blamed: list[Blamed] = []
        #: As `trouble`, of Kafka: that is not over when etcd answers.
        self._kafka_trouble = CommitTrouble(self._clock)
        self._kafka_trouble.tell = lambda why: self.trouble.tell(why)

    @property
    def wants_cut(self) -> bool:
        return self.outputs.is_full

    def add(self, offset: int, changes: Changes, handled: int = 0) -> bool:
        if self._is_closed:
            return True
        begin = self.offset
        if not self._has_room_for_outputs() or not super().add(offset, changes):
            return False
        self._gathered.add(Cut(begin, offset, handled), self.outputs)
        self._refuse_what_is_blamed()
        return True

    def abandon(self) -> None:
        super().abandon()
        self._forget_records()

    def _drop(self, flight: Flight, error: RequestTooLarge) -> None:
        super()._drop(flight, error)
        self._forget_records()
        self._refuse_what_is_blamed()

    def _has_room_for_outputs(self) -> bool:
        """Of a cut, beside those that wait. A record that was to blame is done with before another can be."""
        if self._dirty and any(each.cut.end == self.offset for each in self._blamed):
            return False
        if not self._gathered.records:
            return True
        count, size = len(self._gathered.records) + len(self.outputs), self._gathered.size + self.outputs.size
        return count <= FULL_AT[0] and size <= FULL_AT[1]

    def _forget_records(self) -> None:
        """They are somebody else's, or nobody's."""
        self._gathered = Gathered()

    def _begin_step(self) -> None:
        if self._stuck_at is None or self.transactions.prepared_at is None:  # else it is the same, once more
            self.transactions.prepared_at = self._clock()

    def _end_step(self) -> None:
        """Kafka has it."""
        self._kafka_trouble.over()
        self._failures, self._said = delays(0.05, 2.0), ("", 0)

    def _gets_on(self) -> bool:
        """Whether no step has failed that was not done since; or what it was of came to be committed otherwise."""
        if self._stuck_at is not None and self.committed > self._stuck_at:
            self._stuck_at = None
        return self._stuck_at is None

    def _once_more(self, changes: Changes, gathered: Gathered, failed: SendingFailed, ahead: int = 0) -> None:
        """They were not sent: the same goes with the next cut, unless it would always fail. `ahead`: so many are not
        kept, and their records are handled again."""
        if failed.refusal is not None:
            raise self._hopeless(failed.refusal)
        if failed.too_large is not None:
            large = Output.of(gathered.records[failed.too_large])
            self.outputs.learn(large)
            self._go_back()
            raise OutputsRefused(f"{large.topic} took no record of {large.size:,} bytes")
        self._note(failed)
        if failed.blamed:
            self._blame(gathered, failed)
            self._go_back()
            raise OutputsRefused(str(failed))
        self._not_before = self._clock() + next(self._failures)
        if ahead:
            self._go_back()
            raise OutputsLost(str(failed))
        self._changes, self._dirty = changes | self._changes, True
        gathered.append(self._gathered)
        self._gathered = gathered

    def _note(self, failed: SendingFailed) -> None:
        if self._stuck_at is None:
            self._stuck_at = self.committed
        self._kafka_trouble.failed(Unavailable(f"Kafka has not taken its outputs: {failed}"))
        if failed.lasting is not None:
            said, times = self._said
            self._said = failed.lasting, times + 1 if failed.lasting == said else 1
            if times >= ENOUGH:
                raise self._hopeless(failed.lasting)

    def _blame(self, gathered: Gathered, failed: SendingFailed) -> None:
        """The record, if it is known; else it will be when all are handled one by one."""
        cut = gathered.cut_of(failed.blamed)
        if cut is not None and cut.handled == 1:
            topic = Output.of(gathered.records[failed.blamed[0]]).topic
            blamed = Blamed(cut, topic, failed.lasting or str(failed))
            if blamed not in self._blamed:
                self._blamed.append(blamed)
                self._said = "", 0  # it gets on

    def _refuse_what_is_blamed(self) -> None:
        """While a record is handled that is to blame: when it is what comes next."""
        if self._blamed:
            self._blamed = [each for each in self._blamed if each.cut.end > self.committed]
            here = [each for each in self._blamed if each.cut.begin <= self.offset < each.cut.end]
            self.outputs.refuse({each.topic: each.why for each in here})

    def _hopeless(self, why: str) -> PartitionRefused:
        return PartitionRefused(f"{self._partition}: its outputs cannot be sent: {why}")

    def _go_back(self) -> None:
        """To the last commit."""
        self.offset, self._changes = self.committed, {}
        self._forget_records()
        self._refuse_what_is_blamed()

    def _close(self) -> None:
        """Nothing more is produced."""
        self._is_closed = True
        self._changes, self._dirty = {}, False
        self._forget_records()
        self.offset = self.committed
