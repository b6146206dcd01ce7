"""The documents in etcd: readable by people, and by versions older and newer than ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partition_workers.layout.document import VERSION, Document
from partition_workers.layout.documents import (
    Attempt,
    Cause,
    Ending,
    History,
    Host,
    Lock,
    Parked,
    Size,
    Standby,
    StoredOffset,
    milliseconds,
    now,
)

KINDS: list[type[Document]] = [Standby, Lock, StoredOffset, Attempt, Parked, Host, History, Size]
SAMPLES: list[Document] = [
    Standby("w", "h", 1, "5eed0001", now()),
    Lock("w", "h", 1, "5eed0001", Cause.TAKEN_OVER, now(), now()),
    StoredOffset(7, 17, 3, "id", now()),
    Attempt(7, 2, ["a", "b"]),
    Size(70_000, 9_000_000, now()),
    Parked(7, "it said: \"no\" \n 'ä'", "h", now()),
    Host(4, "0.1", 1, "127.0.0.1:1", now(), draining=True),
    History(17, "w", "h", 1, Cause.HANDED_OVER, now(), 7, gap={"lock_taken": 1.5}).closed(Ending.DIED, 9, "why"),
]


@pytest.mark.parametrize("document", SAMPLES, ids=lambda each: type(each).__name__)
def test_a_document_is_read_back_as_it_was(document: Document) -> None:
    """Encoding and decoding are each other's opposite, and the value is a JSON object with its version."""
    value = document.encode()
    assert type(document).decode(value) == document
    assert json.loads(value)["v"] == VERSION


@given(st.builds(Standby, st.text(), st.text(), st.integers(0, 2**63 - 1), st.just("5eed0001"), st.text()))
def test_any_text_survives(standby: Standby) -> None:
    """Names and reasons may hold whatever people write."""
    assert Standby.decode(standby.encode()) == standby


def test_a_reason_may_hold_what_cannot_be_utf8() -> None:
    """An exception's text can hold lone surrogates, and the partition has to be parked all the same."""
    parked = Parked(1, "bad record: '\udcff'", "h", now())
    assert Parked.decode(parked.encode()).offset == 1


@pytest.mark.parametrize("document", SAMPLES, ids=lambda each: type(each).__name__)
def test_unknown_fields_are_ignored(document: Document) -> None:
    """A newer version may have written more."""
    fields: dict[str, Any] = json.loads(document.encode())
    value = json.dumps(fields | {"news": [1]}).encode()
    assert type(document).decode(value) == document


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [b"", b"x", b"[]", b"1", b"null", b'"v"', b"{}", b'{"v":1}', b"\xff", b"{"])
def test_garbage_is_a_value_error(kind: type[Document], value: bytes) -> None:
    """Whatever is not a document of this kind is told as such, and nothing else is raised."""
    with pytest.raises(ValueError):  # noqa: PT011
        kind.decode(value)


@given(st.sampled_from(KINDS), st.binary())
def test_no_garbage_raises_anything_else(kind: type[Document], value: bytes) -> None:
    """Foreign keys under our root must not end a supervisor."""
    try:
        kind.decode(value)
    except ValueError:
        pass
    else:
        assert isinstance(json.loads(value), dict)


def test_fields_with_a_default_may_be_missing() -> None:
    """An older version did not know them."""
    assert Attempt.decode(b'{"v":1,"offset":7,"deaths":1}') == Attempt(7, 1, [])


def test_a_lock_names_its_standby() -> None:
    """Worker, host, pid and lease are the standby's; the cause is ours."""
    standby = Standby("w", "h", 1, "ff", "then")
    assert standby.lease_id == 255
    lock = Lock.naming(standby, Cause.HANDED_OVER, "seen")
    assert (lock.worker, lock.host, lock.pid, lock.lease) == ("w", "h", 1, "ff")
    assert (lock.cause, lock.exit_seen) == ("handed-over", "seen")


def test_a_closed_record_says_how_it_ended() -> None:
    """Everything that was known before stays."""
    begun = History(17, "w", "h", 1, "acquired", "then", 7)
    closed = begun.closed(Ending.STOPPED, 9, at="later")
    assert (closed.until, closed.to_offset, closed.ending, closed.reason) == ("later", 9, "stopped", None)
    assert (closed.token, closed.since, closed.from_offset) == (17, "then", 7)
    assert begun.until is None
    assert begun.closed(Ending.STOPPED, 9).until


def test_times_are_utc_and_can_be_compared() -> None:
    """Also at a full second."""
    assert now().endswith("Z")
    assert len(now()) == len("2024-01-01T00:00:00.000000Z")
    assert milliseconds("2024-01-01T00:00:00.000000Z", "2024-01-01T00:00:01.500000Z") == 1500
