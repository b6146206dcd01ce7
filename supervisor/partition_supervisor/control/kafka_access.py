"""A host that cannot read Kafka, while others can, gives them its partitions.

Two must say so: an owner to which nothing has come for `--read-timeout`, and the supervisor, whose own questions are
not answered either. Every supervisor says in etcd whether they are, long before an owner has waited that long; so
when Kafka is away for all, everybody keeps what he has. Nothing is moved to a host that cannot read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from partition_supervisor.cluster_state import ClusterState
from partition_supervisor.control.rebalance import Rebalancer
from partition_supervisor.control.successors import Successors
from partition_supervisor.processes.child import Child
from partition_workers.log_events import event

log = logging.getLogger(__name__)


class KafkaAccess:
    """Of this host. `announce(reads)` tells the others."""

    def __init__(
        self,
        host_id: str,
        cluster: ClusterState,
        announce: Callable[[bool], None],
        successors: Successors,
        rebalancer: Rebalancer,
    ) -> None:
        self._host_id, self._cluster = host_id, cluster
        self._announce, self._successors, self._rebalancer = announce, successors, rebalancer
        #: Whether Kafka answers this host's own questions.
        self.answers = True

    def hear(self, answers: bool) -> None:
        """Whether Kafka answers this host's own questions, by now."""
        if answers != self.answers:
            said = "Kafka answers this host again" if answers else "Kafka does not answer this host"
            log.warning(said, extra=event("kafka-answers" if answers else "kafka-silent"))
            self.answers = answers
            self._announce(answers)

    def starved(self, child: Child, seconds: float) -> None:
        """Nothing has come to an owner for so long, though there is more, or Kafka does not answer it."""
        if self.answers or child.is_leaving:
            return
        successors = tuple(
            each
            for each in self._successors.of(child.partition, child.worker)
            if each.host != self._host_id and self._can_read(each.host) and self._cluster.is_well(each.host)
        )
        if successors:
            log.warning("%s: nothing could be read here for %.0f s; it goes to a host that can read",
                        child.partition, seconds, extra=event("partition-handed-to-reader"))  # fmt: skip
            self._rebalancer.hand_over(child, successors)

    def _can_read(self, host: str) -> bool:
        document = self._cluster.living_hosts.get(host)
        return document is not None and document.reads_kafka
