"""What is noted of a state's size, and what is warned of."""

from __future__ import annotations

from unittest import mock

import pytest

from partition_workers.etcd.store import Delete, Operation, Put
from partition_workers.layout.documents import Size, now
from partition_workers.model import Partition
from partition_workers.ownership import state_size
from partition_workers.ownership.state_size import HEAVY, LARGE, StateSize
from partition_workers.state.mapping import State

KEY = "/sizes/events/00003"
P = Partition("events", 3)


class Stage:
    def __init__(self, noted: int = 0) -> None:
        self.bytes = 0
        document = Size(1, noted, now()) if noted else None
        self.it = StateSize(P, KEY, document, lambda: (1, self.bytes))

    def look(self, size: int) -> Operation | None:
        self.bytes = size
        self.it._next_look = 0.0
        (written,) = self.it.look() or (None,)
        return written


def noted(operation: Operation | None) -> int:
    assert isinstance(operation, Put)
    assert operation.key == KEY
    return Size.decode(operation.value).bytes


def test_a_small_state_is_not_noted() -> None:
    """Up to the limit: most partitions have no such key."""
    stage = Stage()
    assert stage.look(0) is None
    assert stage.look(LARGE) is None
    assert noted(stage.look(LARGE + 1)) == LARGE + 1


def test_a_note_is_written_again_when_it_is_wrong_by_more_than_a_quarter() -> None:
    """A commit each second for it would be too much."""
    stage = Stage()
    assert noted(stage.look(4_000_000)) == 4_000_000
    assert stage.look(4_900_000) is None
    assert stage.look(3_300_000) is None
    assert noted(stage.look(5_100_000)) == 5_100_000
    assert noted(stage.look(3_000_000)) == 3_000_000


def test_a_state_that_shrank_is_noted_no_more() -> None:
    """At half of the limit, so that one at the limit is not noted and forgotten all the time."""
    stage = Stage(noted=5_000_000)
    assert stage.look(LARGE) is None
    assert stage.look(LARGE // 2) == Delete(KEY)
    assert stage.look(LARGE // 2) is None


def test_what_the_owner_before_had_noted_is_known() -> None:
    """It is not written again by each owner."""
    assert Stage(noted=5_000_000).look(5_000_000) is None


def test_it_is_warned_of_a_state_that_will_hurt_and_again_when_it_has_doubled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says which partition, how much, and what that costs."""
    stage = Stage()
    for size in (HEAVY - 1, HEAVY, HEAVY + 1, 2 * HEAVY - 1, 2 * HEAVY, 3 * HEAVY, 5 * HEAVY):
        stage.look(size)
    assert len(caplog.messages) == 3
    assert "events[3]: the state has 10 MB in 1 keys" in caplog.messages[0]
    assert "reads all of it before the next record" in caplog.messages[0]


def test_looking_takes_little_of_the_loops_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longer it takes, the more rarely it is done."""
    now_is = [100.0]
    looks = []

    def measure() -> tuple[int, int]:
        looks.append(now_is[0])
        now_is[0] += 0.05
        return 1, 1

    monkeypatch.setattr(state_size, "time", mock.Mock(monotonic=lambda: now_is[0]))
    it = StateSize(P, KEY, None, measure)
    while now_is[0] < 200.0:
        it.look()
        now_is[0] += 1.0
    assert 9 <= len(looks) <= 11


def test_the_size_of_a_state_is_that_of_its_keys_and_values() -> None:
    """As stored, whatever was touched since."""
    state = State({"a": b"123", "bc": b"[1,2]"})
    state["d"] = 1
    assert state.size() == (2, 3 + 8)
    state.accept()
    assert state.size() == (3, 4 + 9)
