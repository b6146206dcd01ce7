"""etcd says that a lease has ended that this host renews: its own, or a standby's."""

from __future__ import annotations

import logging

from partition_supervisor.cluster.membership import Membership
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.processes.children import Children
from partition_workers.log_events import event

log = logging.getLogger(__name__)


class LostLeases:
    def __init__(self, children: Children, membership: Membership, offers: LockOffers, stopping: Stopping) -> None:
        self._children, self._membership, self._offers, self._stopping = children, membership, offers, stopping

    def hear(self, lease: int) -> None:
        if self._membership.is_mine(lease):
            if not self._stopping.begun:
                log.warning(
                    "etcd says that this host's lease has ended; entering anew", extra=event("host-lease-lost")
                )
                self._membership.enter_anew()
            return
        for child in self._children:
            if child.settings.lease == lease and child.is_ready:
                log.warning(
                    "%s: the standby's lease has ended; starting another",
                    child.partition,
                    extra=event("standby-lease-lost"),
                )
                self._offers.leave(child, ())
