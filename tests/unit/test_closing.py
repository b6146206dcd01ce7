"""A client of Kafka that does not end."""

from __future__ import annotations

import threading
from typing import cast

import pytest
from confluent_kafka import Consumer

from partition_workers.kafka import closing


class Endless:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.closed = False

    def close(self) -> None:
        self.over.wait()
        self.closed = True


def test_a_client_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(closing, "CLOSING", 0.05)
    client = Endless()

    closing.close(cast(Consumer, client), "events[3]")

    assert not client.closed
    assert "events[3]: Kafka's client has not ended" in caplog.text
    client.over.set()


def test_a_client_that_ends_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    client = Endless()
    client.over.set()

    closing.close(cast(Consumer, client), "events[3]")

    assert client.closed
    assert not caplog.text
