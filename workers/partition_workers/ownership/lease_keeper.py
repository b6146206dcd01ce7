"""Keeping leases alive, and knowing, without trusting anybody's clock but our own, until when.

A lease is an agreement about time between two clocks that never meet. We count from the moment *before* a
keepalive was sent (etcd restarted the lease at some later moment), add the TTL of its answer, and read a clock
that goes on counting while a machine sleeps. So our deadline is always earlier than etcd's.

One stream carries the renewals of all leases of a process; asking with a call of its own each time costs twice as
much. gRPC pulls the requests out of a generator in a thread of its own, so the generator is our metronome:
it paces the rounds, gives the server one second for each answer, and cancels a stream that stays silent, for a
half-open connection shows no other sign. A stream that ended is opened again at the next endpoint.

A renewal is sent only while `alive()` says so: that ties a lease to the progress of its holder. Renewals do not
prove ownership: etcd is known to answer them for leases whose keys are gone. Only the fenced commit proves it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from partition_workers.clock import Clock, boottime
from partition_workers.errors import PartitionSupervisorError
from partition_workers.etcd.store import KeepaliveStream, Lists, Renewal, Store
from partition_workers.retry import delays

#: An answer that takes longer than this many seconds means: try another endpoint. Unless something else is said.
PATIENCE = 1.0
#: So many renewals are asked for before the first of them has to be answered.
AT_ONCE = 100
#: Seconds until a stream that failed is opened anew: at first, and at the most after many that brought no answer.
SOON, LONGEST_PAUSE = 0.05, 0.5
#: The part of the time between two renewals after which the first one of a lease that is good goes out.
LATER = 5


@dataclass
class _Lease:
    ttl: float
    alive: Callable[[], bool]
    deadline: float
    asked: float | None = None
    late: bool = False


class LeaseKeeper:
    """Renews every kept lease each `every` seconds. All callbacks run in its threads and must be quick.

    `on_renewed(lease, deadline)`: acknowledged, good until `deadline` (seconds, `clock`).
    `on_late(lease)`: a quarter of the TTL is left; said once, until the next acknowledgement.
    `on_gone(lease)`: etcd says that the lease is gone; it is dropped.
    `patience`: seconds that an answer may take.
    """

    def __init__(
        self,
        store: Store,
        every: float,
        on_renewed: Callable[[int, float], None],
        on_gone: Callable[[int], None],
        on_late: Callable[[int], None] = lambda _lease: None,
        clock: Clock = boottime,
        patience: float | None = None,
    ) -> None:
        self._store = store
        self._every = every
        self._on_renewed, self._on_gone, self._on_late = on_renewed, on_gone, on_late
        self._clock = clock
        self._patience = PATIENCE if patience is None else patience
        self._leases: dict[int, _Lease] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._hurry = False
        self._stream: KeepaliveStream | None = None
        self._failure: Exception | None = None
        # They wait for the first lease: to start a thread takes a successor a millisecond that it does not have.
        threading.Thread(target=self._run, name="lease-keeper", daemon=True).start()
        threading.Thread(target=self._watch_for_late, name="lease-late", daemon=True).start()

    def keep(
        self, lease: int, ttl: float, alive: Callable[[], bool] = lambda: True, deadline: float | None = None
    ) -> None:
        """Renew `lease` from now on. It is good until `deadline`; None: just granted.

        Known to be good, it is renewed a little later: to open a stream takes the processor from whoever takes over.
        """
        with self._changed:
            self._leases[lease] = _Lease(ttl, alive, self._clock() + ttl if deadline is None else deadline)
            self._hurry |= deadline is None
            self._changed.notify_all()

    def deadline(self, lease: int) -> float:
        """Until when `lease` is good for all we know (seconds, the clock); 0 when it is not kept."""
        with self._changed:
            kept = self._leases.get(lease)
            return kept.deadline if kept else 0.0

    def drop(self, lease: int) -> None:
        """Stop renewing `lease`; it ends when its time is over, or when it is revoked."""
        with self._changed:
            self._leases.pop(lease, None)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        pauses = delays(SOON, LONGEST_PAUSE)
        while self._wait_for_work():
            ended = threading.Event()
            try:
                self._stream = self._store.keepalive(self._rounds(ended))
                for renewal in self._stream:
                    pauses = delays(SOON, LONGEST_PAUSE)
                    self._answered(renewal)
            except PartitionSupervisorError:
                pass  # the next stream goes to another endpoint
            if self._failure is not None:
                raise self._failure
            with self._changed:
                ended.set()
                for each in self._leases.values():
                    each.asked = None
                self._changed.notify_all()
                self._changed.wait(next(pauses))

    def _wait_for_work(self) -> bool:
        """Until there is something to renew; False: closed."""
        with self._changed:
            if not self._leases:
                self._changed.wait_for(lambda: self._leases or self._closed)
                if not (self._hurry or self._closed):
                    self._changed.wait(self._every / LATER)
            return not self._closed

    def _rounds(self, ended: threading.Event) -> Lists:
        """gRPC pulls at this, and takes an error of ours for the end of the stream: so it is kept."""
        try:
            yield from self._ask(ended)
        except Exception as error:
            self._failure = error
            raise

    def _ask(self, ended: threading.Event) -> Lists:
        while not (self._closed or ended.is_set() or not self._leases):
            with self._changed:
                self._hurry = False
                asking = [(lease, each) for lease, each in self._leases.items() if each.alive()]
            begun = self._clock()
            for first in range(0, len(asking), AT_ONCE):
                part = asking[first : first + AT_ONCE]
                at = self._clock()
                for _, each in part:
                    each.asked = at
                yield tuple(lease for lease, _ in part)
            asked_at = self._clock()
            with self._changed:
                while not (self._closed or ended.is_set()):
                    now = self._clock()
                    silent = self._is_waiting()
                    if silent and now - asked_at >= self._patience and self._stream is not None:
                        self._stream.cancel()
                        return
                    if not silent and (now - begun >= self._every or self._hurry):
                        break
                    next_look = asked_at + self._patience if silent else begun + self._every
                    self._changed.wait(max(0.001, next_look - now))

    def _answered(self, renewal: Renewal) -> None:
        with self._changed:
            lease = self._leases.get(renewal.lease)
            if lease is None or lease.asked is None:
                return
            asked, lease.asked = lease.asked, None
            if renewal.ttl > 0:
                lease.ttl, lease.deadline, lease.late = renewal.ttl, asked + renewal.ttl, False
            else:
                del self._leases[renewal.lease]
            if not self._is_waiting():  # nobody does anything before; a host has hundreds of leases
                self._changed.notify_all()
        if renewal.ttl > 0:
            self._on_renewed(renewal.lease, asked + renewal.ttl)
        else:
            self._on_gone(renewal.lease)

    def _is_waiting(self) -> bool:
        """Whether any renewal was asked for and not answered."""
        return any(each.asked is not None for each in self._leases.values())

    def _watch_for_late(self) -> None:
        """In a thread of its own: the metronome stands still while gRPC asks for nothing, just when it matters."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                for lease, each in self._leases.items():
                    if not each.late and now >= each.deadline - each.ttl / 4:
                        each.late = True
                        self._on_late(lease)
                next_one = min((e.deadline - e.ttl / 4 for e in self._leases.values() if not e.late), default=now + 1)
                self._changed.wait(min(max(0.001, next_one - now), 1.0) if self._leases else None)
