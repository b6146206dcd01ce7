"""The supervisor's end of a worker's pipe: nothing waits on it, and nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_supervisor.processes.pipe import LONGEST, Garbled, WorkerPipe


@pytest.fixture
def pipe() -> Iterator[WorkerPipe]:
    pipe = WorkerPipe()
    yield pipe
    pipe.close()


@given(
    messages=st.lists(st.binary(max_size=40_000) | st.integers(), max_size=6),
    cuts=st.lists(st.integers(1, 20_000), max_size=20),
)
def test_messages_come_whole_and_in_order_however_they_are_cut(messages: list[Any], cuts: list[int]) -> None:
    """As they are written by the worker's Connection, and read whenever something has come."""
    source, pipe = WorkerPipe(), WorkerPipe()
    try:
        received: list[Any] = []
        for message in messages:
            source.send(message)
        written = b""
        while True:
            try:
                written += os.read(source.theirs.fileno(), 1_000_000) if messages else b""
            finally:
                source.flush()
            if not source._to_send:
                break
        while messages:
            os.set_blocking(source.theirs.fileno(), False)
            try:
                written += os.read(source.theirs.fileno(), 1_000_000)
            except BlockingIOError:
                break
        while written:
            size = cuts.pop() if cuts else len(written)
            part, written = written[:size], written[size:]
            while part:
                part = part[os.write(pipe.theirs.fileno(), part[:30_000]) :]
                received.extend(pipe.receive())
        assert received == messages
    finally:
        source.close()
        pipe.close()


def test_orders_that_find_no_room_come_when_there_is_some(pipe: WorkerPipe) -> None:
    """Its worker is stopped, and reads nothing."""
    orders = [bytes(50_000) for _ in range(20)]
    for order in orders:
        pipe.send(order)
    read: list[bytes] = []
    while len(read) < len(orders):
        pipe.flush()
        while pipe.theirs.poll(0):
            read.append(pipe.theirs.recv())
            pipe.flush()
    assert read == orders


def test_a_worker_that_is_gone_hears_nothing_and_that_is_no_error(pipe: WorkerPipe) -> None:
    pipe.theirs.close()
    pipe.send("order")
    assert list(pipe.receive()) == []
    assert pipe.has_ended


@pytest.mark.parametrize("header", [b"\xff\xff\xff\xff", (LONGEST + 1).to_bytes(4, "big")])
def test_a_length_that_cannot_be_is_no_message(pipe: WorkerPipe, header: bytes) -> None:
    """And nothing is waited for, nor kept."""
    os.write(pipe.theirs.fileno(), header + b"more")
    with pytest.raises(Garbled):
        list(pipe.receive())
