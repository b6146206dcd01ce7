"""No result depends on when commits happen: handlers made at random, run with every interval, cut, moved, retried.

What a handler does to its state is a list of steps, chosen by the record. The run with a commit after each record,
each handled by a new owner that has read the state from etcd, is what all others are compared with.
"""

from __future__ import annotations

import enum
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partition_workers import change_log
from partition_workers.commit_limits import CommitLimits
from partition_workers.errors import HandlerFailed
from partition_workers.ownership.stored_state import stored_state
from tests.fakes.kafka import FakeRecord
from tests.fakes.record_loop import KEYS, P, Stage, records_of

pytestmark = pytest.mark.usefixtures("no_sleep")

Step = tuple[Any, ...]

#: 2,000 were tried at once.
EXAMPLES = int(os.environ.get("PARTITION_SUPERVISOR_EXAMPLES", "200"))


class Colour(enum.StrEnum):
    RED = "red"


NAMES = st.sampled_from(["a", "b", "c", "d"])
PLAIN = st.sampled_from([0, 1, True, 1.0, -0.0, 0.0, None, "", "text", "ü" * 40, 2**70, "x" * 100])
ODD: list[Callable[[], Any]] = [
    lambda: (1, 2), lambda: [1, (2, [3])], lambda: Counter("ab"), lambda: defaultdict(int, a=1), lambda: Colour.RED,
    lambda: {"deep": {"er": [1]}}, lambda: {1: "a"}, lambda: float("nan"), lambda: {1, 2}, lambda: b"x",
    lambda: "\ud800", list, dict, lambda: {Colour.RED: (1,)}, lambda: 10**5000,
]  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("set"), NAMES, PLAIN),
    st.tuples(st.just("odd"), NAMES, st.integers(0, len(ODD) - 1)),
    st.tuples(st.just("count"), NAMES),
    st.tuples(st.just("append"), NAMES),
    st.tuples(st.just("look"), NAMES),
    st.tuples(st.just("compare"), NAMES),
    st.tuples(st.just("share"), NAMES, NAMES),
    st.tuples(st.just("inside"), NAMES),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("first")),
    st.tuples(st.just("all")),
    st.tuples(st.just("clear")),
    st.tuples(st.just("keep"), NAMES),
    st.tuples(st.just("use what was kept")),
    st.tuples(st.just("key"), st.sampled_from([1, None, "\ud800", Colour.RED, "red"])),
    st.tuples(st.just("many"), st.integers(0, 40)),
    st.tuples(st.just("raise")),
)


def do(step: Step, state: Any, kept: list[Any]) -> None:
    """Every way in which a handler may read and change its state."""
    match step:
        case ("set", name, value):
            state[name] = value
        case ("odd", name, which):
            state[name] = ODD[which]()
        case ("count", name):
            value = state.get(name, 0)
            state[name] = value + 1 if isinstance(value, int | float) else 0
        case ("append", name):
            value = state.setdefault(name, [])
            if isinstance(value, list):
                value.append(len(value))
            elif isinstance(value, dict):
                value["n"] = value.get("n", 0) + 1
        case ("look", name):
            state["saw"] = repr(state.get(name))
        case ("compare", name):
            state["same"] = state.get(name) == (1, 2)
        case ("share", name, other):
            if name in state:
                state[other] = state[name]
        case ("inside", name):
            value = state.get(name)
            for inner in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
                if isinstance(inner, list):
                    inner.append("inside")
        case ("delete", name):
            state.pop(name, None)
        case ("first",):
            if state:
                state["first"] = next(iter(state))
                state.popitem()
        case ("all",):
            state["all"] = [len(state), repr(state.to_dict())[:200], [str(key) for key in state]]
        case ("clear",):
            state.clear()
        case ("keep", name):
            kept.append(state.get(name))
        case ("use what was kept",):
            for value in kept:
                if isinstance(value, list):
                    value.append("kept")
                elif isinstance(value, dict):
                    value["kept"] = 1
        case ("key", key):
            state[key] = 1
        case ("many", count):
            for number in range(count):
                state[f"key{number}"] = number
        case ("raise",):
            raise ValueError("as ordered")


