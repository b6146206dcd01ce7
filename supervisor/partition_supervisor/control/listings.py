"""All of what etcd knows of the group, read every few seconds: taken in, and what in it people must know is said."""

from __future__ import annotations

import logging

from partition_supervisor.cluster.membership import Membership
from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.group_settings import differences
from partition_supervisor.listing import Snapshot
from partition_workers.layout.foreign import ForeignKey
from partition_workers.log_events import event

log = logging.getLogger(__name__)


class Listings:
    def __init__(self, host_id: str, cluster: ClusterState, membership: Membership) -> None:
        self._host_id, self._cluster, self._membership = host_id, cluster, membership
        self._foreign: frozenset[ForeignKey] = frozenset()
        self._differences: frozenset[str] = frozenset()

    def take_in(self, snapshot: Snapshot) -> bool:
        """False: we know better by now."""
        went_back = bool(snapshot.went_back_from)
        if went_back:
            log.critical(
                "etcd went back from revision %d to %d: it lost what was written between them, as when it is restored"
                " from a backup. Partitions go on from the offsets and states that it has now",
                snapshot.went_back_from, snapshot.revision,
                extra=event("etcd-went-back"),
            )  # fmt: skip
        if not self._cluster.list_anew(snapshot):
            return False
        self._name_foreign_keys()
        self._name_differences()
        self._membership.look_after(self._cluster.hosts.get(self._host_id), snapshot.revision, went_back)
        return True

    def _name_differences(self) -> None:
        """Of how hosts were started, each once."""
        found = frozenset(differences(self._cluster.living_hosts))
        for each in sorted(found - self._differences):
            log.warning("hosts differ: %s", each, extra=event("hosts-differ"))
        self._differences = found

    def _name_foreign_keys(self) -> None:
        """Each once, when it is found."""
        found = frozenset(self._cluster.foreign.values())
        for each in sorted(found - self._foreign, key=lambda foreign: foreign.key):
            log.warning("in etcd: %s", each, extra=event("foreign-key"))
        self._foreign = found
