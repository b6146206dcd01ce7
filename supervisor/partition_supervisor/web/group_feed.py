"""Threads that follow a group in etcd and Kafka, and tell the page's server what they see.

One watches; one reads, each second, what is not watched because every commit changes it. Both go on for ever: when
etcd is silent they ask ever more rarely, and say so once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from partition_supervisor.admin.group_documents import read_each
from partition_supervisor.kafka.end_offsets import EndOffsets
from partition_supervisor.listing import Snapshot, read_all
from partition_supervisor.web import changes
from partition_workers.errors import Compacted, PartitionSupervisorError, Unreachable
from partition_workers.etcd.store import Change, Get, KeyValue, Store, Txn, WatchStream
from partition_workers.layout.documents import Standby, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Seconds between two readings of offsets, and the time that Kafka gets to say where partitions end.
EVERY, KAFKA_PATIENCE = 1.0, 3.0
#: Revisions before the listing from which changes are asked for, for browsers that come from another server. Each
#: commit is one: 64 partitions make some 600 a second.
REVISIONS_BEFORE = 50_000
#: Readings without the ends of partitions after Kafka did not say them.
KAFKA_REST = 10


class GroupFeed:
    """`loaded(snapshot, history, watched_from)`, `changed(change)` and `measured(offsets, standbys, ends)` are called
    from its threads; `answers(which, error)` when etcd or Kafka stops or begins to answer. etcd answers when both
    threads are answered: the watch may go on while nothing can be read, and the other way round."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        ends: EndOffsets,
        loaded: Callable[[Snapshot, tuple[KeyValue, ...], int], None],
        changed: Callable[[Change], None],
        measured: Callable[
            [Mapping[Partition, StoredOffset], Mapping[Partition, list[Standby]], Mapping[Partition, int]], None
        ],
        answers: Callable[[str, str | None], None],
    ) -> None:
        self._store, self._keys, self._ends = store, keys, ends
        self._loaded, self._changed, self._measured, self._answers = loaded, changed, measured, answers
        self._stopped = threading.Event()
        self._stream: WatchStream | None = None
        self._kafka_rests = 0
        self._found: Mapping[Partition, int] = {}
        self._silent: dict[str, set[str]] = {"etcd": set(), "kafka": set()}
        self._saying = threading.Lock()

    def start(self, watched_from: int) -> None:
        """The first listing was told already: a second one would be news to browsers that come at once."""
        threading.Thread(target=self._follow, args=(watched_from,), name="group-watch", daemon=True).start()
        threading.Thread(target=self._measure, name="group-offsets", daemon=True).start()

    def close(self) -> None:
        self._stopped.set()
        if self._stream is not None:
            self._stream.cancel()

    def list(self) -> tuple[Snapshot, tuple[KeyValue, ...]]:
        """Everything at one revision, and the history. Raises Retry."""
        result = self._store.transact(read_all(self._keys))
        snapshot = Snapshot(result.revision, tuple(item for found in result.answers for item in found))
        return snapshot, self._store.list(self._keys.every_history).items

    def begin_before(self, revision: int) -> int:
        """From which revision on changes are asked for when the listing is of `revision`: some that were before it,
        but none that etcd has compacted. It does not tell how far it has: so this is searched for, by halves.
        Raises Retry."""
        unknown, known = max(1, revision - REVISIONS_BEFORE), revision
        first = unknown
        while unknown < known:
            try:
                self._store.page(self._keys.hosts, limit=1, revision=first)
                known = first
            except Compacted:
                unknown = first + 1
            first = (unknown + known) // 2
        return known

    def _follow(self, watched_from: int) -> None:
        pauses = delays(0.1, 5.0)
        is_listed = True
        while not self._stopped.is_set():
            try:
                if not is_listed:
                    snapshot, history = self.list()
                    watched_from = self.begin_before(snapshot.revision)
                    self._loaded(snapshot, history, watched_from)
                is_listed = False
                self._stream = self._store.watch((changes.watched(self._keys),), watched_from)
                self._say("etcd", "watch", None)
                for change in self._stream:
                    pauses = delays(0.1, 5.0)
                    self._changed(change)
            except Compacted:
                continue
            except PartitionSupervisorError as error:
                self._say("etcd", "watch", str(error))
            self._stopped.wait(next(pauses))

    def _measure(self) -> None:
        while not self._stopped.wait(EVERY):
            try:
                read = Txn((), (Get(self._keys.offsets, prefix=True), Get(self._keys.standbys, prefix=True)))
                offsets_found, standbys_found = self._store.transact(read).answers[:2]
            except PartitionSupervisorError as error:
                self._say("etcd", "readings", str(error))
                continue
            self._say("etcd", "readings", None)
            offsets = dict(read_each(self._keys, offsets_found, StoredOffset, []))
            standbys: dict[Partition, list[Standby]] = {}
            for partition, standby in read_each(self._keys, standbys_found, Standby, []):
                standbys.setdefault(partition, []).append(standby)
            self._measured(offsets, standbys, self._where_they_end({*offsets, *standbys}))

    def _where_they_end(self, partitions: set[Partition]) -> Mapping[Partition, int]:
        if self._kafka_rests > 0:
            self._kafka_rests -= 1
        elif partitions:
            try:
                self._found = self._ends.of({each.topic for each in partitions}, KAFKA_PATIENCE).offsets
                self._say("kafka", "ends", None)
            except Unreachable as error:
                self._found, self._kafka_rests = {}, KAFKA_REST
                self._say("kafka", "ends", str(error))
        return self._found

    def _say(self, which: str, what: str, error: str | None) -> None:
        """`what` is asked of `which`, and the error that came of it."""
        with self._saying:
            silent = self._silent[which]
            before = bool(silent)
            (silent.discard if error is None else silent.add)(what)
            if bool(silent) == before:
                return
            if error is None:
                log.info("%s answers again", which)
            else:
                log.warning("%s", error)
            self._answers(which, error)