@dataclass
class Play:
    """`programs`: what is done for a record, chosen by its offset. `raising`: where it raises, how often."""

    programs: list[list[Step]]
    raising: dict[int, int] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)

    def handle(self, record: FakeRecord, state: Any) -> None:
        program = self.programs[record.offset() % len(self.programs)]
        for step in program[:1]:
            do(step, state, self.kept)
        if self.raising.get(record.offset(), 0) > 0:
            self.raising[record.offset()] -= 1
            raise OSError("once in a while")
        for step in program[1:]:
            do(step, state, self.kept)


@dataclass(frozen=True)
class Ending:
    """Where it got to, what is stored there, and at which record and why it failed, if it did."""

    offset: int
    state: dict[str, bytes]
    failed: tuple[str, str] | None


def ending(stage: Stage, moves: Sequence[tuple[int, bool]] = (), moving: bool = False) -> Ending:
    """`moves`: another owner when so many rounds have passed; `moving`: after each round."""
    failed = None
    try:
        left = list(moves)
        for _ in range(1000):
            if stage.commits.committed == stage.reader.end and not stage.commits.in_flight:
                break
            stage.turn()
            if stage.commits.committed < stage.loop.offset == stage.reader.end and not stage.commits.in_flight:
                stage.cut()  # with an interval of an hour nothing else would come
            if moving:
                stage.move(killed=False)
            elif left:
                rounds, killed = left[0]
                left[0] = rounds - 1, killed
                if rounds <= 0:
                    del left[0]
                    stage.move(killed)
        else:
            raise AssertionError(f"it does not end: {stage.commits.committed} of {stage.reader.end}")
    except HandlerFailed as error:
        words = str(error)
        failed = words.partition(":")[0], words.rpartition(" at ")[2]
    stage.drain()
    return Ending(stage.stored()[0], dict(sorted(stored_state(stage.store, KEYS, P).items())), failed)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    programs=st.lists(st.lists(STEPS, max_size=4), min_size=1, max_size=6),
    count=st.integers(1, 20),
    interval=st.sampled_from([0, 0.05, 0.1, 3600]),
    sizes=st.lists(st.integers(1, 6), max_size=8),
    raising=st.dictionaries(st.integers(0, 19), st.integers(1, 2), max_size=3),
    moves=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=3),
    keys=st.sampled_from([20, 60, 4000]),
    direct=st.sampled_from([0, 1, 3, 1000]),
)
@example([[("odd", "a", 0), ("compare", "a")]], 5, 0.1, [], {}, [], 4000, 9)  # a tuple
@example([[("odd", "a", 2)], [("append", "a")]], 5, 0.1, [], {}, [], 4000, 9)  # a Counter
@example(
    [[("set", "a", 1)], [("share", "a", "b"), ("append", "b"), ("append", "a")]], 9, 3600, [], {}, [], 4000, 1000
)
@example(
    [[("odd", "a", 7), ("set", "a", 1)], [("odd", "a", 7)]], 4, 3600, [], {}, [], 4000, 1000
)  # no number, one call
@example([[("odd", "a", 7)], [("set", "a", 1)]], 4, 3600, [], {}, [], 4000, 9)  # no number, until the next call
@example(
    [[("odd", "a", 14)], [("set", "a", 1)]], 4, 3600, [], {}, [], 4000, 1000
)  # a number that cannot be read back
@example([[("odd", "a", 10)], [("set", "a", 1)]], 4, 3600, [], {}, [], 4000, 9)  # text that cannot be written
@example([[("set", "b", 1), ("set", "a", 2), ("all",)], [("first",)]], 6, 3600, [], {}, [(2, True)], 4000, 0)
def test_the_result_is_that_of_a_commit_and_a_new_owner_after_each_record(
    programs: list[list[Step]], count: int, interval: float, sizes: list[int], raising: dict[int, int],
    moves: list[tuple[int, bool]], keys: int, direct: int,
) -> None:  # fmt: skip
    """Or it is refused at the same record, for the same reason. `direct`: commits of more keys are stored as one
    value, and folded later."""
    records = records_of([b""] * count)
    limits = CommitLimits(most_keys=keys, keys=max(1, keys // 2))
    plain = Stage(records, Play(programs).handle, 0, [1] * count, retries=4, limits=limits)
    other = Stage(records, Play(programs, dict(raising)).handle, interval, sizes, retries=4, limits=replace(limits))
    expected = ending(plain, moving=True)
    with mock.patch.multiple(change_log, DIRECT=direct, LEAST=1, IDLE=2):
        found = ending(other, moves)
    assert found == expected
