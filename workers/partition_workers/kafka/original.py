"""A record as Kafka has it.

A handler may change the one in its hands: `record.set_value(json.loads(record.value()))` is common, because Kafka's
own deserializing consumer does that. A second attempt, or a dead letter, must not get what the first attempt left.
"""

from __future__ import annotations

from partition_workers.kafka.reader import Record


class Original:
    """What of a record its handler can change, kept from before it saw the record."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._topic, self._key, self._value = record.topic(), record.key(), record.value()
        headers = record.headers()
        self._headers = None if headers is None else list(headers)  # the list is the record's own

    def restore(self) -> None:
        """Undo what the handler did to the record."""
        record = self._record
        record.set_topic(self._topic)  # type: ignore[attr-defined]
        record.set_key(self._key)
        record.set_value(self._value)
        record.set_headers(self._headers)  # type: ignore[arg-type]
