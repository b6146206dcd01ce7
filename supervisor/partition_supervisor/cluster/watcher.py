"""How a host sees etcd: threads that watch and list, and tell the loop what they see."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable

from partition_supervisor.listing import Snapshot, prefixes, read_all
from partition_workers.errors import Compacted, Retry
from partition_workers.etcd.store import Change, Store, WatchStream
from partition_workers.layout.keys import Keys
from partition_workers.retry import delays, until_answered

log = logging.getLogger(__name__)

#: Seconds between two attempts to read while etcd does not answer, at the most, give or take a half.
LONGEST_PAUSE = 0.5


class EtcdWatcher:
    """`listed` and `changed` are called from threads; the listings come every `every` seconds, with jitter."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        every: float,
        listed: Callable[[Snapshot], None],
        changed: Callable[[tuple[Change, ...]], None],
    ) -> None:
        self._store, self._keys, self._every = store, keys, every
        self._listed, self._changed = listed, changed
        self._stopped = threading.Event()
        self._stream: WatchStream | None = None

    def look(self) -> Snapshot:
        """One linearizable reading of everything. Raises Retry when etcd does not answer."""
        result = self._store.transact(read_all(self._keys))
        return Snapshot(result.revision, tuple(item for found in result.answers for item in found))

    def open(self, first: Snapshot) -> None:
        """Watch from `first` on."""
        threading.Thread(target=self._watch, args=(first,), name="watch", daemon=True).start()
        threading.Thread(target=self._list, name="list", daemon=True).start()

    def close(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.cancel()

    def _watch(self, snapshot: Snapshot) -> None:
        while not self._stopped.is_set():
            try:
                self._stream = self._store.watch(prefixes(self._keys), snapshot.revision + 1)
                for change in self._stream:
                    self._changed((change,))
            except Compacted:
                log.info("etcd compacted what we were watching; reading everything anew")
            except Retry as error:
                log.warning("etcd: the watch ended: %s", error)
            snapshot = self._look_anew()

    def _look_anew(self) -> Snapshot:
        """After a moment, for all hosts at once were told that their watch ended; and as soon as etcd answers."""
        pauses = delays(0.1, LONGEST_PAUSE, jitter=0.5)
        with contextlib.suppress(Retry):
            if not self._stopped.wait(next(pauses)):
                snapshot = until_answered(self.look, pauses, self._stopped.is_set, self._stopped.wait)
                self._listed(snapshot)
                return snapshot
        return Snapshot(0, ())  # we are closed

    def _list(self) -> None:
        while not self._stopped.wait(self._every * random.uniform(0.8, 1.2)):
            try:
                self._listed(self.look())
            except Retry as error:
                log.warning("etcd: %s", error)
