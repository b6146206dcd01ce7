"""Whether what this host knows of the group is new enough to be told to others.

A host that is cut off from etcd does not learn who has taken what died here: to it, a partition would be without an
owner for as long as it is cut off.
"""

from __future__ import annotations

from partition_supervisor.cluster.membership import Membership
from partition_supervisor.control.ability import LATE
from partition_supervisor.inbox import Inbox
from partition_workers.clock import Clock


class EtcdView:
    """`clock` in seconds. The renewals of the host's lease say how long ago etcd answered; an owner that was cut off
    with it is ended only later (`lease_monitor.py`)."""

    def __init__(self, lease_ttl: float, membership: Membership, inbox: Inbox, clock: Clock) -> None:
        self._late, self._membership, self._inbox, self._clock = LATE * lease_ttl, membership, inbox, clock
        self._looked_at = clock()
        self._seconds = 0.0

    @property
    def is_fresh(self) -> bool:
        age = self._membership.lease_age(self._inbox.read_at)
        return age is not None and age <= self._late

    def seconds(self) -> float:
        """For how long it was fresh, all together: a clock for what can be known only then. Somebody has to look at
        it now and then; the time of a loop that stood still does not count."""
        now = self._clock()
        passed, self._looked_at = now - self._looked_at, now
        if passed <= self._late and self.is_fresh:
            self._seconds += passed
        return self._seconds
