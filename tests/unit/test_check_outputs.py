"""`check` of outputs that can be sent, and of what is not known; its faults are in `test_check_planted.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from partition_supervisor.admin.check import outputs
from partition_supervisor.admin.check.findings import Finding, Level
from partition_supervisor.kafka.inspection import KafkaFacts, TopicFacts
from partition_supervisor.kafka.transaction_inspection import TransactionFacts

SOURCE = TopicFacts("events", 4, (), 3, 3, frozenset({"READ"}), 1_048_588, min_in_sync=2)
OUT = replace(SOURCE, name="enriched", operations=frozenset({"WRITE"}))
TRANSACTIONS = TransactionFacts(
    "partition-supervisor/g/",
    "partition-supervisor/g",
    60_000,
    "",
    frozenset({"READ", "DESCRIBE"}),
    900_000,
    3,
    10_080,
)


def complaints(found: Iterable[Finding]) -> dict[str, Finding]:
    return {each.name: each for each in found if each.level is not Level.OK}


def test_of_what_is_well_nothing_is_said_but_that() -> None:
    assert complaints(outputs.topics(KafkaFacts("k:1", 3, (SOURCE,), outputs=(OUT,)))) == {}
    assert complaints(outputs.transactions(TRANSACTIONS, 3)) == {}


@pytest.mark.parametrize("unknown", [{"min_in_sync": None}, {"max_message_bytes": None}, {"error": "Unknown topic"}])
def test_what_is_not_known_is_no_complaint_of_these(unknown: dict[str, Any]) -> None:
    """That a topic is not there is said of any."""
    out = replace(OUT, **unknown)
    assert complaints(outputs.topics(KafkaFacts("k:1", 3, (SOURCE,), outputs=(out,)))) == {}


def test_a_broker_that_tells_little_is_no_complaint() -> None:
    little = replace(TRANSACTIONS, operations=None, most_timeout=None, log_replicas=None, retention_minutes=None)
    assert complaints(outputs.transactions(little, 3)) == {}
