"""The streams of the etcd in memory: watches, and keepalives of leases."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from partition_workers.errors import Compacted, PartitionSupervisorError, Unavailable
from partition_workers.etcd.store import Change, KeyRange, Lists, Renewal

if TYPE_CHECKING:
    from tests.fakes.etcd import FakeEtcd


class FakeStream:
    def __init__(self, etcd: FakeEtcd) -> None:
        self._etcd = etcd
        self._changed = etcd._changed
        self._cancelled = False
        self.error: PartitionSupervisorError | None = None

    def cancel(self) -> None:
        with self._changed:
            self._cancelled = True
            if self in self._etcd._streams:
                self._etcd._streams.remove(self)
            self._changed.notify_all()


class FakeWatch(FakeStream):
    """Waits for changes. Like the real one it says what went wrong when iterated, not when made."""

    def __init__(self, etcd: FakeEtcd, places: tuple[str | KeyRange, ...], start_revision: int) -> None:
        super().__init__(etcd)
        self._places = places
        self._next = start_revision
        self._items = self._iterate()

    def __iter__(self) -> Iterator[Change]:
        return self._items

    def _iterate(self) -> Iterator[Change]:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_news)
                if self._cancelled:
                    return
                if self._next < self._etcd._compacted:
                    raise Compacted(self._etcd._compacted)
                fresh = self._fresh()
                self._next = max(self._next, self._etcd.revision + 1)
                if not fresh and self.error is not None:
                    raise self.error
            for change in fresh:
                if self._cancelled:
                    return
                yield change

    def _has_news(self) -> bool:
        behind = self._next < self._etcd._compacted
        return bool(self._cancelled or self.error or behind or self._fresh())

    def _fresh(self) -> list[Change]:
        return [
            change
            for change in self._etcd._history
            if change.item.mod_revision >= self._next and self._is_watched(change.item.key)
        ]

    def _is_watched(self, key: str) -> bool:
        return any(
            place.first.encode() <= key.encode() < place.end.encode()
            if isinstance(place, KeyRange)
            else key.startswith(place)
            for place in self._places
        )


class FakeKeepalive(FakeStream):
    """Takes its requests in a thread of its own, as gRPC does, one at a time."""

    def __init__(self, etcd: FakeEtcd, lists: Lists) -> None:
        super().__init__(etcd)
        self._lists = lists
        self._renewals: deque[Renewal] = deque()
        self._finished = False
        self._items = self._iterate()
        threading.Thread(target=self._consume, name="fake-keepalive", daemon=True).start()

    def __iter__(self) -> Iterator[Renewal]:
        return self._items

    def _consume(self) -> None:
        try:
            for lease in chain.from_iterable(self._lists):
                with self._changed:
                    if self._cancelled or self.error:
                        return
                    self._renewals.append(self._etcd.renew(lease))
                    self._changed.notify_all()
        except Unavailable as error:
            self.error = error
        finally:
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _iterate(self) -> Iterator[Renewal]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._cancelled or self.error or self._renewals or self._finished)
                if self._cancelled:
                    return
                if self._renewals:
                    renewal = self._renewals.popleft()
                elif self.error is not None:
                    raise self.error
                else:
                    return
            yield renewal
