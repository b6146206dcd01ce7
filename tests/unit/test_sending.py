"""Outputs that are handed to librdkafka: each once, and in their order, though there is no room for some at first."""

from __future__ import annotations

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.kafka.sending import Record, send, send_watched

HEADERS = [("h", b"1")]


class Client:
    """Has room for so many records, until it is polled."""

    def __init__(self, room: int = 1_000_000, refused: bytes | None = None) -> None:
        self.found: list[tuple[Any, ...]] = []
        self.polls = 0
        self.told: list[Any] = []
        self._room, self._left, self._refused = room, room, refused

    def produce(
        self, topic: str, value: bytes, key: bytes | None, partition: int = -1, callback: Any = None,
        on_delivery: Any = None, timestamp: int = 0, headers: Any = None,
    ) -> None:  # fmt: skip
        if not self._left:
            raise BufferError("no room")
        if value == self._refused:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self._left -= 1
        self.found.append((topic, value, key, partition, timestamp, headers))
        self.told.append(callback)

    def poll(self, _timeout: float) -> None:
        self.polls += 1
        self._left = self._room


def records_of(kinds: list[bool]) -> list[Record]:
    """Most have no more than a key."""
    return [
        ("a", b"%d" % number, b"k", 2, None, None, 7, HEADERS) if more else ("a", b"%d" % number, b"k")
        for number, more in enumerate(kinds)
    ]


def expected(kinds: list[bool]) -> list[tuple[Any, ...]]:
    rest = {True: (2, 7, HEADERS), False: (-1, 0, None)}
    return [("a", b"%d" % number, b"k", *rest[more]) for number, more in enumerate(kinds)]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 7))
def test_each_record_goes_once_and_in_its_order(kinds: list[bool], room: int) -> None:
    client = Client(room)
    send(cast(Producer, client), records_of(kinds))
    assert client.found == expected(kinds)
    assert client.polls == max(0, len(kinds) - 1) // room
    assert not any(client.told)


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 7))
def test_so_do_those_whose_fate_is_told(kinds: list[bool], room: int) -> None:
    client, told = Client(room), lambda _error, _message: None
    send_watched(cast(Producer, client), records_of(kinds), told)
    assert client.found == expected(kinds)
    assert client.told == [told] * len(kinds)


def test_what_librdkafka_does_not_take_is_said() -> None:
    with pytest.raises(KafkaException):
        send(cast(Producer, Client(refused=b"2")), records_of([False] * 4))


def test_and_of_which_record() -> None:
    told: list[tuple[int, Any, Any, Any, Any]] = []

    def tell(error: KafkaError | None, message: Message) -> None:
        assert error is not None
        told.append((error.code(), message.topic(), message.value(), message.key(), message.partition()))

    records = records_of([False, False, True, False])
    with pytest.raises(KafkaException):
        send_watched(cast(Producer, Client(refused=b"2")), records, tell)
    assert told == [(KafkaError.MSG_SIZE_TOO_LARGE, "a", b"2", b"k", 2)]
