"""Whether this Kafka takes our transactions: gathered for `check`, by making a producer as workers do.

Its transactional id is one that no partition has. It is initialised and writes nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from partition_supervisor.kafka.inspection import number, settings_of
from partition_workers.kafka.destination import for_sending

#: Of librdkafka, in milliseconds.
DEFAULT_TIMEOUT = 60_000


@dataclass(frozen=True, slots=True)
class TransactionFacts:
    """`ids`: what all transactional ids begin with; `group`: whose offsets the transactions move. `error`: why no
    producer can be initialised. `operations`: what we may do with the group. None: the broker does not tell."""

    ids: str
    group: str
    timeout: int = DEFAULT_TIMEOUT
    error: str = ""
    operations: frozenset[str] | None = None
    most_timeout: int | None = None
    log_replicas: int | None = None
    retention_minutes: int | None = None


def inspect_transactions(config: Mapping[str, Any], group: str, timeout: float) -> TransactionFacts:
    """A Kafka that is silent is a fact, too."""
    quiet = {"log_level": 2, **config}
    asked = int(config.get("transaction.timeout.ms", DEFAULT_TIMEOUT))
    error = _try({"log_level": 2, **for_sending(config)}, f"{group}/check", timeout)
    admin = AdminClient(quiet)
    settings = _broker_settings(admin, timeout)
    return TransactionFacts(
        f"{group}/", group, asked, error, _operations(admin, group, timeout),
        number(settings, "transaction.max.timeout.ms"),
        number(settings, "transaction.state.log.replication.factor"),
        number(settings, "offsets.retention.minutes"),
    )  # fmt: skip


def _try(config: Mapping[str, Any], transactional_id: str, timeout: float) -> str:
    """Why it cannot be initialised; empty: it can."""
    try:
        producer = Producer({**config, "transactional.id": transactional_id}, logger=logging.getLogger("librdkafka"))
        producer.init_transactions(timeout)
    except KafkaException as error:
        return str(error.args[0].str())
    return ""


def _operations(admin: AdminClient, group: str, timeout: float) -> frozenset[str] | None:
    """What we may do with the group, whether it is there or not."""
    with contextlib.suppress(KafkaException, TimeoutError):
        asked = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=timeout)
        allowed = asked[group].result(timeout + 1.0).authorized_operations
        return frozenset(each.name for each in allowed) if allowed else None
    return None


def _broker_settings(admin: AdminClient, timeout: float) -> dict[str, str]:
    """Of one broker: they should be alike."""
    with contextlib.suppress(KafkaException, TimeoutError, StopIteration):
        nodes = admin.describe_cluster(request_timeout=timeout).result(timeout + 1.0).nodes
        return settings_of(admin, ConfigResource(ResourceType.BROKER, str(next(iter(nodes)).id)), timeout)
    return {}
