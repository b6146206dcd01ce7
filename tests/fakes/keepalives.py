"""Keepalive streams that a test answers by hand, and a keeper of leases on them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from partition_workers.errors import Unavailable
from partition_workers.etcd.store import KeepaliveStream, Lists, Renewal, Store
from partition_workers.ownership.lease_keeper import LeaseKeeper
from tests.eventually import eventually
from tests.fakes.clock import FakeClock

TTL = 10
EVERY = 2.0


class Stream:
    """A keepalive stream whose answers a test gives; it takes its requests in a thread, as gRPC does."""

    def __init__(self, lists: Lists) -> None:
        self.asked: list[int] = []
        self.lists: list[Sequence[int]] = []
        self.ended = False
        self._changed = threading.Condition()
        self._answers: deque[Renewal] = deque()
        threading.Thread(target=self._take, args=(lists,), daemon=True).start()

    def answer(self, lease: int, ttl: int = TTL) -> None:
        with self._changed:
            self._answers.append(Renewal(lease, ttl))
            self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Renewal]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answers or self.ended)
                if self.ended:
                    return
                renewal = self._answers.popleft()
            yield renewal

    def _take(self, lists: Lists) -> None:
        for leases in lists:
            self.lists.append(leases)
            self.asked += leases
        self.cancel()


class ByHand:
    """A store whose keepalives are answered by hand. `refuse`: so many streams cannot be opened."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.refuse = 0

    def keepalive(self, lists: Lists) -> KeepaliveStream:
        if self.refuse:
            self.refuse -= 1
            raise Unavailable("told to refuse")
        self.streams.append(Stream(lists))
        return self.streams[-1]

    def stream(self, number: int = 0) -> Stream:
        return eventually(f"stream {number} is opened", lambda: self.streams[number : number + 1])[0]

    def requests(self, count: int, number: int = 0) -> Stream:
        """The stream, once it has been asked so often."""
        stream = self.stream(number)
        eventually(f"{count} requests", lambda: len(stream.asked) >= count)
        return stream


class Keeper:
    """A keeper, what it has said, and a clock that wakes it."""

    def __init__(self, store: object) -> None:
        self.clock = FakeClock()
        self.renewed: list[tuple[int, float]] = []
        self.gone: list[int] = []
        self.late: list[int] = []
        self.it = LeaseKeeper(
            cast(Store, store), EVERY, lambda lease, deadline: self.renewed.append((lease, deadline)),
            self.gone.append, self.late.append, self.clock,
        )  # fmt: skip

    def pass_time(self, seconds: float) -> None:
        """Its waits are by the real clock, so it is woken to look at ours; but not before all that is due is done."""
        eventually("two of its threads wait for time to pass", lambda: len(self._waiters()) == 2)
        self.clock.advance(seconds)
        with self.it._changed:
            self.it._changed.notify_all()

    def _waiters(self) -> Sequence[object]:
        """Who looks for late leases, and who paces the rounds, or waits for something to renew."""
        return self.it._changed._waiters  # type: ignore[attr-defined,no-any-return]

    def until(self, what: str, check: Callable[[], object]) -> None:
        """Let time pass in small steps until it is so."""

        def step() -> object:
            self.pass_time(0.2)
            return check()

        eventually(what, step)

    def ended(self) -> bool:
        return not any(each.name in ("lease-keeper", "lease-late") for each in threading.enumerate())
