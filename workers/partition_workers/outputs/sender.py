"""Outputs that are sent at least once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from partition_workers.outputs.buffer import Waiting
from partition_workers.outputs.calls import Calls, Door


class Acknowledged(Door, Protocol):
    """The door, as `kafka/acknowledged_producer.py` has it."""

    def send(self, records: Sequence[Waiting], given_up: Callable[[], bool]) -> None: ...


class Sender(Calls[Acknowledged]):
    def send(self, records: list[Waiting]) -> Future[None]:
        """Done when all are acknowledged. Its future raises SendingFailed."""
        return self._ask(lambda door: door.send(records, lambda: self.is_over))
