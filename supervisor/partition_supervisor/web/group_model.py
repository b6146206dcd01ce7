"""The group as the page knows it: what a listing said, moved on by each change; and the changes to be told again.

Lives on one thread. Everything that leaves it is JSON text, made once for all browsers.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from partition_supervisor.admin.group_documents import Documents, decode, draw
from partition_supervisor.admin.group_view import PartitionView
from partition_supervisor.listing import Snapshot
from partition_supervisor.web import changes
from partition_workers.etcd.store import Change, KeyValue
from partition_workers.layout.documents import History, Standby, StoredOffset
from partition_workers.layout.keys import Keys
from partition_workers.model import JSON, Partition

#: Changes that are kept for browsers that come back, from this server or another: minutes of a storm.
KEPT_CHANGES = 5_000
#: Ownerships that the page begins with, newest of all partitions.
KEPT_HISTORY = 300
#: Its fields: `dataclasses.asdict` copies what is in them, and took half of the time that a snapshot takes.
HISTORY = tuple(each.name for each in dataclasses.fields(History))
#: More changes than any revision has.
WHOLE_REVISION = 1_000_000


@dataclass(frozen=True, slots=True, order=True)
class EventId:
    """Which change a browser saw last: the `number`-th of etcd's `revision`, from 1 on. As text `417.2`."""

    revision: int
    number: int = WHOLE_REVISION

    def __str__(self) -> str:
        return f"{self.revision}.{self.number}"

    @classmethod
    def parse(cls, written: str) -> EventId:
        """Raises ValueError for what is no id of ours. A revision alone means all of it."""
        if not re.fullmatch(r"\d{1,19}(\.\d{1,7})?", written, re.ASCII):
            raise ValueError(f"{written[:40]!r} is no event id: write a revision, or one with a number: 417.2")
        return cls(*map(int, written.split(".")))


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event. `data` is JSON text without newlines. Without an `id` it is not told again."""

    name: str
    data: str
    id: EventId | None = None


class GroupModel:
    def __init__(self, keys: Keys, group: str) -> None:
        self.keys, self._group = keys, group
        self.revision = 0
        self._documents: Documents = decode(keys, Snapshot(0, ()))
        self._ends: Mapping[Partition, int] = {}
        self._history: dict[tuple[Partition, int], History] = {}
        self._changes: deque[ServerEvent] = deque()
        self._known_from = 0
        self._seen = EventId(0, 0)
        self._listed = EventId(0)
        self._told: dict[Partition, dict[str, JSON]] = {}
        self._silent: dict[str, str | None] = {"etcd": None, "kafka": None}

    def load(self, snapshot: Snapshot, history: Iterable[KeyValue], watched_from: int) -> None:
        """Begin anew with a listing; the changes from revision `watched_from` on follow, older ones too.

        `history` may be older or newer than the listing: what is missing in it comes as changes.
        """
        self._documents = decode(self.keys, snapshot)
        self._history = {}
        for item in history:
            self._remember(item)
        self._changes.clear()
        self._told = {}
        self.revision = snapshot.revision
        self._known_from = watched_from
        self._seen, self._listed = EventId(0, 0), EventId(snapshot.revision)

    def change(self, change: Change) -> ServerEvent | None:
        """Take in one change of those that `changes.watched` shows; None: it says nothing to us."""
        revision = change.item.mod_revision
        self._seen = EventId(revision, self._seen.number + 1 if revision == self._seen.revision else 1)
        self.revision = max(self.revision, revision)
        self._documents.cluster.change(change)
        if change.item.key.startswith(self.keys.every_history) and not change.deleted:
            self._remember(change.item)
        told = changes.as_json(self.keys, change)
        if told is None:
            return None
        event = ServerEvent("change", text(told), self._seen)
        self._changes.append(event)
        if len(self._changes) > KEPT_CHANGES:
            self._known_from = revision_of(self._changes.popleft()) + 1
        return event

    def measure(
        self,
        offsets: Mapping[Partition, StoredOffset],
        standbys: Mapping[Partition, list[Standby]],
        ends: Mapping[Partition, int],
    ) -> ServerEvent | None:
        """Offsets, ends and standbys as of now. What differs from what was told last; None: nothing."""
        cluster = self._documents.cluster
        cluster.standbys = {p: {each.worker: each for each in found} for p, found in standbys.items()}
        self._documents, self._ends = Documents(cluster, offsets, self._documents.sizes), ends
        fresh = {view.partition: measured(view) for view in draw(self._documents, ends).partitions}
        differing = [told for partition, told in fresh.items() if self._told.get(partition) != told]
        vanished = sorted(self._told.keys() - fresh.keys())
        gone: list[dict[str, JSON]] = [{"topic": p.topic, "partition": p.number} for p in vanished]
        self._told = fresh
        if not differing and not gone:
            return None
        return ServerEvent("progress", text({"partitions": [*differing], "gone": [*gone]}))

    def progress(self) -> ServerEvent:
        """All that `measure` has told, for a browser that may have missed some of it."""
        return ServerEvent("progress", text({"partitions": [*self._told.values()], "gone": []}))

    def answers(self, which: str, error: str | None) -> ServerEvent:
        """`which` of etcd and Kafka does not answer, with the error; None: it does."""
        self._silent[which] = error
        return _silence(which, error)

    def silences(self) -> list[ServerEvent]:
        """Of each whether it answers, for a browser that knows it of another server."""
        return [_silence(which, error) for which, error in self._silent.items()]

    def since(self, seen: EventId) -> list[ServerEvent] | None:
        """What was told after `seen`; None: that is too long ago to be known, or of another etcd."""
        first = seen.revision + (seen.number >= WHOLE_REVISION)  # who has seen a part of one lacks the rest of it
        if not self._known_from <= first or seen.revision > self.revision:
            return None
        return [each for each in self._changes if each.id is not None and each.id > seen]

    def snapshot(self) -> ServerEvent:
        """Everything. What is told after it begins with the next change."""
        return ServerEvent("snapshot", text(self.as_json()), self.position)

    @property
    def position(self) -> EventId:
        """The newest change that is in the picture. Of the revision that it belongs to, more may be on their way; but
        a listing holds all of its own."""
        return max(self._seen, self._listed)

    def as_json(self) -> dict[str, JSON]:
        cluster = self._documents.cluster
        newest = sorted(self._history.items(), key=lambda each: each[0][1])[-KEPT_HISTORY:]
        return {
            **draw(self._documents, self._ends).as_json(),
            "group": self._group,
            "revision": self.revision,
            "event_id": str(self.position),
            "silent": {which: error for which, error in self._silent.items() if error is not None},
            "moves": {str(partition): host for partition, host in cluster.moves.items()},
            "history": [
                {"topic": p.topic, "partition": p.number, **{name: getattr(record, name) for name in HISTORY}}
                for (p, _), record in newest
            ],
        }

    def _remember(self, item: KeyValue) -> None:
        try:
            record = History.decode(item.value)
            self._history[self.keys.partition_of(item.key), record.token] = record
        except (ValueError, IndexError, TypeError):
            return  # not ours
        if len(self._history) > 4 * KEPT_HISTORY:
            newest = sorted(self._history, key=lambda each: each[1])[-KEPT_HISTORY:]
            self._history = {key: self._history[key] for key in newest}


def measured(view: PartitionView) -> dict[str, JSON]:
    return {
        "topic": view.partition.topic,
        "partition": view.partition.number,
        "offset": view.offset,
        "end_offset": view.end_offset,
        "lag": view.lag,
        "standbys": [each.as_json() for each in view.standbys],
        "prepared": view.prepared,
    }


def revision_of(event: ServerEvent) -> int:
    return event.id.revision if event.id else 0


def _silence(which: str, error: str | None) -> ServerEvent:
    return ServerEvent("silence", text({"of": which, "error": error}))


def text(value: Mapping[str, JSON | list[dict[str, JSON]]]) -> str:
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return written.encode(errors="backslashreplace").decode()  # a key of etcd need not be text: then it is escaped
