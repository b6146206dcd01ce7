"""Commits of an owner that produces exactly once: each cut with outputs goes in a step of three parts, as
`outputs/steps.py` has them. Cuts without outputs go as they always do. One step is under way at a time, until Kafka
has decided it; the handler goes on. What is done in Kafka is applied with the next transaction in etcd, whatever else
that is for.
"""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import Future
from typing import Any

from partition_workers.commit_flight import Flight
from partition_workers.commit_limits import fit_together
from partition_workers.errors import PartitionRefused, RequestTooLarge, Retry
from partition_workers.etcd.store import Delete, Operation, Put
from partition_workers.layout.changes import Changes
from partition_workers.layout.documents import now
from partition_workers.outputs.ahead import Ahead
from partition_workers.outputs.attempt import Attempt
from partition_workers.outputs.buffer import Outputs
from partition_workers.outputs.exchange import Exchange
from partition_workers.outputs.gathered import Gathered
from partition_workers.outputs.steps import Known, Step, Verdict, number_of, unknown_outcome
from partition_workers.ownership import transactions
from partition_workers.producing_commits import ProducingCommits


class OutputCommits(ProducingCommits):
    """One at a time is under way: a transaction in etcd, or a step that Kafka decides."""

    def __init__(
        self,
        *arguments: Any,
        outputs: Outputs,
        exchange: Exchange,
        opening: Future[Known | None],
        ahead: Ahead,
        left: Step | None = None,
    ) -> None:
        """`arguments`: those of `Commits`. `opening`: the producer that is being initialised. `left`: what a
        predecessor prepared and Kafka has committed; it is applied with our first commit."""
        super().__init__(*arguments, outputs=outputs)
        self._exchange, self._ahead = exchange, ahead
        self._applied = self.committed
        self._done = left
        if left is not None:
            self.offset = self.committed = self._begun_at = left.offset
            self._dirty, self.transactions.prepared_at = True, self._clock()
        self._step: Step | None = None
        self._attempt: Attempt | None = None
        self._known: Known | None = None
        self._is_open, self._opening = False, opening

    @property
    def in_flight(self) -> bool:
        return self._flight is not None or (self._step is not None and not self._is_closed)

    @property
    def idle(self) -> bool:
        return not self._dirty and not self.in_flight and self._done is None

    @property
    def wants_cut(self) -> bool:
        return super().wants_cut or self._may_send_ahead(len(self.outputs), self.outputs.size)

    def add(self, offset: int, changes: Changes, handled: int = 0) -> bool:
        if not super().add(offset, changes, handled):
            return False
        self._send_ahead()
        return True

    def abandon(self) -> None:
        super().abandon()
        if self._step is not None:
            self.offset = self._step.offset

    @property
    def _is_ready(self) -> bool:
        """For a step."""
        return self._is_open and self._clock() >= self._not_before

    @property
    def _has_outputs(self) -> bool:
        """Of cuts that wait for a step."""
        return bool(self._gathered.records or self._ahead.count)

    def _may_send_ahead(self, count: int, size: int) -> bool:
        """Whether a transaction may be begun, or go on, before its step is prepared."""
        if not self._ahead.is_worth_it(count, size, self._clock()) or self._step is not None or self._is_closed:
            return False
        return self._is_ready and self._known is not None and self._known.is_fresh(now())

    def _send_ahead(self) -> None:
        records, size = self._gathered.records, self._gathered.size
        if self._may_send_ahead(len(records), size) and self._ahead.send(records, size):
            self._gathered = Gathered()

    def _has_room_for_outputs(self) -> bool:
        return super()._has_room_for_outputs() and self._ahead.has_room(len(self.outputs), self.outputs.size)

    def _forget_records(self) -> None:
        super()._forget_records()
        self._ahead.forget()

    def send(self) -> None:
        if not self._has_outputs or self._extra or self._done is not None or self._is_ready:
            super().send()

    def pump(self) -> None:
        """Raises PartitionRefused too, when Kafka does not let us; OutputsRefused when it did not take a record."""
        self._ahead.turn(self._clock())
        self._exchange.look_after()
        self._exchange.hear()
        try:
            if not self._is_open and self._opening.done() and not self._is_closed:
                self._known, self._is_open = self._opening.result(), True
            if self._attempt is not None and not self._is_closed:
                self._hear_of_step(self._attempt)
            else:
                super().pump()
        except PartitionRefused:
            self._close()  # a step that may have been committed is left for the next owner
            raise
        if self._step is None and self._done is None and self._gets_on():
            self.transactions.prepared_at = None
        if self._exchange.trouble is not None:
            self._kafka_trouble.failed(self._exchange.trouble)

    def beyond(self, stored: dict[str, bytes]) -> dict[str, bytes]:
        state: Changes = {**stored, **self._redo}
        return {key: value for key, value in state.items() if value is not None}

    # --- to etcd

    def _next(self, last_word: tuple[Operation, ...]) -> Flight:
        if last_word or not self._has_outputs:
            return self._plain(last_word)
        if not self._is_ready or self._is_too_much():
            return self._without_cut()
        return self._prepare()

    def _plain(self, last_word: tuple[Operation, ...]) -> Flight:
        """State and offset, at once; what is prepared is over. But not if nobody knows what became of it."""
        if self._is_closed and self._step is not None:
            flight = self._make(self._applied, {}, last_word, bool(last_word), self._step.number)
        else:
            more = (*last_word, Delete(self._keys.prepared(self._partition)))
            flight = self._make(self.offset, self._redo | self._changes, more, bool(last_word))
        self._changes, self._extra, self._dirty = {}, {}, False
        return flight

    def _without_cut(self) -> Flight:
        """What is done is applied, and whatever is attached; the cut waits."""
        flight = self._make(self.committed, self._redo, (), is_last=False)
        self._extra = {}
        return flight

    def _prepare(self) -> Flight:
        number = number_of(self.token, self._sequence + 1)
        if self._known is None or not self._known.is_fresh(now()):
            step = Step(number, "", self.committed, {})
        else:
            self._send_ahead()
            ahead = self._ahead.count
            step = Step(number, self._known.number, self.offset, self._changes, self._gathered, ahead)
            self._changes, self._dirty = {}, False
            self._forget_records()
        put = Put(self._keys.prepared(self._partition), step.prepared(now()).encode())
        flight = self._make(self.committed, self._redo, (put,), False, number)
        self._begin_step()
        self._extra, self._step = {}, step
        return dataclasses.replace(flight, changes=flight.changes | step.changes)

    @property
    def _redo(self) -> Changes:
        return self._done.changes if self._done is not None else {}

    def _is_too_much(self) -> bool:
        """To apply one step and prepare the next in one transaction."""
        return not fit_together(self._keys.state(self._partition), self._redo, self._changes)

    def _stored(self, flight: Flight) -> None:
        self._applied = flight.offset.offset
        self.committed = max(self.committed, self._applied)
        self._done = None
        if self._step is not None and not self._is_closed:
            question = transactions.still_mine(self._keys, self._partition, self.token)
            self._attempt = Attempt(
                self._step,
                self._exchange,
                lambda: self._store.transact_soon(question),
                self._clock,
                self.transactions,
            )

    def _drop(self, flight: Flight, error: RequestTooLarge) -> None:
        self._step = None
        super()._drop(flight, error)
        self._dirty = self._dirty or self._done is not None

    def drain(self, until: float, last_word: tuple[Operation, ...] = ()) -> bool:
        while self.settle(until) and self._has_outputs:
            if self._is_ready:
                self._launch(self._next(()))
            elif self._clock() >= until:
                return False
            else:
                time.sleep(0.01)  # until Kafka answers
                self.pump()
        return super().drain(until, last_word)

    # --- to Kafka, and back

    def _hear_of_step(self, attempt: Attempt) -> None:
        try:
            verdict = attempt.pump()
        except Retry as error:
            self.trouble.failed(error)
            return
        if verdict is None:
            return
        step, self._known = attempt.step, attempt.known
        if verdict is Verdict.UNKNOWN:
            raise unknown_outcome(self._partition, step, self._known)
        self._step = self._attempt = None
        if verdict is Verdict.DONE:
            self._finish(step)
        elif attempt.failed is not None:
            self._once_more(step.changes, step.gathered, attempt.failed, step.ahead)  # with a new step

    def _finish(self, step: Step) -> None:
        """Kafka has committed it."""
        self._end_step()
        self.committed = step.offset
        if step.before:
            self._done, self._dirty = step, True

    def _wait(self, seconds: float) -> None:
        if self._attempt is not None and self._flight is None:
            self._attempt.wait(min(seconds, 0.005 if self._attempt.step.ahead else 0.5))
        else:
            super()._wait(seconds)
