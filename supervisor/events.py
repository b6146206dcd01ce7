"""What can happen to a supervisor, as past-tense facts; and the one place where it waits for all of them."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from supervisor.cluster import Snapshot
from workers.kv import Change
from workers.model import Partition
from workers.protocol import Report


@dataclass(frozen=True, slots=True)
class ChildReported:
    worker: str
    report: Report


@dataclass(frozen=True, slots=True)
class ChildExited:
    worker: str


@dataclass(frozen=True, slots=True)
class SignalArrived:
    number: int


@dataclass(frozen=True, slots=True)
class ClusterListed:
    """All of what etcd knows of the group, as of one revision."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class ClusterChanged:
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class PartitionsChanged:
    """The partitions of our topics, each with its topic's id."""

    topic_ids: dict[Partition, str]


@dataclass(frozen=True, slots=True)
class ErrandDone:
    """What was to be done over the network is done, or has failed; `then` goes on in the loop."""

    then: Callable[[], None]


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """etcd says that a lease we renew has ended: a standby's, or our host's."""

    lease: int


@dataclass(frozen=True, slots=True)
class HostDied:
    """Nobody is left there, neither supervisor nor worker; `link` tells which of several lives it was."""

    host: str
    link: str


@dataclass(frozen=True, slots=True)
class HostLives:
    """It had been taken for dead, and was reached again."""

    host: str
    link: str


Event = (
    ChildReported
    | ChildExited
    | SignalArrived
    | ClusterListed
    | ClusterChanged
    | PartitionsChanged
    | ErrandDone
    | LeaseGone
    | HostDied
    | HostLives
)


class Inbox:
    """Everything that happens comes here: from threads and signal handlers by `post`, from pipes by `watch`."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._slept)

    def post(self, event: Event) -> None:
        """Safe in any thread and in a signal handler."""
        self._events.append(event)
        with contextlib.suppress(BlockingIOError):  # full: it wakes us all the same
            os.write(self._wake_write, b"!")

    def watch(self, fd: int, read: Callable[[], Iterable[Event]]) -> None:
        """Call `read` whenever `fd` has something."""
        self._selector.register(fd, selectors.EVENT_READ, read)

    def unwatch(self, fd: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def wait(self, until: float) -> list[Event]:
        """What happened, in order; an empty list when nothing did until `until` (time.monotonic)."""
        if not self._events:
            for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
                self._events.extend(key.data())
        happened: list[Event] = []
        while self._events:
            event = self._events.popleft()
            if isinstance(event, ClusterChanged):
                event = self._with_those_that_follow(event)
            happened.append(event)
        return happened

    def _with_those_that_follow(self, first: ClusterChanged) -> ClusterChanged:
        """Changes in a row are one event: each makes a plan, and when a host dies or joins there are hundreds."""
        changes = list(first.changes)
        while self._events and isinstance(following := self._events[0], ClusterChanged):
            changes.extend(following.changes)
            self._events.popleft()
        return ClusterChanged(tuple(changes))

    def close(self) -> None:
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _slept(self) -> Iterable[Event]:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass
        return ()
