"""Whether this host is fit to be given partitions: it finds out by itself, and says so in etcd (`able`).

Nothing is planned onto a host that is not, and whoever looks for a successor asks it last. It keeps what it owns: an
owner that cannot go on says so itself (`kafka_access.py`), or loses its lease.

The loop asks, so a host whose loop stands still says nothing; but then its lease is not renewed either, and the
others miss its heartbeats.
"""

from __future__ import annotations

import logging

from partition_supervisor.cluster.membership import Membership
from partition_supervisor.control.host_document import HostDocument
from partition_supervisor.control.kafka_access import KafkaAccess
from partition_supervisor.control.own_health import OwnHealth
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.child import Child
from partition_supervisor.processes.exit_reason import ExitReason, reason_of
from partition_workers.clock import Clock
from partition_workers.log_events import event

log = logging.getLogger(__name__)

#: The part of T that may pass without a renewal of the host's lease, or without a round of the loop. A renewal is due
#: after a third, and has a second, or --etcd-timeout, before it is tried at another member.
LATE = 0.6
#: Seconds for which the host must have been well, at first.
WELL_FOR = 5.0


class Ability:
    def __init__(
        self,
        lease_ttl: float,
        inbox: Inbox,
        membership: Membership,
        kafka_access: KafkaAccess,
        document: HostDocument,
        clock: Clock,
    ) -> None:
        self._late, self._inbox, self._membership = LATE * lease_ttl, inbox, membership
        self._kafka_access, self._document, self._clock = kafka_access, document, clock
        self._health = OwnHealth(WELL_FOR)
        self._seen_at = clock()
        self._event = ""

    def tick(self) -> None:
        """What ails this host now?"""
        now = self._clock()
        stood_still = now - self._seen_at
        self._seen_at = now
        ailment, self._event = self._event or self._ailment(stood_still), ""
        if not self._health.see(ailment, now):
            return
        if self._health.is_able:
            log.info("this host is well again, and may be given partitions", extra=event("host-well"))
        else:
            log.warning(
                "this host is given no partitions for a while: %s", ailment, extra=event("host-unable")
            )  # fmt: skip
        self._document.able(self._health.is_able, self._health.reason)

    def on_end(self, child: Child, code: int) -> None:
        """A worker has ended; perhaps it was an owner whose lease had, or whose lock somebody took from it."""
        if child.is_owner and reason_of(code, child) is ExitReason.LOCK_LOST:
            self._event = f"the owner of {child.partition} lost its lock"

    def _ailment(self, stood_still: float) -> str:
        if stood_still > self._late:
            return f"its loop stood still for {stood_still:.1f} s"
        lease_age = self._membership.lease_age(self._inbox.read_at)
        if lease_age is None:
            return "its lease has ended"
        if lease_age > self._late:
            return f"etcd has not renewed its lease for {lease_age:.1f} s"
        if not self._kafka_access.answers:
            return "Kafka does not answer it"
        return ""
