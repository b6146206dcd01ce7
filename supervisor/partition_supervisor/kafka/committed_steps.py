"""Which step with outputs Kafka has committed last: the metadata of the offset that transactions move."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from partition_workers.model import Partition
from partition_workers.outputs.steps import Known


def committed_steps(
    config: Mapping[str, Any], group: str, partitions: Collection[Partition], timeout: float
) -> dict[Partition, str]:
    """The number of each; "": there is none. Those of which Kafka says nothing in `timeout` seconds are left out."""
    quiet = {"log_level": 2, "group.id": group, "enable.auto.commit": False}
    try:
        consumer = Consumer({**config, **quiet}, logger=logging.getLogger("librdkafka"))
    except KafkaException:
        return {}
    try:
        asked = [TopicPartition(each.topic, each.number) for each in partitions]
        answers = consumer.committed(asked, timeout=timeout)
    except KafkaException:
        return {}
    finally:
        consumer.close()
    return {Partition(each.topic, each.partition): _number(each) for each in answers if each.error is None}


def _number(found: TopicPartition) -> str:
    known = Known.decode(found.metadata or "") if found.offset >= 0 else None
    return known.number if known else ""
