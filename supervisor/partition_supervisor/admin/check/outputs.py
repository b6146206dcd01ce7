"""Can outputs be sent: rights for transactions, their time, and topics that take what is produced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from partition_supervisor.admin.check.findings import Finding, not_ok, ok, warning
from partition_supervisor.kafka.inspection import KafkaFacts, TopicFacts
from partition_supervisor.kafka.transaction_inspection import TransactionFacts

#: Milliseconds: a transaction is given up by its owner after so long, and a shorter one is aborted before that.
PATIENCE = 10_000
#: Minutes for which Kafka should remember what was committed last: an owner relies on an hour of it.
RETENTION = 120


def topics(found: KafkaFacts) -> Iterator[Finding]:
    """Beside what is to be said of any topic."""
    largest = max((topic.max_message_bytes or 0 for topic in found.topics), default=0)
    for topic in found.outputs:
        yield from _in_sync(topic)
        yield from _sizes(topic, largest, found.topics)


def _in_sync(topic: TopicFacts) -> Iterator[Finding]:
    needed = topic.min_in_sync
    if topic.error or needed is None or topic.in_sync >= needed:
        return
    words = f"{topic.name}: {topic.in_sync} replicas are in sync, and min.insync.replicas is {needed}"
    fix = (
        "bring back the brokers that are behind: until then nothing can be produced there"
        if topic.replicas >= needed else
        f"raise its replication factor to {needed + 1}, or lower min.insync.replicas: nothing can be produced there"
    )  # fmt: skip
    yield not_ok("outputs.in-sync", words, fix)


def _sizes(topic: TopicFacts, largest: int, sources: Sequence[TopicFacts]) -> Iterator[Finding]:
    room = topic.max_message_bytes
    if room is not None and room < largest:
        names = ", ".join(each.name for each in sources if (each.max_message_bytes or 0) > room)
        yield warning(
            "outputs.sizes",
            f"{topic.name} takes {room:,} bytes, and records of {names} may have {largest:,}",
            f"raise max.message.bytes of {topic.name}, if records go on as they are: one that does not fit is its"
            " handler's error",
        )


def transactions(found: TransactionFacts, brokers: int) -> Iterator[Finding]:
    if found.error:
        yield not_ok("outputs.transactions", f"no transaction can be begun as {found.ids}...: {found.error}",
                     _fix(found, brokers))  # fmt: skip
    else:
        yield ok("outputs.transactions", f"transactions can be begun as {found.ids}...")
    if found.operations is not None and "READ" not in found.operations:
        yield not_ok("outputs.group", f"group {found.group}: we may not read",
                     f"grant READ and DESCRIBE on the group {found.group} to this user")  # fmt: skip
    if found.most_timeout is not None and found.timeout > found.most_timeout:
        yield not_ok(
            "outputs.timeout",
            f"transaction.timeout.ms is {found.timeout:,}, and the brokers allow {found.most_timeout:,}",
            f"-X transaction.timeout.ms={found.most_timeout}, or raise the brokers' transaction.max.timeout.ms",
        )
    elif found.timeout < PATIENCE:
        yield warning(
            "outputs.timeout",
            f"transaction.timeout.ms is {found.timeout:,}: a broker that is away for longer aborts what was sent",
            f"leave it at 60000, or at least at {PATIENCE}",
        )
    if found.retention_minutes is not None and 0 <= found.retention_minutes < RETENTION:
        yield not_ok(
            "outputs.retention",
            f"the brokers forget a group's offsets after {found.retention_minutes} minutes",
            f"raise offsets.retention.minutes to a day or more, at least to {RETENTION}: by the offset an owner sees"
            " whether its predecessor's outputs were committed",
        )


def _fix(found: TransactionFacts, brokers: int) -> str:
    if "uthoriz" in found.error:
        return f"grant WRITE and DESCRIBE on transactional ids with the prefix {found.ids} to this user"
    if found.log_replicas is not None and found.log_replicas > brokers:
        return (
            f"the brokers want {found.log_replicas} replicas of __transaction_state, and there are {brokers} of them:"
            " set transaction.state.log.replication.factor"
        )
    return "look at the brokers that hold __transaction_state; or --output-guarantee at-least-once, which needs none"
