"""Commits of an owner that produces at least once: Kafka acknowledges the outputs of a cut before the commit is sent
to etcd. One that dies in between has its records handled, and their outputs sent, again."""

from __future__ import annotations

import time
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

from partition_workers.errors import PartitionRefused, Unavailable
from partition_workers.etcd.store import Operation
from partition_workers.kafka.sending_errors import SendingFailed
from partition_workers.layout.changes import Changes
from partition_workers.model import Offset
from partition_workers.outputs.buffer import Outputs
from partition_workers.outputs.gathered import Gathered
from partition_workers.outputs.sender import Sender
from partition_workers.producing_commits import ProducingCommits

#: Seconds without an acknowledgement after which it is said what is waited for.
SLOW = 5.0


@dataclass(frozen=True, slots=True)
class Sent:
    """A cut whose outputs are on their way to Kafka."""

    offset: Offset
    changes: Changes
    gathered: Gathered
    at: float
    answer: Future[None]


class AcknowledgedCommits(ProducingCommits):
    """One at a time is under way: outputs to Kafka, or a transaction to etcd."""

    def __init__(self, *arguments: Any, outputs: Outputs, sender: Sender) -> None:
        """`arguments`: those of `Commits`."""
        super().__init__(*arguments, outputs=outputs)
        self._sender = sender
        self._sent: Sent | None = None

    @property
    def in_flight(self) -> bool:
        return self._flight is not None or self._sent is not None

    @property
    def idle(self) -> bool:
        return not self._dirty and not self.in_flight

    def abandon(self) -> None:
        super().abandon()
        if self._sent is not None:
            self.offset = self._sent.offset

    def send(self) -> None:
        if not self._gathered.records or (self._extra and not self.in_flight):
            super().send()
        elif not self.in_flight and self._clock() >= self._not_before:
            self._produce()

    def pump(self) -> None:
        """Raises PartitionRefused too, when Kafka does not let us; OutputsRefused when it did not take a record."""
        self._sender.look_after()
        if self._sent is None:
            super().pump()
            if self._gets_on():
                self.transactions.prepared_at = None
            return
        try:
            self._hear_of(self._sent)
        except PartitionRefused:
            self._close()
            raise

    def _produce(self) -> None:
        answer = self._sender.send(self._gathered.records)
        self._sent = Sent(self.offset, self._changes, self._gathered, self._clock(), answer)
        self._changes, self._dirty = {}, False
        self._forget_records()
        self._begin_step()

    def _hear_of(self, sent: Sent) -> None:
        if not sent.answer.done():
            if self._clock() - sent.at > SLOW:
                count = len(sent.gathered.records)
                self._kafka_trouble.failed(Unavailable(f"Kafka has not acknowledged {count} outputs"))
            return
        self._sent = None
        try:
            sent.answer.result()
        except SendingFailed as failed:
            self._once_more(sent.changes, sent.gathered, failed)
            return
        self._end_step()
        self.transactions.prepared_at = None
        self.transactions.outputs += len(sent.gathered.records)
        flight = self._make(sent.offset, sent.changes, (), is_last=False)
        self._extra = {}
        self._launch(flight)

    def _next(self, last_word: tuple[Operation, ...]) -> Any:
        if last_word or not self._gathered.records:
            return super()._next(last_word)
        flight = self._make(self.committed, {}, (), is_last=False)  # what is attached; the cut waits
        self._extra = {}
        return flight

    def drain(self, until: float, last_word: tuple[Operation, ...] = ()) -> bool:
        while self.settle(until) and self._gathered.records:
            if self._clock() >= until:
                return False
            if self._clock() >= self._not_before:
                self._produce()
            else:
                time.sleep(0.01)
        return super().drain(until, last_word)

    def _wait(self, seconds: float) -> None:
        if self._sent is not None:
            wait([self._sent.answer], timeout=min(seconds, 0.5))
        else:
            super()._wait(seconds)
