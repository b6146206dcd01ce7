"""What is new in the history of a group: one event for each thing that happened, as it happens."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from partition_supervisor.admin.group_documents import read_each
from partition_supervisor.admin.history_text import (
    FIRST_RECORD,
    Episode,
    at_phase,
    beginning,
    cells,
    ending,
    moment,
    told_gap,
)
from partition_workers.errors import PartitionSupervisorError, Unreachable
from partition_workers.etcd.store import KeyValue, Listing
from partition_workers.layout.documents import History
from partition_workers.layout.keys import Keys
from partition_workers.model import Partition

if TYPE_CHECKING:
    from partition_supervisor.cluster.retry import RetryingStore

#: Seconds until etcd is asked again after a watch broke.
PAUSE = 0.5


class What(StrEnum):
    BEGAN = "began"
    FIRST_RECORD = "first-record"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class News:
    """`episode`: the ownership that it is about, as it is known by now."""

    what: What
    episode: Episode

    def as_json(self) -> dict[str, Any]:
        return {"event": self.what.value, **self.episode.as_json()}

    def cells(self) -> tuple[object, ...]:
        """The event, and what `history -o tsv` has."""
        return self.what.value, *cells(self.episode)

    def in_words(self, today: date) -> str:
        """One line."""
        episode, record = self.episode, self.episode.record
        match self.what:
            case What.BEGAN:
                when, words = record.since, beginning(episode)
            case What.FIRST_RECORD:
                when, words = (
                    at_phase(record, FIRST_RECORD) or record.since,
                    f"{record.host} (pid {record.pid}) goes on: {told_gap(record.gap)}",
                )
            case What.ENDED:
                when = record.until or record.since
                words = f"{record.host} (pid {record.pid}), token {record.token}, {ending(episode, today)}"
        return f"{moment(when, today)}  {episode.partition}  {words}"


class HistoryNews:
    """Compares what is there with what was."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[Partition, dict[int, History]] = {}

    def news(self, items: Iterable[KeyValue]) -> Iterator[News]:
        """Of these values, in their order. What is none of ours is passed over."""
        for partition, record in read_each(self._keys, items, History, []):
            known = self._known.setdefault(partition, {})
            before = known.get(record.token)
            known[record.token] = record
            if before == record:
                continue
            episode = self._episode(partition, record)
            if before is None:
                yield News(What.BEGAN, episode)
            if FIRST_RECORD in record.gap and not (before and before.gap):
                yield News(What.FIRST_RECORD, episode)
            if record.until is not None and not (before and before.until):
                yield News(What.ENDED, episode)

    def forget(self, key: str) -> None:
        """The oldest are deleted; and so may be what was none of ours."""
        with contextlib.suppress(ValueError):
            partition, token = self._keys.partition_of(key), int(key.rpartition("/")[2])
            self._known.get(partition, {}).pop(token, None)

    def _episode(self, partition: Partition, record: History) -> Episode:
        known = self._known[partition]
        before = max((token for token in known if token < record.token), default=None)
        after = min((token for token in known if token > record.token), default=None)
        return Episode(
            partition, record,
            known[before] if before is not None else None,
            known[after] if after is not None else None,
            after is None,
        )  # fmt: skip


def follow(
    store: RetryingStore,
    keys: Keys,
    partitions: tuple[Partition, ...],
    last: int,
    tell: Callable[[News], None],
    complain: Callable[[str], None],
) -> None:
    """For ever. First the newest `last` events of what is there. Raises Unreachable only at the start; later it is
    said, and tried again. What happened while etcd was away is told when it is back."""
    prefixes = tuple(keys.histories(each) for each in sorted(set(partitions))) or (keys.every_history,)
    news = HistoryNews(keys)

    def listed() -> list[Listing]:
        return [store.list(prefix) for prefix in prefixes]

    found = listed()
    at_first = [each for listing in found for each in news.news(listing.items)]
    at_first.sort(key=lambda each: each.episode.record.token)
    for each in at_first[len(at_first) - last :] if last else ():
        tell(each)
    while True:
        revision = min(listing.revision for listing in found)
        try:
            for change in store.watch(prefixes, revision + 1):
                if change.deleted:
                    news.forget(change.item.key)
                else:
                    for each in news.news((change.item,)):
                        tell(each)
        except PartitionSupervisorError as error:
            complain(f"etcd: {error}")
        found = _listed_again(listed, complain)
        for each in (each for listing in found for each in news.news(listing.items)):
            tell(each)


def _listed_again(listed: Callable[[], list[Listing]], complain: Callable[[str], None]) -> list[Listing]:
    while True:
        time.sleep(PAUSE)
        try:
            return listed()
        except Unreachable as error:
            complain(str(error))
