"""Reading a large state in pages, for as long as it takes.

All pages are asked for as of one revision, so they show one state even if the lock is lost meanwhile. When etcd has
compacted that revision away, reading goes on where it was, without one: nobody but the holder of the lock under our
token writes the state, so all members that know of our token show the same, provided that the lock is still ours when
the last page is there. That is asked then.

No call has to be faster than some fixed time: a page that does not arrive is asked for again, at another member,
smaller, and with more time. What was read is kept. What ends it is a lease that is over, nothing else.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from partition_workers.clock import Clock
from partition_workers.errors import Compacted, Lost, Retry, Unavailable
from partition_workers.etcd.store import Store
from partition_workers.layout.changes import apply, numbered
from partition_workers.layout.keys import Keys
from partition_workers.log_events import event
from partition_workers.model import Partition
from partition_workers.ownership.loaded import Loaded
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: A page has about so many bytes, and takes about so many seconds: who renews a lease waits behind it on a slow way.
PAGE_BYTES, PAGE_SECONDS = 1 << 20, 0.5
#: The deadline of a page is never less than this many seconds, and so many times what the one before took.
SHORTEST, AMPLE = 1.0, 4
#: Keys in the first page; so many times more in the next, at most, as values may be of any size; and the very most.
FIRST_KEYS, GROWTH, MOST_KEYS = 64, 4, 32_768
#: Changes that are not folded yet have some 100 kB each.
FIRST_ENTRIES = 4
#: For a page: whatever revision the member that is asked has come to.
NEWEST = 0
#: Seconds between two lines in the log that say how far it is.
TELL_EVERY = 10.0


@dataclass
class PageSize:
    """How many keys to ask for, and how many seconds to wait for them. etcd limits a page by keys alone."""

    keys: int = FIRST_KEYS
    deadline: float = SHORTEST

    def has_arrived(self, keys: int, size: int, seconds: float) -> None:
        """A page of so many keys and bytes took so long."""
        by_size = keys * PAGE_BYTES / max(size, 1)
        by_time = keys * PAGE_SECONDS / max(seconds, 1e-6)
        self.keys = max(1, int(min(by_size, by_time, GROWTH * self.keys, MOST_KEYS)))
        self.deadline = max(SHORTEST, AMPLE * seconds)

    def has_failed(self) -> None:
        self.keys = max(1, self.keys // 2)
        self.deadline *= 2


@dataclass
class _Reading:
    """How far it is. `revision`: what all pages show, until etcd has compacted it away; whoever answers knows `least`
    at least. It ends early once `stop()`."""

    revision: int
    least: int
    stop: Callable[[], bool]
    begun: float
    told: float
    bytes: int = 0


class StatePages:
    """`hopeless()`: the lease is over. `confirm_again(token)`: the lock once more, by all members; None: not ours."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        partition: Partition,
        confirm_again: Callable[[int], Loaded | None],
        hopeless: Callable[[], bool],
        clock: Clock = time.monotonic,
    ) -> None:
        self._store, self._partition = store, partition
        self._prefix, self._changes = keys.state(partition), keys.changes(partition)
        self._confirm_again, self._hopeless, self._clock = confirm_again, hopeless, clock

    def read_rest(self, loaded: Loaded, stop: Callable[[], bool]) -> Loaded:
        """The whole of it; or less, not complete, once `stop()`. Raises Lost when the lease is over, Unreadable when
        somebody else wrote among the changes."""
        begun = self._clock()
        reading = _Reading(loaded.revision, loaded.revision, stop, begun, told=begun)
        reading.bytes = sum(map(len, loaded.state.values()))
        state, entries = dict(loaded.state), dict[str, bytes]()
        after = self._prefix + next(reversed(state)) if state else ""
        is_whole = self._read(self._prefix, after, PageSize(), state, reading)
        if not (is_whole and self._read(self._changes, "", PageSize(FIRST_ENTRIES), entries, reading)):
            return dataclasses.replace(loaded, state=state)
        found = numbered(self._changes, entries)
        apply(state, found.values())
        log.info("%s: %.1f MB of state in %d keys read in %.2f s", self._partition, reading.bytes / 1e6, len(state),
                 self._clock() - reading.begun)  # fmt: skip
        if reading.revision == NEWEST and self._confirm_again(loaded.token) is None:
            raise Lost(f"{self._partition} has another owner by now")
        return dataclasses.replace(loaded, state=state, changes=found, complete=True)

    def _read(self, prefix: str, after: str, size: PageSize, into: dict[str, bytes], reading: _Reading) -> bool:
        """All under `prefix` after the key `after`; False: stopped."""
        pauses = delays(0.02, 0.5)
        while not reading.stop():
            if self._hopeless():
                raise Lost(f"{self._partition}: the lease ran out while the state was read")
            now = self._clock()
            if now - reading.told >= TELL_EVERY:
                reading.told = now
                log.warning("%s: %.1f MB of the state read in %.0f s, and more to come",
                            self._partition, reading.bytes / 1e6, now - reading.begun,
                            extra=event("state-read-slowly"))  # fmt: skip
            try:
                page = self._store.page(prefix, after, size.keys, reading.revision, size.deadline)
                if page.revision < reading.least:
                    raise Unavailable("the member that answered has not heard of us yet")
            except Compacted:
                reading.revision = NEWEST
                continue
            except Retry as error:
                log.debug("%s: a page of the state did not arrive: %s", self._partition, error)
                size.has_failed()
                time.sleep(next(pauses))
                continue
            pauses = delays(0.02, 0.5)
            found = {key[len(prefix) :]: value for key, value in page.items}
            into |= found
            page_bytes = sum(map(len, found.values())) + sum(map(len, found))
            reading.bytes += page_bytes
            if not page.more:
                return True
            size.has_arrived(len(page.items), page_bytes, self._clock() - now)
            after = page.items[-1][0]
        return False
