"""Is Kafka fit for it: brokers, topics, rights, and dead letters that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from partition_supervisor.admin.check.findings import Finding, not_ok, ok, warning
from partition_supervisor.kafka.inspection import KafkaFacts, TopicFacts

#: What a dead letter's headers add to a record, at most.
HEADERS = 8_192


def properties(refused: str) -> Finding:
    """`refused`: what the client says of them."""
    return not_ok("kafka.properties", refused, "mend or leave out that property, of -X, of -F or of [kafka]")


def kafka(found: KafkaFacts) -> Iterator[Finding]:
    if found.error:
        fix = "is it running, and is --bootstrap-servers right? With TLS or SASL: -X security.protocol"
        yield not_ok("kafka.reachable", f"{found.address} does not answer: {found.error}", fix)
        return
    yield ok("kafka.reachable", f"{found.brokers} brokers answer at {found.address}")
    for topic in found.topics:
        yield from _topic(topic, "READ", found.brokers)
    for topic in found.outputs:
        yield from _topic(topic, "WRITE", found.brokers)
    if found.dead_letters is not None:
        yield from _topic(found.dead_letters, "WRITE", found.brokers)
        yield from _sizes(found.topics, found.dead_letters)


def _topic(topic: TopicFacts, needed: str, brokers: int) -> Iterator[Finding]:
    if topic.error:
        yield not_ok("kafka.topic", f"{topic.name}: {topic.error}",
                     f"create it: partition-supervisor produce --topic {topic.name} --partitions 4")  # fmt: skip
        return
    if topic.leaderless:
        yield not_ok("kafka.leader", f"{topic.name}: partitions {_listed(topic.leaderless)} have no leader",
                     "look at the brokers that hold them")  # fmt: skip
    elif topic.in_sync < topic.replicas:
        yield warning("kafka.replicas", f"{topic.name}: {topic.in_sync} of {topic.replicas} replicas are in sync",
                      "look at the brokers that are behind")  # fmt: skip
    elif topic.replicas < 2 and brokers > 1:
        yield warning("kafka.replicas", f"{topic.name}: one replica of each partition",
                      "records are lost with a broker: raise the replication factor to 3")  # fmt: skip
    else:
        yield ok("kafka.topic", f"{topic.name}: {topic.partitions} partitions, {topic.replicas} replicas")
    if topic.operations is not None and needed not in topic.operations:
        yield not_ok("kafka.rights", f"{topic.name}: we may not {needed.lower()}",
                     f"grant {needed} on the topic to this user")  # fmt: skip


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _sizes(topics: Sequence[TopicFacts], dead_letters: TopicFacts) -> Iterator[Finding]:
    """The largest record with our headers must fit as a dead letter."""
    largest = max((topic.max_message_bytes or 0 for topic in topics), default=0)
    room = dead_letters.max_message_bytes
    if largest and room is not None and room < largest + HEADERS:
        yield warning(
            "kafka.sizes",
            f"{dead_letters.name} takes {room:,} bytes, a record of these topics with our headers may have"
            f" {largest + HEADERS:,}",
            f"raise max.message.bytes of {dead_letters.name}: a dead letter that does not fit parks its partition",
        )
