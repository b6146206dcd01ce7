"""Partitions that were found, that are gone, and topics that were made anew: what becomes of their workers."""

from __future__ import annotations

from partition_supervisor.control.dirty import Dirty
from partition_supervisor.control.host_document import HostDocument
from partition_supervisor.control.lock_offers import LockOffers
from partition_supervisor.control.planner import Planner
from partition_supervisor.processes.children import Children
from partition_workers.model import Partition
from partition_workers.protocol import KnowTopic


class TopicChanges:
    def __init__(
        self, children: Children, planner: Planner, offers: LockOffers, document: HostDocument, dirty: Dirty
    ) -> None:
        self._children, self._planner, self._offers = children, planner, offers
        self._document, self._dirty = document, dirty

    def hear(self, topic_ids: dict[Partition, str]) -> None:
        """Every worker hears of another id of its topic; those of partitions that are gone leave."""
        learnt = self._planner.learn(topic_ids)
        for child in self._children:
            if child.partition in learnt.anew:
                child.tell(KnowTopic(topic_ids[child.partition]))
            elif child.partition in learnt.gone and not child.is_leaving:
                self._offers.leave(child, ())
        if learnt.new or learnt.gone:
            self._document.topics(topic_ids)
            self._dirty.mark_workers()
