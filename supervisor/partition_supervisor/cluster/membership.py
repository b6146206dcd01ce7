"""This host's place in the group: its key, and the leases that the supervisor renews, its own and its standbys'.

What the host says of itself is a wish until it is in etcd: one thread writes it, again and again, until it is there;
and enters anew, with a new lease, when the old one has ended. A key with our own pid and start in it is ours,
whichever of our attempts put it there. Any other one is a twin's, a supervisor that took our name while we were away:
then we end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from partition_supervisor.cluster.retry import until_etcd_answers
from partition_workers.errors import LeaseGone, Misconfigured, PartitionSupervisorError, Retry
from partition_workers.etcd.store import Compare, Get, KeyValue, Put, Store, Target, Txn
from partition_workers.layout.documents import Host
from partition_workers.layout.keys import Keys
from partition_workers.outage import Outage
from partition_workers.ownership.lease_keeper import PATIENCE, LeaseKeeper
from partition_workers.retry import delays

log = logging.getLogger(__name__)

#: Seconds between two attempts to write, at first and at the most.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0
#: Seconds by which what etcd says of a lease, whole seconds, may be more than what was left without a renewal.
ROUNDING = 1.5
#: Seconds that etcd may keep a lease beyond its time: it looks twice a second, and gives all of them time after an
#: election.
GRACE = 2.0


class TakenByTwin(Misconfigured):
    """Raised when another supervisor lives under our host id."""


class Membership:
    """`hosts/<id>` under a lease of its own. `taken(why)` is called, from a thread, when a twin has our place."""

    def __init__(
        self,
        store: Store,
        keys: Keys,
        host_id: str,
        ttl: int,
        gone: Callable[[int], None],
        taken: Callable[[str], None],
        alive: Callable[[], bool] = lambda: True,
        patience: float = PATIENCE,
    ) -> None:
        """The lease is renewed while `alive()`."""
        self._store, self._key, self._host_id, self._ttl = store, keys.host(host_id), host_id, ttl
        self._taken, self._alive = taken, alive
        self._lease = 0
        self._revision = 0  # at which our key was written by us, for all we know
        self._host: Host
        self._written: Host | None = None
        self._changed = threading.Condition()
        self._closed = False
        self.keeper = LeaseKeeper(
            store, ttl / 3, on_renewed=lambda _lease, _deadline: None, on_gone=gone, patience=patience
        )

    def is_mine(self, lease: int) -> bool:
        return lease == self._lease

    def lease_age(self, now: float) -> float | None:
        """Seconds, at `now` (CLOCK_BOOTTIME), since the last renewal that etcd acknowledged; None: it has ended."""
        deadline = self.keeper.deadline(self._lease)
        return now - (deadline - self._ttl) if deadline else None

    def enter(self, host: Host, timeout: float, where: str) -> None:
        """Take the place. Raises Misconfigured when another supervisor has it, Unreachable when etcd, which is at
        `where`, is silent for `timeout` seconds.

        A predecessor that was killed still has its lease: a place that is taken is watched for as long as that lease
        has left, whatever time it was granted for. If it is renewed meanwhile, somebody lives there.
        """
        self._host = host
        ends_at: float | None = None
        while other := until_etcd_answers(self._try_to_enter, timeout, where):
            left = until_etcd_answers(lambda: self._store.time_to_live(other.lease), timeout, where).left
            if ends_at is None:
                ends_at = time.monotonic() + left
                log.info("host id %r is still taken%s; waiting %d s for that lease to end", self._host_id,
                         _by(other), left)  # fmt: skip
            renewed = time.monotonic() + left > ends_at + ROUNDING
            if renewed or time.monotonic() > ends_at + GRACE:
                raise self._twin(other)
            time.sleep(0.1)

    def open(self) -> None:
        """Keep what etcd shows of this host in step with what it is, from now on."""
        threading.Thread(target=self._keep_in_step, name="membership", daemon=True).start()

    def enter_anew(self) -> None:
        """Our lease has ended, or our key is not what we wrote: the place is taken again, as soon as etcd answers."""
        with self._changed:
            self._written = None
            self._changed.notify_all()

    def look_after(self, shown: Host | None, revision: int, went_back: bool) -> None:
        """What a listing as of `revision` shows of us. A key that somebody deleted or wrote over is put again."""
        differs = self._written is not None and shown != self._written and revision >= self._revision
        if differs or went_back:
            self.enter_anew()

    def change(self, **fields: Any) -> None:
        """Say something new about this host: soon, and until it is there."""
        with self._changed:
            self._host = dataclasses.replace(self._host, **fields)
            self._changed.notify_all()

    def leave(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.keeper.close()
        with contextlib.suppress(Retry, LeaseGone):  # it ends by itself
            self._store.revoke(self._lease)

    def go_on(self) -> bool:
        """One attempt to bring etcd in step; True: it is. Raises TakenByTwin, and whatever etcd's refusals are."""
        wanted = self._host
        if wanted == self._written:
            return True
        other = self._try_to_write(wanted) if self._written is not None else self._try_to_enter()
        if other is not None:
            raise self._twin(other)
        return wanted == self._host

    def _keep_in_step(self) -> None:
        outage = Outage(log, f"what etcd shows of this host, {self._host_id}", name="host-document-not-written")
        pauses = delays(FIRST_PAUSE, LONGEST_PAUSE)
        while not self._closed:
            try:
                in_step = self.go_on()
            except TakenByTwin as error:
                if not self._closed:
                    self._taken(str(error))
                return
            except PartitionSupervisorError as error:
                outage.failed(error)
                in_step = False
            with self._changed:
                if not in_step:
                    self._changed.wait_for(lambda: self._closed, next(pauses))
                    continue
                outage.over()
                pauses = delays(FIRST_PAUSE, LONGEST_PAUSE)
                self._changed.wait_for(lambda: self._closed or self._host != self._written)

    def _try_to_write(self, wanted: Host) -> KeyValue | None:
        """Over what we wrote before, and over nothing else."""
        mine = Compare(self._key, Target.MOD_REVISION, self._revision)
        try:
            result = self._store.transact(Txn((mine,), (Put(self._key, wanted.encode(), self._lease),)))
        except LeaseGone:
            self._written = None
            return self._try_to_enter()
        if not result.succeeded:
            self._written = None
            return self._try_to_enter()
        self._revision, self._written = result.revision, wanted
        return None

    def _try_to_enter(self) -> KeyValue | None:
        """Whose place it is; None: ours.

        With the lease that we have if it is good, else with a new one. A value that is no host's, or that no lease
        backs, is nobody's: it is written over.
        """
        lease = self._good_lease()
        with self._changed:
            host = self._host = dataclasses.replace(self._host, lease=f"{lease:x}")
        result = self._store.transact(
            Txn(
                (Compare(self._key, Target.VERSION, 0),),
                (Put(self._key, host.encode(), lease),),
                (Get(self._key),),
            )
        )
        if not result.succeeded:
            found = result.answers[0][0]
            if found.lease and found.lease != lease and not self._is_own(found):
                return found
            seen = Compare(self._key, Target.MOD_REVISION, found.mod_revision)
            result = self._store.transact(Txn((seen,), (Put(self._key, host.encode(), lease),), (Get(self._key),)))
            if not result.succeeded:
                return result.answers[0][0] if result.answers[0] else found
            if not self._is_own(found):
                log.warning(
                    "%s held what no supervisor had written, %r; it is ours now", self._key, found.value[:200]
                )
        self._revision, self._written = result.revision, host
        self.keeper.keep(lease, self._ttl, self._alive)
        return None

    def _good_lease(self) -> int:
        """Ours; a new one, if that has ended. An attempt whose answer was lost is repeated with the same."""
        if self._lease and self._store.time_to_live(self._lease).left > 0:
            return self._lease
        if self._closed:
            raise LeaseGone("this host has left its place")
        if self._lease:
            self.keeper.drop(self._lease)
        self._lease = secrets.randbits(62) + 1
        self._store.grant(self._ttl, self._lease)
        return self._lease

    def _is_own(self, found: KeyValue) -> bool:
        try:
            shown = Host.decode(found.value)
        except ValueError:
            return False
        return (shown.pid, shown.started) == (self._host.pid, self._host.started)

    def _twin(self, other: KeyValue) -> TakenByTwin:
        return TakenByTwin(
            f"host id {self._host_id!r} is taken: another supervisor{_by(other)} runs under it. Give each"
            " supervisor its own --host-id, or stop that one"
        )


def _by(other: KeyValue) -> str:
    try:
        shown = Host.decode(other.value)
    except ValueError:
        return ""
    return f" (pid {shown.pid}, since {shown.started})"
