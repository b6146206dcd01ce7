"""The only door of a worker to Kafka: warm up, assign at an offset, read.

`assign` only: nobody rebalances us. A standby is *warm* when it knows the leader and is connected to it, with
nothing assigned: then `assign` brings the first record in a millisecond. Never parked paused: resuming takes a
second. Reading is `poll(t)` for the first record and `consume(n, 0)` for whatever else is there, because
`consume(n, t)` waits for t to fill its list.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from partition_workers.errors import Bug, Misconfigured, TopicMadeAnew, Unavailable
from partition_workers.kafka.client_log import ClientLog
from partition_workers.kafka.closing import close
from partition_workers.kafka.read_errors import Meaning, Trouble, meaning_of, what_is_wrong
from partition_workers.kafka.starvation import Starvation
from partition_workers.kafka.topics import ask_topic_id
from partition_workers.model import Offset, Partition
from partition_workers.seldom import Seldom

log = logging.getLogger(__name__)

Record = Message
#: Seconds until it is tried again to read what could not be read.
RETRY_PAUSE = 0.5
#: Seconds for the question that makes librdkafka connect.
ICE_BREAKER = 0.1
#: Records in a list, at most. Longer lists are slower: they fall out of the processor's cache.
BATCH = 500

_error_of = Message.error


def next_offset(record: Record) -> Offset:
    """The only place where one is added to an offset."""
    offset = record.offset()
    assert offset is not None, "a record that was read has an offset"
    return offset + 1


class Reader:
    """One partition of one topic. Not thread-safe.

    librdkafka was seen, once in some hundred times, to fetch nothing after an `assign`; and of a topic that was
    deleted it says nothing at all. So while nothing comes we ask whether there is something, and assign anew.
    """

    def __init__(self, config: Mapping[str, Any], partition: Partition) -> None:
        self.partition = partition
        #: Where the partition ended, when nothing came after that. What of it was not read is nothing that could be:
        #: marks of transactions, aborted records, what compaction took away.
        self.at_end: Offset | None = None
        self.starvation = Starvation()
        self._config = dict(config)
        self._log = ClientLog(config, partition.topic)
        self._assigned_at: Offset | None = None  # None: records have come since
        self._position: Offset = 0
        self._again_at: float | None = None
        self._trouble = Trouble(partition)
        self._seldom = Seldom(log)
        try:
            settings = {**self._config, **self._log.settings(), "enable.partition.eof": True}
            self._consumer = Consumer(settings, logger=self._log)
        except KafkaException as error:
            raise Misconfigured(f"Kafka: {error.args[0].str()}") from error

    def warm_up(self, timeout: float) -> tuple[Offset, Offset]:
        """Find the leader and connect to it. The first and the next offset that the broker has.

        Raises Unavailable when no broker answers in `timeout` seconds.

        Asked for the topic first, librdkafka drops the bootstrap connection with the question on it, and makes
        another 50 ms later: 55 ms in all. Asked for the offsets first, it takes 5, but in one case of fifty it waits
        0.7 s for an answer that it has; so the first question need not be answered. Not asked for the topic at all,
        it forgets it in time (metadata.max.age.ms), and an `assign` after that takes up to a second.
        """
        try:
            with contextlib.suppress(KafkaException):
                self._consumer.get_watermark_offsets(self._at(OFFSET_BEGINNING), timeout=ICE_BREAKER)
            self._consumer.list_topics(self.partition.topic, timeout=timeout)
            first, end = self._consumer.get_watermark_offsets(self._at(OFFSET_BEGINNING), timeout=timeout)
        except KafkaException as error:
            raise Unavailable(f"Kafka: {self.partition}: {error.args[0].str()}") from error
        self.stay_warm()
        return first, end

    def stay_warm(self) -> None:
        """To be called now and then while nothing is read: what the client has to say must not pile up."""
        self._consumer.poll(0)

    # --- which topic it is

    @property
    def topic_id(self) -> str:
        """Under which the client reads, as far as it has said; "": not known. A standby's may be minutes old."""
        return self._log.topic_id

    def expect(self, topic_id: str) -> None:
        """From now on a client that turns to another topic of the same name is stopped; "": any will do."""
        self._log.expect(topic_id)

    def ask_topic_id(self, timeout: float = 2.0) -> str:
        """The topic's id as Kafka says it now; "": it does not."""
        try:
            self._consumer.list_topics(self.partition.topic, timeout=timeout)  # or an admin's question may abort us
        except KafkaException:
            return ""
        return ask_topic_id(self._config, self.partition.topic, timeout)

    # --- reading

    def assign(self, offset: Offset) -> None:
        """Read from `offset` on. Said twice before anything was read, it leaves alone what is on its way."""
        if self._assigned_at == offset and self._again_at is None:
            return
        self._consumer.assign([self._at(offset)])
        self._assigned_at = self._position = offset
        self.at_end = self._again_at = None
        self.starvation.begin(time.monotonic())

    def unassign(self) -> None:
        """Read nothing, and stay warm."""
        self._consumer.unassign()
        self._assigned_at = self.at_end = self._again_at = None

    def read(self, timeout: float) -> list[Record]:
        """The next records, in order, at most BATCH; empty when none came within `timeout` seconds.

        Raises PartitionRefused when Kafka does not have the records we need, or does not let us read them;
        TopicMadeAnew when they would be another topic's.
        """
        first = self._consumer.poll(timeout)
        records: list[Record] = [first, *self._consumer.consume(BATCH - 1, 0)] if first is not None else []
        if self._log.turned:
            raise TopicMadeAnew(self.partition, self._next)
        if not records:
            self._while_nothing_comes()
            return []
        if any(map(_error_of, records)):
            records = self._without_errors(records)
            if not records:
                return []
        else:
            self.at_end = None
        begin = records[0].offset()
        if begin is None or begin < self._position:
            raise Bug(f"{self.partition}: offset {begin} was read where {self._position} was the next")
        self._position = next_offset(records[-1])
        self._assigned_at = None
        self.starvation.feed()
        return records

    def close(self) -> None:
        close(self._consumer, self.partition)

    @property
    def _next(self) -> Offset:
        return self._position if self.at_end is None else self.at_end

    def _without_errors(self, records: list[Record]) -> list[Record]:
        """What comes before the first error that is one. Nothing behind that counts: it is read again."""
        good: list[Record] = []
        for record in records:
            error = record.error()
            if error is None:
                good.append(record)
                self.at_end = None
                continue
            meaning = meaning_of(error)
            if meaning is Meaning.END:
                self._come_to_end(record.offset())
            elif meaning is Meaning.MENDS or record.topic() is None:
                self._seldom.warn(error.name(), "%s: Kafka: %s", self.partition, error.str())
            else:
                if good and meaning is Meaning.NOT_THERE:
                    self._pause(0.0)  # the error comes again, with nothing before it
                else:
                    self._stumble(meaning, error.str(), next_offset(good[-1]) if good else self._next)
                break
        return good

    def _come_to_end(self, end: Offset | None) -> None:
        if end is not None and end >= self._position:
            self.at_end = end
            self._trouble.over()
            self.starvation.rest(time.monotonic())

    def _stumble(self, meaning: Meaning, why: str, offset: Offset) -> None:
        """An error in the place of the record at `offset`: try again in a moment, or refuse the partition."""
        self._complain(meaning, why, offset)
        self._pause(RETRY_PAUSE)

    def _complain(self, meaning: Meaning, why: str, offset: Offset) -> None:
        patience = self._trouble.met(meaning, why, offset, time.monotonic())
        self._seldom.warn("trouble", "%s: cannot read on from offset %d: %s; trying again for %g s",
                          self.partition, offset, why, patience)  # fmt: skip

    def _pause(self, seconds: float) -> None:
        self._consumer.unassign()
        self._assigned_at, self._again_at = None, time.monotonic() + seconds

    # --- while nothing comes

    def _while_nothing_comes(self) -> None:
        now = time.monotonic()
        if self._again_at is not None:
            if now >= self._again_at:
                self.assign(self._next)
        elif self.starvation.is_due(now):
            self._look(now)

    def _look(self, now: float) -> None:
        """Is there more? Then somebody sleeps."""
        try:
            _, end = self._extent()
        except KafkaException as error:
            self.starvation.unanswered(now)
            may_pass = meaning_of(error.args[0]) is Meaning.MAY_PASS
            if may_pass and (why := what_is_wrong(self._consumer, self.partition)):
                self._complain(Meaning.MAY_PASS, why, self._next)
            else:
                self._trouble.over()
            return
        more = end > self._next
        if not more:
            self._trouble.over()
        if self.starvation.answered(now, more):
            self._seldom.warn("more", "%s: nothing comes from offset %d, though there is more up to %d;"
                              " assigning anew", self.partition, self._next, end)  # fmt: skip
            self._consumer.unassign()
            self._consumer.assign([self._at(self._next)])

    def _extent(self) -> tuple[Offset, Offset]:
        """The first offset and the end, as one sees it who reads what is committed. Raises KafkaException."""
        return self._consumer.get_watermark_offsets(self._at(OFFSET_BEGINNING), timeout=1.0)

    def _at(self, offset: Offset) -> TopicPartition:
        return TopicPartition(self.partition.topic, self.partition.number, offset)
