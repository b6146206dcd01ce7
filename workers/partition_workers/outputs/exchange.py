"""The calls to Kafka that a step needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from partition_workers.layout.documents import now
from partition_workers.model import Offset
from partition_workers.outputs.buffer import Waiting
from partition_workers.outputs.calls import Calls, Door
from partition_workers.outputs.steps import Known, Step


class OutputProducer(Door, Protocol):
    """The door, as `kafka/transactional_producer.py` has it."""

    def initialise(self) -> None: ...
    def send_ahead(self, records: Sequence[Waiting]) -> bool: ...
    def hear(self) -> None: ...
    def look(self, timeout: float = ...) -> tuple[Offset, str] | None: ...
    def commit(
        self, ahead: int, records: Sequence[Waiting], offset: Offset, metadata: str, given_up: Callable[[], bool]
    ) -> None: ...


class Exchange(Calls[OutputProducer]):
    """For outputs that are sent exactly once."""

    def look(self) -> Future[Known | None]:
        """K as it is, while somebody else may still commit; beside whatever else is asked for. While a transaction is
        open there is no answer. Its future raises Unavailable and PartitionRefused."""
        return self.beside(lambda door: _known(door.look(0.2)))

    def open(self) -> Future[Known | None]:
        """Initialise, then K: nobody else commits after that. Asked until Kafka answers; raises PartitionRefused."""
        return self._ask(self._open, is_asked_again=True)

    def commit(self, step: Step) -> Future[Known]:
        """The outputs and K. Its future raises SendingFailed."""
        return self._ask(lambda door: self._commit(door, step))

    def send_ahead(self, records: Sequence[Waiting]) -> bool:
        """At once, while nothing else is asked for: the first outputs of the next step. False: not now."""
        return self._door.send_ahead(records)

    def hear(self) -> None:
        """Of what has become of outputs that were sent ahead."""
        self._door.hear()

    def _open(self, door: OutputProducer) -> Known | None:
        self._until_answered(door.initialise)
        return _known(self._until_answered(door.look))

    def _commit(self, door: OutputProducer, step: Step) -> Known:
        known = Known(step.number, now())
        door.commit(step.ahead, step.records, step.offset, known.encode(), lambda: self.is_over)
        return known


def _known(found: tuple[Offset, str] | None) -> Known | None:
    return Known.decode(found[1]) if found else None
