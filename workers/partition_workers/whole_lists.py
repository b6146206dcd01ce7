"""The fast path: a list of records handled as a whole, or record by record with nothing between two of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from operator import length_hint

from partition_workers.errors import StateTooLarge
from partition_workers.handler import Handler
from partition_workers.handler_form import refuse_result
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.kafka.reader import Record
from partition_workers.list_size import ListSize
from partition_workers.outputs.buffer import Outputs
from partition_workers.state.mapping import State

log = logging.getLogger(__name__)


class WholeLists:
    """Whatever the handler raises goes through; the state is then what it was before, or somewhere between."""

    def __init__(
        self, handler: Handler, state: State, interrupt: InterruptFlag, size: ListSize, outputs: Outputs
    ) -> None:
        self.size = size
        self._outputs = outputs
        self._handler, self._state, self._interrupt = handler, state, interrupt
        self._at_work: Iterator[Record] = iter([])

    def handle(self, records: list[Record]) -> int:
        """How many of them were handled, from the first on."""
        if self._handler.batch:
            return self._by_batch(records)
        return self._producing(records) if self._outputs.topics else self._one_after_the_other(records)

    def are_shorter(self, error: BaseException, uncut: int, place: object) -> bool:
        """From now on, because `uncut` records at once were too many."""
        if not (isinstance(error, StateTooLarge) and self._handler.batch and self.size.can_shrink(uncut)):
            return False
        self.size.shrink(uncut)
        log.warning("%s: %d records at once changed more state than a transaction holds: lists of %d from now on",
                    place, uncut, self.size.records)  # fmt: skip
        return True

    def left(self) -> int:
        """Of the list in hand; its iterator knows it, at no cost to the loop. For any thread."""
        return length_hint(self._at_work)

    def _one_after_the_other(self, records: list[Record]) -> int:
        handle, state, interrupt = self._handler.one, self._state, self._interrupt
        assert handle is not None
        unsettled = state.unsettled
        self._at_work = at_work = iter(records)
        for record in at_work:
            if (result := handle(record, state)) is not None:
                refuse_result(result)
            if unsettled:
                state.settle()
                if interrupt.raised or state.is_full():
                    break
            elif interrupt.raised:
                break
        return len(records) - length_hint(at_work)

    def _producing(self, records: list[Record]) -> int:
        """The same, with a look at what was produced."""
        handle, state, interrupt, outputs = self._handler.one, self._state, self._interrupt, self._outputs
        assert handle is not None
        unsettled = state.unsettled
        self._at_work = at_work = iter(records)
        for record in at_work:
            if (result := handle(record, state)) is not None:
                refuse_result(result)
            if unsettled:
                state.settle()
                if state.is_full():
                    break
            if interrupt.raised or outputs.is_full:
                break
        return len(records) - length_hint(at_work)

    def _by_batch(self, records: list[Record]) -> int:
        assert self._handler.batch is not None
        part = records[: self.size.records]  # a copy: what becomes of its list is the handler's business
        count, before = len(part), self._state.weight()
        if (result := self._handler.batch(part, self._state)) is not None:
            refuse_result(result)
        self._state.settle()
        self.size.handled(count, before, self._state.weight)
        return count
