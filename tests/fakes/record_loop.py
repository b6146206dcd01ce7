"""A record loop over a partition in memory, with an etcd in memory, and handlers in which something goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

from partition_workers import commits as commits_module
from partition_workers.commit_limits import CommitLimits
from partition_workers.commits import Commits
from partition_workers.error_policy import ErrorPolicy
from partition_workers.handler import Context, Handler
from partition_workers.interrupt_flag import InterruptFlag
from partition_workers.layout.documents import Cause, Lock, Standby, StoredOffset, now
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.ownership import transactions
from partition_workers.ownership.loaded import confirmed
from partition_workers.ownership.state_pages import StatePages
from partition_workers.ownership.stored_state import stored_state
from partition_workers.poison import PoisonGuard
from partition_workers.record_loop import RecordLoop
from partition_workers.state.mapping import State
from tests.fakes.clock import FakeClock
from tests.fakes.etcd import FakeEtcd
from tests.fakes.kafka import FakeReader, FakeRecord

KEYS = Keys.of("/partition-supervisor/", "tests")
P = Partition("events", 3)
RETRIES = 3
FOR_EVER = 1_000_000

HandleOne = Callable[[FakeRecord, Any], object]


class Stub(InterruptFlag):
    """Attention that never waits; the clock moves instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self.on_wait: Callable[[], None] = lambda: None

    def wait(self, seconds: float) -> None:
        self.on_wait()
        self._clock.advance(seconds)


class Own(BaseException):
    """What a library may raise past every `except Exception`."""


def as_batch(handle: HandleOne) -> type:
    """A batch handler that does the same with each record of a list, and returns what the last one returned."""

    class Batch:
        def handle_batch(self, records: list[FakeRecord], state: Any) -> object:
            results = [handle(record, state) for record in records]
            return next((each for each in results if each is not None), None)

    return Batch


def records_of(values: Sequence[bytes], gaps: Sequence[int] = ()) -> list[FakeRecord]:
    """Records from offset 0, with so many offsets left out before each."""
    made, offset = [], 0
    for number, value in enumerate(values):
        offset += gaps[number] if number < len(gaps) else 0
        made.append(FakeRecord(P, offset, value))
        offset += 1
    return made


