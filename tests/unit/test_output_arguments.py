"""What `produce` accepts is sent when no handler can be told any more: so the client of Kafka must accept it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from hypothesis import given, settings
from hypothesis import strategies as st

from partition_workers.errors import OutputInvalid
from partition_workers.outputs import buffer
from partition_workers.outputs.buffer import Outputs

TOPIC = "out"

CONTENT = st.none() | st.binary(max_size=8) | st.text(max_size=8) | st.builds(bytearray, st.binary(max_size=8))
#: Any text, also such as cannot be written as UTF-8.
NAMES = st.text(st.characters(exclude_categories=()), max_size=4)
NUMBERS = (
    st.none() | st.integers() | st.booleans() | st.floats()
    | st.sampled_from([2**shift + off for shift in (31, 32, 63, 64) for off in (-2, -1, 0, 1)])
)  # fmt: skip
PAIRS = st.lists(st.tuples(NAMES | st.binary(max_size=4) | st.none(), CONTENT | st.integers()), max_size=4)
HEADERS = st.none() | st.dictionaries(NAMES, CONTENT, max_size=4) | PAIRS


def outputs_to(partitions: int) -> Outputs:
    made = Outputs((TOPIC,), lambda _topic: partitions)
    made.is_open = True
    return made


@pytest.fixture(scope="module")
def producer() -> Iterator[Producer]:
    """One that knows no broker: what it accepts waits."""
    made = Producer({"queue.buffering.max.messages": 1_000_000})
    yield made
    made.purge()
    made.poll(0)


@pytest.mark.parametrize("arguments", [
    {"timestamp": 2**63}, {"timestamp": 2**64}, {"timestamp": -1}, {"timestamp": 1.0}, {"timestamp": True},
    {"partition": 2**31}, {"partition": 2**31 - 1}, {"partition": -1}, {"partition": True},
    {"headers": {"\ud800": b"x"}}, {"headers": {"a\0b": b"x"}}, {"headers": [(b"a", b"x")]}, {"headers": ["ab", "c"]},
    {"headers": {"a": "\ud800"}}, {"value": "\ud800"}, {"key": "\ud800"}, {"value": 1}, {"value": 1.0},
])  # fmt: skip
def test_what_the_client_cannot_take_is_refused_at_once(arguments: dict[str, Any]) -> None:
    outputs = outputs_to(0)
    with pytest.raises(OutputInvalid):
        outputs.produce(TOPIC, **{"value": b"x", **arguments})
    assert len(outputs) == 0


@settings(max_examples=500, deadline=None)
@given(CONTENT | st.integers(), CONTENT, HEADERS, NUMBERS, NUMBERS, st.sampled_from([0, 4]))
def test_what_is_accepted_the_client_accepts(
    producer: Producer, value: Any, key: Any, headers: Any, partition: Any, timestamp: Any, partitions: int
) -> None:
    outputs = outputs_to(partitions)
    try:
        outputs.produce(TOPIC, value, key, headers, partition, timestamp)
    except OutputInvalid:
        assert len(outputs) == 0
        return
    (waiting,) = outputs.take()
    producer.produce(*waiting)


@pytest.mark.parametrize("limit", [(3, 10**9), (10**9, 4 * buffer.EACH)])
def test_what_is_too_much_for_one_call_is_not_kept(monkeypatch: pytest.MonkeyPatch, limit: tuple[int, int]) -> None:
    """A handler may catch the error and go on with what it has."""
    monkeypatch.setattr(buffer, "MOST", limit)
    monkeypatch.setattr(buffer, "FULL_AT", limit)
    outputs = outputs_to(0)
    for _ in range(3):
        outputs.produce(TOPIC, b"x", b"k")
    with pytest.raises(OutputInvalid, match="more than"):
        outputs.produce(TOPIC, b"x", b"k")
    assert len(outputs) == 3
    assert outputs.size == 3 * (buffer.EACH + 2)
