"""What becomes of locks that are given away, as every host can see it in etcd; and who did not take his.

A standby that takes the lock deletes its own key with its first commit. So a lock that goes on to somebody else, or
ends, while that key is there was not taken: its lease ended first, or whoever had named it passed it over. Then the
host is offered nothing for a while (`handover_backoff.py`), history tells of it, and the host that had offered it
says so in etcd, for people. All of that comes after the lock has gone on; nobody waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from sched import scheduler

from partition_supervisor.cluster import takeover
from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster_state import ClusterState, Held
from partition_supervisor.control.handover_backoff import HandoverBackoff
from partition_workers.etcd.store import Store
from partition_workers.layout.documents import Cause, Ending, History, Lock, now
from partition_workers.log_events import event
from partition_workers.model import Partition

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Given:
    """A lock, since when (seconds, our clock) it is seen, who had it before, and since when it is taken."""

    held: Held
    since: float
    before: str
    taken_at: float | None


class Handovers:
    """`tell(why)` is told which hosts did not take what this one had offered them, while their pauses last."""

    def __init__(
        self,
        host_id: str,
        cluster: ClusterState,
        store: Store,
        background: BackgroundCalls,
        timers: scheduler,
        tell: Callable[[dict[str, str]], None],
    ) -> None:
        self._host_id, self._cluster, self._store = host_id, cluster, store
        self._background, self._timers, self._tell = background, timers, tell
        self._backoff = HandoverBackoff()
        self._given: dict[Partition, _Given] = {}
        #: By host: until when its pause lasts, and the words.
        self._told: dict[str, tuple[float, str]] = {}

    def may_be_offered(self, partition: Partition, host: str) -> bool:
        return self._backoff.may_be_offered(partition, host, self._life_of(host), self._timers.timefunc())

    def look(self, partitions: Iterable[Partition]) -> None:
        """The locks of these may be different."""
        for partition in partitions:
            held, given = self._cluster.locks.get(partition), self._given.get(partition)
            if held is None and given is None:
                continue
            if held is not None and given is not None and held.token == given.held.token:
                if given.taken_at is None and not self._stands_by(partition, held.lock):
                    given.taken_at = self._timers.timefunc()
                continue
            if given is not None:
                self._has_ended(partition, given, held)
            if held is not None and held.is_owned:
                self._has_begun(partition, held, given.held.lock.host if given is not None else "")
            else:
                self._given.pop(partition, None)

    def _has_begun(self, partition: Partition, held: Held, before: str) -> None:
        moment = self._timers.timefunc()
        is_taken = held.lock.cause == Cause.ACQUIRED or not self._stands_by(partition, held.lock)
        self._given[partition] = _Given(held, moment, before, moment if is_taken else None)

    def _has_ended(self, partition: Partition, given: _Given, after: Held | None) -> None:
        host, moment = given.held.lock.host, self._timers.timefunc()
        if given.taken_at is not None:
            self._backoff.owned(partition, host, given.taken_at, moment)
            return
        for other, each in self._given.items():
            if each.held.lock.host == host and each.taken_at is not None:
                self._backoff.owned(other, host, each.taken_at, moment)
        died = after is not None and after.lock.exit_seen not in (None, given.held.lock.exit_seen)
        pause = self._backoff.failed(partition, host, self._life_of(host), moment, died)
        why = _why(after, died, moment - given.since)
        log.warning(
            "%s: %s did not take the lock: %s; it is offered nothing more for %.0f s",
            partition, host, why, pause.seconds, extra=event("lock-not-taken"),
        )  # fmt: skip
        if self._host_id == self._witness(given.before):
            self._tell_of(host, f"it did not take {partition}: {why}", pause.until)
            self._note(partition, given.held, why)

    def _witness(self, before: str) -> str:
        """Who tells of it: whoever had the lock before, or the first of those who live."""
        living = self._cluster.living_hosts
        return before if before in living else min(living, default=self._host_id)

    def _tell_of(self, host: str, words: str, until: float) -> None:
        self._told[host] = until, words
        self._timers.enterabs(until, 0, self._tell_rest)
        self._tell_rest()

    def _tell_rest(self) -> None:
        moment = self._timers.timefunc()
        self._told = {host: (until, words) for host, (until, words) in self._told.items() if moment < until}
        self._tell({host: words for host, (_, words) in sorted(self._told.items())})

    def _note(self, partition: Partition, held: Held, why: str) -> None:
        lock = held.lock
        begun = History(held.token, lock.worker, lock.host, lock.pid, lock.cause, lock.since, lock.offset)
        record = begun.closed(Ending.NOT_TAKEN, lock.offset, why, now())
        self._background.run(lambda: takeover.note_not_taken(self._store, self._cluster.keys, partition, record))

    def _stands_by(self, partition: Partition, lock: Lock) -> bool:
        return lock.worker in self._cluster.standbys.get(partition, {})

    def _life_of(self, host: str) -> str:
        shown = self._cluster.hosts.get(host)
        return f"{shown.pid} {shown.started}" if shown is not None else ""


def _why(after: Held | None, died: bool, seconds: float) -> str:
    if died:
        return "its worker died first"
    return f"its lease ended after {seconds:.1f} s" if after is None else f"no sign of it for {seconds:.1f} s"
