"""Offsets to Kafka's own group, for tools that measure lag. Nobody reads them back."""

from __future__ import annotations

from collections.abc import Callable

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.control.kafka_access import KafkaAccess
from partition_supervisor.control.stopping import Stopping
from partition_supervisor.inbox import Inbox
from partition_supervisor.processes.children import Children
from partition_workers.model import Partition


class OffsetCopies:
    """`copy` blocks, and is done in the background. `is_wanted`: --mirror-offsets."""

    def __init__(
        self,
        is_wanted: bool,
        copy: Callable[[dict[Partition, int]], None],
        children: Children,
        background: BackgroundCalls,
        kafka_access: KafkaAccess,
        stopping: Stopping,
        inbox: Inbox,
    ) -> None:
        self._is_wanted, self._copy, self._children, self._background = is_wanted, copy, children, background
        self._kafka_access, self._stopping, self._inbox = kafka_access, stopping, inbox

    def make(self) -> None:
        """What is committed here, and nothing else: what another host owns by now, that host copies."""
        now = self._inbox.read_at
        offsets = {c.partition: c.offset for c in self._children if c.owns(now) and c.offset is not None}
        if offsets and self._is_wanted and self._kafka_access.answers and not self._stopping.begun:
            self._background.run(lambda: self._copy(offsets))