class Stage:
    """A record loop over a partition, and an etcd that holds its lock."""

    def __init__(
        self,
        records: list[FakeRecord],
        handle: HandleOne | type,
        interval: float = 0.1,
        sizes: Sequence[int] = (),
        retries: int = RETRIES,
        limits: CommitLimits | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.store = FakeEtcd(self.clock)
        self.interrupt = Stub(self.clock)
        self._handle, self._interval, self._retries, self._limits = handle, interval, retries, limits
        me = Standby("me", "here", 1, f"{self.store.grant(10_000_000).lease:x}", now())
        self._lock = Lock.naming(me, Cause.ACQUIRED)
        self.reader = FakeReader(records, P, self.clock.advance, sizes=sizes)
        self._own(self.store.transact(transactions.acquire(KEYS, P, self._lock)).revision)

    def _own(self, token: int) -> None:
        """What an owner begins with is what etcd has."""
        loaded = confirmed(KEYS, P, token, self.store.transact(transactions.confirm(KEYS, P, token)))
        assert loaded is not None
        if not loaded.complete:
            loaded = StatePages(
                self.store, KEYS, P, lambda _token: loaded, lambda: False, self.clock
            ).read_rest(loaded, lambda: False)  # fmt: skip
        self.token, offset = loaded.token, loaded.offset.offset if loaded.offset else 0
        self.reader.assign(offset)
        self.commits = Commits(
            self.store, KEYS, P, self.token, "topic-id", offset, loaded.offset_revision, self.clock,
            unfolded=loaded.changes,
        )  # fmt: skip
        self.commits.limits = self._limits or self.commits.limits
        self.mapping = State(loaded.state)
        handler = Handler(self._handle)
        handler.open(Context(P, self.token, "here", lambda: None, lambda: False))
        self.loop = RecordLoop(
            self.reader, handler, self.mapping, self.commits, self.interrupt, offset, self._interval, self._retries,
            ErrorPolicy("stop", None, {}), PoisonGuard(0, 0, None, 3), KEYS.attempt(P), "here", self.clock,
        )  # fmt: skip

    def cut(self) -> None:
        """Everything that was handled is sent, if nothing is in flight; not only when it is due."""
        self.loop.finish()
        self.commits.send()

    def move(self, killed: bool) -> None:
        """To another owner: in good order, or with all that is not committed lost."""
        if not killed:
            self.loop.finish()
            self.drain()
        token = self.store.transact(transactions.take_over(KEYS, P, self.token, self._lock)).revision
        self._own(token)

    def turn(self, after: float = 0.013) -> None:
        """Once round, and a look at who raised the flag, as the owner does."""
        self.clock.advance(after)
        self.loop.turn()
        self.interrupt.clear()

    def run(self, turns: int = 10_000) -> None:
        """Until everything is read and committed."""
        for _ in range(turns):
            self.turn()
            if self.commits.committed == self.reader.end and self.commits.idle:
                return
        raise AssertionError(f"not done after {turns} turns: {self.commits.committed} of {self.reader.end}")

    def run_to(self, offset: int) -> None:
        """Until so much is committed, or more."""
        while self.commits.committed < offset:
            self.turn()

    def drain(self) -> None:
        assert self.commits.drain(self.clock() + 1000.0)

    def stored(self) -> tuple[int, dict[str, Any]]:
        """The offset and the state that etcd has."""
        found = self.store.get(KEYS.offset(P))
        state = {key: json.loads(value) for key, value in stored_state(self.store, KEYS, P).items()}
        return (StoredOffset.decode(found.value).offset if found else 0), state


@contextmanager
def time_flies(clock: FakeClock) -> Iterator[None]:
    with mock.patch.object(
        commits_module, "time", mock.Mock(sleep=lambda seconds: clock.advance(max(seconds, 0.001)))
    ):
        yield


def fold(handle: Callable[[FakeRecord, Any], object], records: Sequence[FakeRecord], end: int) -> dict[str, Any]:
    """What a handler makes of the records before `end`, with a plain dict for a state."""
    state: dict[str, Any] = {}
    for record in records:
        if record.offset() < end:
            handle(record, state)
    return cast("dict[str, Any]", json.loads(json.dumps(state)))


def count_in_lists(record: FakeRecord, state: Any) -> None:
    """A handler that shows every loss, repetition and change of order."""
    state.setdefault("all", []).append(record.offset())
    state["last"] = (record.value() or b"").decode()
    counts = state.setdefault("counts", {})
    name = f"n{record.offset() % 3}"
    counts[name] = counts.get(name, 0) + 1
    if record.offset() % 5 == 4:
        del state["last"]
    for number in range(len(record.value() or b"") * 30):
        state[f"wide{number}"] = record.offset()


@dataclass
class Script:
    """What goes wrong at each offset, how often, and where somebody raises the flag."""

    raising: dict[int, int] = field(default_factory=dict)
    invalid: dict[int, int] = field(default_factory=dict)
    flags: set[int] = field(default_factory=set)
    calls: list[int] = field(default_factory=list)
    interrupt: InterruptFlag | None = None

    def handle(self, record: FakeRecord, state: Any) -> None:
        offset = record.offset()
        self.calls.append(offset)
        if offset in self.flags and self.interrupt is not None:
            self.flags.discard(offset)
            self.interrupt.set()
        if self.raising.get(offset, 0) > 0:
            self.raising[offset] -= 1
            state["all"] = ["half", "done"]
            state.pop("counts", None)
            raise ValueError(f"at {offset}")
        count_in_lists(record, state)
        if self.invalid.get(offset, 0) > 0:
            self.invalid[offset] -= 1
            state["all"].append(object())

    def as_batch(self) -> type:
        script = self

        class Batch:
            def handle_batch(self, records: list[FakeRecord], state: Any) -> None:
                for record in records:
                    script.handle(record, state)

        return Batch
