"""How a host sees etcd: threads that watch and list, and tell the loop what they see.

Neither ever ends for what etcd, or something before it, answered: they go on asking. The one answer that ends the
host is that etcd is another one.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from partition_supervisor.listing import Snapshot, prefixes, read_all
from partition_workers.errors import ClusterReplaced, Compacted, PartitionSupervisorError
from partition_workers.etcd.store import Change, Store, WatchStream
from partition_workers.layout.keys import Keys
from partition_workers.outage import Outage
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Seconds between two attempts to read while etcd does not answer: at first and at the most, give or take a half, for
#: all hosts at once were told that their watch ended.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0


class EtcdWatcher:
    """`listed`, `changed` and `replaced` are called from threads; listings come every `every` seconds, with jitter.

    `replaced(why)`: etcd is another cluster than at our start; both threads end.
    """

    def __init__(
        self,
        store: Store,
        keys: Keys,
        every: float,
        listed: Callable[[Snapshot], None],
        changed: Callable[[tuple[Change, ...]], None],
        replaced: Callable[[str], None],
    ) -> None:
        self._store, self._keys, self._every = store, keys, every
        self._listed, self._changed, self._replaced = listed, changed, replaced
        self._stopped = threading.Event()
        self._stream: WatchStream | None = None
        self._newest = 0
        self._seeing = threading.Lock()

    def look(self) -> Snapshot:
        """One linearizable reading of everything. Raises Retry when etcd does not answer.

        Its revision is never smaller than any that was seen before it was asked for; unless etcd lost what it had, as
        when it was restored from a backup.
        """
        newest = self._newest
        result = self._store.transact(read_all(self._keys))
        went_back = result.revision < newest
        with self._seeing:
            self._newest = result.revision if went_back else max(self._newest, result.revision)
        items = tuple(item for found in result.answers for item in found)
        return Snapshot(result.revision, items, newest if went_back else 0)

    def open(self, first: Snapshot) -> None:
        """Watch from `first` on."""
        threading.Thread(target=self._until_replaced, args=(self._watch, first), name="watch", daemon=True).start()
        threading.Thread(target=self._until_replaced, args=(self._list,), name="list", daemon=True).start()

    def close(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.cancel()

    def _until_replaced(self, work: Callable[..., None], *arguments: Snapshot) -> None:
        try:
            work(*arguments)
        except ClusterReplaced as error:
            if not self._stopped.is_set():
                self._stopped.set()
                self._replaced(str(error))

    def _watch(self, snapshot: Snapshot) -> None:
        outage = Outage(log, "the watch of etcd", name="etcd-watch-failed")
        while not self._stopped.is_set():
            try:
                self._stream = self._store.watch(prefixes(self._keys), snapshot.revision + 1)
                for change in self._stream:
                    with self._seeing:
                        self._newest = max(self._newest, change.item.mod_revision)
                    self._changed((change,))
                    outage.over()
            except ClusterReplaced:
                raise
            except Compacted:
                log.info("etcd compacted what we were watching; reading everything anew")
            except PartitionSupervisorError as error:
                outage.failed(error)
            if (found := self._look_anew(outage)) is None:
                return
            snapshot = found

    def _look_anew(self, outage: Outage) -> Snapshot | None:
        """As soon as etcd answers; None: we are closed."""
        for pause in delays(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.5):
            if self._stopped.wait(pause):
                return None
            try:
                snapshot = self.look()
            except ClusterReplaced:
                raise
            except PartitionSupervisorError as error:
                outage.failed(error)
            else:
                self._listed(snapshot)
                return snapshot
        return None

    def _list(self) -> None:
        outage = Outage(log, "the listing of etcd", name="etcd-listing-failed")
        while not self._stopped.wait(self._every * random.uniform(0.8, 1.2)):
            try:
                snapshot = self.look()
            except ClusterReplaced:
                raise
            except PartitionSupervisorError as error:
                outage.failed(error)
                continue
            outage.over()
            if snapshot.went_back_from and self._stream is not None:
                self._stream.cancel()  # it waits for revisions that are long in coming
            self._listed(snapshot)
