"""Copying offsets to Kafka's group: its failures are told once, and never in the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from partition_supervisor.kafka import offset_mirror
from partition_supervisor.kafka.offset_mirror import OffsetMirror
from partition_workers.model import Partition

P = Partition("events", 0)
BROKEN = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "not allowed")
SILENCE = "silence"


class FakeConsumer:
    """Answers a commit when it is polled, as librdkafka does, or raises at once, or says nothing."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.copies = 0
        self.hear: Callable[[KafkaError | None, list[Any]], None] = lambda _error, _places: None
        self._asked: list[Any] = []

    def commit(self, offsets: list[Any], asynchronous: bool) -> None:
        assert asynchronous
        self.copies += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        self._asked = [self.outcome]

    def poll(self, _timeout: float) -> None:
        asked, self._asked = self._asked, []
        for outcome in asked:
            if outcome is not SILENCE:
                (error, place) = outcome if isinstance(outcome, tuple) else (None, outcome)
                self.hear(error, [SimpleNamespace(error=place)])


@pytest.fixture
def consumer() -> FakeConsumer:
    return FakeConsumer()


@pytest.fixture
def mirror(consumer: FakeConsumer, monkeypatch: pytest.MonkeyPatch) -> OffsetMirror:
    monkeypatch.setattr(offset_mirror, "PATIENCE", 0.1)
    made = OffsetMirror({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, "group")
    made._consumer.close()
    consumer.hear = made._hear
    made._consumer = cast(Consumer, consumer)
    return made


@pytest.mark.parametrize("outcome", [BROKEN, (BROKEN, None), KafkaException(BROKEN), SILENCE])
def test_a_failure_is_told_once_until_it_has_worked_again(
    consumer: FakeConsumer, mirror: OffsetMirror, outcome: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when there is no answer at all: it is no exception in the supervisor's loop."""
    with caplog.at_level(logging.INFO):
        for each in (outcome, outcome, None, None, outcome, outcome):
            consumer.outcome = each
            mirror.copy({P: 7})
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert consumer.copies == 6


def test_while_one_copy_is_under_way_another_is_left_out(consumer: FakeConsumer, mirror: OffsetMirror) -> None:
    entered, go_on = threading.Event(), threading.Event()
    original = consumer.commit

    def slowly(offsets: list[Any], asynchronous: bool) -> None:
        entered.set()
        assert go_on.wait(10.0)
        original(offsets, asynchronous)

    consumer.commit = slowly  # type: ignore[method-assign]
    first = threading.Thread(target=mirror.copy, args=({P: 7},))
    first.start()
    assert entered.wait(10.0)
    mirror.copy({P: 8})
    go_on.set()
    first.join(10.0)
    assert consumer.copies == 1
