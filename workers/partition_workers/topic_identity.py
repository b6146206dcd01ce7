"""Whether the topic that is read is the one that the stored offset speaks of.

The id belongs to the offset: it is written with the first commit under it, and never overwritten by another or by
"unknown". Three may know of another id: the supervisor, the client that reads, Kafka itself. The first two may be
behind, so a person is troubled only when Kafka says so too, or says nothing.
"""

from __future__ import annotations

import logging

from partition_workers.errors import TopicMadeAnew
from partition_workers.kafka.reader import Reader
from partition_workers.layout.documents import StoredOffset
from partition_workers.model import Offset

log = logging.getLogger(__name__)


class TopicIdentity:
    """Of one ownership. `told`: what the supervisor says; "": it does not know."""

    def __init__(self, reader: Reader, stored: StoredOffset | None, told: str) -> None:
        self._reader, self._told = reader, told
        self._stored = stored
        #: What goes to etcd with each offset; "": nobody knows yet.
        self.topic_id = (stored.topic_id if stored else "") or reader.topic_id or told

    def check(self) -> None:
        """Before the first record. Raises TopicMadeAnew."""
        self._reader.expect(self.topic_id)
        if self._stored is not None and any(self._differs(each) for each in (self._told, self._reader.topic_id)):
            self._ask(self._stored.offset)

    def hear(self, topic_id: str, offset: Offset) -> None:
        """The supervisor has learnt an id, and the next record is at `offset`. Raises TopicMadeAnew."""
        if not self.topic_id:
            self.topic_id = topic_id
            self._reader.expect(topic_id)
        elif self._differs(topic_id):
            self._ask(offset)

    def _differs(self, topic_id: str) -> bool:
        return topic_id not in ("", self.topic_id)

    def _ask(self, offset: Offset) -> None:
        truth = self._reader.ask_topic_id()
        if truth != self.topic_id:
            raise TopicMadeAnew(self._reader.partition, offset)
        log.info("%s: the topic's id is still %s", self._reader.partition, truth)
