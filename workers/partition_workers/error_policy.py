"""What becomes of a record that cannot be handled: the partition stops there, or the record is passed over.

`stop` is the default, because passing over a record changes what the state means, and that is not ours to decide.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from partition_workers.errors import HandlerFailed, PartitionSupervisorError
from partition_workers.kafka.dead_letters import DeadLetters
from partition_workers.kafka.reader import Record
from partition_workers.log_events import event

log = logging.getLogger(__name__)


class OnError(StrEnum):
    STOP = "stop"
    SKIP = "skip"
    DLQ = "dlq"


class ErrorPolicy:
    def __init__(self, on_error: str, dlq_topic: str | None, kafka: Mapping[str, Any]) -> None:
        self._on_error = OnError(on_error)
        self._dead_letters = DeadLetters(kafka, dlq_topic) if dlq_topic and self._on_error is OnError.DLQ else None

    def give_up(self, record: Record, reason: str) -> bool:
        """Pass the record over, or raise HandlerFailed. Whether it was sent as a dead letter.

        A dead letter is acknowledged before this returns, so before the commit that passes the record over; after
        a crash in between it is sent again. Whatever keeps it from being sent parks the partition: any other end
        of the worker would have the next one try the same, for ever.
        """
        place = f"{record.topic()}[{record.partition()}] offset {record.offset()}"
        if self._on_error is OnError.STOP:
            raise HandlerFailed(f"{reason} at {place}")
        if self._dead_letters is not None:
            try:
                self._dead_letters.send(record, reason)
            except Exception as error:
                why = str(error) if isinstance(error, PartitionSupervisorError) else repr(error)
                raise HandlerFailed(f"{reason} at {place}; and no dead letter could be sent: {why}") from error
            log.error(
                "%s was sent to %s: %s", place, self._dead_letters.topic, reason, extra=event("record-dead-lettered")
            )
            return True
        log.error("%s was skipped: %s", place, reason, extra=event("record-skipped"))
        return False
