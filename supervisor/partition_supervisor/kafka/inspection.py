"""What Kafka says of its brokers and of topics: gathered for `check`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from partition_workers.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What Kafka says of a topic; `operations`: what we may do, None where the broker does not tell."""

    name: str
    partitions: int = 0
    leaderless: tuple[int, ...] = ()
    replicas: int = 0
    in_sync: int = 0
    operations: frozenset[str] | None = None
    max_message_bytes: int | None = None
    error: str = ""
    min_in_sync: int | None = None


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    address: str
    brokers: int = 0
    topics: tuple[TopicFacts, ...] = ()
    dead_letters: TopicFacts | None = None
    error: str = ""
    outputs: tuple[TopicFacts, ...] = ()


def inspect(
    config: Mapping[str, Any],
    names: Sequence[str],
    dead_letters: str | None,
    timeout: float,
    outputs: Sequence[str] = (),
) -> KafkaFacts:
    """Raises Misconfigured for properties that the client refuses. A Kafka that is silent is a fact, too."""
    address = str(config["bootstrap.servers"])
    try:
        admin = AdminClient({"log_level": 2, **config})
    except KafkaException as error:
        raise Misconfigured(f"Kafka: {error.args[0].str()}") from error
    try:
        brokers = len(admin.describe_cluster(request_timeout=timeout).result().nodes)
    except KafkaException as error:
        return KafkaFacts(address, error=error.args[0].str())
    asked = [*names, *outputs, *([dead_letters] if dead_letters else [])]
    found = {name: _topic(admin, name, timeout) for name in asked}
    return KafkaFacts(
        address,
        brokers,
        tuple(found[name] for name in names),
        found[dead_letters] if dead_letters else None,
        outputs=tuple(found[name] for name in outputs),
    )


def why_no_reader(config: Mapping[str, Any]) -> str:
    """Why no consumer can be made with these properties; empty: one can. Nothing is read."""
    try:
        Consumer({"log_level": 2, **config}).close()
    except KafkaException as error:
        return f"Kafka: {error.args[0].str()}"
    return ""


def _topic(admin: AdminClient, name: str, timeout: float) -> TopicFacts:
    futures = admin.describe_topics(
        TopicCollection([name]), request_timeout=timeout, include_authorized_operations=True
    )
    try:
        described = futures[name].result()
    except KafkaException as error:
        return TopicFacts(name, error=error.args[0].str())
    topic = ConfigResource(ResourceType.TOPIC, name)
    partitions, settings = described.partitions, settings_of(admin, topic, timeout)
    allowed = described.authorized_operations
    return TopicFacts(
        name,
        partitions=len(partitions),
        leaderless=tuple(each.id for each in partitions if each.leader is None or each.leader.id < 0),
        replicas=min((len(each.replicas) for each in partitions), default=0),
        in_sync=min((len(each.isr) for each in partitions), default=0),
        operations=frozenset(each.name for each in allowed) if allowed else None,
        max_message_bytes=number(settings, "max.message.bytes"),
        min_in_sync=number(settings, "min.insync.replicas"),
    )


def settings_of(admin: AdminClient, resource: ConfigResource, timeout: float) -> dict[str, str]:
    """Of a topic or a broker. Empty where we may not ask, or it does not say."""
    with contextlib.suppress(KafkaException, TimeoutError):
        entries = admin.describe_configs([resource], request_timeout=timeout)[resource].result(timeout + 1.0)
        return {each: entry.value for each, entry in entries.items()}
    return {}


def number(settings: Mapping[str, str], name: str) -> int | None:
    """None: it is not among them."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return int(settings[name])
    return None
