"""What the loop has this host say of itself in etcd. Each is a wish: the membership writes it until it is there."""

from __future__ import annotations

from collections.abc import Iterable

from partition_supervisor.cluster.background import BackgroundCalls
from partition_supervisor.cluster.membership import Membership
from partition_supervisor.config import Config
from partition_supervisor.group_settings import count_partitions, settings_of
from partition_workers.model import Partition


class HostDocument:
    def __init__(self, config: Config, membership: Membership, background: BackgroundCalls) -> None:
        self._config, self._membership, self._background = config, membership, background

    def draining(self) -> None:
        """It stops."""
        self._membership.change(draining=True)

    def able(self, able: bool, reason: str) -> None:
        """Whether it may be given partitions, and why not."""
        self._membership.change(able=able, unable_because=reason)

    def reads_kafka(self, reads: bool) -> None:
        self._membership.change(reads_kafka=reads)

    def topics(self, partitions: Iterable[Partition]) -> None:
        """These are all partitions of its topics."""
        self._membership.change(topics=count_partitions(partitions))

    def new_code(self) -> None:
        """What should be alike on all hosts is read anew."""
        self._background.run(
            lambda: settings_of(self._config), lambda settings: self._membership.change(settings=settings)
        )

    def resting(self, why: dict[Partition, str]) -> None:
        """Partitions of which no worker is started here for a while."""
        self._membership.change(resting={str(partition): words for partition, words in why.items()})

    def passed_over(self, why: dict[str, str]) -> None:
        """Hosts that did not take what this one had offered them, and are offered nothing for a while."""
        self._membership.change(passed_over=why)
