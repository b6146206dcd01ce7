"""A record that cannot be handled ends in one of three ways, whatever happens while its dead letter is sent."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.error_policy import ErrorPolicy
from partition_workers.errors import HandlerFailed, Misconfigured, Unavailable
from partition_workers.kafka.dead_letters import DeadLetters
from partition_workers.kafka.destination import CONSUMER_ONLY
from partition_workers.model import Partition
from tests.fakes.kafka import FakeRecord

RECORD: Any = FakeRecord(Partition("events", 3), 7)


class FakeDeadLetters(DeadLetters):
    """Raises what it is told to, or remembers why."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__({}, "letters")
        self.error, self.reasons = error, list[str]()

    def send(self, record: Any, reason: str, timeout: float = 10.0) -> None:
        if self.error is not None:
            raise self.error
        self.reasons.append(reason)


def policy(error: Exception | None) -> tuple[ErrorPolicy, FakeDeadLetters]:
    made, letters = ErrorPolicy("dlq", "letters", {}), FakeDeadLetters(error)
    made._dead_letters = letters
    return made, letters


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("no acknowledgement within 10 s"),
        Misconfigured("dead letters cannot be sent: Kafka: ssl.ca.location failed"),
        KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)),
        BufferError("Local: Queue full"),
        UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
        TypeError("a header of the wrong type"),
    ],
)
def test_a_dead_letter_that_cannot_be_sent_parks_with_both_reasons(error: Exception) -> None:
    """Any other end would have the next owner try the same, and the next."""
    made, _ = policy(error)
    with pytest.raises(HandlerFailed, match=r"this is bad at events.3. offset 7; and no dead letter could be sent: "):
        made.give_up(RECORD, "this is bad")


def test_one_that_was_sent_passes_the_record_over() -> None:
    """And nothing is raised."""
    made, letters = policy(None)
    made.give_up(RECORD, "this is bad")
    assert letters.reasons == ["this is bad"]


@given(st.dictionaries(st.sampled_from([*sorted(CONSUMER_ONLY), "ssl.ca.location", "client.dns.lookup"]), st.text()))
def test_a_producer_gets_every_property_that_is_not_the_consumers_alone(properties: dict[str, str]) -> None:
    """The connection and its security most of all."""
    made = DeadLetters(properties, "letters")
    assert made._config == {key: value for key, value in properties.items() if key not in CONSUMER_ONLY}
